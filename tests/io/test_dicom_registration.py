"""DICOM registrations: points go the same way after writing and reading as before."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Field
from hilum.core.image import Image
from hilum.io import dicom, dicom_registration

AFFINE = np.array([[-1.0, 0, 0, 20.5], [0, -1.5, 0, 33.0], [0, 0, 2.5, -8.0], [0, 0, 0, 1]])
TURNED = np.array([[0.0, 0, -2.0, 4.0], [-1.0, 0, 0, 6.0], [0, -1.25, 0, 8.0], [0, 0, 0, 1]])


def series(folder: Path, affine: np.ndarray, shape: tuple[int, ...], **tags: Any) -> Image:
    values = np.random.default_rng(1).integers(0, 900, (1, *shape)).astype(np.int16)
    dicom.write_series(folder, Image(values, affine), {"Modality": "MR", "PatientID": "p", **tags})
    return dicom.read(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Image]:
    folder = tmp_path_factory.mktemp("s")
    fixed = series(folder / "fixed", AFFINE, (8, 6, 5))
    return fixed, series(folder / "moving", TURNED, (7, 6, 9), StudyInstanceUID="1.2.3", FrameOfReferenceUID="1.2.4")


def field(image: Image) -> Field:
    values = np.random.default_rng(0).normal(size=(3, *image.shape)).astype(np.float32)
    return Field(values, image.affine)


def files(image: Image) -> list[str]:
    found: list[str] = image.meta["files"]
    return found


def frame(image: Image) -> str:
    return str(pydicom.dcmread(files(image)[0]).FrameOfReferenceUID)


@pytest.mark.parametrize("turn", [False, True])
def test_a_field_comes_back(tmp_path: Path, pair: tuple[Image, Image], turn: bool) -> None:
    fixed, moving = pair[::-1] if turn else pair
    dicom_registration.write(tmp_path / "d.dcm", field(fixed), files(fixed), files(moving))
    seen = dicom_registration.read(tmp_path / "d.dcm")
    assert seen.field is not None and dicom_registration.recognises(tmp_path / "d.dcm")
    np.testing.assert_allclose(seen.field.array, field(fixed).array, atol=1e-6)
    np.testing.assert_allclose(np.asarray(seen.field.affine), np.asarray(fixed.affine), atol=1e-9)
    assert (seen.fixed, seen.moving) == (frame(fixed), frame(moving))


def test_a_field_pulls_from_the_fixed_to_the_moving_image(tmp_path: Path, pair: tuple[Image, Image]) -> None:
    """The equation of PS3.3 C.20.3.1.1 by hand, LPS, against moved(p) = moving(p + u(p))."""
    fixed, moving = pair
    given = field(fixed)
    dicom_registration.write(tmp_path / "d.dcm", given, files(fixed), files(moving))
    item = pydicom.dcmread(tmp_path / "d.dcm").DeformableRegistrationSequence[0]
    grid = item.DeformableRegistrationGridSequence[0]
    nx, ny, nz = grid.GridDimensions
    delta = np.frombuffer(grid.VectorGridData, "<f4").reshape(nz, ny, nx, 3)
    i, j, k = 6, 1, 3
    start, (row, column) = (
        np.array(grid.ImagePositionPatient, float),
        np.array(grid.ImageOrientationPatient, float).reshape(2, 3),
    )
    dx, dy, dz = grid.GridResolution
    here = start + i * dx * row + j * dy * column + k * dz * np.cross(row, column)
    source = here + delta[k, j, i]
    wanted = AFFINE @ [*(np.array([i, j, k]) + given.array[:, i, j, k]), 1]
    np.testing.assert_allclose(source * [-1, -1, 1], wanted[:3], atol=1e-4)
    seen = dicom_registration.read(tmp_path / "d.dcm")
    np.testing.assert_allclose(seen.points((AFFINE @ [i, j, k, 1])[None, :3])[0], wanted[:3], atol=1e-4)


def test_a_left_handed_grid_is_turned_not_mirrored(tmp_path: Path, pair: tuple[Image, Image]) -> None:
    fixed, moving = pair
    back = fixed.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 4], [0, 0, 0, 1.0]])
    given = Field(field(fixed).array, back)
    dicom_registration.write(tmp_path / "d.dcm", given, files(fixed)[::-1], files(moving))
    seen = dicom_registration.read(tmp_path / "d.dcm")
    assert seen.field is not None and np.linalg.det(np.asarray(seen.field.affine)[:3, :3]) > 0
    point = (back @ [2, 3, 1, 1])[None, :3]
    np.testing.assert_allclose(seen.points(point)[0], point[0] + given.physical()[:, 2, 3, 1], atol=1e-4)


def test_a_matrix_comes_back_and_is_stored_the_other_way(tmp_path: Path, pair: tuple[Image, Image]) -> None:
    fixed, moving = pair
    matrix = np.array([[0.98, -0.1, 0, 5.0], [0.1, 1.02, 0.05, -7], [0, -0.05, 1, 9], [0, 0, 0, 1]])
    dicom_registration.write(tmp_path / "a.dcm", matrix, files(fixed), files(moving))
    seen = dicom_registration.read(tmp_path / "a.dcm")
    np.testing.assert_allclose(seen.after, matrix, atol=1e-9)
    assert (seen.field, seen.fixed, seen.moving) == (None, frame(fixed), "1.2.4")
    # DICOM: moving (source) -> fixed (registered), LPS
    items = pydicom.dcmread(tmp_path / "a.dcm").RegistrationSequence
    held = items[1].MatrixRegistrationSequence[0].MatrixSequence[0]
    stored = np.array(held.FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
    point = np.array([3.0, -4, 5, 1])
    lps = np.diag([-1.0, -1, 1, 1])
    np.testing.assert_allclose(stored @ (lps @ matrix @ point), lps @ point, atol=1e-9)
    assert items[1].FrameOfReferenceUID == "1.2.4" and held.FrameOfReferenceTransformationMatrixType == "AFFINE"


def test_simpleitk_moves_points_the_same_way(tmp_path: Path, pair: tuple[Image, Image]) -> None:
    SimpleITK = pytest.importorskip("SimpleITK")

    fixed, moving = pair
    given = field(fixed)
    dicom_registration.write(tmp_path / "d.dcm", given, files(fixed), files(moving))
    grid = pydicom.dcmread(tmp_path / "d.dcm").DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    nx, ny, nz = grid.GridDimensions
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(nz, ny, nx, 3).astype(np.float64)
    image = SimpleITK.GetImageFromArray(vectors, isVector=True)
    image.CopyInformation(SimpleITK.ReadImage(files(fixed)))
    transform = SimpleITK.DisplacementFieldTransform(image)
    seen = dicom_registration.read(tmp_path / "d.dcm")
    for index in ([1, 2, 3], [2.5, 3.25, 1.75]):
        point = (AFFINE @ [*index, 1])[:3]
        theirs = np.array(transform.TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
        np.testing.assert_allclose(seen.points(point[None])[0], theirs, atol=1e-4)


@pytest.mark.parametrize("deformable", [False, True])
def test_a_rigid_registration_within_one_frame_keeps_its_direction(tmp_path: Path, deformable: bool) -> None:
    fixed = series(tmp_path / "f", AFFINE, (8, 6, 5), FrameOfReferenceUID="1.2.4", StudyInstanceUID="1.2.3")
    moving = series(tmp_path / "m", TURNED, (7, 6, 9), FrameOfReferenceUID="1.2.4", StudyInstanceUID="1.2.3")
    matrix = np.eye(4)
    matrix[:3, 3] = [1, 2, 3]
    given: Any = field(fixed) if deformable else matrix
    dicom_registration.write(tmp_path / "r.dcm", given, files(fixed), files(moving))
    seen = dicom_registration.read(tmp_path / "r.dcm")
    assert seen.fixed == seen.moving == "1.2.4"
    if not deformable:
        np.testing.assert_allclose(seen.points(np.zeros((1, 3)))[0], [1, 2, 3])
        text = str(pydicom.dcmread(tmp_path / "r.dcm"))
        assert "'RIGID'" in text


def test_matrices_before_and_after_a_grid_count(tmp_path: Path, pair: tuple[Image, Image]) -> None:
    fixed, moving = pair
    dicom_registration.write(
        tmp_path / "d.dcm", Field(np.zeros((3, 8, 6, 5), np.float32), fixed.affine), files(fixed), files(moving)
    )
    data = pydicom.dcmread(tmp_path / "d.dcm")
    for name, shift in (("Pre", 10), ("Post", 100)):
        held = pydicom.Dataset()
        matrix = np.eye(4)
        matrix[0, 3] = shift
        held.FrameOfReferenceTransformationMatrix = [str(v) for v in matrix.ravel()]
        setattr(data.DeformableRegistrationSequence[0], f"{name}DeformationMatrixRegistrationSequence", [held])
    data.save_as(tmp_path / "d.dcm")
    # 110 mm to the left in LPS is -110 mm in RAS
    np.testing.assert_allclose(dicom_registration.read(tmp_path / "d.dcm").points(np.zeros((1, 3)))[0], [-110, 0, 0])


def test_both_series_are_referenced(tmp_path: Path, pair: tuple[Image, Image]) -> None:
    fixed, moving = pair
    dicom_registration.write(tmp_path / "d.dcm", field(fixed), files(fixed), files(moving))
    data = pydicom.dcmread(tmp_path / "d.dcm")
    assert data.PatientID == "p" and data.FrameOfReferenceUID == frame(fixed)
    assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == fixed.meta["series_uid"]
    other = data.StudiesContainingOtherReferencedInstancesSequence[0]
    assert other.StudyInstanceUID == "1.2.3" and len(other.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 9


def test_two_phases_of_one_series_are_both_named(tmp_path: Path) -> None:
    """The moving slices took the place of the fixed ones, which were named nowhere in the file."""
    tags = {"SeriesInstanceUID": "1.2.3.4", "FrameOfReferenceUID": "1.2.3.5", "StudyInstanceUID": "1.2.3.6"}
    early, late = (series(tmp_path / name, AFFINE, (8, 6, 5), **tags) for name in ("early", "late"))
    for file in files(late):
        data = pydicom.dcmread(file)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{data.SOPInstanceUID}.1"
        data.save_as(file)
    dicom_registration.write(tmp_path / "d.dcm", field(early), files(early), files(late))
    (row,) = pydicom.dcmread(tmp_path / "d.dcm").ReferencedSeriesSequence
    assert len({item.ReferencedSOPInstanceUID for item in row.ReferencedInstanceSequence}) == 10
    dicom_registration.write(tmp_path / "same.dcm", field(early), files(early), files(early))
    (row,) = pydicom.dcmread(tmp_path / "same.dcm").ReferencedSeriesSequence
    assert len(row.ReferencedInstanceSequence) == 5


def test_n14_a_field_off_the_fixed_grid_is_refused(tmp_path: Path, pair: tuple[Image, Image]) -> None:
    fixed, moving = pair
    with pytest.raises(HilumError, match="HIL-N14"):
        dicom_registration.write(tmp_path / "d.dcm", field(moving), files(fixed), files(moving))


@pytest.mark.parametrize(
    "transform",
    [
        np.full((4, 4), np.nan),
        np.diag([1.0, 0, 1, 1]),
        np.eye(3),
        Field(np.full((3, 8, 6, 5), np.inf, np.float32), AFFINE),
        Field(np.zeros((2, 6, 5), np.float32)),
    ],
)
def test_what_moves_nothing_sensibly_is_refused(tmp_path: Path, pair: tuple[Image, Image], transform: Any) -> None:
    with pytest.raises(HilumError, match="HIL-IO-04"):
        dicom_registration.write(tmp_path / "d.dcm", transform, files(pair[0]), files(pair[1]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("deformable", [False, True])
def test_a_file_that_moves_points_elsewhere_is_not_released(
    tmp_path: Path, pair: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch, deformable: bool
) -> None:
    fixed, moving = pair
    shift = np.eye(4)
    shift[1, 3] = 0.5
    # a forgotten flip of one axis
    monkeypatch.setattr(dicom_registration, "FLIP", np.diag([1.0, -1.0, 1.0, 1.0]) if deformable else np.eye(4))
    given: Any = field(fixed) if deformable else shift
    if not deformable:
        monkeypatch.setattr(dicom_registration, "_matrix", lambda source, push: _plain(source))
    with pytest.raises(HilumError, match="HIL-IO-05"):
        dicom_registration.write(tmp_path / "d.dcm", given, files(fixed), files(moving))
    assert list(tmp_path.iterdir()) == []


def _plain(source: Any) -> Any:
    """An item that moves nothing."""
    item, registration, held = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    item.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    held.FrameOfReferenceTransformationMatrix = [str(v) for v in np.eye(4).ravel()]
    registration.MatrixSequence = [held]
    item.MatrixRegistrationSequence = [registration]
    return item


@pytest.mark.parametrize("fault", ["short", "undefined", "dimensions", "image"])
def test_a_grid_that_contradicts_itself_is_refused(tmp_path: Path, pair: tuple[Image, Image], fault: str) -> None:
    fixed, moving = pair
    path = tmp_path / "d.dcm"
    dicom_registration.write(path, field(fixed), files(fixed), files(moving))
    data = pydicom.dcmread(path)
    grid = data.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    if fault == "short":
        grid.VectorGridData = grid.VectorGridData[:-12]
    elif fault == "undefined":
        grid.VectorGridData = np.full(8 * 6 * 5 * 3, np.nan, "<f4").tobytes()
    elif fault == "dimensions":
        grid.GridDimensions = [65535, 65535, 65535]
    data.save_as(path)
    with pytest.raises(HilumError, match="HIL-IO-04"):
        dicom_registration.read(Path(files(fixed)[0]) if fault == "image" else path)
