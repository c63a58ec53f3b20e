"""cases.csv: one row per case; a classification keeps every probability. Other data are read as they are meant."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest

from hilum.core.atomic import write_json
from hilum.core.errors import HilumError
from hilum.core.findings import Mask, Verdict
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.core.progress import quiet
from hilum.core.run import Run
from hilum.data.dataset import open_dataset
from hilum.data.layouts.studies import FoundSource
from hilum.data.phantoms import cells, heads, slices, spots
from hilum.evaluation.evaluator import Evaluation, judge_all
from hilum.evaluation.provenance import state
from hilum.infer import bundle
from hilum.io import raster
from hilum.io._source import FileSource
from hilum.planning.fingerprint import _hash, content_hash
from hilum.planning.planner import look, make_plan
from hilum.tasks._task import Judged
from hilum.verbs import evaluate as verb
from hilum.verbs.evaluate import SYSTEM, UNKNOWN, Asked, _asked, _believed, _case_rows, evaluate
from hilum.verbs.train import train


def test_a_classification_keeps_probabilities_also_of_what_is_missing() -> None:
    third = 1 / 3
    judged = Judged("a", "patient", {}, (np.array([third, 1 - third]), 1))
    lost = Judged("b", "b", {}, (np.array([0.0, 1.0]), 0))
    done = Evaluation([judged], [(Case("b", "b", {}), "it is damaged")], headline="accuracy", lost=[lost])
    rows = _case_rows(done, ["healthy", "ill"])
    assert [(r["case"], r["group"], r["missing"], r["truth"]) for r in rows] == [
        ("a", "patient", "", "ill"), ("b", "b", "it is damaged", "healthy"),
    ]  # fmt: skip
    assert float(rows[0]["p healthy"]) == third and (rows[1]["p healthy"], rows[1]["p ill"]) == ("0.0", "1.0")
    assert [r["headline"] for r in rows] == ["1.000000", "0.000000"]


def test_other_tasks_have_no_probabilities() -> None:
    done = Evaluation([Judged("a", "a", {"dice": {"": 0.5}}, "something else")], [], headline="dice")
    assert _case_rows(done, []) == [
        {"case": "a", "group": "a", "missing": "", "headline": "0.500000", "dice": "0.500000"}
    ]


def test_a_class_that_other_data_do_not_name_is_not_judged(
    trained: Callable[[str], Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Labels of one organ made every other one that was found a false alarm: Dice 0, halving the headline."""
    heads.make(tmp_path / "other", 3, seed=77)
    (tmp_path / "other" / "dataset.yaml").write_text("classes: {1: ventricle}\n")
    for path in sorted((tmp_path / "other" / "labels").iterdir()):
        label = nibabel.load(path)
        kept = np.asarray(label.dataobj) == 1
        nibabel.save(nibabel.Nifti1Image(kept.astype(np.uint8), label.affine), path)
        if path.name.startswith("head_002"):
            # a label that can not be read: its case counts as the worst
            nibabel.save(nibabel.Nifti1Image((5 * kept).astype(np.uint8), label.affine), path)
    found = evaluate(trained("segment").path, tmp_path / "other", tmp_path / "judged")
    assert found["missing"] == 1
    for name in ("dice", "hd95_mm"):
        row = found["metrics"][name]
        assert row["per_class"]["lesion"]["mean"] is None and row["per_class"]["lesion"]["n"] == 0
        assert row["mean"] == row["per_class"]["ventricle"]["mean"] is not None
    assert "do not name lesion, which the model finds too" in (tmp_path / "judged" / "report.html").read_text()
    assert "do not name lesion" in caplog.text
    trust = json.loads((tmp_path / "judged" / "trust.json").read_text())
    assert "voxels" not in trust and not {"volume of lesion", "dice"} & set(trust.get("intervals", {}))


def test_a_further_class_of_other_data_is_background_and_costs_nothing(
    trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """A case with an organ that the model does not look for had no result, and Dice 0."""
    made: dict[str, Any] = {}
    for name in ("plain", "further"):
        heads.make(tmp_path / name, 3, seed=77)
        (tmp_path / name / "dataset.yaml").write_text("classes: {1: ventricle, 2: lesion, 7: eye}\n")
        if name == "further":
            path = sorted((tmp_path / name / "labels").iterdir())[0]
            label = nibabel.load(path)
            array = np.asarray(label.dataobj).astype(np.uint8)
            array[:2][array[:2] == 0] = 7
            assert (array == 7).any()
            nibabel.save(nibabel.Nifti1Image(array, label.affine), path)
        made[name] = evaluate(trained("segment").path, tmp_path / name, tmp_path / f"{name} judged")
    assert made["further"]["missing"] == 0
    for metric in ("dice", "hd95_mm"):
        assert made["further"]["metrics"][metric] == made["plain"]["metrics"][metric]
    assert "does not find (7)" in (tmp_path / "further judged" / "report.html").read_text()


def test_t10_a_model_of_numbered_objects_is_not_judged_by_masks_without_numbers(tmp_path: Path) -> None:
    cells.make(tmp_path / "cells", 3, seed=5)
    plan = make_plan(look(tmp_path / "cells", "segment", 0), "segment", steps=1)
    run: Any = SimpleNamespace(plan=plan, has=lambda name: False)
    assert len(_asked(run, tmp_path / "cells", None, quiet).cases) == 3
    for path in (tmp_path / "cells" / "labels").iterdir():
        objects = raster.read(path).array[0] > 0
        path.unlink()
        raster.write(path, Mask(objects.astype(np.uint8), {1: "cell"}))
    for words in ("labels: {cell: nonzero}\n", "patients: case\n"):
        (tmp_path / "cells" / "dataset.yaml").write_text(words)
        with pytest.raises(HilumError, match=r"tells objects apart.*HIL-T10"):
            _asked(run, tmp_path / "cells", None, quiet)


def test_t10_boxes_of_other_data_that_reach_beyond_their_images_are_all_named(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    """Rows and columns that were swapped at the other hospital made a model that finds everything find nothing."""
    spots.make(tmp_path / "other", 4, seed=77, size=64)
    run: Any = SimpleNamespace(plan=plan_of("detect"), has=lambda name: False)
    assert len(_asked(run, tmp_path / "other", None, quiet).cases) == 4
    with open(tmp_path / "other" / "boxes.csv", "a", encoding="utf-8") as stream:
        stream.write("spots_001,lesion,1,60,5,99\nspots_003,lesion,-9,2,5,9\n")
    with pytest.raises(HilumError, match="HIL-T10") as error:
        _asked(run, tmp_path / "other", None, quiet)
    assert "2 of 4 cases" in error.value.seen and "spots_001" in error.value.seen and "spots_003" in error.value.seen
    # an image that can not be read is no reason to judge nothing: its case counts as missing
    (tmp_path / "other" / "dataset.yaml").write_text("patients: case\nleave_out: [spots_003]\n")
    (tmp_path / "other" / "images" / "spots_001.png").write_bytes(b"")
    assert len(_asked(run, tmp_path / "other", None, quiet).cases) == 3


def test_na_is_no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    monkeypatch.setattr("hilum.evaluation.trust.summary", lambda *words: seen.update(words[-1]) or {})
    plan, known = SimpleNamespace(task="classify", classes=[]), SimpleNamespace(acceptable=0.5)
    predictor: Any = SimpleNamespace(calibration=known, run=SimpleNamespace(system=None), plan=plan)
    nothing: Any = SimpleNamespace(summary=lambda *words: {})
    words = {"a": {"site": "NA"}, "b": {"site": "Oslo"}, "c": {}, "d": {"site": " n/a "}}
    cases = [Case(name, name, {}, own) for name, own in words.items()]
    _believed(predictor, Evaluation([], [], headline="accuracy"), nothing, nothing, cases)
    assert seen == {"a": "", "b": "Oslo", "c": "", "d": ""}


def test_other_data_are_read_by_the_names_of_their_classes_and_grouped_as_they_are(
    trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same two classes numbered the other way round, of patients whom nobody knows; the run knew its own."""
    heads.make(tmp_path / "other", 2, seed=77)
    (tmp_path / "other" / "dataset.yaml").write_text("classes: {1: lesion, 2: ventricle}\nignore: 9\n")
    shutil.copytree(trained("segment").path, tmp_path / "run")
    seen: dict[str, Any] = {}

    def judged(predictor: Any, *more: object) -> Evaluation:
        seen.update(read=predictor.task.plan.data, run=predictor.plan.data)
        return Evaluation([], [], {"dice": {}}, "dice")

    monkeypatch.setattr("hilum.verbs.evaluate.judge_all", judged)
    monkeypatch.setattr("hilum.evaluation.report.write", lambda *words: seen.update(grouping=words[-1]))
    evaluate(tmp_path / "run", tmp_path / "other", tmp_path / "out")
    assert list(seen["read"]["labels"].items()) == [("ventricle", [2]), ("lesion", [1])]
    assert (seen["read"]["ignore"], seen["run"]["ignore"], seen["run"]["labels"]) == (9, None, {})
    assert (seen["grouping"], seen["run"]["grouping"]) == ("similarity", "patient")


def test_the_run_s_own_data_are_read_and_grouped_as_its_plan_says(
    trained: Callable[[str], Run], data: Callable[[str], Path]
) -> None:
    found = _asked(trained("segment"), data("segment"), None, quiet)
    assert (found.part, found.grouping, found.labels) == ("test", "", {}) and found.cases


def test_a_run_that_can_not_be_written_to_is_refused_before_the_work(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(HilumError, match="HIL-EVAL-04") as error:
        evaluate(trained("classify").path, data("classify"), tmp_path / "out")
    # no way past the count is advised
    assert "right to write" in error.value.remedy
    assert not (tmp_path / "out").exists()


def test_t12_two_evaluations_do_not_mix_their_files(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw a free folder, which was not theirs until the end: what lay there then was of neither."""
    run, out = shutil.copytree(trained("classify").path, tmp_path / "run"), tmp_path / "out"
    honest, looked = verb._judged, []

    def meanwhile(*words: Any) -> dict[str, Any]:
        if not looked:
            looked.append(True)
            with pytest.raises(HilumError, match="HIL-T12"):
                evaluate(run, data("classify"), out)
        return honest(*words)

    monkeypatch.setattr(verb, "_judged", meanwhile)
    evaluate(run, data("classify"), out)
    assert looked and (out / "metrics.json").is_file() and not (out / ".lock").exists()
    with pytest.raises(HilumError, match="HIL-CORE-03"):
        evaluate(run, data("classify"), out)


def test_t12_a_lock_left_by_a_kill_is_free_and_an_error_leaves_no_folder(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = shutil.copytree(trained("classify").path, tmp_path / "run"), tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(verb, "_judged", lambda *_: (_ for _ in ()).throw(MemoryError))
        evaluate(run, data("classify"), out)
    assert not out.exists()
    out.mkdir()
    (out / ".lock").write_text("4194305")
    evaluate(run, data("classify"), out)
    assert (out / "metrics.json").is_file() and not (out / ".lock").exists()


@pytest.mark.parametrize("there", [False, True])
def test_an_evaluation_that_is_interrupted_leaves_nothing_that_refuses_the_next(
    there: bool,
    trained: Callable[[str], Run],
    data: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """cases.csv lay there without metrics.json, and the same call was told to choose another folder."""
    run, out = shutil.copytree(trained("classify").path, tmp_path / "run"), tmp_path / "out"
    if there:
        out.mkdir()

    def stopped(path: Path, *_: Any) -> None:
        assert (path.parent / "cases.csv").is_file()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hilum.evaluation.report.write", stopped)
        evaluate(run, data("classify"), out)
    assert out.exists() == there and not (there and any(out.iterdir()))
    evaluate(run, data("classify"), out)
    assert (out / "metrics.json").is_file()


def test_labels_that_a_network_drew_are_told_of_where_they_are_judged_by(tmp_path: Path) -> None:
    """A report gave the agreement of two networks as accuracy."""
    plan = SimpleNamespace(task="segment", classes=[], data={})
    predictor: Any = SimpleNamespace(task=SimpleNamespace(plan=plan), plan=plan)
    own, other = FoundSource(tmp_path, "dicom"), FileSource(tmp_path, "dicom")
    cases = [Case("a", "a", {"label": own}), Case("b", "b", {"label": other, "label@1": own})]
    for task, told in (("segment", 1), ("classify", 0)):
        plan.task, done = task, Evaluation([], [], headline="dice")
        verb._named(predictor, Asked(cases, "all"), done)
        assert len(done.alarms) == told and all("HIL-DATA-11: 1 of 2 labels" in words for words in done.alarms)


def test_further_scans_of_patients_that_the_run_learned_from_are_told_of(
    trained: Callable[[str], Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their images are others, so they were judged as new patients: "each is one group"."""
    run, other = Run(Path(shutil.copytree(trained("segment").path, tmp_path / "run"))), tmp_path / "other"
    learned = sorted({row["group"] for row in run.split() if row["part"] != "test"})
    heads.make(other, 2, seed=77)
    names = [case.id for case in open_dataset(other).cases]
    for people, known in (([learned[0], "new"], True), (["x", "new"], False)):
        rows = [f"{name},{who}\n" for name, who in zip(names, people, strict=True)]
        (other / "dataset.yaml").write_text("classes: {1: ventricle, 2: lesion}\n")
        (other / "cases.csv").write_text("case,patient\n" + "".join(rows))
        caplog.clear()
        out = tmp_path / f"out {known}"
        found = evaluate(run.path, other, out)
        told = [words for words in found["alarms"] if words.startswith("HIL-EVAL-05: 1 of 2 patients")]
        assert (found["part"], bool(told)) == ("all", known)
        assert ("HIL-EVAL-05" in caplog.text) == ("HIL-EVAL-05" in (out / "report.html").read_text()) == known


def test_a_training_that_is_judged_is_no_result_in_the_terminal_either(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The table stood there as any other; that its figures are none was said in report.html alone."""
    run = shutil.copytree(trained("classify").path, tmp_path / "run")
    for part in ("train", "test"):
        caplog.clear()
        found = evaluate(run, data("classify"), tmp_path / part, part=part)
        assert ("These figures are no result." in caplog.text) == (part == "train")
        told = [words for words in found["alarms"] if "These figures are no result." in words]
        assert len(told) == (part == "train") and json.loads((tmp_path / part / "metrics.json").read_text()) == found
        assert (tmp_path / part / "report.html").read_text().count("These figures are no result.") == len(told)


def test_of_a_system_the_report_says_what_is_not_judged() -> None:
    predictor: Any = SimpleNamespace(calibration=None, run=SimpleNamespace(system=object()))
    nothing: Any = None
    done = Evaluation([], [], headline="dice")
    assert _believed(predictor, done, nothing, nothing, []) is None and done.notes == [SYSTEM]
    for infer, notes in (("windows", [UNKNOWN]), ("sampler", [])):
        task = SimpleNamespace(CARD={"infer": infer})
        alone: Any = SimpleNamespace(calibration=None, run=SimpleNamespace(system=None), task=task)
        done = Evaluation([], [], headline="dice")
        assert _believed(alone, done, nothing, nothing, []) is None and done.notes == notes


def test_of_a_run_without_a_calibration_the_report_says_that_its_doubt_is_not_known(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Any imported model: the section was left out, and nothing said that each answer is for a person."""
    run = Run(Path(shutil.copytree(trained("classify").path, tmp_path / "run")))
    for name in ("calibration.json", "outlier.safetensors"):
        (run.path / name).unlink(missing_ok=True)
    run.write_manifest()
    evaluate(run.path, data("classify"), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Nothing is known of the doubt of these answers." in page
    assert Verdict().reasons[0] in page, "as predict says it"
    assert not (tmp_path / "out" / "trust.json").exists()


def test_the_run_and_its_figures_say_what_was_judged(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "run")
    found = evaluate(tmp_path / "run", data("classify"), tmp_path / "out")
    run = Run(tmp_path / "run")
    assert found["state"] == state(run) == run.ledger()[-1]["state"]


def test_a_calibration_that_ends_meanwhile_is_not_taken_for_what_was_judged(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "run")
    run = Run(tmp_path / "run")
    before = state(run)

    def judged(*words: Any) -> Evaluation:
        done = judge_all(*words)
        run.put({"calibration.json": b"{}\n"})
        return done

    monkeypatch.setattr("hilum.verbs.evaluate.judge_all", judged)
    found = evaluate(run.path, data("classify"), tmp_path / "out")
    assert found["state"] == run.ledger()[-1]["state"] == before != state(run)
    assert (tmp_path / "out" / "trust.json").is_file()


def test_a_black_slice_does_not_make_other_data_those_of_the_run(trained: Callable[[str], Run], tmp_path: Path) -> None:
    """Every hospital has some. Runs from before they were left out know them."""
    slices.make(tmp_path / "other", 4, seed=77, size=32)
    raster.write(tmp_path / "other" / "healthy" / "black.png", Image(np.zeros((1, 32, 32), np.uint8)))
    black = next(c for c in open_dataset(tmp_path / "other").cases if c.id.endswith("black"))
    shutil.copytree(trained("classify").path, tmp_path / "run")
    run = Run(tmp_path / "run")
    (run.path / "seen.json").write_text(json.dumps(run.json("seen.json") | {_hash(black.read("image")): "train"}))
    found = _asked(run, tmp_path / "other", None, quiet)
    assert (found.part, len(found.cases)) == ("all", 5)


def test_a_black_slice_of_a_bundle_s_own_data_is_in_no_judged_part(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """A bundle knows its data by the images alone."""
    bundle.write(trained("classify"), tmp_path / "model.hilum")
    run, own = Run(tmp_path / "model.hilum"), Path(shutil.copytree(data("classify"), tmp_path / "data"))
    before = [case.id for case in _asked(run, own, None, quiet).cases]
    raster.write(own / "healthy" / "black.png", Image(np.zeros((1, 32, 32), np.uint8)))
    assert [case.id for case in _asked(run, own, None, quiet).cases] == before
    raster.write(own / "healthy" / "more.png", Image(np.eye(32, dtype=np.uint8)[None]))
    with pytest.raises(HilumError, match="HIL-T09"):
        _asked(run, own, None, quiet)


def test_a_bundle_of_registration_is_judged_on_its_own_data_with_images_that_no_pair_names(
    data: Callable[[str], Path], plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    """The run leaves them aside, and so does not know them: they were taken for those of other data."""
    own = Path(shutil.copytree(data("register"), tmp_path / "data"))
    for number, first in enumerate(sorted((own / "images").iterdir())[:2]):
        array = np.asarray(nibabel.load(first).dataobj)[::-1]
        for folder in ("images", "labels"):
            path = own / folder / f"pair_{number + 8:03d}_alone.nii.gz"
            nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)).to_filename(path)
    plan_of("register", 2).write(tmp_path / "plan.json")
    run = train(own, "register", tmp_path / "run", plan=tmp_path / "plan.json")
    bundle.write(run, tmp_path / "model.hilum")
    wanted = [case["case"] for case in run.split() if case["part"] == "test"]
    assert [case.id for case in _asked(Run(tmp_path / "model.hilum"), own, None, quiet).cases] == wanted
    # one of before, which knows them
    alone = [case for case in open_dataset(own).cases if case.id.endswith("alone")]
    write_json(run.path / "seen.json", run.json("seen.json") | {content_hash(case): "train" for case in alone})
    run.write_manifest()
    bundle.write(run, tmp_path / "before.hilum")
    assert [case.id for case in _asked(Run(tmp_path / "before.hilum"), own, None, quiet).cases] == wanted
    with open(own / "pairs.csv", "a", encoding="utf-8") as stream:
        stream.write(",".join(case.id for case in alone) + "\n")
    with pytest.raises(HilumError, match="HIL-T09"):
        _asked(Run(tmp_path / "model.hilum"), own, None, quiet)


def test_what_is_judged_is_the_model_by_the_runtime_that_is_named(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, hilum: Any
) -> None:
    shutil.copytree(trained("segment").path, tmp_path / "run")
    words = ("evaluate", tmp_path / "run", data("segment"), "--out")
    for name in ("torch", "torch-channels-last"):
        more = () if name == "torch" else ("--runtime", name)
        assert hilum(*words, tmp_path / name, *more)[0] == 0
        assert json.loads((tmp_path / name / "metrics.json").read_text())["runtime"] == name
    code, _, said = hilum(*words, tmp_path / "none", "--runtime", "nothing")
    assert code == 2 and "HIL-INFER-02" in said and not (tmp_path / "none").exists()
