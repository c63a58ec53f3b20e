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
from scipy.special import ndtr

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.evaluation.voxels import COLUMN, NAMES, Voxels, _chance, _diagram, _said
from hilum.infer.predictor import Opinion
from hilum.planning.planner import look
from hilum.trust import voxels
from hilum.trust.trusted import Trusted
from hilum.trust.voxels import Sureness
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


def sure(rng: np.random.Generator, shift: float = 0.0, together: float = 0.5) -> Sureness:
    """A case of 300 voxels whose stated confidence is right but for `shift`, with voxels that hang together."""
    stated = rng.uniform(0.6, 0.9, 300)
    luck = np.sqrt(together) * rng.normal() + np.sqrt(1 - together) * rng.normal(size=300)
    right = ndtr(luck) < stated - shift
    found = voxels.sureness(voxels.Voxels(np.stack([stated, 1 - stated], axis=1), np.where(right, 0, 1), 300))
    assert found is not None
    return found


def test_the_diagram_of_all_cases_weighs_them_alike() -> None:
    rng = np.random.default_rng(0)
    small, large = (sure(rng, shift) for shift in (0.0, 0.4))
    found = _diagram([small, large, large], ["a", "b", "c"])
    weighed = (np.array(small.bins) + 2 * np.array(large.bins)) / 3
    for row, (n, stated, right) in zip(found["bins"], weighed, strict=True):
        assert (row[2] > 0) == (n > 0)
        if n:
            assert row[3:5] == pytest.approx([stated / n, right / n]) and row[5] is None
    assert found["ece"] == pytest.approx(np.abs(weighed[:, 2] - weighed[:, 1]).sum())
    # three patients say nothing of chance
    assert found["expected"] is None and found["limit"] is None and "not known" in _said(found)


@pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
def test_chance_explains_the_ece_of_a_right_model_however_its_voxels_hang_together(together: float) -> None:
    rng, above, expected = np.random.default_rng(1), 0, []
    for _ in range(60):
        bins = np.array([sure(rng, 0.0, together).bins for _ in range(20)])
        gaps = bins[:, :, 2] - bins[:, :, 1]
        mean, limit = _chance(gaps, [str(i) for i in range(20)])
        assert mean is not None and limit is not None
        above += np.abs(gaps.mean(axis=0)).sum() > limit
        expected.append(mean)
    # one in twenty, a little more of so few patients: more than nine of 60 come about once in 500 tries
    assert above <= 9
    # of independent voxels it is the noise of 6000 draws in five bins; of those that hang together far more
    assert (np.mean(expected) < 0.02) if together == 0 else (np.mean(expected) > 0.04)


def test_chance_does_not_explain_a_model_that_is_too_sure() -> None:
    rng = np.random.default_rng(2)
    found = _diagram([sure(rng, 0.3) for _ in range(20)], [str(i // 2) for i in range(20)])
    assert found["ece"] > found["limit"] > found["expected"] > 0 and "above what chance explains" in _said(found)
    held = [row for row in found["bins"] if row[2]]
    assert all(row[5] < row[4] < row[6] < row[3] for row in held)


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
    for name in ("raw", "scaled"):
        own = found["diagram"][name]
        assert len(own["bins"]) == 15 and max(row[2] for row in own["bins"]) <= len(cases) and 0 <= own["ece"] <= 1
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "weighing alike, the scaled probabilities of voxels" in page and "stated confidence" in page
    assert "How sure the mask is" in page and found["where"].split(",")[0] in page
