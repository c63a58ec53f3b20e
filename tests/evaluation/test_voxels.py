"""How sure masks are on the judged cases: what the voxels near foreground say, raw and scaled, case by case."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.evaluation.voxels import COLUMN, NAMES, Voxels
from hilum.infer.predictor import Opinion
from hilum.planning.planner import look
from hilum.trust import voxels
from hilum.trust.trusted import Trusted
from hilum.verbs.evaluate import evaluate

Array = np.ndarray[Any, Any]


def predictor_of(truths: dict[str, Array | None], scaling: Scaling | None = None, task: str = "segment") -> Any:
    """One that says nothing itself: the truth of a case by its name, None where it can not be had."""

    def prepare(case: Case) -> dict[str, Array]:
        truth = truths[case.id]
        if truth is None:
            raise HilumError("HIL-N10", "it lies on another grid", "mend it")
        return {"target": truth}

    plan = SimpleNamespace(task=task, classes=[SimpleNamespace(name="x", value=1)], data={})
    known = None if scaling is None else SimpleNamespace(scaling=scaling)
    held: dict[str, Any] = {"keep": False, "latest": None, "wide": True}
    return SimpleNamespace(task=SimpleNamespace(prepare=prepare, plan=plan), plan=plan, calibration=known, **held)


def logits(seed: int) -> Array:
    """(3, 12, 12): two classes near the middle, and the depth of objects, which is none."""
    away = np.linalg.norm(np.indices((12, 12)) - 5.5, axis=0)
    noise = np.random.default_rng(seed).normal(0, 1, (12, 12))
    return np.stack([np.zeros((12, 12)), 3 * (3 - away) + noise, np.full((12, 12), 99.0)]).astype(np.float32)


def truth() -> Array:
    return (np.linalg.norm(np.indices((12, 12)) - 5.5, axis=0) < 3.5).astype(np.int64)


def test_every_case_is_looked_at_once_and_what_it_was_made_from_is_let_go() -> None:
    scaling = Scaling(method="temperature", scale=[0.5])
    predictor = predictor_of({f"c{i}": truth() for i in range(4)}, scaling)
    watch = Voxels(predictor)
    assert predictor.keep
    for i in range(4):
        predictor.latest = Opinion(Result({}), {}, logits(i))
        watch(Case(f"c{i}", f"g{i // 2}", {}), Result({}))
        assert predictor.latest is None
    seen = [voxels.sample(logits(i)[:2], truth(), logits=True) for i in range(4)]
    expected = [voxels.sureness(s, scaling) for s in seen]
    assert [watch.scaled[f"c{i}"] for i in range(4)] == expected and watch.groups == ["g0", "g0", "g1", "g1"]
    found = watch.summary()["voxels"]
    assert found["cases"] == 4 and found["voxels"] == sum(s.region for s in seen)
    for name in NAMES:
        raw, scaled = (np.mean([getattr(voxels.sureness(s, by), name) for s in seen]) for by in (None, scaling))
        row = found[name]
        assert (row["raw"], row["scaled"]) == pytest.approx((raw, scaled))
        assert row["difference"] == pytest.approx(scaled - raw) and row["low"] <= row["difference"] <= row["high"]
        assert row["scaled low"] <= row["scaled"] <= row["scaled high"]
    assert watch.column("c1") == {COLUMN.format(n): getattr(expected[1], n) for n in NAMES}


def test_a_case_without_such_voxels_is_left_out_and_has_empty_columns() -> None:
    predictor = predictor_of({"empty": np.zeros((12, 12), int), "elsewhere": None, "full": truth()})
    watch, nothing = Voxels(predictor), np.stack([np.ones((12, 12)), np.zeros((12, 12))])
    for name, values in (("empty", nothing), ("elsewhere", logits(0)), ("full", logits(0))):
        predictor.latest = Opinion(Result({}), {}, values)
        watch(Case(name, name, {}), Result({}))
    assert watch.column("empty") == {COLUMN.format(n): None for n in NAMES}
    assert watch.column("elsewhere") == {} == watch.column("never seen")
    found = watch.summary()["voxels"]
    # nothing is scaled here, so there is no difference; and one patient gives no interval
    assert found["cases"] == 1 and found["nll"].keys() == {"raw", "scaled", "scaled low", "scaled high"}
    assert found["nll"]["raw"] == found["nll"]["scaled"] and found["nll"]["scaled low"] is None


def test_other_tasks_keep_nothing() -> None:
    predictor = predictor_of({}, task="classify")
    watch = Voxels(predictor)
    watch(Case("a", "a", {}), Result({}))
    assert not predictor.keep and watch.summary() == {} and watch.column("a") == {}


def test_an_evaluation_says_how_sure_its_masks_are(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(trained("segment").path, tmp_path / "run")
    evaluate(tmp_path / "run", data("segment"), tmp_path / "out")
    with open(tmp_path / "out" / "cases.csv", encoding="utf-8", newline="") as stream:
        rows = {r["case"]: r for r in csv.DictReader(stream)}
    run = Run(tmp_path / "run")
    cases = [c for c, p in look(data("segment"), "segment", run.plan.split_seed).units(run.plan) if p == "test"]
    predictor = Trusted(run)
    assert predictor.calibration is not None
    for case in cases:
        values = np.asarray(predictor.opinion(case).logits, dtype=np.float32)
        seen = voxels.sample(values, predictor.task.prepare(case)["target"], logits=True)
        expected = voxels.sureness(seen, predictor.calibration.scaling)
        assert expected is not None
        for name in NAMES:
            assert float(rows[case.id][COLUMN.format(name)]) == pytest.approx(getattr(expected, name), abs=1e-5)
    found = json.loads((tmp_path / "out" / "trust.json").read_text())["voxels"]
    assert found["cases"] == len(cases) and found["ece"]["scaled"] is not None
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "How sure the mask is" in page and found["where"].split(",")[0] in page
