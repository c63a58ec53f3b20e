"""Windows on their way through a network: in turn, several by threads of their own, or several in one look."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Waiting = Callable[[], AbstractContextManager[None]]
# Entered while an answer is waited for.


@dataclass(frozen=True)
class Pace:
    """lanes: looks at a time, by threads that share torch's processors among them; 0: in turn, by the caller, when
    asked. batch: windows in one look."""

    lanes: int = 0
    batch: int = 1

    @property
    def windows(self) -> int:
        """Windows that are computed at a time."""
        return max(1, self.lanes) * self.batch

    def __str__(self) -> str:
        if self == Pace():
            return "in turn"
        ways = [f"{self.lanes} by threads"] * bool(self.lanes) + [f"{self.batch} in one look"] * (self.batch > 1)
        return ", ".join(ways)


ALONE = Pace()


def answers(
    look: "Callable[[Tensor], Tensor]",
    windows: "Iterable[Tensor]",
    pace: Pace = ALONE,
    waiting: Waiting = nullcontext,
) -> "Generator[Tensor]":
    """`look` at each window (1, C, *patch), in order, as it is asked for: one answer (1, K, *patch) for each.

    With lanes, as many looks again may wait. Whoever ends early gets the processors back.
    """
    for out in _looks(look, _grouped(windows, pace.batch), pace.lanes, waiting):
        yield from out.split(1)


def _grouped(windows: "Iterable[Tensor]", batch: int) -> "Iterator[Tensor]":
    """So many windows in one tensor; the last ones may be fewer."""
    import torch

    coming = iter(windows)
    while some := list(islice(coming, batch)):
        yield some[0] if len(some) == 1 else torch.cat(some)


def _looks(
    look: "Callable[[Tensor], Tensor]", groups: "Iterable[Tensor]", lanes: int, waiting: Waiting
) -> "Generator[Tensor]":
    import torch

    def one(group: "Tensor") -> "Tensor":
        # of the thread that computes, whatever the caller's is
        with torch.inference_mode():
            return look(group)

    if lanes == 0:
        for group in groups:
            with waiting():
                out = one(group)
            yield out
        return
    threads, coming = torch.get_num_threads(), deque["Future[Tensor]"]()
    torch.set_num_threads(max(1, threads // lanes))
    pool = ThreadPoolExecutor(lanes, "window")
    try:
        for group in groups:
            coming.append(pool.submit(one, group))
            if len(coming) > lanes:
                with waiting():
                    out = coming.popleft().result()
                yield out
        while coming:
            with waiting():
                out = coming.popleft().result()
            yield out
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
