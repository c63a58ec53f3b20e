"""What works on a run with its own data refuses other data, and says what differs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest

from hilum.core.atomic import write_json
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.core.plan import Plan
from hilum.core.progress import quiet
from hilum.core.run import Run, write_rows
from hilum.data.dataset import open_dataset
from hilum.data.layouts import studies
from hilum.io import dicom, dicom_seg
from hilum.planning.planner import Prepared, look
from hilum.verbs._same import own_data, same_data, split_of, split_rows
from hilum.verbs.calibrate import calibrate
from hilum.verbs.evaluate import _asked
from hilum.verbs.quantise import quantise
from hilum.verbs.train import train


def test_an_imported_run_has_no_data_of_its_own(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """It was said that its cases are ordered otherwise, which no data could mend."""
    shutil.copytree(trained("classify").path, tmp_path / "run")
    (tmp_path / "run" / "split.csv").unlink()
    Run(tmp_path / "run").write_manifest()
    with pytest.raises(HilumError, match="was imported: it has no data of its own") as error:
        calibrate(tmp_path / "run", data("classify"))
    assert error.value.code == "HIL-TRUST-20"


@pytest.mark.parametrize(("verb", "task"), [(calibrate, "classify"), (calibrate, "segment"), (quantise, "segment")])
def test_other_data_are_refused_with_what_differs(
    verb: Callable[..., object], task: str, trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained(task).path, run)
    shutil.copytree(data(task), other)
    case = Run(run).split()[0]["case"]
    own = case.split("/")[-1]
    gone = [path for path in other.rglob("*") if path.is_file() and path.name.split(".")[0] == own]
    assert gone
    for path in gone:
        path.unlink()
    with pytest.raises(HilumError) as error:
        verb(run, other)
    assert error.value.code == "HIL-TRUST-20" and f"1 is gone ({case})" in error.value.seen
    assert "unchanged data" in error.value.remedy


def test_a_run_keeps_its_groups_and_parts_whatever_would_be_found_today(
    data: Callable[[str], Path], ready: Callable[[str], Prepared], plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    """Patients are told by more than before, and runs of earlier versions were refused on their own, unchanged data."""
    today = ready("classify")
    parts = dict(today.parts)
    moved = [next(name for name, part in parts.items() if part == wanted) for wanted in ("train", "test")]
    parts[moved[0]], parts[moved[1]] = "test", "train"
    known = {name: (f"earlier {name}", part) for name, part in parts.items()}
    before = look(data("classify"), "classify", 0, quiet, known)
    assert before.facts["hash"] != today.facts["hash"], "intensities are of the training part"
    plan = plan_of("classify", 2).edited({"data.fingerprint": before.facts["hash"]})
    plan.write(tmp_path / "plan.json")
    write_json(tmp_path / "fingerprint.json", before.facts)
    write_rows(tmp_path / "split.csv", split_rows(before.units(plan)))
    units = own_data(Run(tmp_path), data("classify"), "HIL-TRUST-20", "Give the same data")
    assert {case.id: (case.group, part) for case, part in units} == known
    assert same_data(Run(tmp_path), today) is None, "looked at without the parts of the run"


@pytest.mark.parametrize("task", ["register", "reconstruct"])
def test_a_run_of_pairs_and_one_of_raw_data_know_their_data(
    task: str, trained: Callable[[str], Run], data: Callable[[str], Path]
) -> None:
    run = trained(task)
    units = own_data(run, data(task), "HIL-TRUST-20", "Give the same data")
    assert [(c.id, c.group, part) for c, part in units] == [(r["case"], r["group"], r["part"]) for r in run.split()]


def test_pairs_in_another_order_or_listed_twice_are_other_data(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Batches are drawn by the place of a pair in the list."""
    moved = tmp_path / "data"
    shutil.copytree(data("register"), moved)
    head, *rows = (moved / "pairs.csv").read_text(encoding="utf-8").splitlines()
    for told in ([head, *rows[::-1]], [head, *rows, rows[0]]):
        (moved / "pairs.csv").write_text("\n".join(told) + "\n", encoding="utf-8")
        with pytest.raises(HilumError, match="ordered otherwise or listed twice"):
            own_data(trained("register"), moved, "HIL-TRUST-20", "Give the same data")


def test_truth_that_was_corrected_is_told_by_name(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """A label of as many voxels as before went unnoticed, and limits of trust were learned anew of it."""
    run, moved = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained("segment").path, run)
    shutil.copytree(data("segment"), moved)
    case = next(row["case"] for row in Run(run).split() if row["part"] == "val")
    path = moved / "labels" / f"{case}.nii.gz"
    seen = nibabel.load(path)
    nibabel.Nifti1Image(np.roll(np.asarray(seen.dataobj), 1, axis=0), seen.affine).to_filename(path)
    words = rf"the truth of case {case} has changed"
    with pytest.raises(HilumError, match=rf"{words}.*HIL-TRUST-20"):
        own_data(Run(run), moved, "HIL-TRUST-20", "Give the same data")
    with pytest.raises(HilumError, match=rf"{words}.*HIL-T09"):
        _asked(Run(run), moved, None, quiet)
    facts = Run(run).json("fingerprint.json")
    for row in facts["cases"]:
        del row["truth"]
    write_json(run / "fingerprint.json", facts)
    assert own_data(Run(run), moved, "HIL-TRUST-20", "Give the same data"), "a run of before the truth was kept"


def test_t04_other_coil_maps_are_told_by_name_and_refuse_to_resume(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Beside the same k-space and target nobody saw them."""
    run, moved = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained("reconstruct").path, run)
    shutil.copytree(data("reconstruct"), moved)
    case = next(row["case"] for row in Run(run).split() if row["part"] == "train")
    (path,) = moved.rglob(f"{case}.h5")
    with h5py.File(path, "r+") as file:
        maps = file["sensitivity_maps"]
        maps[...] = maps[...] * 1j
    with pytest.raises(HilumError, match=rf"the truth of case {case} has changed.*coil maps.*HIL-T04"):
        train(moved, "reconstruct", run, resume=True)
    facts = Run(run).json("fingerprint.json")
    for row in facts["cases"]:
        del row["operator"]
    write_json(run / "fingerprint.json", facts)
    assert own_data(Run(run), moved, "HIL-T04", "Give the same data"), "a run of before the maps were kept"


def test_the_same_cases_in_another_layout_are_told(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """It was said that they are ordered otherwise, though only a CSV lists them now."""
    moved = tmp_path / "data"
    shutil.copytree(data("segment"), moved)
    files = [sorted(str(path.relative_to(moved)) for path in (moved / role).iterdir()) for role in ("images", "labels")]
    rows = [",".join(row) for row in zip(*files, strict=True)]
    (moved / "all.csv").write_text("\n".join(["image,label", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(HilumError) as error:
        own_data(trained("segment"), moved / "all.csv", "HIL-TRUST-20", "Give the same data")
    assert "it was read as images_labels, and is read as table now" in error.value.seen
    assert "ordered otherwise" not in error.value.seen


@pytest.mark.parametrize(("told", "code"), [("table", "HIL-I11"), ("names", "HIL-I12")])
def test_a_run_of_before_keeps_patients_and_classes_that_differ_by_letter_case(
    told: str, code: str, data: Callable[[str], Path], plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    """It has its groups and parts, and spelt in one way the classes would make other data of its own."""
    run, moved = tmp_path / "run", tmp_path / "data"
    shutil.copytree(data("classify"), moved)
    for number, path in enumerate(sorted(moved.rglob("*.png"))):
        path.rename(path.with_name(f"{'Pp'[number % 2]}{number // 2}_{number}.png"))
    (moved / "dataset.yaml").write_text("patients: '/(.+)_'\n" if told == "names" else "{}\n")
    cases = open_dataset(moved).cases
    rows = [f"{c.id},{c.id.split('/')[1][:2]},{'LESION' if n == 7 else c.klass}" for n, c in enumerate(cases)]
    if told == "table":
        (moved / "cases.csv").write_text("\n".join(["case,patient,class", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(HilumError) as error:
        look(moved, "classify", 0)
    assert error.value.code == code and "by letter case only" in error.value.seen
    known = {c.id: (c.id, ("train", "train", "val", "test")[n % 4]) for n, c in enumerate(cases)}
    before = look(moved, "classify", 0, quiet, known)
    assert any(word.startswith(f"{code}: the run keeps its groups") for word in before.warnings)
    plan = plan_of("classify", 2).edited({"data.fingerprint": before.facts["hash"]})
    run.mkdir()
    plan.write(run / "plan.json")
    write_json(run / "fingerprint.json", before.facts)
    write_rows(run / "split.csv", split_rows(before.units(plan)))
    units = own_data(Run(run), moved, "HIL-TRUST-20", "Give the same data")
    assert {case.id: (case.group, part) for case, part in units} == known


def test_a_run_whose_numbered_readings_go_by_reader_now_is_told_so(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its label@1 was the first file of each volume: nobody had touched the data that were called changed."""
    run, folder = tmp_path / "run", tmp_path / "data"
    rng = np.random.default_rng(0)
    for number in range(4):
        place = folder / f"p{number}" / "s"
        image = Image(rng.integers(0, 900, (1, 8, 6, 4)).astype(np.int16), np.diag([-1.0, -1.5, 2.0, 1.0]))
        dicom.write_series(place, image, {"Modality": "MR", "PatientID": f"p{number}"})
        source = dicom.read(place)
        for file, who in (("one", "Zoe" if number else "Anna"), ("two", "Anna" if number else "Zoe")):
            labels = np.zeros(source.shape, np.uint8)
            labels[2:5, 1 : 3 + (who == "Zoe"), 1:3] = 1
            path = folder / f"p{number}" / f"{file}.dcm"
            dicom_seg.write(path, Mask(labels, {1: "lesion"}, source.affine), source.meta["files"])
            made = pydicom.dcmread(path)
            made.ContentCreatorName = who
            made.save_as(path)
    (folder / "dataset.yaml").write_text("roles: {label: labels@1}\n")
    with monkeypatch.context() as patch:
        patch.setattr(studies, "_readers", lambda _: (0, []))
        before = look(folder, "segment", 0)
    plan = plan_of("segment", 2).edited({"data.fingerprint": before.facts["hash"]})
    run.mkdir()
    plan.write(run / "plan.json")
    write_json(run / "fingerprint.json", before.facts)
    write_rows(run / "split.csv", split_rows(before.units(plan)))
    words = "labels@1 is a reader now, by name.*choose the number of the reader that is meant.*train anew"
    with pytest.raises(HilumError, match=words) as error:
        own_data(Run(run), folder, "HIL-TRUST-20", "Give the same data")
    assert "3 have changed" in error.value.seen
    with monkeypatch.context() as patch:
        patch.setattr(studies, "_readers", lambda _: (0, []))
        assert own_data(Run(run), folder, "HIL-TRUST-20", "Give the same data")
        shutil.copy(folder / "p1" / "two.dcm", folder / "p1" / "one.dcm")
        with pytest.raises(HilumError, match="1 has changed") as error:
            own_data(Run(run), folder, "HIL-TRUST-20", "Give the same data")
        assert "is a reader now" not in error.value.seen, "numbers of files are none"


def test_a_run_of_before_keeps_the_images_that_no_pair_names(
    trained: Callable[[str], Run], data: Callable[[str], Path], plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    """They took places in its parts, and new runs leave them aside."""
    run, moved = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained("register").path, run)
    shutil.copytree(data("register"), moved)
    first = min((moved / "images").iterdir())
    array = np.asarray(nibabel.load(first).dataobj)[::-1]
    for folder in ("images", "labels"):
        nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)).to_filename(moved / folder / "pair_009_alone.nii.gz")
    assert [c.id for c, _ in own_data(Run(run), moved, "HIL-T04", "Give the same data")]
    known = split_of(Run(run))
    whole = look(moved, "register", 0, quiet, known, ["pair_009_alone"])
    assert len(whole.dataset.cases) == len(known) + 1 and whole.unpaired == 0
    facts = Run(run).json("plan.json")
    facts["data"]["fingerprint"] = whole.facts["hash"]
    write_json(run / "plan.json", facts)
    write_json(run / "fingerprint.json", whole.facts)
    assert own_data(Run(run), moved, "HIL-T04", "Give the same data")
