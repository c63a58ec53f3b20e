"""Before the first step: minutes become as many steps as they hold, or are refused where they hold no training; the
peak of memory can begin anew, so that networks trained one after the other are told apart.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilum.core import card
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.learn import _pace
from hilum.learn._loop import Training
from hilum.learn._pace import forget_peak, peak_bytes
from hilum.learn._record import Record
from hilum.planning.planner import Prepared
from hilum.verbs.train import train

BLOCK = 30_000_000
# Numbers of 8 bytes: 240 MB.


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system keeps the peak")
def test_the_peak_begins_anew_and_grows_again() -> None:
    np.ones(BLOCK)
    before = peak_bytes()
    after = forget_peak()
    assert after < before - 4 * BLOCK
    np.ones(BLOCK)
    assert peak_bytes() > after + 4 * BLOCK


@pytest.mark.parametrize(("platform", "wanted"), [("linux", 3 << 20), ("darwin", 3 << 10)])
def test_the_peak_is_in_bytes_whatever_the_kernel_counts_in(
    platform: str, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=3 << 10))
    monkeypatch.setattr("sys.platform", platform)
    assert peak_bytes() == wanted


def test_minutes_that_preparing_has_eaten_are_refused_with_what_would_do(
    data: Callable[[str], Path], plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan_of("classify", batch=2).model_copy(update={"minutes": 0.05, "steps": None})
    made.write(tmp_path / "plan.json")
    honest = _pace.dry_step

    def slow(training: Any) -> None:
        # as if the cases had taken a minute
        training.began = time.monotonic() - 60
        honest(training)

    monkeypatch.setattr(_pace, "dry_step", slow)
    with pytest.raises(HilumError) as error:
        train(data("classify"), "classify", tmp_path / "run", plan=tmp_path / "plan.json")
    assert error.value.code == "HIL-PLAN-06" and "0.05 minutes hold 0 steps" in error.value.seen
    (wanted,) = re.findall(r"--minutes ([0-9.]+) for 10 steps", error.value.remedy)
    assert 1.3 < float(wanted) < 3
    assert not (tmp_path / "run").exists()


@pytest.fixture
def known(plan_of: Callable[..., Plan]) -> Any:
    """What steps are reckoned from: batches of two, 25 rounds, four validation cases."""
    plan = plan_of("classify", batch=2, **{"learning.rounds": 25})
    return SimpleNamespace(plan=plan, parts={"val": [None] * 4})


@pytest.mark.parametrize(
    ("spent", "wanted"),
    [([5.0], 5.0), ([1.0, 3.0], 3.0), ([1.0, 2.0, 3.0, 10.0], 3.0), ([5.0, 1.0, 4.0, 2.0, 3.0], 3.5)],
)
def test_a_step_is_reckoned_by_the_slower_half_but_for_the_slowest(spent: list[float], wanted: float) -> None:
    assert _pace._slower(spent) == wanted


@pytest.mark.parametrize(("steps", "batches"), [(1, 1), (8, 4), (100, 10), (105, 11), (1000, 50)])
def test_all_rounds_of_validation_are_reckoned(steps: int, batches: int, known: Any) -> None:
    assert _pace._checks(steps, 0.5, known) == 0.5 * batches


@pytest.mark.parametrize("seconds", [30.0, 100.0, 345.0, 1000.0, 10000.0])
def test_steps_and_their_rounds_fill_the_seconds(seconds: float, known: Any) -> None:
    steps = _pace._fitting(seconds, 1.0, 0.3, known)
    assert 0.95 * seconds < steps + _pace._checks(steps, 0.3, known) <= seconds + 1e-6


def test_steps_are_found_where_a_validation_costs_many_of_them(known: Any) -> None:
    steps = _pace._fitting(100.0, 1.0, 15.0, known)
    assert steps >= 10 and 60 < steps + _pace._checks(steps, 15.0, known) <= 100


@pytest.mark.parametrize("seconds", [0.5, -3.0])
def test_seconds_that_hold_no_step_fit_none(seconds: float, known: Any) -> None:
    assert _pace._fitting(seconds, 1.0, 0.3, known) <= 0


@pytest.mark.parametrize("each", [0.01, 0.4, 2.0])
def test_minutes_hold_what_was_before_the_steps_and_their_rounds(
    each: float, plan_of: Callable[..., Plan], ready: Callable[[str], Prepared], begin: Callable[..., Training],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plan = plan_of("classify", batch=2).model_copy(update={"minutes": 1.0, "steps": None})
    training, now = begin(tmp_path / "run", plan, ready("classify")), [100.0]

    def step(state: Any, batch: Any, k: int, ids: list[str]) -> dict[str, float]:
        # the first one pays for allocation
        now[0] += each if k else 3.0
        return {}

    def validated(*_: Any) -> None:
        now[0] += 0.2

    monkeypatch.setattr(_pace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(training, "step", step)
    monkeypatch.setattr(training, "validated", validated)
    # preparing took five seconds
    training.began = now[0] - 5
    steps = _pace.steps_for(training, 1.0)
    assert now[0] < 110
    before, rounds = now[0] - training.began, _pace._checks(steps, 0.2, training)
    assert 54 < before + steps * each + rounds <= 60


def test_the_largest_raw_data_are_those_of_the_largest_slice_with_its_coils(
    plan_of: Callable[..., Plan], ready: Callable[[str], Prepared], begin: Callable[..., Training], tmp_path: Path
) -> None:
    """A step sees one slice of a case: the dry step took the case with the most slices, whatever its coils."""
    training = begin(tmp_path / "run", plan_of("reconstruct", 1), ready("reconstruct"))
    coils, slices = training.parts["train"][:2]
    honest = training.task.prepare

    def prepare(case: Any) -> Any:
        made = honest(case)
        if case.id == coils.id:
            return made | {name: np.concatenate([made[name]] * 2, axis=1) for name in ("kspace", "maps")}
        if case.id == slices.id:
            return made | {name: np.concatenate([made[name]] * 3) for name in ("kspace", "maps", "image")}
        return made

    training.store = Store(prepare)
    training._prepare()
    assert max(training.sizes, key=lambda name: training.sizes[name]) == coils.id
    assert training.sizes[coils.id] == 2 * training.sizes[slices.id] == 8 * 4 * 16 * 16


def test_what_is_validated_is_tried_on_the_largest_case_of_both_parts(
    plan_of: Callable[..., Plan], ready: Callable[[str], Prepared], begin: Callable[..., Training], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whole slices of the validation part may be larger than all that is learned from."""
    training = begin(tmp_path / "run", plan_of("reconstruct", 1), ready("reconstruct"))
    training._prepare()
    tried: list[tuple[str, str]] = []
    honest = training.step
    monkeypatch.setattr(training, "step", lambda *w: (tried.append(("step", w[-1][0])), honest(*w))[1])
    monkeypatch.setattr(training, "validated", lambda _, cases: tried.append(("validated", cases[0].id)))
    first, val = training.parts["train"][0].id, training.parts["val"][0].id
    for sizes in ({first: 9}, {first: 9, val: 10}, {}):
        training.sizes = dict.fromkeys(training.sizes, 1) | sizes
        _pace.dry_step(training)
    last = training.parts["train"][-1].id
    assert tried == [
        ("step", first), ("validated", first), ("step", first), ("validated", val), ("step", last), ("validated", last),
    ]  # fmt: skip

    def short(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(training, "validated", short)
    training.sizes = {val: 10}
    with pytest.raises(HilumError, match=f"in a first validation of {val}, the largest case.*HIL-T07"):
        _pace.dry_step(training)


@pytest.mark.parametrize("held", [0, 5])
def test_what_a_card_held_is_told_where_one_was_used(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "peak", lambda: held)
    state: Any = SimpleNamespace(memory={})
    told = Record(tmp_path, SimpleNamespace(networks={}), leads=False).timing(state)  # type: ignore[arg-type]
    assert told.get("card_bytes", 0) == held and ("card_bytes" in told) == bool(held)
