"""The evaluator can not flatter: what gave no result counts as the worst, and doubt is stated or said to be unknown."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.data.phantoms import heads
from hilum.evaluation import _rarest, _sets, _undefined, features
from hilum.evaluation._lost import sentences
from hilum.evaluation.bootstrap import Estimate
from hilum.evaluation.evaluator import (
    Evaluation,
    confusion,
    headline_value,
    honest,
    judge_all,
    judge_generated,
    measure,
    picked,
)
from hilum.infer.predictor import Predictor
from hilum.metrics import pixel_auroc_pooled
from hilum.planning.planner import Prepared
from hilum.tasks._labels import stored
from hilum.tasks._task import Judged
from hilum.verbs.evaluate import evaluate
from hilum.verbs.train import train

TASKS = list(catalogue.cards("hilum.tasks"))
SPEED = ["latency_s", "throughput"]
Trained = Callable[[str], Run]
Ready = Callable[[str], Prepared]
Evaluated = Callable[[str], tuple[dict[str, Any], Path]]


@pytest.fixture(scope="module")
def evaluated(trained: Trained, data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """metrics.json and the folder of a task's evaluation on its test part, made once."""
    known: dict[str, tuple[dict[str, Any], Path]] = {}

    def made(task: str) -> tuple[dict[str, Any], Path]:
        if task not in known:
            folder = tmp_path_factory.mktemp("evaluated")
            shutil.copytree(trained(task).path, folder / "run")
            known[task] = evaluate(folder / "run", data(task), folder / "out"), folder / "out"
        return known[task]

    return made


@pytest.mark.parametrize("task", TASKS)
def test_metrics_json_has_its_fixed_keys(task: str, evaluated: Evaluated) -> None:
    content, folder = evaluated(task)
    assert json.loads((folder / "metrics.json").read_text()) == content
    assert list(content) == ["task", "part", "cases", "groups", "missing", "state", "runtime", "metrics", "alarms"]
    assert content["task"] == task and content["part"] == "test" and content["missing"] == 0 < content["cases"]
    assert list(content["metrics"])[-2:] == SPEED
    assert {n.split("@")[0] for n in content["metrics"]} <= {
        m.split("@")[0] for m in (*catalogue.card("hilum.tasks", task)["metrics"], *SPEED)
    }
    for row in content["metrics"].values():
        assert row.keys() == {"mean", "low", "high", "n", "better", "per_class"}
        for numbers in (row, *row["per_class"].values()):
            if numbers["low"] is not None:
                assert numbers["low"] <= numbers["mean"] <= numbers["high"]


@pytest.mark.parametrize("task", TASKS)
def test_the_report_is_one_file_that_asks_nobody_and_says_what_it_is_for(task: str, evaluated: Evaluated) -> None:
    page = (evaluated(task)[1] / "report.html").read_text(encoding="utf-8")
    assert INTENDED_USE in page and "<img" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page) and "<script" not in page
    assert not re.search(r"url\(\s*['\"]?http", page) and "default-src 'none'" in page
    assert len(page) < 5_000_000


def test_t16_looks_at_the_test_part_are_counted(trained: Trained, data: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "run")
    for number in range(2):
        evaluate(tmp_path / "run", data("classify"), tmp_path / f"out{number}")
    assert [e["look"] for e in Run(tmp_path / "run").ledger() if e["event"] == "evaluate"] == [1, 2]


def test_a_folder_with_something_in_it_is_left_alone(
    trained: Trained, data: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(HilumError) as error:
        evaluate(trained("classify").path, data("classify"), tmp_path)
    assert error.value.code == "HIL-CORE-03" and [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def broken(case: Case) -> Case:
    """The case with an image that the model refuses."""
    return Case(case.id, case.group, {r: i for r, i in case.items.items() if r != "image"}, {}, case.klass, case.boxes)


def test_a_missing_case_counts_as_the_worst_in_means(trained: Trained, ready: Ready) -> None:
    cases = list(ready("segment").dataset.cases)[:2]
    lost = judge_all(Predictor(trained("segment")), [cases[0], broken(cases[1])])
    assert [c.id for c, _ in lost.missing] == [cases[1].id] and lost.case_values()[cases[1].id] == 0
    alone = judge_all(Predictor(trained("segment")), cases[:1]).metrics
    for name in ("dice", "nsd_1mm"):
        assert lost.metrics[name]["n"] == 2
        assert lost.metrics[name]["mean"] == pytest.approx(alone[name]["mean"] / 2, abs=2e-6)


@pytest.mark.parametrize("where", ["predictor", "watch"])
def test_any_error_costs_the_case_that_it_meets(
    where: str, trained: Trained, ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = list(ready("segment").dataset.cases)[:2]

    def short(case: Case) -> None:
        if case.id == cases[1].id:
            raise MemoryError("can't allocate")

    class Short(Predictor):
        def __call__(self, case: Case, *rest: Any) -> Any:
            if where == "predictor":
                short(case)
            return super().__call__(case, *rest)

    watch = [lambda case, _: short(case)] if where == "watch" else []
    done = judge_all(Short(trained("segment")), cases, watch=watch)
    assert [j.case for j in done.judged] == [cases[0].id]
    ((case, why),) = done.missing
    assert case.id == cases[1].id and "can't allocate" in why and "HIL-INFER-18" in why


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_a_missing_case_counts_as_the_worst_in_set_metrics(task: str, trained: Trained, ready: Ready) -> None:
    predictor = Predictor(trained(task))
    cases = list(ready(task).dataset.cases)
    done = judge_all(predictor, [*cases[1:], broken(cases[0])])
    assert len(done.missing) == 1
    for name, row in done.metrics.items():
        assert row["n"] == len(cases) - 2 * (name in SPEED), name
    if task == "classify":
        right = sum(int(np.argmax(j.record[0])) == j.record[1] for j in done.judged)
        assert done.metrics["accuracy"]["mean"] == pytest.approx(right / len(cases), abs=1e-6)
        assert done.metrics["nll"]["mean"] > 1


def test_a_lost_scan_without_a_box_is_no_perfect_answer(trained: Trained, ready: Ready) -> None:
    """To have found nothing in it would be right: it was counted so, and called the worst."""
    predictor, (first, *others) = Predictor(trained("detect")), ready("detect").dataset.cases
    done = judge_all(predictor, [*others, replace(broken(first), boxes=np.zeros((0, 5)))])
    alone = judge_all(predictor, others)
    for name in ("ap50", "map", "froc"):
        assert done.metrics[name] == alone.metrics[name] and done.metrics[name]["n"] == len(others)
    (words,) = sentences(done)
    assert words.startswith(f"Not judged, and left out of every number: 1 of {len(others) + 1} cases. {first.id}: ")
    assert _sets.kept(done) == _sets.kept(alone) and done.case_values()[first.id] is None


def test_a_lost_scan_with_boxes_has_missed_them_all(trained: Trained, ready: Ready) -> None:
    predictor, (first, *others) = Predictor(trained("detect")), ready("detect").dataset.cases
    box = np.array([[predictor.plan.classes[0].value, 2, 3, 8, 9]])
    done = judge_all(predictor, [*others, replace(broken(first), boxes=box)])
    assert done.metrics["ap50"]["n"] == len(others) + 1 and "counted as worst: 1 of" in sentences(done)[0]


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_when_nothing_gives_a_result_it_says_so(task: str, trained: Trained, ready: Ready) -> None:
    cases = [broken(c) for c in list(ready(task).dataset.cases)[:2]]
    with pytest.raises(HilumError) as error:
        judge_all(Predictor(trained(task)), cases)
    assert error.value.code == "HIL-EVAL-01"


def judged(values: list[float | None], groups: str) -> Evaluation:
    rows = [
        Judged(f"c{n}", g, {"dice": {"a": v, "b": None}}) for n, (v, g) in enumerate(zip(values, groups, strict=True))
    ]
    return Evaluation(rows, [], headline="dice")


def test_one_group_has_no_interval() -> None:
    row = measure("dice", judged([0.5, 0.7], "xx"))
    assert row is not None and row["mean"] == pytest.approx(0.6) and row["low"] is None and row["high"] is None
    row = measure("dice", judged([0.5, 0.7], "xy"))
    assert row is not None and row["low"] is not None


def test_t14_undefined_is_counted_and_left_out() -> None:
    row = measure("dice", judged([0.5, None, 0.7], "xyz"))
    assert row is not None and row["n"] == 2 and row["mean"] == pytest.approx(0.6)
    assert row["per_class"]["b"]["mean"] is None and row["per_class"]["b"]["n"] == 0


def test_a_case_has_one_number() -> None:
    assert headline_value({"": 0.3, "zero-filled": 0.1}) == 0.3
    assert headline_value({"a": 0.2, "b": 0.4, "c": None}) == pytest.approx(0.3)
    assert headline_value({"a": None}) is None


def test_the_worst_the_median_and_the_best_are_shown() -> None:
    assert picked(judged([0.5, 0.1, 0.9], "xyz")) == [("worst", "c1"), ("median", "c0"), ("best", "c2")]
    assert len(picked(judged([0.5], "x"))) == 1
    assert len(picked(judged([None, None], "xy"))) == 2


def test_the_confusion_has_the_truth_in_its_rows() -> None:
    rows = [Judged("a", "a", {}, (np.array([0.9, 0.1]), 1)), Judged("b", "b", {}, (np.array([0.2, 0.8]), 1))]
    np.testing.assert_array_equal(confusion(Evaluation(rows, []), ["x", "y"]), [[0, 0], [1, 1]])


def test_the_features_have_the_length_that_kids_kernel_wants() -> None:
    vectors = np.random.default_rng(0).normal(3, 5, (40, 300)) * np.linspace(0.1, 2, 300)
    basis = features.fit(vectors)
    k = basis["axes"].shape[0]
    assert k == 39 and basis["train"].shape == (40, 39)
    assert (basis["train"] ** 2).sum(axis=1).mean() == pytest.approx(k, rel=1e-3)
    np.testing.assert_allclose(features.project(vectors, basis), basis["train"], atol=1e-3)
    np.testing.assert_allclose(basis["train"].mean(axis=0), 0, atol=1e-3)
    assert features.fit(np.random.default_rng(0).normal(size=(100, 300)))["axes"].shape[0] == features.COMPONENTS


def test_features_of_one_or_of_equal_images_are_numbers() -> None:
    for vectors in (np.ones((1, 8)), np.ones((5, 8))):
        basis = features.fit(vectors)
        assert all(np.isfinite(v).all() for v in basis.values())


def test_registration_without_labels_is_judged_by_what_can_be_measured(
    trained: Trained, data: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(data("register"), tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "labels")
    run = trained("register")
    bare = train(tmp_path / "data", "register", tmp_path / "run", settings=_small(run), steps=2)
    found = evaluate(bare.path, tmp_path / "data", tmp_path / "out")
    assert list(found["metrics"]) == ["folding_percent", *SPEED]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "dice could not be measured" in page and "folding_percent" in page


def _small(run: Run) -> dict[str, Any]:
    """The settings that made a tiny run small."""
    plan = run.plan
    return {"networks.net.options": plan.networks["net"].options, "plan.patch": plan.patch, "plan.batch": plan.batch}


def test_of_other_data_every_labelled_case_is_judged(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heads.make(tmp_path / "other", 3, seed=77)
    (tmp_path / "other" / "labels" / "head_001.nii.gz").unlink()
    shutil.copytree(trained("segment").path, tmp_path / "run")
    found = evaluate(tmp_path / "run", tmp_path / "other", tmp_path / "out")
    assert (found["part"], found["cases"]) == ("all", 2) and "1 of 3 cases" in caplog.text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Patients of these data are known" in page and "no patient is in two parts" not in page


def test_no_interval_is_without_width() -> None:
    all_right = honest(Estimate(1.0, 1.0, 1.0, 5, 5), "accuracy")
    assert all_right.low == pytest.approx(0.478, abs=1e-3) and all_right.high == 1
    assert honest(Estimate(0.0, 0.0, 0.0, 2, 2), "dice").high == pytest.approx(1 - 0.025**0.5)
    assert honest(Estimate(0.5, 0.5, 0.5, 4, 4), "dice").low is None
    assert honest(Estimate(0.0, 0.0, 0.0, 4, 4), "hd95_mm").high is None
    assert honest(Estimate(0.9, 0.8, 1.0, 4, 4), "dice").low == 0.8


def test_a_label_that_lies_elsewhere_costs_its_case_alone_and_is_named(trained: Trained, ready: Ready) -> None:
    right, wrong = list(ready("segment").dataset.cases)[:2]
    label = stored(wrong)
    assert label.affine is not None
    moved = label.affine.copy()
    moved[0, 3] += 5
    wrong = replace(wrong, items={**wrong.items, "label": Image(label.array, moved)})
    done = judge_all(Predictor(trained("segment")), [right, wrong])
    assert [j.case for j in done.judged] == [right.id] and [c.id for c, _ in done.missing] == [wrong.id]
    (words,) = sentences(done)
    assert f"1 of 2 cases. {wrong.id}: " in words and "HIL-N14" in words


def test_a_metric_without_a_worst_value_is_said_to_leave_cases_out() -> None:
    found = [Judged("a", "a", {"psnr_db": {"": 30.0}, "ssim": {"": 0.9}})]
    lost = [Judged("b", "b", {"psnr_db": {"": None}, "ssim": {"": -1.0}})]
    metrics: dict[str, Any] = {"psnr_db": {}, "ssim": {}, "latency_s": {}}
    done = Evaluation(found, [(Case("b", "b", {}), "It is cut.")], metrics, lost=lost)
    assert sentences(done) == [
        "No result, counted as worst: 1 of 2 cases (psnr_db leaves out 1 of them: no worst value there). b: It is cut."
    ]


def test_a_case_of_a_class_that_the_plan_does_not_know_is_not_said_to_count(trained: Trained, ready: Ready) -> None:
    one, *others = ready("classify").dataset.cases
    done = judge_all(Predictor(trained("classify")), [*others[:3], replace(one, klass="cyst")])
    assert done.metrics["accuracy"]["n"] == 3
    (words,) = sentences(done)
    assert words.startswith(f"Not judged, and left out of every number: 1 of 4 cases. {one.id}: ") and "'cyst'" in words
    assert sentences(Evaluation(done.judged, [], done.metrics)) == []


def test_a_lost_case_lowers_nothing_that_stands_beside_the_model() -> None:
    values = {"dice": {"": 0.8, "a": 0.8, "before registration": 0.5}}
    row = measure("dice", Evaluation([Judged("x", "x", values)], [], lost=[Judged("y", "y", {"dice": {"": 0.0}})]))
    assert row is not None and row["mean"] == pytest.approx(0.4) and row["per_class"]["a"]["mean"] == pytest.approx(0.4)
    assert (row["per_class"]["before registration"]["mean"], row["per_class"]["before registration"]["n"]) == (0.5, 1)
    values = {"ssim": {"": 0.8, "zero-filled": 0.5}}
    row = measure("ssim", Evaluation([Judged("x", "x", values)], [], lost=[Judged("y", "y", {"ssim": {"": -1.0}})]))
    assert row is not None and row["mean"] == pytest.approx(-0.1) and row["per_class"]["zero-filled"]["mean"] == 0.5


def scored(truth: list[int], found: list[int]) -> Evaluation:
    """Every case a patient of its own, sure of what was found."""
    rows = [Judged(str(n), str(n), {}, (np.eye(2)[f], t)) for n, (t, f) in enumerate(zip(truth, found, strict=True))]
    return Evaluation(rows, [])


def test_a_perfect_mean_over_classes_rests_on_the_patients_of_the_rarest() -> None:
    truth = [0] * 9 + [1] * 3
    low = {n: measure(n, scored(truth, truth)) for n in ("accuracy", "balanced_accuracy", "macro_f1", "auroc")}
    wanted = dict.fromkeys(low, 0.025 ** (1 / 3)) | {"accuracy": 0.025 ** (1 / 12)}
    assert {n: row and row["low"] for n, row in low.items()} == pytest.approx(wanted, abs=1e-6)


def test_a_class_of_one_patient_is_judged_too() -> None:
    row = measure("balanced_accuracy", scored([0] * 9 + [1], [0] * 9 + [1]))
    assert row is not None and (row["mean"], row["high"]) == (1, 1) and row["low"] == pytest.approx(0.025)


def test_a_class_without_a_mistake_in_few_patients_is_no_certainty() -> None:
    """No draw has a mistake in it; six of six only rule out a share below 0.54."""
    truth, found = [0] * 94 + [1] * 6, [1] * 4 + [0] * 90 + [1] * 6
    row = measure("balanced_accuracy", scored(truth, found))
    assert row is not None and row["mean"] == pytest.approx((90 / 94 + 1) / 2) and row["high"] <= 1
    assert row["low"] < row["mean"] - (1 - 0.025 ** (1 / 6)) / 2
    # and none of six
    row = measure("balanced_accuracy", scored(truth, [1] * 4 + [0] * 96))
    assert row is not None and row["high"] > row["mean"] + (1 - 0.025 ** (1 / 6)) / 2


def test_a_calibration_error_has_no_interval() -> None:
    """It grows in every draw, as some cases come twice: of a model that is well calibrated zero would lie outside."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 400)
    rows = [Judged(str(n), str(n), {}, (np.array([1 - p, p]), int(rng.random() < p))) for n, p in enumerate(sure)]
    row = measure("ece", Evaluation(rows, []))
    assert row is not None and row["mean"] > 0.02 and (row["low"], row["high"], row["n"]) == (None, None, 400)


def test_perfect_boxes_rest_on_the_patients_who_have_any() -> None:
    square, one = np.array([[0.0, 0, 9, 9]]), np.ones(1, np.int64)
    there = {"boxes": square, "scores": np.ones(1), "labels": one, "true_boxes": square, "true_labels": one}
    bare = {name: array[:0] for name, array in there.items()}
    done = Evaluation([Judged(str(n), str(n), {}, there if n < 3 else bare) for n in range(12)], [])
    for name in ("ap50", "map", "froc"):
        row = measure(name, done)
        assert row is not None and (row["mean"], row["high"]) == (1, 1), name
        assert row["low"] == pytest.approx(0.025 ** (1 / 3), abs=1e-6)


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1"])
def test_a_draw_without_the_hardest_class_does_not_flatter(name: str) -> None:
    """No case of the second class is found: what is drawn without it is no mean over both."""
    row = measure(name, scored([0] * 9 + [1] * 6, [0] * 8 + [1] + [0] * 6))
    # of the class that was never found it is left open what six patients can not rule out, but no more
    unsure = (1 - 0.025 ** (1 / 6)) / 2 if name == "balanced_accuracy" else 0
    assert row is not None and row["high"] is not None and row["high"] <= 0.5 + unsure + 1e-6


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "auroc"])
def test_few_patients_with_the_rarest_class_give_no_interval(name: str) -> None:
    """However many patients there are: draws can not leave the range of what the five of the second class gave."""
    for rare in (2, 5, 6):
        row = measure(name, scored([0] * 9 + [1] * rare, [0] * 8 + [1] + [0] + [1] * (rare - 1)))
        assert row is not None and 0 < row["mean"] < 1
        assert (row["low"] is None, row["high"] is None) == ((rare < 6,) * 2)


def pooled(there: int, cases: int = 40) -> Evaluation:
    """Every image a patient; the first ones have foreground."""
    rng, rows = np.random.default_rng(3), []
    for n in range(cases):
        truth = (rng.random(60) < 0.4) & (n < there)
        rows.append(Judged(str(n), str(n), {}, pixel_auroc_pooled.counts(expit(rng.normal(size=60) + truth), truth)))
    return Evaluation(rows, [])


def test_pooled_voxels_rest_on_the_patients_with_foreground() -> None:
    for there in (2, 5, 6):
        row = measure("pixel_auroc_pooled", pooled(there))
        assert row is not None and 0.5 < row["mean"] < 1 and row["n"] == 40
        assert (row["low"] is None, row["high"] is None) == ((there < 6,) * 2)


def test_what_has_no_number_is_a_sentence(trained: Trained, ready: Ready) -> None:
    """Of one class AUROC was a dash, and balanced accuracy the share of that class, without a word."""
    cases = ready("classify").dataset.cases
    (name, other) = sorted({str(c.klass) for c in cases})
    done = judge_all(Predictor(trained("classify")), [c for c in cases if c.klass == name])
    assert done.metrics["auroc"]["mean"] is None and done.metrics["balanced_accuracy"]["mean"] is not None
    why = catalogue.card("hilum.metrics", "auroc")["empty"]
    assert f"auroc is undefined on these cases ({why})." in done.notes
    (words,) = (note for note in done.notes if note.startswith("No case has the class"))
    assert words.startswith(f"No case has the class {other}: means over classes (balanced_accuracy) are over 1 of 2; ")
    both = judge_all(Predictor(trained("classify")), cases)
    assert not any("undefined" in note or "No case has" in note for note in both.notes)


def test_classes_without_a_box_are_named() -> None:
    plan: Any = SimpleNamespace(classes=[SimpleNamespace(value=v, name=n) for v, n in ((0, "a"), (1, "b"))], data={})
    metrics = {"ap50": {"mean": 0.5}, "map": {"mean": None}, "froc": {"mean": 0.5}}
    (words,) = _undefined.absent(metrics, boxed({}).judged, plan)
    assert words == "No case has the class b: means over classes (ap50) are over 1 of 2."
    assert _undefined.absent(metrics, boxed({0: True}).judged, plan) == []
    # one that the labels do not name is not among them, and is told elsewhere
    plan.data = {"labels": {"a": 0, "b": []}}
    assert _undefined.absent(metrics, boxed({}).judged, plan) == []
    assert _undefined.absent({"dice": {"mean": 0.5}}, [], plan) == []


def boxed(found: dict[int, bool], cases: int = 12) -> Evaluation:
    """Every case a patient with a box of class 0 that is found; found: {case: whether its box of class 1 is}."""
    low = np.array([[0.0, 0, 9, 9], [20.0, 20, 29, 29]])
    rows = []
    for n in range(cases):
        true, seen = [0, *[1] * (n in found)], [0, *[1] * found.get(n, False)]
        record = {"boxes": low[seen], "scores": np.ones(len(seen)), "labels": np.array(seen)}
        rows.append(Judged(str(n), str(n), {}, record | {"true_boxes": low[true], "true_labels": np.array(true)}))
    return Evaluation(rows, [])


@pytest.mark.parametrize("name", ["ap50", "map"])
def test_boxes_of_a_class_that_few_patients_have_give_no_interval(name: str) -> None:
    for count in (3, 6):
        row = measure(name, boxed({n: n > 0 for n in range(count)}))
        assert row is not None and 0.5 < row["mean"] < 1
        assert (row["low"] is None, row["high"] is None) == ((count < 6,) * 2)


@pytest.mark.parametrize("name", ["ap50", "map"])
def test_a_draw_without_the_class_of_boxes_that_is_never_found_is_none(name: str) -> None:
    module = catalogue.load("hilum.metrics", name)
    records = [module.prepare(one.record) for one in boxed({0: False, 1: False}).judged]
    held = _rarest.whole(name, module.summarise, records)
    assert held(records) == pytest.approx(0.5) == module.summarise(records)
    assert module.summarise(records[2:]) == 1 and held(records[2:]) is None
    # lesions of all classes are pooled: nothing is left out
    froc = catalogue.load("hilum.metrics", "froc")
    assert _rarest.whole("froc", froc.summarise, []) is froc.summarise


class Maker:
    """A generator of vectors of three numbers, drawn like the real ones."""

    def __init__(self) -> None:
        def judge(result: Any, case: Case) -> Judged:
            return Judged(case.id, case.group, {}, result)

        def prepare(case: Case) -> dict[str, Any]:
            return {"image": np.random.default_rng(int(case.id)).normal(size=3)}

        self.task = SimpleNamespace(judge=judge, prepare=prepare)

    def generate(self, count: int, seed: int) -> list[Any]:
        return list(np.random.default_rng(1000 + seed).normal(size=(count, 3)))


def test_half_of_the_images_are_no_interval_around_a_number_that_hangs_on_their_count() -> None:
    basis = features.fit(np.random.default_rng(0).normal(size=(60, 3)))
    maker: Any = Maker()
    done = judge_generated(maker, [Case(str(n), str(n), {}) for n in range(30)], basis)
    assert list(done.metrics)[:3] == ["kid@pca3", "fid@pca3", "recall@pca3"]
    kid, fid = done.metrics["kid@pca3"], done.metrics["fid@pca3"]
    assert kid["low"] < kid["mean"] < kid["high"]
    assert fid["mean"] > 0 and (fid["low"], fid["high"], fid["n"]) == (None, None, 30)
    recall = done.metrics["recall@pca3"]
    assert 0 < recall["mean"] <= 1 and (recall["low"], recall["high"]) == (None, None)
