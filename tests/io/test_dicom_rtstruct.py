"""RT Structure Sets: contours enclose exactly the voxels they were made from; what lies elsewhere is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import dicom, dicom_rtstruct
from hilum.io._dicom import contours

AFFINE = np.array([[-1.0, 0, 0, 20.5], [0, -1.5, 0, 33.0], [0, 0, 2.5, -8.0], [0, 0, 0, 1]])
TURNED = np.array([[0.0, 0, -2.0, 4.0], [-1.0, 0, 0, 6.0], [0, -1.25, 0, 8.0], [0, 0, 0, 1]])
SHAPE = (24, 20, 6)
CLASSES = {2: "Niere (links)", 5: "lesion"}


def series(folder: Path, affine: np.ndarray = AFFINE, **tags: Any) -> Image:
    values = np.random.default_rng(1).integers(0, 900, (1, *SHAPE)).astype(np.int16)
    dicom.write_series(folder, Image(values, affine), {"Modality": "CT", "PatientID": "p", **tags})
    return dicom.read(folder)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return series(tmp_path_factory.mktemp("s") / "s")


def shapes() -> np.ndarray:
    """A thick ring with an island inside and a bridge of corners, a single voxel, a block at the border."""
    array = np.zeros(SHAPE, np.uint8)
    array[2:16, 3:17, 1:4] = 2
    array[5:13, 6:14, 1:4] = 0
    array[8:10, 9:11, 1:4] = 2
    array[5, 6, 2] = 2
    array[20, 10, 3] = 5
    array[20:, :4, 5] = 5
    return array


def write(path: Path, image: Image, array: np.ndarray | None = None, **options: Any) -> Path:
    mask = Mask(shapes() if array is None else array, CLASSES, image.affine, **options)
    dicom_rtstruct.write(path, mask, image.meta["files"])
    return path


def edit(path: Path, change: Any) -> Path:
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)
    return path


@pytest.mark.parametrize("affine", [AFFINE, TURNED])
def test_contours_enclose_the_voxels_they_were_made_from(tmp_path: Path, affine: np.ndarray) -> None:
    image = series(tmp_path / "s", affine)
    path = write(tmp_path / "r.dcm", image)
    assert dicom_rtstruct.recognises(path)
    seen = dicom_rtstruct.read(path, image)
    np.testing.assert_array_equal(seen.array, shapes())
    assert dict(seen.classes) == CLASSES and not seen.stacked
    np.testing.assert_allclose(np.asarray(seen.affine), np.asarray(image.affine))


@pytest.mark.parametrize("seed", range(4))
def test_noise_with_many_holes_comes_back_voxel_by_voxel(tmp_path: Path, image: Image, seed: int) -> None:
    array = (np.random.default_rng(seed).random(SHAPE) < 0.55).astype(np.uint8) * 5
    np.testing.assert_array_equal(dicom_rtstruct.read(write(tmp_path / "r.dcm", image, array), image).array, array)


def test_overlapping_classes_are_stacked(tmp_path: Path, image: Image) -> None:
    array = np.stack([shapes() == 2, shapes() > 0])
    array[0, 20:22, 1:3, 5] = True
    seen = dicom_rtstruct.read(write(tmp_path / "r.dcm", image, array, stacked=True), image)
    assert seen.stacked
    np.testing.assert_array_equal(seen.array, array)
    one = dicom_rtstruct.read(tmp_path / "r.dcm", image, rois=["lesion"])
    np.testing.assert_array_equal(one.array == 5, array[1])


def test_an_empty_class_stays_empty(tmp_path: Path, image: Image) -> None:
    seen = dicom_rtstruct.read(write(tmp_path / "r.dcm", image, np.zeros(SHAPE, np.uint8)), image)
    assert not seen.array.any() and dict(seen.classes) == CLASSES


def test_no_contour_lies_inside_another_so_that_no_rule_for_holes_is_needed() -> None:
    from matplotlib.path import Path as Line

    lines = list(contours.outlines(shapes()[:, :, 1] == 2))
    assert len(lines) >= 3
    times = np.zeros(SHAPE[:2], int)
    centres = np.argwhere(np.ones(SHAPE[:2], bool))
    for line in lines:
        times += Line(line).contains_points(centres).reshape(SHAPE[:2])
    np.testing.assert_array_equal(times, shapes()[:, :, 1] == 2)


def test_every_contour_names_its_slice_series_and_frame(tmp_path: Path, image: Image) -> None:
    data = pydicom.dcmread(write(tmp_path / "r.dcm", image))
    headers = {h.SOPInstanceUID: h for h in (pydicom.dcmread(f) for f in image.meta["files"])}
    first = next(iter(headers.values()))
    frame = data.ReferencedFrameOfReferenceSequence[0]
    study = frame.RTReferencedStudySequence[0]
    named = study.RTReferencedSeriesSequence[0]
    assert frame.FrameOfReferenceUID == first.FrameOfReferenceUID == data.FrameOfReferenceUID
    assert study.ReferencedSOPInstanceUID == first.StudyInstanceUID == data.StudyInstanceUID
    assert named.SeriesInstanceUID == first.SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in named.ContourImageSequence} == headers.keys()
    assert data.PatientID == "p" and data.ApprovalStatus == "UNAPPROVED" and "Not a medical device" in str(data)
    for roi in data.ROIContourSequence:
        assert len(roi.ROIDisplayColor) == 3
        for contour in roi.ContourSequence:
            z = {float(v) for v in contour.ContourData[2::3]}
            here = headers[contour.ContourImageSequence[0].ReferencedSOPInstanceUID].ImagePositionPatient[2]
            assert z == {float(here)} and contour.NumberOfContourPoints * 3 == len(contour.ContourData)


def test_the_same_mask_gets_the_same_identifiers(tmp_path: Path, image: Image) -> None:
    a, b = (pydicom.dcmread(write(tmp_path / f"{n}.dcm", image)).SOPInstanceUID for n in "ab")
    assert a == b


@pytest.mark.parametrize("second", [False, True])
def test_what_reads_back_too_differently_is_not_released(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch, second: bool
) -> None:
    name = "filled_otherwise" if second else "filled"
    fill = getattr(dicom_rtstruct, name)
    monkeypatch.setattr(dicom_rtstruct, name, lambda points, shape: np.roll(fill(points, shape), 1, axis=0))
    with pytest.raises(HilumError, match=r"Dice.*HIL-IO-05"):
        write(tmp_path / "r.dcm", image)
    assert list(tmp_path.iterdir()) == []


def square(data: Any, points: list[tuple[float, float, float]], kind: str = "CLOSED_PLANAR") -> Any:
    """One more contour of the first ROI, from voxel indices."""
    contour = pydicom.Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
    lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
    contour.ContourData = [f"{v:.3f}" for p in points for v in (lps @ [*p, 1])[:3]]
    data.ROIContourSequence[0].ContourSequence.append(contour)


def box(low: float, high: float, k: float) -> list[tuple[float, float, float]]:
    return [(low, low, k), (high, low, k), (high, high, k), (low, high, k)]


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_nested_contours_of_others_are_holes(tmp_path: Path, image: Image, kind: str) -> None:
    def nested(data: Any) -> None:
        square(data, box(1.5, 12.5, 5), kind)
        square(data, box(4.5, 8.5, 5), kind)

    path = edit(write(tmp_path / "r.dcm", image), nested)
    found = dicom_rtstruct.read(path, image, ["Niere (links)"]).array[:, :, 5] == 2
    assert found.sum() == 11 * 11 - 4 * 4 and not found[5:9, 5:9].any() and found[2:13, 2:5].all()


def test_a_keyhole_of_others_is_a_hole(tmp_path: Path, image: Image) -> None:
    outer, inner = box(1.5, 12.5, 5), box(4.5, 8.5, 5)
    line = [*outer, outer[0], *inner[::-1][-1:], *inner[::-1], inner[0]]
    path = edit(write(tmp_path / "r.dcm", image), lambda data: square(data, line))
    found = dicom_rtstruct.read(path, image, ["Niere (links)"]).array[:, :, 5] == 2
    assert not found[6:8, 6:8].any() and abs(int(found.sum()) - (121 - 16)) <= 4


def test_d43_an_absent_series_is_refused(tmp_path: Path, image: Image) -> None:
    path = write(tmp_path / "r.dcm", series(tmp_path / "t", SeriesInstanceUID="1.2.3"))
    with pytest.raises(HilumError, match=r"r\.dcm belongs to the absent series 1\.2\.3.*HIL-D43"):
        dicom_rtstruct.read(path, image)


def test_d43_another_frame_of_reference_is_refused(tmp_path: Path, image: Image) -> None:
    def change(data: Any) -> None:
        for roi in data.StructureSetROISequence:
            roi.ReferencedFrameOfReferenceUID = "1.2.3"

    with pytest.raises(HilumError, match=r"frame of reference 1\.2\.3.*HIL-D43"):
        dicom_rtstruct.read(edit(write(tmp_path / "r.dcm", image), change), image)


@pytest.mark.parametrize(
    ("points", "kind", "words"),
    [
        (box(2, 5, 2.5), "CLOSED_PLANAR", "off slice"),
        ([(2, 2, 2), (5, 2, 2), (5, 5, 3)], "CLOSED_PLANAR", "off slice"),
        (box(2, 5, 9), "CLOSED_PLANAR", "off slice"),
        (box(2, 40, 2), "CLOSED_PLANAR", "outside the image"),
        (box(2, 5, 2), "OPEN_PLANAR", "OPEN_PLANAR"),
        (box(2, 2, 2)[:1], "POINT", "POINT"),
    ],
)
def test_d43_contours_that_fill_no_slice_are_refused(
    tmp_path: Path, image: Image, points: list[tuple[float, float, float]], kind: str, words: str
) -> None:
    path = edit(write(tmp_path / "r.dcm", image), lambda data: square(data, points, kind))
    with pytest.raises(HilumError, match=rf"{words}.*HIL-D43"):
        dicom_rtstruct.read(path, image)
    assert dicom_rtstruct.read(path, image, rois=["lesion"]).array.any()


def test_d43_an_roi_that_is_not_there_is_refused(tmp_path: Path, image: Image) -> None:
    with pytest.raises(HilumError, match=r"liver.*Niere.*HIL-D43"):
        dicom_rtstruct.read(write(tmp_path / "r.dcm", image), image, rois=["liver"])


def test_d43_an_image_is_no_structure_set(image: Image) -> None:
    with pytest.raises(HilumError, match="HIL-D43"):
        dicom_rtstruct.read(Path(image.meta["files"][0]), image)


def test_a_number_of_zero_makes_room_for_the_background(tmp_path: Path, image: Image) -> None:
    def change(data: Any) -> None:
        data.StructureSetROISequence[0].ROINumber = data.ROIContourSequence[0].ReferencedROINumber = 0

    seen = dicom_rtstruct.read(edit(write(tmp_path / "r.dcm", image), change), image)
    assert dict(seen.classes) == {1: CLASSES[2], 6: CLASSES[5]}
    np.testing.assert_array_equal(seen.array == 1, shapes() == 2)


def test_a_cut_file_is_refused(tmp_path: Path, image: Image) -> None:
    path = write(tmp_path / "r.dcm", image)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(HilumError, match=r"r\.dcm"):
        dicom_rtstruct.read(path, image)


def eleven(folder: Path) -> tuple[Image, np.ndarray]:
    """Eleven slices 3 mm apart, and what is drawn on them: not on three of them, and one class on the first four."""
    affine = np.diag([-1.0, -1.5, 3.0, 1.0])
    dicom.write_series(folder, Image(np.zeros((1, *SHAPE[:2], 11), np.int16), affine), {"Modality": "CT"})
    drawn = np.zeros((*SHAPE[:2], 11), np.uint8)
    drawn[2:8, 2:8], drawn[12:18, 2:8, :4] = 2, 5
    drawn[..., [5, 7, 9]] = 0
    return dicom.read(folder), drawn


def test_d23_contours_beside_interpolated_slices_are_refused(tmp_path: Path) -> None:
    full, drawn = eleven(tmp_path / "s")
    path = write(tmp_path / "r.dcm", full, drawn)
    for k in (5, 7, 9):
        (tmp_path / "s" / f"{k + 1:04d}.dcm").unlink()
    for number, file in enumerate(sorted((tmp_path / "s").iterdir()), 1):
        edit(file, lambda data, number=number: setattr(data, "InstanceNumber", number))
    seen = dicom.read(tmp_path / "s")
    assert seen.shape == full.shape and seen.meta["resampled"]["why"] == ["HIL-D23"]
    with pytest.raises(HilumError, match=r"r\.dcm.*slice 5 of 11.*interpolated.*HIL-D23"):
        dicom_rtstruct.read(path, seen)
    found = dicom_rtstruct.read(path, seen, rois=["lesion"])
    np.testing.assert_array_equal(found.array, np.where(drawn == 5, 5, 0))


def test_d24_contours_on_a_tilted_stack_stay_in_place(tmp_path: Path) -> None:
    """They lie in mm, on planes that the upright grid has too."""
    image = series(tmp_path / "s")
    path = write(tmp_path / "r.dcm", image)

    def moved(points: Any) -> np.ndarray:
        lps = np.array(points, float).reshape(-1, 3)
        lps[:, 1] += 1.5 * np.round((lps[:, 2] + 8) / 2.5)
        return lps

    def contours_moved(data: Any) -> None:
        for roi in data.ROIContourSequence:
            for contour in roi.ContourSequence:
                contour.ContourData = [f"{v:.4f}" for v in moved(contour.ContourData).ravel()]

    def slice_moved(data: Any) -> None:
        data.ImagePositionPatient = [f"{v:.4f}" for v in moved(data.ImagePositionPatient)[0]]

    for file in image.meta["files"]:
        edit(Path(file), slice_moved)
    seen = dicom.read(tmp_path / "s")
    assert seen.meta["resampled"]["why"] == ["HIL-D24"]
    found = dicom_rtstruct.read(edit(path, contours_moved), seen).array
    for k in range(SHAPE[2]):
        np.testing.assert_array_equal(found[:, k : k + SHAPE[1], k], shapes()[..., k])


def test_d23_contours_off_the_even_grid_are_told_why(tmp_path: Path) -> None:
    image = series(tmp_path / "s")
    path = write(tmp_path / "r.dcm", image)

    def wider(z: float) -> float:
        return z + 0.9 * max(0.0, (z + 8) / 2.5 - 2)

    def contours_moved(data: Any) -> None:
        for roi in data.ROIContourSequence:
            for contour in roi.ContourSequence:
                points = np.array(contour.ContourData, float).reshape(-1, 3)
                points[:, 2] = wider(points[0, 2])
                contour.ContourData = [f"{v:.4f}" for v in points.ravel()]

    def slice_moved(data: Any) -> None:
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, f"{wider(float(z)):.4f}"]

    for file in image.meta["files"]:
        edit(Path(file), slice_moved)
    with pytest.raises(HilumError, match=r"resampled \(HIL-D23\).*HIL-D23") as caught:
        dicom_rtstruct.read(edit(path, contours_moved), dicom.read(tmp_path / "s"))
    assert caught.value.remedy.startswith("Resample the image")
