"""plan: the same budget as train where none is given, and never over what is there."""

from collections.abc import Callable
from pathlib import Path

import hilum
from hilum.core.plan import Plan


def test_without_a_budget_it_is_for_the_minutes_of_train(data: Callable[[str], Path], tmp_path: Path) -> None:
    """A plan without any was made as for 30 minutes, and `train --plan` then took 10 of them."""
    made = hilum.plan(data("classify"), "classify", tmp_path / "plan.json")
    assert (made.minutes, made.steps) == (10, None)
    assert Plan.read(tmp_path / "plan.json") == made
    assert hilum.plan(data("classify"), "classify", steps=5).minutes is None
