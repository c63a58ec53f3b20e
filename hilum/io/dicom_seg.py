"""DICOM Segmentation (BINARY): a Mask on the grid of its source series, written by highdicom and decoded again.

Mask arrays are (i, j, k) as `dicom.read` returns them; classes become segments. Files without a segment on a slice
leave that slice out, so a reader that wants the whole grid gives the image (`like`).
"""

import hashlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hilum
from hilum.core import geometry
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE, Mask
from hilum.core.image import Array, Image
from hilum.io._dicom_write import CLASSES, uid
from hilum.io._guard import reading, same

CARD = {
    "extensions": [],
    "reads": "",
    "writes": ["mask"],
    "about": "DICOM SEG, segmentations that archives and viewers understand",
}
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
VALUE = re.compile(r"Hilum class value (\d+)")
# The class value travels in the segment description, because segment numbers must run 1, 2, 3 ...
NEEDED = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
)  # fmt: skip
# What a source slice must state for a segmentation to point at it.
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip
# Tags that must be there but may be empty (type 2); anonymised slices often lack them.
ABNORMAL = ("lesion", "tumour", "tumor", "haemorrhage", "hemorrhage", "metastasis", "nodule", "cyst")


def is_seg(path: Path) -> bool:
    """Whether a DICOM file is a segmentation."""
    import pydicom

    with reading(Path(path)):
        data = pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        return bool(data.get("SOPClassUID") == SEG)


def write(path: Path, mask: Mask, source_files: Sequence[Path | str]) -> None:
    """Write `mask` (i, j, k), or (K, i, j, k) stacked, as segments; decoded again and compared before it appears.

    source_files: the slices in the order of k, as in meta["files"] of `dicom.read`. Refused: another grid (HIL-N14),
    instances or values without a class name (HIL-IO-04).
    """
    path = Path(path)
    sources = _sources(source_files)
    frames, values = _frames(path, mask, sources)
    with warnings.catch_warnings():
        # highdicom speaks about the patient's name of the source; it is copied as it is
        warnings.simplefilter("ignore", UserWarning)
        try:
            segmentation = _build(mask, frames, values, sources)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HilumError(
                "HIL-IO-04", f"{path.name}: the source slices do not allow a DICOM SEG ({error})", "Write NIfTI instead"
            ) from error
    with writing(path) as part:
        segmentation.save_as(part)
        grid = Image(np.zeros((1, *mask.array.shape[-3:]), np.uint8), _grid(sources))
        seen = read(part, like=grid)
        wanted = mask.array
        if mask.stacked and not seen.stacked:
            wanted = np.einsum("kxyz,k->xyz", mask.array.astype(np.int32), np.array(values, dtype=np.int32))
        same(path, wanted.astype(np.int32), seen.array.astype(np.int32), grid.affine, seen.affine)


def read(path: Path, like: Image | None = None) -> Mask:
    """A binary segmentation as a label map (i, j, k) int32, or stacked (K, i, j, k) bool where segments overlap.

    like: the image to whose grid the mask belongs; without it the grid spans the slices that the file holds.
    Refused: not a SEG, fractional, or off the grid of `like` (HIL-D43).
    """
    import pydicom

    path = Path(path)
    with reading(path):
        data = pydicom.dcmread(path)
        if data.get("SOPClassUID") != SEG or data.SegmentationType != "BINARY":
            raise HilumError("HIL-D43", f"{path} is not a binary DICOM segmentation", "Export it as a binary SEG")
        pixels = np.asarray(data.pixel_array).reshape(-1, int(data.Rows), int(data.Columns))
        numbers, positions = _functional(data)
        affine, shape = (like.affine, like.shape) if like is not None else _own_grid(data, positions)
        if affine is None or len(shape) != 3:
            raise HilumError("HIL-D43", f"{path} does not belong to an image in pixel space", "Give its source volume")
        slots = _slots(path, data, positions, np.asarray(affine), tuple(shape))
        names = {int(item.SegmentNumber): item for item in data.SegmentSequence}
        stack = np.zeros((len(names), *shape), dtype=bool)
        order = {number: row for row, number in enumerate(sorted(names))}
        for frame, number, k in zip(pixels, numbers, slots, strict=True):
            stack[order[number], :, :, k] |= frame.T.astype(bool)
        return _mask(names, stack, np.asarray(affine))


def _mask(names: dict[int, Any], stack: Array, affine: Array) -> Mask:
    """Label map with the class values that Hilum wrote (else segment numbers); stacked where segments overlap."""
    values = []
    for number in sorted(names):
        found = VALUE.fullmatch(str(names[number].get("SegmentDescription", "")))
        values.append(int(found[1]) if found else number)
    if len(set(values)) < len(values):
        values = sorted(names)
    classes = {value: str(names[number].SegmentLabel) for value, number in zip(values, sorted(names), strict=True)}
    if (stack.sum(axis=0, dtype=np.uint16) > 1).any():
        return Mask(stack, classes, affine, stacked=True)
    labels = np.zeros(stack.shape[1:], dtype=np.int32)
    for layer, value in zip(stack, values, strict=True):
        labels[layer] = value
    return Mask(labels, classes, affine)


def _sources(files: Sequence[Path | str]) -> list[Any]:
    import pydicom

    found = []
    for file in files:
        with reading(Path(file)):
            header = pydicom.dcmread(file, stop_before_pixels=True)
            if not header.get("SOPClassUID"):
                # some anonymisers empty it; the modality says as much for classic images
                header.SOPClassUID = CLASSES.get(str(header.get("Modality")), "")
            for tag in MAY_BE_EMPTY:
                if tag not in header:
                    setattr(header, tag, None)
            missing = [tag for tag in NEEDED if not header.get(tag)]
            if missing:
                raise HilumError("HIL-IO-04", f"{file} lacks {', '.join(missing)}", "Write NIfTI, or restore the tags")
            found.append(header)
    if not found:
        raise HilumError("HIL-IO-04", "A DICOM SEG needs the slices it was made from", 'Give image.meta["files"]')
    return found


def _grid(sources: list[Any]) -> Array:
    """RAS+ affine of the source slices in the order given."""
    first, last = sources[0], sources[-1]
    across, down = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    start, end = np.array(first.ImagePositionPatient, float), np.array(last.ImagePositionPatient, float)
    thick = float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1)
    step = (end - start) / (len(sources) - 1) if len(sources) > 1 else np.cross(across, down) * thick
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = across * float(first.PixelSpacing[1]), down * float(first.PixelSpacing[0])
    lps[:3, 2], lps[:3, 3] = step, start
    return geometry.flip_lps_ras(lps)


def _frames(path: Path, mask: Mask, sources: list[Any]) -> tuple[Array, list[int]]:
    """Frames for highdicom (k, row, column), values renumbered 1..K, or (k, row, column, K) where stacked."""
    space = (int(sources[0].Columns), int(sources[0].Rows), len(sources))
    if mask.array.shape[-3:] != space:
        raise HilumError(
            "HIL-N14", f"{path.name}: a mask of {mask.array.shape} for slices of {space}", "Use their grid"
        )
    if mask.affine is not None:
        far = geometry.corner_distance(np.asarray(mask.affine), space, _grid(sources), space)
        if far > 0.1:
            raise HilumError("HIL-N14", f"{path.name}: the mask lies {far:.2f} mm from its slices", "Use their grid")
    values = sorted(mask.classes)
    if mask.instances or not values or min(values) < 1:
        raise HilumError(
            "HIL-IO-04", f"{path.name}: classes {dict(mask.classes)} as segments", "Name classes from 1 up"
        )
    if mask.stacked:
        return np.ascontiguousarray(mask.array.transpose(3, 2, 1, 0).astype(np.uint8)), values
    unknown = sorted(set(np.unique(mask.array).tolist()) - {0, *values})
    if unknown:
        raise HilumError("HIL-IO-04", f"{path.name}: values {unknown[:5]} have no class name", "Name every value")
    frames = np.zeros(mask.array.shape, dtype=np.uint16)
    for number, value in enumerate(values, 1):
        frames[mask.array == value] = number
    return np.ascontiguousarray(frames.transpose(2, 1, 0)), values


def _build(mask: Mask, frames: Array, values: list[int], sources: list[Any]) -> Any:
    """The highdicom object; identifiers from the content, so the same mask gives the same UIDs."""
    import highdicom
    from highdicom.sr.coding import CodedConcept
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="Hilum", family=codes.DCM.ArtificialIntelligence, version=hilum.__version__
    )
    segments = []
    for number, value in enumerate(values, 1):
        name = str(mask.classes[value])
        bad = any(word in name.lower() for word in ABNORMAL)
        category = ("49755003", "Morphologically abnormal structure") if bad else ("123037004", "Anatomical structure")
        segment = highdicom.seg.SegmentDescription(
            segment_number=number, segment_label=name[:64],
            segmented_property_category=CodedConcept(category[0], "SCT", category[1]),
            segmented_property_type=CodedConcept(str(value), "99HILUM", name[:64]),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm_identification=algorithm,
        )  # fmt: skip
        segment.SegmentDescription = f"Hilum class value {value}"
        segments.append(segment)
    seed = (
        sources[0].SeriesInstanceUID,
        hashlib.sha256(frames.tobytes()).hexdigest(),
        dict(mask.classes),
        hilum.__version__,
    )
    return highdicom.seg.Segmentation(
        source_images=sources, pixel_array=frames, segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments, series_instance_uid=uid(*seed, "series"), series_number=9001,
        sop_instance_uid=uid(*seed, "instance"), instance_number=1, manufacturer="Hilum",
        manufacturer_model_name="Hilum", software_versions=hilum.__version__, device_serial_number="0",
        series_description="Hilum segmentation, research use", content_description=INTENDED_USE[:64].rsplit(".", 1)[0],
        content_label="HILUM", omit_empty_frames=bool(frames.any()),
    )  # fmt: skip


def _functional(data: Any) -> tuple[list[int], Array]:
    """Segment number and position (LPS mm) of every frame."""
    numbers, positions = [], []
    shared = data.SharedFunctionalGroupsSequence[0]
    for item in data.PerFrameFunctionalGroupsSequence:
        holder = item if "SegmentIdentificationSequence" in item else shared
        numbers.append(int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber))
        holder = item if "PlanePositionSequence" in item else shared
        positions.append([float(v) for v in holder.PlanePositionSequence[0].ImagePositionPatient])
    return numbers, np.array(positions)


def _plane(data: Any) -> tuple[Array, Array, float, float, float]:
    """Row and column directions (LPS), spacing between columns, rows and slices."""
    shared, frame = data.SharedFunctionalGroupsSequence[0], data.PerFrameFunctionalGroupsSequence[0]
    turned = shared if "PlaneOrientationSequence" in shared else frame
    measured = (shared if "PixelMeasuresSequence" in shared else frame).PixelMeasuresSequence[0]
    across, down = np.array(turned.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    thick = float(measured.get("SpacingBetweenSlices") or measured.get("SliceThickness") or 1)
    return across, down, float(measured.PixelSpacing[1]), float(measured.PixelSpacing[0]), thick


def _own_grid(data: Any, positions: Array) -> tuple[Array, tuple[int, ...]]:
    """The grid from the first to the last slice that the file holds."""
    across, down, column_mm, row_mm, thick = _plane(data)
    normal = np.cross(across, down)
    along = positions @ normal
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = across * column_mm, down * row_mm, normal * thick
    lps[:3, 3] = positions[int(np.argmin(along))]
    return geometry.flip_lps_ras(lps), (int(data.Columns), int(data.Rows), round(float(np.ptp(along)) / thick) + 1)


def _slots(path: Path, data: Any, positions: Array, affine: Array, shape: tuple[int, ...]) -> list[int]:
    """Slice index k of every frame on the grid; refused where size, direction or position do not fit (HIL-D43)."""
    across, down, column_mm, row_mm, _ = _plane(data)
    lps = geometry.flip_lps_ras(affine)
    plane = np.stack([across * column_mm, down * row_mm], axis=1)
    slots = []
    fits = shape[:2] == (int(data.Columns), int(data.Rows)) and np.abs(plane - lps[:3, :2]).max() * max(shape) < 0.1
    for position in positions if fits else ():
        index = np.linalg.solve(lps[:3, :3], position - lps[:3, 3])
        k = round(float(index[2]))
        fits = fits and bool(np.abs(lps[:3, :3] @ (index - [0, 0, k])).max() < 0.1 and 0 <= k < shape[2])
        slots.append(k)
    if not fits:
        raise HilumError("HIL-D43", f"{path} does not lie on the grid of its image", "Give the series it was made from")
    return slots
