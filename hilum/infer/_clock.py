"""Where the time of a prediction goes: seconds by stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("read", "coarse", "prepare", "network", "merge", "back", "trust", "write")
# coarse: where to look, by another model. merge: windows added up and classes told. back: onto the image's grid.
# trust: doubt, unlikeness, the gate.


class Clock:
    """Adds up seconds by stage; a stage inside another is taken off the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            spent, inner = time.perf_counter() - began, self._inner.pop()
            self._inner[-1] += spent
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent - inner

    def taken(self) -> dict[str, float]:
        """What was counted since the last time this was asked, in the order of STAGES."""
        found = {s: round(self.seconds[s], 4) for s in STAGES if s in self.seconds}
        self.seconds = {}
        return found
