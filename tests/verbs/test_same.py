"""What works on a run with its own data refuses other data, and says what differs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from hilum.core.atomic import write_json
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.progress import quiet
from hilum.core.run import Run, write_rows
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
