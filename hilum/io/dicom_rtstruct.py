"""DICOM RT Structure Set: a Mask as closed planar contours, one ROI a class, and contours back to a Mask.

Written: contours run half way between voxels (marching squares at 0.5), slice by slice, so that exactly the voxel
centres inside belong to the ROI. A region with a hole is cut in two along the hole, so that no contour lies inside
another and readers that know no rule for holes still find the same volume. Read: contours of one ROI on one slice are
combined by exclusive or, which is right for nested contours, keyholes and cut regions alike.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import hilum
from hilum.core import geometry
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE, Mask
from hilum.core.image import Array, Image
from hilum.io import _buffer
from hilum.io._dicom import even, origin
from hilum.io._dicom.contours import filled, filled_otherwise, outlines
from hilum.io._dicom.file import capped
from hilum.io._guard import MOST_BYTES, reading

CARD = {
    "extensions": [],
    "reads": "mask",
    "recognises": True,
    "writes": ["mask"],
    "about": "DICOM RT Structure Set, contours that planning systems understand",
}
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY = "1.2.840.10008.3.1.2.3.1"
# The (retired) class under which a structure set names its study.
DATA = 0x30060050
# Contour Data.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
OFF_PLANE_MM = 0.1
# How far a contour may lie from the slice that it belongs to; files round positions to a tenth or better.
LEAST_DICE, MOST_CENTRE, MOST_VOLUME = 0.99, 0.5, 0.02
# What must come back of a class before a file is released: overlap, centroid in voxels, share of the volume.
COLOURS = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240),
    (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (170, 110, 40),
)  # fmt: skip

Fill = Callable[[Array, tuple[int, int]], Array]
# Points (n, 2) in voxels and a box's shape -> the voxels inside.


def recognises(path: Path) -> bool:
    """Whether a file is an RT Structure Set; never raises."""
    import pydicom

    try:
        with reading(Path(path)):
            data = pydicom.dcmread(capped(path), specific_tags=["SOPClassUID"], stop_before_pixels=True)
            return bool(data.get("SOPClassUID") == RTSTRUCT)
    except HilumError:
        return False


def write(path: Path, mask: Mask, source_files: Sequence[Path | str]) -> None:
    """Write `mask`, (i, j, k) or (K, i, j, k) stacked, as ROIs with the class values as ROI numbers.

    Decoded again and filled by two independent rasterisers before it appears; released only where every class comes
    back with a Dice of 0.99 or more, its centroid within half a voxel and its volume within 2 % (HIL-IO-05).
    source_files: as for dicom_seg.write. Refused: another grid (HIL-N14), instances, unnamed values (HIL-IO-04).
    """
    path = Path(path)
    source = origin.origin(source_files, "structure set")
    layers = _layers(path, mask, source)
    seed = (*source.instances, _digest(mask), dict(mask.classes), hilum.__version__, "rtstruct")
    about = "Hilum contours, research use"
    data = origin.begin(source, RTSTRUCT, "RTSTRUCT", 9002, about, seed)
    _describe(data, mask, source)
    data.ROIContourSequence = [
        _roi(number, value, layer(), source) for number, (value, layer) in enumerate(layers.items())
    ]
    origin.referenced(data, source)
    # explicit VR can not hold a contour of more than 64 kB
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    grid = Image(np.broadcast_to(np.uint8(0), (1, *source.shape)), source.affine)
    with writing(path) as part:
        origin.save(data, part)
        for fill in (filled, filled_otherwise):
            seen = _read(part, grid, None, fill)
            if dict(seen.classes) != {value: str(name) for value, name in mask.classes.items()}:
                raise HilumError("HIL-IO-05", f"{path} was not written: it names {dict(seen.classes)}", "Report a bug")
            for row, value in enumerate(sorted(mask.classes)):
                found = seen.array[row] if seen.stacked else seen.array == value
                _alike(path, str(mask.classes[value]), layers[value](), found)


def _digest(mask: Mask) -> str:
    return hashlib.sha256(np.ascontiguousarray(mask.array).tobytes()).hexdigest()


def _layers(path: Path, mask: Mask, source: origin.Origin) -> dict[int, Callable[[], Array]]:
    """{class value: what gives its voxels (i, j, k)}; one at a time, because there may be many."""
    origin.fits(path.name, mask.array.shape[-3:], mask.affine, source)
    values = sorted(mask.classes)
    if mask.instances or not values or min(values) < 1 or mask.array.dtype.kind not in "iub":
        raise HilumError("HIL-IO-04", f"{path.name}: classes {dict(mask.classes)} as ROIs", "Name classes from 1 up")
    for name in mask.classes.values():
        if not 0 < len(str(name)) <= 64 or "\\" in str(name) or str(name) != str(name).strip():
            raise HilumError("HIL-IO-04", f"{path.name}: the class name {name!r}", "Use 1 to 64 plain characters")
    if mask.stacked:
        if mask.array.ndim != 4 or len(mask.array) != len(values):
            raise HilumError("HIL-IO-04", f"{path.name}: {mask.array.shape} for {len(values)} classes", "One a layer")
        return {value: partial(mask.array[row].astype, bool) for row, value in enumerate(values)}
    unknown = sorted(set(np.unique(mask.array).tolist()) - {0, *values})
    if unknown:
        raise HilumError("HIL-IO-04", f"{path.name}: values {unknown[:5]} have no class name", "Name every value")
    return {value: partial(np.equal, mask.array, value) for value in values}


def _describe(data: Any, mask: Mask, source: origin.Origin) -> None:
    """Names of the ROIs, the frame of reference and every slice that contours may lie on."""
    from pydicom.dataset import Dataset

    data.StructureSetLabel, data.StructureSetName = "HILUM", "Hilum contours"
    data.StructureSetDescription, data.OperatorsName, data.ApprovalStatus = INTENDED_USE, None, "UNAPPROVED"
    data.StructureSetDate, data.StructureSetTime = origin.now(data)
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = [origin.refer(header) for header in source.headers]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY, source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = source.first.FrameOfReferenceUID, [study]
    data.ReferencedFrameOfReferenceSequence = [frame]
    rois, observations = [], []
    for number, value in enumerate(sorted(mask.classes), 1):
        roi, seen = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = value, str(mask.classes[value])
        roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = frame.FrameOfReferenceUID, "AUTOMATIC"
        seen.ObservationNumber, seen.ReferencedROINumber = number, value
        seen.RTROIInterpretedType, seen.ROIInterpreter = None, None
        rois.append(roi)
        observations.append(seen)
    data.StructureSetROISequence, data.RTROIObservationsSequence = rois, observations


def _roi(number: int, value: int, layer: Array, source: origin.Origin) -> Any:
    """All contours of one class."""
    from pydicom.dataset import Dataset

    roi, contours = Dataset(), []
    roi.ROIDisplayColor, roi.ReferencedROINumber = list(COLOURS[number % len(COLOURS)]), value
    lps = geometry.flip_lps_ras(source.affine)
    for k in np.flatnonzero(layer.any(axis=(0, 1))):
        for line in outlines(layer[:, :, k]):
            points = np.column_stack([line, np.full(len(line), float(k))]) @ lps[:3, :3].T + lps[:3, 3]
            contour = Dataset()
            contour.ContourImageSequence = [source.at(int(k))]
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            _numbers_in(contour, points.ravel())
            contours.append(contour)
    if contours:
        roi.ContourSequence = contours
    return roi


def read(path: Path, like: Image, rois: Sequence[str] | None = None) -> Mask:
    """Contours filled on the grid of `like`: (i, j, k) int32, or stacked (K, i, j, k) bool where ROIs overlap.

    A voxel belongs to an ROI where its centre lies inside. Class values are the ROI numbers (plus 1 where one is 0).
    rois: names of those wanted, or None for all. Refused: no structure set, an absent series, another frame of
    reference, contours that are open, off the slices or outside the image, an ROI that is not there (HIL-D43), contours
    beside slices that were interpolated (D21, D23, D24).
    """
    return _read(Path(path), like, rois, filled)


def _read(path: Path, like: Image, rois: Sequence[str] | None, fill: Fill) -> Mask:
    import pydicom

    with reading(path):
        data: Any = pydicom.dcmread(capped(path))
        if data.get("SOPClassUID") != RTSTRUCT:
            raise HilumError("HIL-D43", f"{path} is no DICOM structure set", "Export it as RTSTRUCT")
        if like is None or like.affine is None or like.dims != 3:
            raise HilumError("HIL-D43", f"{path} needs the volume that it belongs to", "Give its source volume")
        wanted = _wanted(path, data, rois)
        _of_this_image(path, data, wanted, like)
        # 0 is the background of a label map
        shift = int(any(int(roi.ROINumber) == 0 for roi in wanted))
        classes = {int(roi.ROINumber) + shift: str(roi.ROIName) for roi in wanted}
        drawn = data.get("ROIContourSequence", [])
        lines = {int(roi.ReferencedROINumber) + shift: roi.get("ContourSequence", []) for roi in drawn}
        array = _buffer.empty(like.shape, np.int32)
        array[...] = 0
        for value in sorted(classes):
            for k, inside in _slices(path, classes[value], lines.get(value, []), like, fill):
                part = array[:, :, k]
                if (part[inside] != 0).any():
                    return _stacked(path, classes, lines, like, fill)
                part[inside] = value
        return Mask(array, classes, np.asarray(like.affine))


def _stacked(path: Path, classes: dict[int, str], lines: dict[int, Any], like: Image, fill: Fill) -> Mask:
    """One layer a class, because classes overlap."""
    shape = (len(classes), *like.shape)
    if int(np.prod(shape, dtype=np.int64)) > MOST_BYTES:
        raise HilumError("HIL-D11", f"{path}: {len(classes)} ROIs need too much memory", "Name fewer ROIs")
    array = _buffer.empty(shape, np.bool_)
    array[...] = False
    for row, value in enumerate(sorted(classes)):
        for k, inside in _slices(path, classes[value], lines.get(value, []), like, fill):
            array[row, :, :, k] = inside
    return Mask(array, dict(sorted(classes.items())), np.asarray(like.affine), stacked=True)


def _wanted(path: Path, data: Any, rois: Sequence[str] | None) -> list[Any]:
    """The ROIs asked for; numbers must be usable as class values."""
    found = list(data.StructureSetROISequence)
    names = [str(roi.ROIName) for roi in found]
    lost = [name for name in rois or () if name not in names]
    if lost or not found:
        raise HilumError("HIL-D43", f"{path} has no ROI {lost}", f"It has: {', '.join(names) or 'none'}")
    kept = [roi for roi in found if rois is None or str(roi.ROIName) in rois]
    numbers = [int(roi.ROINumber) for roi in kept]
    if len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise HilumError("HIL-D43", f"{path} has the ROI numbers {numbers[:8]}", "Export it again")
    return kept


def _of_this_image(path: Path, data: Any, wanted: list[Any], like: Image) -> None:
    """Frame of reference and series of the image (HIL-D43)."""
    frames = {str(roi.get("ReferencedFrameOfReferenceUID") or "") for roi in wanted}
    if len(frames) > 1:
        raise HilumError("HIL-D43", f"{path} has ROIs in {len(frames)} frames of reference", "Name those of one frame")
    series = {
        str(row.SeriesInstanceUID)
        for frame in data.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for row in study.get("RTReferencedSeriesSequence", [])
    }
    origin.belongs(path, frames.pop(), series, like)


def _slices(path: Path, name: str, contours: Any, like: Image, fill: Fill) -> Iterator[tuple[int, Array]]:
    """(k, voxels inside (i, j)) for every slice on which an ROI has contours, combined by exclusive or."""
    found: dict[int, Array] = {}
    lps = geometry.flip_lps_ras(np.asarray(like.affine))
    step = float(np.linalg.norm(lps[:3, 2]))
    for contour in contours:
        kind = str(contour.get("ContourGeometricType", ""))
        values = _numbers_of(contour)
        if kind not in CLOSED or values.size % 3 or not np.isfinite(values).all():
            raise HilumError("HIL-D43", f"{path}: ROI {name!r} has a {kind or 'nameless'} contour of {values.size} "
                             "numbers", "Name the ROIs with closed planar contours")  # fmt: skip
        if values.size < 9:
            # one or two points enclose nothing
            continue
        index = np.linalg.solve(lps[:3, :3], (values.reshape(-1, 3) - lps[:3, 3]).T).T
        k = round(float(index[:, 2].mean()))
        off = float(np.abs(index[:, 2] - k).max()) * step
        if off > OFF_PLANE_MM or not 0 <= k < like.shape[2]:
            raise even.off_grid(
                path, like, f"has a contour of ROI {name!r} {off:.2f} mm off slice {k} of {like.shape[2]} of its image",
                "Give the series it was drawn on",
            )  # fmt: skip
        if (index[:, :2] < -1).any() or (index[:, :2] > np.array(like.shape[:2])).any():
            raise HilumError("HIL-D43", f"{path}: ROI {name!r} reaches outside the image", "Give its own series")
        layer = found.setdefault(k, np.zeros(like.shape[:2], dtype=bool))
        low = np.maximum(np.floor(index[:, :2].min(axis=0)), 0).astype(int)
        box = layer[
            tuple(slice(a, b + 1) for a, b in zip(low, np.ceil(index[:, :2].max(axis=0)).astype(int), strict=True))
        ]
        box ^= fill(index[:, :2] - low, box.shape)
    even.all_drawn(path, like, found)
    yield from found.items()


def _numbers_in(contour: Any, values: Array) -> None:
    """Set ContourData to a ten-thousandth of a mm; as bytes, because pydicom's numbers are slow by the million."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    text = "\\".join(f"{v:.4f}" for v in values).encode()
    text += b" " * (len(text) % 2)
    contour[DATA] = RawDataElement(Tag(DATA), "DS", len(text), text, 0, True, True)


def _numbers_of(contour: Any) -> Array:
    """ContourData as numbers (n,)."""
    if DATA not in contour:
        return np.zeros(0)
    held = contour.get_item(DATA).value
    if isinstance(held, bytes):
        return np.array(held.strip(b" \0").split(b"\\") if held.strip(b" \0") else [], dtype=np.float64)
    return np.array(held or [], dtype=np.float64)


def _alike(path: Path, name: str, wanted: Array, seen: Array) -> None:
    """Refuse a class that does not come back (HIL-IO-05)."""
    ours, theirs = int(wanted.sum()), int(seen.sum())
    dice = 2 * int((wanted & seen).sum()) / (ours + theirs) if ours + theirs else 1.0
    far = np.abs(_centre(wanted) - _centre(seen)).max() if ours and theirs else 0.0
    if dice < LEAST_DICE or far > MOST_CENTRE or abs(ours - theirs) > max(MOST_VOLUME * ours, 2):
        raise HilumError(
            "HIL-IO-05", f"{path} was not written: {name!r} comes back with Dice {dice:.4f}, {theirs} of {ours} "
            f"voxels, its centre {far:.2f} voxels off", "Report this as a bug in Hilum",
        )  # fmt: skip


def _centre(layer: Array) -> Array:
    """Centroid in voxels."""
    weights = [layer.sum(axis=tuple(b for b in range(3) if b != a), dtype=np.float64) for a in range(3)]
    return np.array([float(np.arange(len(w)) @ w) / float(w.sum()) for w in weights])
