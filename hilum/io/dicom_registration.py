"""DICOM Spatial Registration (a matrix) and Deformable Spatial Registration (a displacement grid in mm).

Inside Hilum a registration pulls: it takes a point of the fixed image to the point of the moving image that belongs
there, in RAS+ mm. A DICOM deformation grid does the same (Registered to Source, LPS+ mm); a DICOM matrix goes the
other way, from the moving (source) to the fixed (registered) frame, so it is stored inverted.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hilum
from hilum.core import geometry
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE, Field
from hilum.core.image import Array
from hilum.io._dicom import origin
from hilum.io._dicom.file import capped
from hilum.io._dicom.origin import Origin
from hilum.io._guard import reading

CARD = {
    "extensions": [],
    "reads": "field",
    "recognises": True,
    "writes": ["field"],
    "about": "DICOM Spatial and Deformable Spatial Registration, matrices and displacement grids",
}
SPATIAL = "1.2.840.10008.5.1.4.1.1.66.1"
DEFORMABLE = "1.2.840.10008.5.1.4.1.1.66.3"
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
# LPS+ to RAS+ and back.
CLOSE_MM = 1e-3
# What reading back may differ by: DICOM keeps displacements in 32 bits and matrices in 16 characters.
RIGID = 1e-4
# Largest distance of a rotation times its transpose from identity that still counts as rigid.


@dataclasses.dataclass(frozen=True)
class Registration:
    """fixed, moving: frame of reference UIDs. A fixed point p (RAS+ mm) belongs to the moving point

    after (before p + u(before p)), where u is `field` (None: no displacement) on its own grid and before, after are
    (4, 4). Outside the grid u is taken from its edge.
    """

    fixed: str
    moving: str
    field: Field | None = None
    before: Array = dataclasses.field(default_factory=lambda: np.eye(4))
    after: Array = dataclasses.field(default_factory=lambda: np.eye(4))

    def points(self, fixed: Array) -> Array:
        """Fixed points (n, 3) RAS+ mm -> the moving points that belong to them."""
        from scipy.ndimage import map_coordinates

        here = _moved(self.before, np.asarray(fixed, dtype=np.float64))
        if self.field is not None:
            index = _moved(np.linalg.inv(np.asarray(self.field.affine)), here).T
            here = (
                here + np.stack([map_coordinates(u, index, order=1, mode="nearest") for u in self.field.physical()]).T
            )
        return _moved(self.after, here)


def _moved(matrix: Array, points: Array) -> Array:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def recognises(path: Path) -> bool:
    """Whether a file is a DICOM registration; never raises."""
    import pydicom

    try:
        with reading(Path(path)):
            data = pydicom.dcmread(capped(path), specific_tags=["SOPClassUID"], stop_before_pixels=True)
            return data.get("SOPClassUID") in (SPATIAL, DEFORMABLE)
    except HilumError:
        return False


def write(
    path: Path, transform: Field | Array, fixed_files: Sequence[Path | str], moving_files: Sequence[Path | str]
) -> None:
    """Write a Field on the fixed grid, or a (4, 4) matrix that takes fixed to moving points (RAS+ mm).

    fixed_files, moving_files: the slices of both series, as in meta["files"]; their frames of reference and instances
    are named in the file. Decoded again and applied to points before it appears (HIL-IO-05). Refused: a field off the
    fixed grid (HIL-N14), values that are not finite, a singular matrix (HIL-IO-04).
    """
    path = Path(path)
    fixed = origin.origin(fixed_files, "registration")
    moving = origin.origin(moving_files, "registration")
    whole = transform.array if isinstance(transform, Field) else np.asarray(transform, dtype=np.float64)
    if not np.isfinite(whole).all():
        raise HilumError("HIL-IO-04", f"{path.name}: the transform holds NaN or infinity", "Register again")
    seed = (
        *fixed.instances,
        *moving.instances,
        hashlib.sha256(np.ascontiguousarray(whole).tobytes()).hexdigest(),
        hilum.__version__,
    )
    sop_class = DEFORMABLE if isinstance(transform, Field) else SPATIAL
    data = origin.begin(fixed, sop_class, "REG", 9004, "Hilum registration, research use", seed)
    data.ContentDate, data.ContentTime = origin.now(data)
    data.ContentLabel, data.ContentDescription = "HILUM", INTENDED_USE[:64].rsplit(".", 1)[0]
    data.ContentCreatorName = None
    if isinstance(transform, Field):
        data.DeformableRegistrationSequence = [_grid(path, transform, fixed, moving)]
    else:
        pull = _checked(path, whole)
        data.RegistrationSequence = [_matrix(fixed, np.eye(4)), _matrix(moving, np.linalg.inv(pull))]
    origin.referenced(data, fixed, moving)
    with writing(path) as part:
        origin.save(data, part)
        _compare(path, transform, fixed, moving, read(part))


def _checked(path: Path, matrix: Array) -> Array:
    """A usable (4, 4) matrix."""
    usable = matrix.shape == (4, 4) and np.allclose(matrix[3], [0, 0, 0, 1])
    if not usable or abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
        raise HilumError("HIL-IO-04", f"{path.name}: {matrix.tolist()} is no affine matrix", "Give a (4, 4) matrix")
    return matrix


def _matrix(source: Origin, push: Array) -> Any:
    """One item: how points of a series come into the fixed frame."""
    from pydicom.dataset import Dataset

    item, registration = Dataset(), Dataset()
    item.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    item.ReferencedImageSequence = [origin.refer(header) for header in source.headers]
    registration.MatrixSequence = [_numbers(FLIP @ push @ FLIP)]
    registration.RegistrationTypeCodeSequence = []
    item.MatrixRegistrationSequence = [registration]
    return item


def _numbers(lps: Array) -> Any:
    """A matrix as DICOM has it: row by row, 16 characters a number."""
    from pydicom.dataset import Dataset
    from pydicom.valuerep import format_number_as_ds

    held = Dataset()
    held.FrameOfReferenceTransformationMatrixType = "RIGID" if _rigid(lps) else "AFFINE"
    held.FrameOfReferenceTransformationMatrix = [format_number_as_ds(float(v)) for v in lps.ravel()]
    return held


def _rigid(matrix: Array) -> bool:
    turn = matrix[:3, :3]
    return bool(np.abs(turn @ turn.T - np.eye(3)).max() < RIGID and np.linalg.det(turn) > 0)


def _grid(path: Path, transform: Field, fixed: Origin, moving: Origin) -> Any:
    """One item: displacements (LPS mm) on the fixed grid, from the registered (fixed) to the source (moving) frame."""
    from pydicom.dataset import Dataset
    from pydicom.valuerep import format_number_as_ds

    if transform.affine is None or transform.array.ndim != 4 or transform.array.shape[0] != 3:
        raise HilumError("HIL-IO-04", f"{path.name}: no field of a volume in mm", "Write it as .npy")
    origin.fits(path.name, transform.array.shape[1:], transform.affine, fixed)
    vectors, lps = transform.physical() * np.array([-1.0, -1.0, 1.0])[:, None, None, None], FLIP @ transform.affine
    if np.linalg.det(lps[:3, :3]) < 0:
        # the third axis of a DICOM grid is the cross product of the others
        vectors = vectors[..., ::-1]
        lps = np.column_stack([lps[:, 0], lps[:, 1], -lps[:, 2], lps @ [0, 0, vectors.shape[3] - 1, 1]])
    steps = np.array(geometry.spacing(lps))
    held, item = Dataset(), Dataset()
    held.ImagePositionPatient = [format_number_as_ds(float(v)) for v in lps[:3, 3]]
    held.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in (lps[:3, :2] / steps[:2]).T.ravel()]
    held.GridDimensions = [int(n) for n in vectors.shape[1:]]
    held.GridResolution = [float(v) for v in steps]
    # the vector is innermost, then columns, rows and planes
    held.VectorGridData = np.ascontiguousarray(vectors.transpose(3, 2, 1, 0).astype("<f4")).tobytes()
    item.SourceFrameOfReferenceUID = moving.first.FrameOfReferenceUID
    item.ReferencedImageSequence = [origin.refer(header) for header in moving.headers]
    item.RegistrationTypeCodeSequence = []
    item.DeformableRegistrationGridSequence = [held]
    return item


def read(path: Path) -> Registration:
    """A registration of two series.

    Refused: no registration, none or several moving series, a grid that contradicts its data (HIL-IO-04); a sheared or
    singular grid (HIL-N06).
    """
    import pydicom

    path = Path(path)
    with reading(path):
        data: Any = pydicom.dcmread(capped(path))
        if data.get("SOPClassUID") not in (SPATIAL, DEFORMABLE):
            raise HilumError("HIL-IO-04", f"{path} is no DICOM registration", "Give a Spatial Registration")
        fixed = str(data.FrameOfReferenceUID)
        if data.SOPClassUID == SPATIAL:
            return _from_matrices(path, data, fixed)
        grids = [item for item in data.DeformableRegistrationSequence if item.get("DeformableRegistrationGridSequence")]
        if len(grids) != 1:
            raise HilumError("HIL-IO-04", f"{path} holds {len(grids)} deformation grids", "Give a file with one")
        item = grids[0]
        found = _field(path, item.DeformableRegistrationGridSequence[0])
        before = _product(item.get("PreDeformationMatrixRegistrationSequence", []))
        after = _product(item.get("PostDeformationMatrixRegistrationSequence", []))
        return Registration(fixed, str(item.SourceFrameOfReferenceUID), found, before, after)


def _from_matrices(path: Path, data: Any, fixed: str) -> Registration:
    """The one series that is not the fixed one; matrices of an item are applied first to last."""
    moved = []
    for item in data.RegistrationSequence:
        push = np.eye(4)
        for registration in item.MatrixRegistrationSequence:
            for held in registration.MatrixSequence:
                push = _product([held]) @ push
        moved.append((str(item.get("FrameOfReferenceUID") or ""), push))
    others = [(frame, push) for frame, push in moved if frame != fixed]
    if not others:
        # both series share a frame: the item that says nothing is the fixed one
        others = [(frame, push) for frame, push in moved if not np.allclose(push, np.eye(4), atol=1e-12)] or moved[-1:]
    if len(others) != 1:
        raise HilumError("HIL-IO-04", f"{path} moves {len(others)} series", "Give a file with one moving series")
    frame, push = others[0]
    return Registration(fixed, frame, after=np.linalg.inv(_checked(path, push)))


def _product(items: Any) -> Array:
    """RAS+ matrix of the items, applied first to last."""
    whole = np.eye(4)
    for item in items:
        lps = np.array([float(v) for v in item.FrameOfReferenceTransformationMatrix]).reshape(4, 4)
        whole = FLIP @ lps @ FLIP @ whole
    return whole


def _field(path: Path, held: Any) -> Field:
    """The displacement grid as a Field in voxels of that grid, float32 (3, i, j, k)."""
    shape = tuple(int(n) for n in held.GridDimensions)
    steps = np.array([float(v) for v in held.GridResolution])
    across, down = np.array([float(v) for v in held.ImageOrientationPatient]).reshape(2, 3)
    raw = held.VectorGridData
    size = int(np.prod(shape, dtype=object)) * 12
    if len(shape) != 3 or min(shape) < 1 or not size <= len(raw) <= size + 1 or not (steps > 0).all():
        raise HilumError(
            "HIL-IO-04", f"{path}: a grid of {shape} at {steps.tolist()} mm with {len(raw)} bytes", "Export it again"
        )
    vectors = np.frombuffer(raw, "<f4", count=size // 4).reshape(shape[2], shape[1], shape[0], 3).transpose(3, 2, 1, 0)
    if not np.isfinite(vectors).all():
        raise HilumError("HIL-IO-04", f"{path}: the grid is undefined (NaN) in places", "Register the whole image")
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = across * steps[0], down * steps[1], np.cross(across, down) * steps[2]
    lps[:3, 3] = [float(v) for v in held.ImagePositionPatient]
    affine = geometry.check_affine(geometry.flip_lps_ras(lps))
    into = np.linalg.inv(affine[:3, :3]) @ FLIP[:3, :3]
    return Field(np.einsum("ij,j...->i...", into, vectors.astype(np.float64)).astype(np.float32), affine)


def _compare(path: Path, wanted: Field | Array, fixed: Origin, moving: Origin, seen: Registration) -> None:
    """Take points through what was decoded, and through what was given; they must meet (HIL-IO-05)."""
    frames = (str(fixed.first.FrameOfReferenceUID), str(moving.first.FrameOfReferenceUID))
    index, off = _some(fixed.shape), 0.0
    if isinstance(wanted, Field):
        points, off = _grid_points(seen, wanted, index)
        there = points + wanted.physical()[(slice(None), *index.T)].T
    else:
        points = _moved(fixed.affine, index.astype(np.float64))
        there = _moved(np.asarray(wanted, dtype=np.float64), points)
    far = float(np.abs(seen.points(points) - there).max())
    if (seen.fixed, seen.moving) != frames or off > origin.OFF_MM or not far < CLOSE_MM:
        raise HilumError(
            "HIL-IO-05", f"{path} was not written: read back, points lie {far:.4f} mm off", "Report this as a bug"
        )


def _grid_points(seen: Registration, wanted: Field, index: Array) -> tuple[Array, float]:
    """Places (RAS+ mm) of voxels in the grid that was decoded, and how far they lie from where they should."""
    ours, theirs = np.asarray(wanted.affine), np.asarray(seen.field.affine if seen.field else np.eye(4))
    there = index.astype(np.float64)
    if ours[:3, 2] @ theirs[:3, 2] < 0:
        there[:, 2] = wanted.array.shape[3] - 1 - there[:, 2]
    points = _moved(theirs, there)
    return points, float(np.abs(points - _moved(ours, index.astype(np.float64))).max())


def _some(shape: tuple[int, ...]) -> Array:
    """Every voxel of a small grid, or a spread of 20,000 of a large one, corners included."""
    total = int(np.prod(shape))
    flat = np.unique(np.linspace(0, total - 1, min(total, 20_000)).astype(np.int64))
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    return np.concatenate([np.stack(np.unravel_index(flat, shape), axis=1), corners])
