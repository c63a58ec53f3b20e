"""DICOM series: written and read back to the same place in mm; unclear stacks are refused by their fault code."""

import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import dicom, dicom_seg
from hilum.io import open as open_path
from hilum.io._dicom.series import triage

LPS = np.array([[-1.0, 0, 0, 20.5], [0, -1.5, 0, 33.0], [0, 0, 2.5, -8.0], [0, 0, 0, 1]])
TURNED = np.array([[0.0, 0, 2.0, 4.0], [-1.0, 0, 0, 6.0], [0, -1.25, 0, 8.0], [0, 0, 0, 1]])


def image(affine: np.ndarray = LPS, low: int = -500) -> Image:
    return Image(np.random.default_rng(1).integers(low, 1500, (1, 8, 6, 5)).astype(np.int16), affine)


def series(folder: Path, modality: str = "MR", **tags: Any) -> Path:
    dicom.write_series(folder, image(), {"Modality": modality, "PatientID": "p", **tags})
    return folder


def edit(folder: Path, number: int, **tags: Any) -> None:
    path = folder / f"{number:04d}.dcm"
    data = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path)


@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("affine", [LPS, TURNED])
def test_series_round_trip(tmp_path: Path, modality: str, affine: np.ndarray) -> None:
    dicom.write_series(tmp_path / "s", image(affine), {"Modality": modality})
    seen = dicom.read(tmp_path / "s")
    if np.linalg.det(affine[:3, :3]) > 0:
        np.testing.assert_array_equal(seen.array, image().array)
        np.testing.assert_allclose(np.asarray(seen.affine), affine, atol=1e-6)
    assert seen.meta["modality"] == modality and len(seen.meta["files"]) == 5
    assert seen.warnings == ()


def test_simpleitk_sees_the_same_place(tmp_path: Path) -> None:
    SimpleITK = pytest.importorskip("SimpleITK")

    files = dicom.read(series(tmp_path / "s")).meta["files"]
    other = SimpleITK.ReadImage(files)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(other).transpose(2, 1, 0), image().array[0])
    lps = np.array(other.TransformIndexToPhysicalPoint((7, 5, 4)))
    np.testing.assert_allclose(lps * [-1, -1, 1], (LPS @ [7, 5, 4, 1])[:3], atol=1e-5)


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    a, b = series(tmp_path / "a"), series(tmp_path / "b")
    assert [p.read_bytes() for p in sorted(a.iterdir())] == [p.read_bytes() for p in sorted(b.iterdir())]


def test_d28_order_comes_from_position(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    for number, name in enumerate([3, 1, 5, 2, 4], 1):
        edit(folder, number, InstanceNumber=1)
        (folder / f"{number:04d}.dcm").rename(folder / f"x{name}")
    np.testing.assert_array_equal(dicom.read(folder).array, image().array)


def test_d21_a_missing_slice_is_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    (folder / "0003.dcm").unlink()
    with pytest.raises(HilumError, match=r"0002\.dcm and 0004\.dcm.*HIL-D21"):
        dicom.read(folder)


def test_d22_exact_copies_are_dropped_and_others_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    shutil.copy(folder / "0003.dcm", folder / "copy.dcm")
    seen = dicom.read(folder)
    assert seen.shape == (8, 6, 5) and "HIL-D22" in seen.warnings[0]
    edit(folder, 3, SOPInstanceUID="1.2.3")
    with pytest.raises(HilumError, match="HIL-D22"):
        dicom.read(folder)


def test_d23_uneven_steps_are_resampled_and_said(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    edit(folder, 5, ImagePositionPatient=[-20.5, -33.0, 2.6])
    seen = dicom.read(folder)
    assert [words[:7] for words in seen.warnings] == ["HIL-D23"] and seen.meta["resampled"]["why"] == ["HIL-D23"]
    assert seen.affine is not None
    np.testing.assert_allclose(seen.affine @ [7, 5, 4, 1], [13.5, 25.5, 2.6, 1], atol=1e-6)
    # first and last slice lie on the grid, so they are as they were
    np.testing.assert_array_equal(seen.array[..., [0, -1]], image().array[..., [0, -1]])


def test_d24_a_tilted_gantry_is_put_upright_and_said(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    for number in range(1, 6):
        edit(folder, number, ImagePositionPatient=[-20.5, -33.0 + 1.5 * number, -8.0 + 2.5 * (number - 1)])
    seen = dicom.read(folder)
    assert [words[:7] for words in seen.warnings] == ["HIL-D24"] and seen.shape == (8, 10, 5)
    for k in range(5):
        np.testing.assert_array_equal(seen.array[0, :, k : k + 6, k], image().array[0, :, :, k])
    told = dicom.extent(folder)
    assert told is not None and (told["shape"], told["size"]) == (seen.array.shape, seen.array.nbytes)


def test_d24_a_mask_is_not_written_for_slices_that_were_resampled(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    edit(folder, 5, ImagePositionPatient=[-20.5, -33.0, 2.6])
    seen = dicom.read(folder)
    mask = Mask(np.ones(seen.shape, np.uint8), {1: "lesion"}, seen.affine)
    with pytest.raises(HilumError):
        dicom_seg.write(tmp_path / "m.dcm", mask, seen.meta["files"])
    assert not (tmp_path / "m.dcm").exists()


def test_d25_two_orientations_are_split(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    edit(folder, 2, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    with pytest.raises(HilumError, match=r"axial.*sagittal.*HIL-D25|sagittal.*axial.*HIL-D25"):
        dicom.read(folder)


def test_a_volume_lies_in_memory_once(tmp_path: Path) -> None:
    """Decoded into its place: no second copy of the pixels, and the array is a view in the order of the file."""
    big = Image(np.zeros((1, 512, 512, 16), np.int16), LPS)
    dicom.write_series(tmp_path / "s", big, {"Modality": "MR"})
    dicom.read(tmp_path / "s", (slice(0, 4), slice(0, 4), slice(0, 2)))
    tracemalloc.start()
    seen = dicom.read(tmp_path / "s")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * seen.array.nbytes and seen.array[0].T.flags.c_contiguous


def test_d26_two_sizes_are_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    edit(folder, 2, Rows=3, Columns=16)
    with pytest.raises(HilumError, match="HIL-D26"):
        dicom.read(folder)


def test_d27_two_series_are_named(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", SeriesDescription="T1 axial")
    other = series(tmp_path / "t", SeriesDescription="FLAIR", PatientID="q")
    for path in other.iterdir():
        shutil.copy(path, folder / f"t{path.name}")
    with pytest.raises(HilumError, match=r"FLAIR.*T1 axial|T1 axial.*FLAIR"):
        dicom.read(folder)
    uid = dicom.read(other).meta["series_uid"]
    assert dicom.read(folder, series=uid).meta["series_uid"] == uid


def test_d18_slopes_differ_per_slice(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    edit(folder, 2, RescaleSlope="2.5", RescaleIntercept="1")
    seen = dicom.read(folder)
    np.testing.assert_allclose(seen.array[..., 1], image().array[..., 1] * 2.5 + 1)
    np.testing.assert_allclose(seen.array[..., 0], image().array[..., 0])


def test_d18_ct_without_rescale_is_warned_about(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", "CT")
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        del data.RescaleSlope, data.RescaleIntercept
        data.save_as(path)
    assert "HIL-D18" in dicom.read(folder).warnings[0]


def test_d15_monochrome1_is_turned_once(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", "CT")
    plain = pydicom.dcmread(folder / "0001.dcm")
    edit(folder, 1, PhotometricInterpretation="MONOCHROME1", Modality="CR")
    seen = open_path(folder / "0001.dcm").read()
    assert isinstance(seen, Image)
    assert seen.meta["inverted"] and seen.dims == 2 and seen.affine is None
    np.testing.assert_array_equal(seen.array[0], 65535 - plain.pixel_array.astype(int) - 1024)


@pytest.mark.parametrize("share", [0.02, 0.4, 0.8, 0.99])
def test_d01_cut_files_are_refused(tmp_path: Path, share: float) -> None:
    folder = series(tmp_path / "s")
    path = folder / "0003.dcm"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(HilumError, match=r"0003\.dcm"):
        open_path(folder).read()


def test_d02_text_named_dcm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("not an image at all" * 40)
    with pytest.raises(HilumError, match=r"a\.dcm.*HIL-D02"):
        open_path(tmp_path / "a.dcm").read()


@pytest.mark.parametrize("stacked", [False, True])
def test_seg_round_trip(tmp_path: Path, stacked: bool) -> None:
    source = dicom.read(series(tmp_path / "s"))
    labels = np.zeros(source.shape, np.uint8)
    labels[1:4, 2:5, 1:4], labels[5:7, 0:2, 4] = 3, 7
    array = np.stack([labels == 3, (labels == 7) | (labels == 3)]) if stacked else labels
    mask = Mask(array, {3: "ventricle", 7: "lesion"}, source.affine, stacked=stacked)
    dicom_seg.write(tmp_path / "m.dcm", mask, source.meta["files"])
    seen = dicom_seg.read(tmp_path / "m.dcm", like=source)
    assert dict(seen.classes) == dict(mask.classes) and seen.stacked == stacked
    np.testing.assert_array_equal(seen.array, array)
    slab = dicom_seg.read(tmp_path / "m.dcm")
    assert slab.affine is not None
    np.testing.assert_array_equal(slab.array, array[..., 1:5])
    np.testing.assert_allclose(slab.affine @ [0, 0, 0, 1], LPS @ [0, 0, 1, 1], atol=1e-5)
    if not stacked:
        read = open_path(tmp_path / "m.dcm").read_labels(like=source)
        np.testing.assert_array_equal(read.array[0], labels)
    with pytest.raises(HilumError, match=r"m\.dcm.*HIL-D31"):
        open_path(tmp_path / "m.dcm").read()


def test_an_empty_seg_stays_empty(tmp_path: Path) -> None:
    source = dicom.read(series(tmp_path / "s"))
    mask = Mask(np.zeros(source.shape, np.uint8), {1: "lesion"}, source.affine)
    dicom_seg.write(tmp_path / "m.dcm", mask, source.meta["files"])
    assert not dicom_seg.read(tmp_path / "m.dcm", like=source).array.any()


def test_n14_a_mask_from_another_grid_is_refused(tmp_path: Path) -> None:
    source = dicom.read(series(tmp_path / "s"))
    moved = LPS.copy()
    moved[0, 3] += 3
    with pytest.raises(HilumError, match="HIL-N14"):
        dicom_seg.write(tmp_path / "m.dcm", Mask(np.zeros(source.shape, int), {1: "a"}, moved), source.meta["files"])
    assert not (tmp_path / "m.dcm").exists()


def test_a_seg_needs_slices_that_can_be_pointed_at(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    source = dicom.read(folder)
    mask = Mask(np.ones(source.shape, np.uint8), {1: "lesion"}, source.affine)
    edit(folder, 2, FrameOfReferenceUID="")
    with pytest.raises(HilumError, match=r"0002\.dcm lacks FrameOfReferenceUID.*HIL-IO-04"):
        dicom_seg.write(tmp_path / "m.dcm", mask, source.meta["files"])
    assert not (tmp_path / "m.dcm").exists()


def test_anonymised_slices_still_get_a_seg(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        del data.PatientBirthDate, data.PatientSex, data.StudyID, data.StudyTime, data.AccessionNumber
        data.save_as(path)
    source = dicom.read(folder)
    mask = Mask(np.ones(source.shape, np.uint8), {1: "lesion"}, source.affine)
    dicom_seg.write(tmp_path / "m.dcm", mask, source.meta["files"])
    assert dicom_seg.read(tmp_path / "m.dcm", like=source).array.all()


def test_names_in_any_script_survive(tmp_path: Path) -> None:
    name, words = "Yamada^Tarou=山田^太郎", "Schädel 影像"
    folder = series(tmp_path / "s", PatientName=name, SeriesDescription=words)
    data = pydicom.dcmread(folder / "0001.dcm")
    assert str(data.PatientName) == name and data.SeriesDescription == words
    assert [volume.description for volume in triage(folder).volumes] == [words]


@pytest.mark.parametrize("whole", [True, False], ids=["volume", "picture"])
def test_n09_real_pixels_that_are_no_numbers_are_said_once(tmp_path: Path, whole: bool) -> None:
    folder, values = series(tmp_path / "s"), np.random.default_rng(0).random((5, 6, 8), np.float32)
    values[1, 2, 3], values[1, 4, 5] = np.nan, -np.inf
    for number, frame in enumerate(values, 1):
        path = folder / f"{number:04d}.dcm"
        data = pydicom.dcmread(path)
        for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(data, keyword)
        if not whole:
            del data.ImagePositionPatient
        data.BitsAllocated, data.FloatPixelData = 32, frame.tobytes()
        data.save_as(path)
    seen = dicom.read(folder if whole else folder / "0002.dcm")
    assert [words for words in seen.warnings if "N09" in words] == [
        "HIL-N09: 2 voxels are NaN or infinite; they are kept"
    ]
    np.testing.assert_array_equal(seen.array[0], values.transpose(2, 1, 0) if whole else values[1])
    if whole:
        other = dicom.read(folder, (slice(None), slice(None), slice(2, 5)))
        assert not any("N09" in words for words in other.warnings)
