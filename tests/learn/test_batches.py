"""Which cases a round of validation sees."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Case, Measurement
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.learn import _batches
from hilum.tasks import _task


class Kept:
    """A task that keeps the cases of its validation batches, as classify does: the first so many."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def alike(self, store: Any, cases: list[Case]) -> list[list[Case]]:
        return [cases]

    def check(self, store: Any, cases: list[Case], number: int, rng: Any) -> list[Case]:
        return cases[: self.batch]


def seen(plan: Plan, classes: dict[str, int]) -> list[Case]:
    """Cases of one round of validation, from cases in the order of their classes."""
    cases = [Case(f"{k}/{n:03d}", "", {}, klass=k) for k, count in classes.items() for n in range(count)]
    return [c for batch, _ in _batches.check(Kept(plan.batch), None, cases, plan) for c in batch]  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_a_round_sees_all_classes_though_it_can_not_see_all_cases(plan_of: Callable[..., Plan], batch: int) -> None:
    plan = plan_of("classify", 200, **{"batch": batch, "learning.rounds": 4})
    room = batch * _batches.check_count(plan, 100)
    assert room < 100
    found = seen(plan, {"a": 40, "b": 40, "c": 20})
    assert len({c.id for c in found}) == len(found) == room
    counts = Counter(c.klass for c in found)
    for klass, share in {"a": 0.4, "b": 0.4, "c": 0.2}.items():
        assert abs(counts[klass] - share * room) <= 1 and counts[klass]
    assert found == seen(plan, {"a": 40, "b": 40, "c": 20})


def test_a_round_of_one_batch_of_one_and_of_few_cases(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("classify", 4, batch=1)
    assert len(seen(plan, {"a": 5})) == 1
    assert len(seen(plan_of("classify", 200, **{"batch": 4, "learning.rounds": 4}), {"a": 2, "b": 4})) == 6


def test_cases_of_another_size_are_validated_in_a_batch_of_their_own(plan_of: Callable[..., Plan]) -> None:
    """The first case of the batch was taken for them, and they were never validated."""
    plan = plan_of("reconstruct", 200, **{"batch": 2, "learning.rounds": 4})
    task, rng = _task.load(plan), np.random.default_rng(0)

    def case(name: str, width: int, coils: int = 2) -> Case:
        array = rng.normal(size=(1, coils, 16, width)).astype(np.complex64)
        return Case(name, name, {"kspace": Measurement(array, ("slice", "coil", "ky", "kx"), {})})

    mixed = [case("a", 16), case("b", 20), case("c", 16, coils=3), case("d", 16)]
    found = list(_batches.check(task, Store(task.prepare), mixed, plan))
    # they are dealt out as a, c and b, d
    assert [names for _, names in found] == [["a"], ["c"], ["b"], ["d"]]
    assert [tuple(batch["kspace"].shape) for batch, _ in found] == [
        (2, 2, 16, 16), (2, 3, 16, 16), (2, 2, 16, 20), (2, 2, 16, 16),
    ]  # fmt: skip
    same = [case(name, 16) for name in "abcd"]
    assert [names for _, names in _batches.check(task, Store(task.prepare), same, plan)] == [["a", "c"], ["b", "d"]]
