"""Reading, computing and writing of many cases at the same time: same results, same order, failures isolated."""

import errno
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared
from hilum.verbs import _flow


class Disk:
    """A source that counts its readings; number 3 is broken."""

    def __init__(self, number: int) -> None:
        self.number, self.path, self.readings = number, Path(f"{number}.nii"), 0

    def read(self, region: Any = None, level: int = 0) -> Image:
        self.readings += 1
        if self.number == 3:
            raise HilumError("HIL-N01", "cut off", "Copy it again")
        return Image(np.full((1, 2, 2), self.number))


def cases(count: int) -> list[Case]:
    return [Case(str(n), "", {"image": Disk(n)}) for n in range(count)]


def work(case: Case) -> int:
    if case.id == "1":
        raise HilumError("HIL-M10", "no numbers", "Train again")
    return int(case.read("image").array.max())


@pytest.mark.parametrize("ahead", [True, False])
def test_order_and_failures_are_kept(ahead: bool) -> None:
    written = []

    def finish(case: Case, value: int, seconds: float) -> int:
        if case.id == "4":
            raise HilumError("HIL-IO-05", "not written", "Report it")
        written.append(case.id)
        assert seconds >= 0
        return value * 10

    given = cases(7)
    found = list(_flow.run(given, ["image"], work, finish, ahead))
    assert [case.id for case, _ in found] == [str(n) for n in range(7)]
    codes = {case.id: getattr(outcome, "code", outcome) for case, outcome in found}
    assert codes == {"0": 0, "1": "HIL-M10", "2": 20, "3": "HIL-N01", "4": "HIL-IO-05", "5": 50, "6": 60}
    assert written == ["0", "2", "5", "6"]
    assert all(case.items["image"].readings == 1 for case in given), "read once"


@pytest.mark.parametrize("ahead", [True, False])
def test_a_case_that_fails_is_not_held_any_longer(ahead: bool) -> None:
    """Its error is kept until the next one is through, and would hold what was read and prepared by its frames."""
    held: list[weakref.ref[np.ndarray[Any, Any]]] = []

    def fails(case: Case) -> int:
        prepared = np.zeros(8)
        held.append(weakref.ref(prepared))
        # of the first case nothing is left when the second one is worked on
        assert len(held) < 2 or held[0]() is None
        raise HilumError("HIL-M10", f"no numbers, {prepared.sum()}", "Train again")

    found = [outcome for _, outcome in _flow.run(cases(2), ["image"], fails, lambda *_: 0, ahead)]
    assert [getattr(one, "code", "") for one in found] == ["HIL-M10"] * 2


def test_reading_and_writing_happen_beside_the_work() -> None:
    """Each waits for the other two: in turn this would never end."""
    reading, writing = threading.Event(), threading.Event()

    class Slow(Disk):
        def read(self, region: Any = None, level: int = 0) -> Image:
            if self.number == 2:
                reading.set()
            return super().read(region, level)

    def working(case: Case) -> int:
        if case.id == "1":
            assert reading.wait(10) and writing.wait(10)
        return 0

    def finish(case: Case, value: int, seconds: float) -> int:
        writing.set()
        return value

    given = [Case(str(n), "", {"image": Slow(n)}) for n in (0, 1, 2)]
    assert len(list(_flow.run(given, ["image"], working, finish))) == 3


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("where", ["read", "work", "finish"])
def test_an_error_that_is_none_of_our_own_costs_its_case_only(ahead: bool, where: str) -> None:
    class Torn(Disk):
        def read(self, region: Any = None, level: int = 0) -> Image:
            if where == "read" and self.number == 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate\nmemory")
            return super().read(region, level)

    def broken(case: Case, *given: Any) -> int:
        if case.id == "2" and where == ("finish" if given else "work"):
            raise RuntimeError("DefaultCPUAllocator: can't allocate\nmemory")
        return 0

    given = [Case(str(n), "", {"image": Torn(n)}) for n in (0, 1, 2, 4, 5)]
    found = {case.id: outcome for case, outcome in _flow.run(given, ["image"], broken, broken, ahead)}
    error = found.pop("2")
    assert found == {"0": 0, "1": 0, "4": 0, "5": 0}
    assert error.code == "HIL-INFER-18" and "can't allocate memory" in error.seen and "\n" not in error.seen
    # most tasks refuse it, and none computes in less
    assert "--memory" not in error.remedy


@pytest.mark.parametrize("ahead", [True, False])
def test_a_full_disk_ends_everything(ahead: bool) -> None:
    """Or hundreds of studies are computed in vain."""
    asked = []

    def full(case: Case, value: int, seconds: float) -> int:
        asked.append(case.id)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        list(_flow.run([Case(str(n), "", {}) for n in range(9)], ["image"], lambda case: 0, full, ahead))
    assert len(asked) <= 3


def test_what_was_read_ahead_is_not_read_again() -> None:
    disk = Disk(5)
    held = _flow.Held(disk, disk.read())
    assert held.path == disk.path and held.read((slice(0, 1), slice(0, 1))).array.max() == 5
    assert held.read() is held.read() and disk.readings == 2
    assert held.extent() is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_first_case_may_be_on_its_way_already(count: int) -> None:
    given = cases(count)
    with _flow.begun(given, ["image"]) as first:
        found = list(_flow.run(given, ["image"], work, lambda case, value, seconds: value, first=first))
    assert [case.id for case, _ in found] == [case.id for case in given]
    assert all(case.items["image"].readings == 1 for case in given), "read once"


def test_a_first_case_that_can_not_be_read_costs_itself_only() -> None:
    given = cases(5)[3:]
    with _flow.begun(given, ["image"]) as first:
        (_, broken), (_, whole) = _flow.run(given, ["image"], work, lambda case, value, seconds: value, first=first)
    assert broken.code == "HIL-N01" and whole == 4


def test_what_refuses_a_case_is_asked_before_it_is_read() -> None:
    def before(case: Case) -> None:
        if case.id == "2":
            raise HilumError("HIL-INFER-01", "too large", "Crop it")

    given = [case for case in cases(5) if case.id in ("0", "2", "4")]
    found = list(_flow.run(given, ["image"], work, lambda case, value, seconds: value, False, before=before))
    assert [getattr(outcome, "code", outcome) for _, outcome in found] == [0, "HIL-INFER-01", 4]
    assert [case.items["image"].readings for case in given] == [1, 0, 1]


def test_what_is_read_meanwhile_is_told(tmp_path: Path) -> None:
    """About, by the files of both; nothing once it is read, and after the last one."""

    class File(Disk):
        def __init__(self, number: int, size: int) -> None:
            super().__init__(number)
            self.size, self.gate = size, threading.Event()
            self.files = [tmp_path / str(number)]
            self.files[0].write_bytes(bytes(size))

        def read(self, region: Any = None, level: int = 0) -> Image:
            assert self.gate.wait(30)
            return Image(np.zeros((1, self.size, 10), dtype=np.uint8))

    sources = [File(n, size) for n, size in ((0, 100), (1, 300), (2, 50))]
    sources[0].gate.set()
    told: list[int] = []
    asked: list[Any] = []

    def held(case: Case) -> int:
        told.append(asked[-1]())
        for one in sources[int(case.id) + 1 :][:1]:
            one.gate.set()
        while asked[-1]():
            pass
        return 0

    given = [Case(str(n), "", {"image": one}) for n, one in enumerate(sources)]
    list(_flow.run(given, ["image"], held, lambda *_: 0, beside=asked.append))
    # an array of 100 x 10 from a file of 100 bytes: 3000 bytes from one of 300
    assert told == [3000, 500, 0]


def test_what_is_read_meanwhile_is_counted(trained: Callable[[str], Run], ready: Callable[[str], Prepared]) -> None:
    case = ready("segment").dataset.cases[0]
    plain, beside = Predictor(trained("segment")), Predictor(trained("segment"))
    beside.reads_beside(lambda: 1 << 40)
    plain(case)
    beside(case)
    assert plain.promised is not None and beside.promised is not None
    assert beside.promised.total - plain.promised.total > 1 << 39
