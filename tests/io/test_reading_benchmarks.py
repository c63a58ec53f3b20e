"""Samples of what `make bench` reads in full: damaged files do no harm, known defects are seen, readers agree."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "reading"


def script(name: str) -> ModuleType:
    """A script of the reading benchmarks as a module."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location(f"reading_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def mutations() -> ModuleType:
    return script("mutations")


def test_damaged_files_are_refused_or_read_and_never_worse(mutations: ModuleType, tmp_path: Path) -> None:
    found = mutations.run(700, 2, tmp_path, peers=False)
    assert found["odd"] == []
    rows = mutations.shares(found)
    assert {row["format"] for row in rows} == {".dcm", ".jpg", ".mha", ".nii", ".nii.gz", ".nrrd", ".png", ".tif"}
    assert sum(row["files"] for row in rows) > 600
    # where checksums cover the pixels, next to nothing gets through
    assert all(row["refused"] > 0.8 for row in rows if row["format"] == ".png")
    assert all(row["refused"] + row["warned"] > 0.25 for row in rows)


def test_the_same_seed_gives_the_same_damage(mutations: ModuleType) -> None:
    whole = bytes(range(256)) * 20
    made = [mutations.mutate.damaged(whole, "a.nii", 3, number) for number in range(40)]
    assert made == [mutations.mutate.damaged(whole, "a.nii", 3, number) for number in range(40)]
    assert len(set(made)) > 35


def test_known_defects_of_geometry_are_never_silent_and_told_as_what_they_are(tmp_path: Path) -> None:
    rows = script("defects").dicom_rows(tmp_path)
    assert len(rows) > 15 and [row["what"] for row in rows if row["Hilum"] == "silent"] == []
    # a slice out of its place leaves a gap, and that is what is seen of it
    told = {row["what"]: f"HIL-{row['row']}" for row in rows} | {"DICOM: one slice 0.8 mm off its place": "HIL-D21"}
    assert {row["what"]: row["Hilum"].split()[1] for row in rows} == told


def test_a_crash_of_hilum_is_no_refusal() -> None:
    outcome = script("defects").outcome
    assert outcome(lambda: 1 / 0) == "refused" and outcome(lambda: 1, ours=True) == "silent"
    with pytest.raises(ZeroDivisionError):
        outcome(lambda: 1 / 0, ours=True)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
def test_other_readers_see_the_same(name: str) -> None:
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    assert path is not None and script("differential").compare(Path(str(path))) == ("the same", "")
