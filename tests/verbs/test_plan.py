"""plan: the same budget as train where none is given, and never over what is there."""

from collections.abc import Callable
from pathlib import Path

import pytest

import hilum
from hilum.core import catalogue
from hilum.core.plan import Plan
from hilum.planning import cost, machine
from hilum.planning.planner import Prepared
from hilum.verbs.plan import planned


def test_without_a_budget_it_is_for_the_minutes_of_train(data: Callable[[str], Path], tmp_path: Path) -> None:
    """A plan without any was made as for 30 minutes, and `train --plan` then took 10 of them."""
    made = hilum.plan(data("classify"), "classify", tmp_path / "plan.json")
    assert (made.minutes, made.steps) == (10, None)
    assert Plan.read(tmp_path / "plan.json") == made
    assert hilum.plan(data("classify"), "classify", steps=5).minutes is None


@pytest.mark.parametrize("task", list(catalogue.cards("hilum.tasks")))
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_the_speed_is_that_of_the_precision_that_is_planned(
    task: str, precision: str, ready: Callable[[str], Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registering and reconstructing compute in float32 where bfloat16 was measured, at several times the speed."""
    speeds = {"float32": 10.0, "bfloat16": 100.0}
    monkeypatch.setattr(machine, "native_half", lambda device="cpu": True)
    monkeypatch.setattr(machine, "speed", lambda dims, device="cpu", precision="float32": speeds[precision])
    settings = {} if precision == "auto" else {"learning.precision": precision}
    plan = planned(ready(task), task, None, 5.0, None, 0, settings, accelerator="cpu")
    whole = precision == "float32" or (precision == "auto" and task in ("register", "reconstruct"))
    found = plan.machine
    assert found["precision"] == ("float32" if whole else "bfloat16") and found["gflops"] == speeds[found["precision"]]
    assert found["seconds_per_step"] == pytest.approx(cost.step(plan).flops / found["gflops"] / 1e9)
