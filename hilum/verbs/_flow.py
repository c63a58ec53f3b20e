"""Many cases one after the other: while one is computed, the next is read and the last is written."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image, Source
from hilum.infer.faults import fault

T = TypeVar("T")
Outcome = Any
# What became of a case: what the work gave, or the HilumError that ended it.


class Held:
    """A source that was read in advance: whole readings come from memory, all else goes to it."""

    def __init__(self, source: Any, thing: Any) -> None:
        self._source, self._thing = source, thing

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Any:
        """As of the source."""
        if region is None and level == 0:
            return self._thing
        return self._source.read(region, level)

    def extent(self) -> Any:
        """None, for it is there already."""
        return None

    @property
    def held(self) -> int:
        """Bytes of it in memory."""
        return int(self._thing.array.nbytes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


@contextmanager
def begun(cases: Sequence[Case], roles: Sequence[str]) -> "Iterator[Future[tuple[Case, float]] | None]":
    """The first case on its way, for `run`, while something else is made ready; None where there is no case."""
    with ThreadPoolExecutor(1, "read") as reader:
        yield reader.submit(read, cases[0], roles) if cases else None


def run(
    cases: Sequence[Case],
    roles: Sequence[str],
    work: Callable[[Case], T],
    finish: Callable[[Case, T, float], Outcome],
    ahead: bool = True,
    first: "Future[tuple[Case, float]] | None" = None,
    before: Callable[[Case], None] | None = None,
    beside: Callable[[Callable[[], int]], None] = lambda _: None,
) -> Iterator[tuple[Case, Outcome]]:
    """Each case with what `finish` gave, or the HilumError that cost it, in order (HIL-INFER-18: none of Hilum's own).

    A place that can not be written to ends everything, as an OSError.

    roles: of the items to read in advance. work: on the case read; one at a time, in the caller's thread. finish: is
    given what the work gave and the seconds of reading, in a thread of its own, one at a time and in order. ahead: off,
    everything happens in turn and at most one case is in memory. first: the first case, as `begun` gives it. before:
    asked of each case that is read in turn, and may refuse it while nothing is held. beside: given, before each case,
    what says how many bytes the reading of the next one will still add; what is written is held by then.
    """
    if not ahead or len(cases) < 2:
        for case in cases:
            yield case, _all(case, roles, work, finish, first, before)
            first = None
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        coming = reader.submit(read, cases[0], roles) if first is None else first
        # let go of what was read with the case it belongs to
        first = None
        last: tuple[Case, Future[Outcome] | HilumError] | None = None
        for number, case in enumerate(cases):
            ready, seconds, fault = _read(case, coming)
            more = number + 1 < len(cases)
            if more:
                coming = reader.submit(read, cases[number + 1], roles)
            beside(_to_come(ready, cases[number + 1], coming, roles) if more else int)
            done: Outcome = fault or _tried(work, ready)
            if last is not None:
                yield last[0], _result(*last)
            last = (case, done if isinstance(done, HilumError) else writer.submit(finish, ready, done, seconds))
        if last is not None:
            yield last[0], _result(*last)


def _to_come(ready: Case, case: Case, coming: "Future[tuple[Case, float]]", roles: Sequence[str]) -> Callable[[], int]:
    """Says how many bytes the images of the next case will hold; 0 once they are read.

    By those of this one and the sizes of the files of both: headers are not waited for while a case is computed.
    """
    held = sum(item.held for item in ready.items.values() if isinstance(item, Held))
    own, others = (_on_disk(one, roles) for one in (ready, case))
    size = int(held * others / own) if own else held
    return lambda: 0 if coming.done() else size


def _on_disk(case: Case, roles: Sequence[str]) -> int:
    """Bytes of the files of these roles; those that are gone count nothing."""
    files = [file for role in roles for file in getattr(case.items.get(role), "files", ())]
    return sum(file.stat().st_size for file in files if file.exists())


def _read(case: Case, coming: "Future[tuple[Case, float]]") -> tuple[Case, float, HilumError | None]:
    """What was read, in how many seconds; or why not."""
    try:
        return *coming.result(), None
    except Exception as error:
        return case, 0.0, fault(error, case)


def read(case: Case, roles: Sequence[str]) -> tuple[Case, float]:
    """The case with its images of these roles in memory, and the seconds that took."""
    began, items = time.perf_counter(), dict(case.items)
    for role in roles:
        item = items.get(role)
        if isinstance(item, Source):
            thing = item.read()
            # what is no image is small, or read in parts
            items[role] = Held(item, thing) if isinstance(thing, Image) else item
    return replace(case, items=items), time.perf_counter() - began


def _all(
    case: Case,
    roles: Sequence[str],
    work: Callable[[Case], T],
    finish: Callable[[Case, T, float], Outcome],
    coming: "Future[tuple[Case, float]] | None",
    before: Callable[[Case], None] | None,
) -> Outcome:
    """Read (where it is not on its way), work and finish in turn."""
    try:
        if before is not None and coming is None:
            before(case)
        ready, seconds = read(case, roles) if coming is None else coming.result()
        return finish(ready, work(ready), seconds)
    except Exception as error:
        return fault(error, case)


def _tried(work: Callable[[Case], T], case: Case) -> T | HilumError:
    try:
        return work(case)
    except Exception as error:
        return fault(error, case)


def _result(case: Case, done: "Future[Outcome] | HilumError") -> Outcome:
    """What was finished, or the error of a case."""
    if isinstance(done, HilumError):
        return done
    try:
        return done.result()
    except Exception as error:
        return fault(error, case)
