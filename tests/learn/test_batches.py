"""Which cases a round of validation sees."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.learn import _batches


class Kept:
    """A task that keeps the cases of its validation batches, as classify does: the first so many."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

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
