"""What `predict` refuses before anything is computed, and what pairs are called."""

import json
import mmap
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hilum.core import _members, resident
from hilum.core.calibration import Opinions
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.evaluation.provenance import state
from hilum.infer import bundle, export
from hilum.infer.predictor import Predictor
from hilum.io import _source, dicom, nifti
from hilum.verbs import predict

VOLUME = Image(np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5), np.diag([-1.0, -1.0, 2.0, 1.0]))


@pytest.fixture
def system(trained: Callable[[str], Run], tmp_path: Path) -> Path:
    """A system of two networks, of which the second answers with the mean of several opinions."""
    run, folder = trained("segment"), tmp_path / "system"
    for name in ("bones", "organs"):
        shutil.copytree(run.path, folder / "parts" / name)
    shutil.copy(run.path / "plan.json", folder)
    classes = {"bones": {"value": 1, "name": "hip"}, "organs": {"value": 2, "name": "liver"}}
    groups = [{"name": name, "classes": [one]} for name, one in classes.items()]
    (folder / "system.json").write_text(json.dumps({"format": 1, "groups": groups}))
    known = run.calibration
    assert known is not None
    made = known.model_copy(update={"opinions": Opinions(kind="views")})
    (folder / "parts" / "organs" / "calibration.json").write_text(made.model_dump_json())
    return folder


def test_memory_can_not_be_kept_where_one_network_of_a_system_has_several_opinions(system: Path) -> None:
    run = Run(system)
    assert run.calibration is None
    for roi in ([], ["liver"], ["hip", "liver"]):
        with pytest.raises(HilumError, match="organs") as error:
            predict._check_way(run, 10**9, False, roi)
        assert error.value.code == "HIL-INFER-19"
    predict._check_way(run, None, False)
    # the other one alone can
    predict._check_way(run, 10**9, False, ["hip"])


@pytest.mark.parametrize(("wide", "maps", "asked"), [(True, False, "--wide"), (True, True, "--wide and --maps")])
def test_a_system_is_not_told_to_be_calibrated_for_what_its_networks_alone_have(
    wide: bool, maps: bool, asked: str, system: Path
) -> None:
    with pytest.raises(HilumError, match=f"Leave {asked} out") as error:
        predict._check_further(Run(system), wide, maps)
    assert error.value.code == "HIL-TRUST-22" and f"{system}/parts/NAME" in error.value.remedy
    assert "--error" not in error.value.remedy
    predict._check_further(Run(system), False, False)
    # that advice can be taken
    predict._check_further(Run(system / "parts" / "bones"), False, True)


def edited(run: Run, folder: Path, change: Callable[[dict[str, Any]], None]) -> Run:
    """The run with another plan."""
    shutil.copytree(run.path, folder)
    plan = json.loads((folder / "plan.json").read_text())
    change(plan)
    (folder / "plan.json").write_text(json.dumps(plan))
    Run(folder).write_manifest()
    return Run(folder)


def numbered(plan: dict[str, Any]) -> None:
    plan["data"]["labels"] = {"cell": "instances"}


def below_one(plan: dict[str, Any]) -> None:
    plan["classes"][0]["value"] = -1


def with_a_long_name(plan: dict[str, Any]) -> None:
    plan["classes"][0]["name"] = "a" * 65


@pytest.mark.parametrize("change", [numbered, below_one, with_a_long_name])
def test_dicom_is_refused_where_no_seg_can_hold_the_masks(
    change: Callable[[dict[str, Any]], None],
    trained: Callable[[str], Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was refused case by case, once each was computed."""
    run = edited(trained("segment"), tmp_path / "run", change)
    monkeypatch.setattr(predict, "_cases", lambda *_: pytest.fail("inputs were looked at"))
    with pytest.raises(HilumError) as error:
        predict.predict(run.path, [tmp_path], tmp_path / "out", format="dicom")
    assert error.value.code == "HIL-IO-04" and not (tmp_path / "out").exists()


def test_what_can_be_written_is_not_refused(trained: Callable[[str], Run], tmp_path: Path) -> None:
    predict._check_form(trained("segment"), "dicom", [])
    predict._check_form(edited(trained("segment"), tmp_path / "run", numbered), "nifti", [])


def test_pairs_of_folders_that_are_called_by_uids_are_told_apart(tmp_path: Path) -> None:
    for uid in ("1.2.840.1", "1.2.840.2", "1.2.840.3"):
        dicom.write_series(tmp_path / uid, VOLUME)
    plan: Any = None

    def name(fixed: str, moving: str) -> str:
        (case,), lost = predict._cases(plan, [], tmp_path / fixed, tmp_path / moving, ())
        assert not lost
        return case.id

    assert name("1.2.840.1", "1.2.840.2") == "1.2.840.1__1.2.840.2" != name("1.2.840.1", "1.2.840.3")
    nifti.write(tmp_path / "a.v1.nii.gz", VOLUME)
    assert name("a.v1.nii.gz", "1.2.840.3") == "a.v1__1.2.840.3"


def test_images_that_are_left_aside_are_told(
    trained: Callable[[str], Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dicom.write_series(tmp_path / "s", VOLUME)
    for name in ("preview.png", "report.csv"):
        (tmp_path / "s" / name).write_bytes(b"beside")
    (case,), lost = predict._cases(trained("segment").plan, [tmp_path / "s"], None, None, ())
    assert case.id == "s" and not lost
    assert f"{tmp_path / 's'}: Images that lie beside the cases are not read: preview.png" in caplog.text


def test_patients_and_classes_that_differ_by_letter_case_do_not_keep_images_from_prediction(
    trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """Nobody is learned from, and none of these columns is used."""
    plan = trained("segment").plan
    for name in ("a", "b"):
        (tmp_path / "d" / "images").mkdir(parents=True, exist_ok=True)
        nifti.write(tmp_path / "d" / "images" / f"{name}.nii.gz", VOLUME)
    (tmp_path / "d" / "cases.csv").write_text("case,patient,class\na,P0,ill\nb,p0,Ill\n")
    (tmp_path / "t.csv").write_text("image,patient\nd/images/a.nii.gz,P0\nd/images/b.nii.gz,p0\n")
    for place in (tmp_path / "d", tmp_path / "t.csv"):
        cases, lost = predict._cases(plan, [place], None, None, ())
        assert [case.id for case in cases] == ["a", "b"] and not lost


def test_a_bundle_is_not_unpacked_again_for_every_look_at_its_hashes(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle.write(trained("segment"), tmp_path / "a.hilum")
    counted, honest = Counter[str](), _members.digest

    def counting(archive: Any, name: str, path: Path) -> str:
        counted[name] += 1
        return honest(archive, name, path)

    monkeypatch.setattr(_members, "digest", counting)
    image = sorted((data("segment") / "images").iterdir())[0]
    done = predict.predict(tmp_path / "a.hilum", [image], tmp_path / "out", runtime="torch")
    assert done["model"]["hashes"].keys() == counted.keys() and max(counted.values()) <= 2


def test_a_seg_names_the_model_by_its_state(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """A run and a bundle of it are one model, and metrics.json names it alike."""
    run = trained("segment")
    bundle.write(run, tmp_path / "a.hilum")
    for number, model in enumerate((run.path, tmp_path / "a.hilum")):
        given: list[Path | str] = [data("segment") / "images" / "head_003"]
        predict.predict(model, given, tmp_path / str(number), runtime="torch", format="dicom")
        seg = pydicom.dcmread(tmp_path / str(number) / "head_003.dcm")
        (algorithm,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmParameters == f"model={state(run)[:16]}"


def test_an_input_that_can_not_be_looked_at_costs_only_itself(
    trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder without rights, a disk that fails and a pipe each ended the call before any case."""
    plan, good, folder = trained("segment").plan, tmp_path / "a.nii.gz", tmp_path / "folder"
    nifti.write(good, VOLUME)
    (folder / "lost+found").mkdir(parents=True)
    nifti.write(folder / "b.nii.gz", VOLUME)
    (tmp_path / "shut").mkdir()
    os.mkfifo(tmp_path / "c.nii.gz")
    listed = Path.iterdir

    def closed(path: Path) -> Any:
        if path.name in ("lost+found", "shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    inputs = [good, folder, tmp_path / "shut", tmp_path / "c.nii.gz"]
    is_folder = Path.is_dir

    def unseen(path: Path) -> bool:
        if path.parent.name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return is_folder(path)

    with monkeypatch.context() as other:
        other.setattr(Path, "is_dir", unseen)
        predict._check_place(tmp_path / "out", [tmp_path / "shut" / "d.nii.gz"])
    cases, lost = predict._cases(plan, inputs, None, None, ())
    assert [case.id for case in cases] == ["a", "b"]
    assert [error.code for _, error in lost] == ["HIL-I12", "HIL-I12"] and "named pipe" in str(lost[1][1])
    assert "lost+found can not be looked at" in caplog.text


def test_memory_can_not_be_kept_while_a_seg_is_written(
    trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its writer holds hangs on what is found."""
    monkeypatch.setattr(predict, "_cases", lambda *_: pytest.fail("inputs were looked at"))
    with pytest.raises(HilumError, match=r"SEG.*--memory.*--format nifti") as error:
        predict.predict(trained("segment").path, [tmp_path], tmp_path / "out", format="dicom", memory="64GB")
    assert error.value.code == "HIL-INFER-19" and not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["nifti", "dicom"])
def test_memory_is_predicted_without_the_writer_of_dicom(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "export", lambda *_: [])
    foretold = {"network": 1.0, "write": 1.0}
    cost = {"bytes": {"measured": 1, "predicted": 2}, "seconds": {}, "predicted_seconds": foretold}
    done = predict.finishing(tmp_path, form)(Case("a", "", {}), (Result({}), cost), 0.0)
    assert ("predicted" in done["cost"]["bytes"]) == ("write" in done["cost"]["predicted_seconds"]) == (form == "nifti")


def test_memory_is_refused_where_the_system_does_not_tell_it(
    trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("segment")
    monkeypatch.setattr(resident, "now", lambda: 0)
    monkeypatch.setattr(predict, "_cases", lambda *_: pytest.fail("inputs were looked at"))
    with pytest.raises(HilumError, match="does not tell") as error:
        predict.predict(run.path, [tmp_path], tmp_path / "out", memory="64GB")
    assert error.value.code == "HIL-INFER-19" and not (tmp_path / "out").exists()


def test_an_image_that_is_too_large_by_its_header_is_not_read(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NIfTI file and a DICOM series."""
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    run, images = trained("segment"), data("segment") / "images"
    monkeypatch.setattr(_source.FileSource, "read", lambda *_, **__: pytest.fail("it was read"))
    given: list[Path | str] = [images / "head_000.nii.gz", images / "head_003"]
    with pytest.raises(HilumError, match=r"None of 2 inputs.*at least .*at least ") as error:
        predict.predict(run.path, given, tmp_path / "out", memory="1kB")
    assert error.value.code == "HIL-INFER-06"


def test_a_case_may_not_be_called_like_what_lies_beside_another_one(trained: Callable[[str], Run]) -> None:
    """It was written over, and nobody was told."""
    run = trained("segment")

    def apart(names: list[str], form: str, wide: bool = False) -> None:
        predict._apart(names, export.endings(predict._kinds(run, wide, False), form))

    with pytest.raises(HilumError, match=r"x_measurements.*HIL-DATA-04"):
        apart(["x", "x_measurements"], "dicom")
    apart(["x", "x_measurements"], "nifti")
    # then the mask of a case is not called like the case alone
    apart(["x", "x_measurements", "x_mask"], "dicom", wide=True)
    with pytest.raises(HilumError, match=r"x_wide_a.*HIL-DATA-04"):
        predict._apart(["x", "x_wide_a"], ["_mask", "_wide_a_mask"])


def test_what_reading_takes_is_measured_and_kept_to_the_limit(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory was counted from when the image was there: nobody saw what of it was held twice before."""
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    run, honest, more = trained("segment").path, _source.FileSource.read, 600 << 20
    image = data("segment") / "images" / "head_000.nii.gz"

    def greedy(source: Any, *words: Any) -> Any:
        with mmap.mmap(-1, more) as block:
            np.frombuffer(block, dtype=np.uint8)[::4096] = 1
        return honest(source, *words)

    # with libraries loaded
    predict.predict(run, [image], tmp_path / "first", memory="64GB")
    monkeypatch.setattr(_source.FileSource, "read", greedy)
    held = resident.now()
    done = predict.predict(run, [image], tmp_path / "out", memory="64GB")["done"]
    size = done["head_000"]["cost"]["bytes"]
    assert min(size["measured"], size["predicted"]) > held + 0.8 * more
    with pytest.raises(HilumError, match=r"\(read .*HIL-INFER-01"):
        predict.predict(run, [image], tmp_path / "other", memory=str(held + more // 2))


@pytest.mark.parametrize("code", ["HIL-INFER-12", "HIL-INFER-13", "HIL-INFER-14", "HIL-INFER-15", "HIL-INFER-22"])
def test_a_runtime_that_can_not_run_the_network_is_not_tried_for_every_case(
    code: str, trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: Any
) -> None:
    """It was made ready anew for each of hundreds. That a card was full says nothing of a smaller image."""
    asked: list[str] = []

    def told(own: Any, case: Case, progress: Any) -> Any:
        asked.append(case.id)
        raise HilumError(code, f"{case.id} can not be computed so", "Use --runtime torch")

    monkeypatch.setattr(Predictor, "told", told)
    with pytest.raises(HilumError) as error:
        predict.predict(trained("segment").path, [data("segment") / "images"], tmp_path / "out", runtime="torch")
    full = code == "HIL-INFER-22"
    assert error.value.code == ("HIL-INFER-06" if full else code) and not (tmp_path / "out").exists()
    # the second one is computed while the first one is noted
    assert len(asked) == (4 if full else 2)


def test_a_runtime_that_computed_one_case_costs_the_others_by_themselves(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs on the size of an image, too, what it can convert."""
    honest = Predictor.told

    def told(own: Any, case: Case, progress: Any) -> Any:
        if case.id != "head_000":
            raise HilumError("HIL-INFER-13", f"{case.id} can not be converted", "Use --runtime torch")
        return honest(own, case, progress)

    monkeypatch.setattr(Predictor, "told", told)
    found = predict.predict(trained("segment").path, [data("segment") / "images"], tmp_path / "out", runtime="torch")
    assert list(found["done"]) == ["head_000"] and [f["code"] for f in found["failed"]] == ["HIL-INFER-13"] * 3
