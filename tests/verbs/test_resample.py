"""resample: from file to file, refused before anything is written, and never over what is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import hilum
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.data.phantoms.kspace import measure
from hilum.io import dicom, kspace, nifti, raster


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).integers(-900, 900, (1, 12, 10, 8)).astype(np.int16)
    nifti.write(tmp_path / "scan.nii.gz", Image(array, np.diag([-1.0, -1.5, 2.0, 1.0])))
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    array = np.zeros((1, 12, 10, 8), np.int16)
    array[0, 3:9, 2:8, 2:6] = 4
    nifti.write(tmp_path / "labels.nii.gz", Image(array, np.diag([-1.0, -1.5, 2.0, 1.0])))
    return tmp_path / "labels.nii.gz"


def code(*args: Any, **options: Any) -> str:
    with pytest.raises(HilumError) as error:
        hilum.resample(*args, **options)
    return error.value.code


def test_to_a_spacing(scan: Path, tmp_path: Path) -> None:
    record = hilum.resample(scan, tmp_path / "new.nii.gz", spacing="1,1,1")
    written = nibabel.load(tmp_path / "new.nii.gz")
    assert written.shape == (12, 15, 16) and np.allclose(written.header.get_zooms(), 1)
    assert record["from"] == {
        "path": str(scan), "shape": [12, 10, 8], "spacing": [1.0, 1.5, 2.0], "orientation": "LPS"
    }  # fmt: skip
    assert record["to"] == {"shape": [12, 15, 16], "spacing": [1.0, 1.0, 1.0], "orientation": "LPS"}
    assert record["method"] == "linear" and record["outside"] == 0 and record["warnings"] == []
    assert record["written"] == str(tmp_path / "new.nii.gz")


@pytest.mark.parametrize("spacing", ["2", "2,2,2", "2 2 2", (2, 2, 2), (2.0,)])
def test_a_spacing_in_any_form(spacing: Any, scan: Path, tmp_path: Path) -> None:
    assert hilum.resample(scan, tmp_path / "new.nii", spacing=spacing)["to"]["spacing"] == [2.0, 2.0, 2.0]


def test_labels_onto_another_image(scan: Path, labels: Path, tmp_path: Path) -> None:
    fine, back = tmp_path / "fine.nii.gz", tmp_path / "back.nii.gz"
    hilum.resample(scan, fine, spacing="0.5")
    record = hilum.resample(labels, tmp_path / "moved.nii.gz", like=fine, labels=True)
    assert record["to"]["like"] == str(fine) and record["outside"] == 0
    moved = nibabel.load(tmp_path / "moved.nii.gz")
    assert np.array_equal(moved.affine, nibabel.load(fine).affine)
    assert set(np.unique(np.asarray(moved.dataobj))) == {0, 4}
    hilum.resample(tmp_path / "moved.nii.gz", back, like=labels, labels=True)
    np.testing.assert_array_equal(np.asarray(nibabel.load(back).dataobj), np.asarray(nibabel.load(labels).dataobj))


def test_the_same_grid_gives_the_same_file_content(scan: Path, tmp_path: Path) -> None:
    assert hilum.resample(scan, tmp_path / "new.nii.gz", like=scan)["method"] == "copied voxel by voxel"
    before, after = nibabel.load(scan), nibabel.load(tmp_path / "new.nii.gz")
    np.testing.assert_array_equal(np.asarray(before.dataobj), np.asarray(after.dataobj))


def test_warnings_of_the_image_come_along(tmp_path: Path) -> None:
    array = np.zeros((6, 6, 6), np.float32)
    array[2, 2, 2] = np.nan
    volume = nibabel.Nifti1Image(array, np.eye(4))
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, tmp_path / "a.nii")
    nifti.write(tmp_path / "like.nii", Image(np.zeros((1, 12, 6, 6), np.int16), np.eye(4)))
    found = hilum.resample(tmp_path / "a.nii", tmp_path / "new.nii", like=tmp_path / "like.nii")["warnings"]
    assert any("HIL-N09" in w for w in found) and any("HIL-PREP-03: 50.0 %" in w for w in found)


def test_what_is_there_is_kept(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.nii.gz").write_bytes(b"mine")
    assert code(scan, tmp_path / "mine.nii.gz", spacing="1") == "HIL-CORE-03"
    assert (tmp_path / "mine.nii.gz").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "options", [{}, {"spacing": "1", "like": "scan.nii.gz"}, {"spacing": "a,b,c"}, {"spacing": ""}]
)
def test_a_grid_that_is_not_given_is_refused(options: dict[str, Any], scan: Path, tmp_path: Path) -> None:
    assert code(scan, tmp_path / "new.nii.gz", **options) == "HIL-PREP-02"
    assert not (tmp_path / "new.nii.gz").exists()


@pytest.mark.parametrize("name", ["new.txt", "new.dcm", "new", "new.tif"])
def test_a_name_that_is_no_volume_is_refused(name: str, scan: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert code(scan, tmp_path / name, spacing="1") == "HIL-IO-04"
    assert sorted(tmp_path.iterdir()) == before


def test_n05_a_volume_whose_place_is_not_known_is_refused(scan: Path, tmp_path: Path) -> None:
    volume = nibabel.Nifti1Image(np.zeros((6, 6, 6), np.int16), np.eye(4))
    volume.set_sform(None, 0)
    volume.set_qform(None, 0)
    nibabel.save(volume, tmp_path / "vague.nii.gz")
    assert code(tmp_path / "vague.nii.gz", tmp_path / "new.nii.gz", like=scan) == "HIL-N05"
    assert code(scan, tmp_path / "new.nii.gz", like=tmp_path / "vague.nii.gz") == "HIL-N05"
    assert code(tmp_path / "vague.nii.gz", tmp_path / "new.nii.gz", spacing="1") == "HIL-N05"


def test_n10_a_picture_is_refused(scan: Path, tmp_path: Path) -> None:
    raster.write(tmp_path / "picture.png", Image(np.zeros((1, 8, 8), np.uint8)))
    assert code(tmp_path / "picture.png", tmp_path / "new.nii.gz", spacing="1") == "HIL-N10"
    assert code(scan, tmp_path / "new.nii.gz", like=tmp_path / "picture.png") == "HIL-N10"


def test_n10_raw_data_are_refused(scan: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    raw, out = tmp_path / "scan.h5", tmp_path / "new.nii.gz"
    kspace.write(raw, measure(np.random.default_rng(0), 16, 2, 1, 0.01))
    for given, options in ((raw, {"spacing": "1"}), (raw, {"like": scan}), (scan, {"like": raw})):
        with pytest.raises(HilumError, match="is raw data, not an image") as error:
            hilum.resample(given, out, **options)
        assert error.value.code == "HIL-N10" and not out.exists()


def test_n14_another_patient_is_refused(scan: Path, tmp_path: Path) -> None:
    far = np.eye(4)
    far[:3, 3] = 500
    nifti.write(tmp_path / "far.nii.gz", Image(np.zeros((1, 5, 5, 5), np.int16), far))
    assert code(scan, tmp_path / "new.nii.gz", like=tmp_path / "far.nii.gz") == "HIL-N14"
    assert not (tmp_path / "new.nii.gz").exists()


def test_n15_labels_with_fractions_are_refused(tmp_path: Path) -> None:
    nifti.write(tmp_path / "soft.nii.gz", Image(np.full((1, 5, 5, 5), 0.5, np.float32), np.eye(4)))
    assert code(tmp_path / "soft.nii.gz", tmp_path / "new.nii.gz", spacing="2", labels=True) == "HIL-N15"


def test_the_command_prints_the_record(scan: Path, tmp_path: Path, hilum: Callable[..., tuple[int, str, str]]) -> None:
    out = tmp_path / "new.nii.gz"
    found, shown, err = hilum("resample", scan, "--spacing", "3,1,1", "--out", out)
    assert found == 0 and not err.strip() and out.is_file()
    for word in ("12 x 10 x 8", "4 x 15 x 16", "3 x 1 x 1 mm", "LPS", "Method: linear.", "HIL-PREP-04"):
        assert word in shown, word
    found, shown, err = hilum("resample", scan, "--spacing", "1", "--out", out)
    assert found == 2 and not shown and err.strip().endswith("[HIL-CORE-03]")
    found, shown, _ = hilum("resample", "--help")
    assert found == 0 and "Example: hilum resample" in " ".join(shown.split())


def test_d21_a_known_gap_can_be_accepted(tmp_path: Path, hilum: Callable[..., tuple[int, str, str]]) -> None:
    """The sentence named --accept, which the command did not have."""
    array = np.random.default_rng(0).integers(0, 900, (1, 12, 10, 8)).astype(np.int16)
    dicom.write_series(tmp_path / "series", Image(array, np.diag([-1.0, -1.5, 2.0, 1.0])))
    sorted((tmp_path / "series").iterdir())[4].unlink()
    words, out = ("resample", tmp_path / "series", "--spacing", "1"), tmp_path / "new.nii.gz"
    assert "--accept D21" in hilum(*words, "--out", out)[2] and not out.exists()
    found, shown, err = hilum(*words, "--accept", "D21", "--out", out)
    assert found == 0 and out.is_file() and "HIL-D21" in shown, err
    like = ("resample", out, "--like", tmp_path / "series", "--out", tmp_path / "back.nii.gz")
    assert "HIL-D21" in hilum(*like)[2] and hilum(*like, "--accept", "D21")[0] == 0
    # labels are never interpolated, and the sentence does not say that they could be
    found, _, err = hilum(*words, "--labels", "--accept", "D21", "--out", tmp_path / "labels.nii.gz")
    assert found == 2 and "HIL-D21" in err and "--accept" not in err
    assert "HIL-PLAN-03" in hilum(*words, "--accept", "D99", "--out", tmp_path / "other.nii.gz")[2]


def test_t07_a_grid_beyond_the_memory_is_refused(
    scan: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hilum.planning.machine.memory", lambda: (10**9, 60_000))
    hilum.resample(labels, tmp_path / "labels_out.nii.gz", spacing="1", labels=True)
    with pytest.raises(HilumError, match=r"0\.0 GB are free.*HIL-PREP-02"):
        hilum.resample(scan, tmp_path / "out.nii.gz", spacing="0.5")
    assert not (tmp_path / "out.nii.gz").exists()
