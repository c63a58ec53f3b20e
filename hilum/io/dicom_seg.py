"""DICOM Segmentation: a Mask on the grid of its source series, written by highdicom, decoded twice and compared.

Mask arrays are (i, j, k) as `dicom.read` returns them; classes become segments. Three kinds: "binary" (classes may
overlap), "labelmap" (one value per voxel, small and fast for many organs) and "fractional" (probabilities in 255
steps). Files without a segment on a slice leave that slice out, so a reader that wants the whole grid gives the image
(`like`). Fractions are never turned into a mask unasked: `read` refuses them or takes a threshold.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io._dicom import origin, seg_read, seg_write
from hilum.io._dicom.file import capped
from hilum.io._dicom.seg_read import LABELMAP, SEG
from hilum.io._guard import reading, same

CARD = {
    "extensions": [],
    "reads": "mask",
    "recognises": True,
    "writes": ["mask"],
    "about": "DICOM SEG, segmentations of a series in the form that archives and viewers read",
}


def is_seg(path: Path) -> bool:
    """Whether a DICOM file is a segmentation (of any of the three kinds)."""
    import pydicom

    with reading(Path(path)):
        data = pydicom.dcmread(capped(path), specific_tags=["SOPClassUID"], stop_before_pixels=True)
        return data.get("SOPClassUID") in (SEG, LABELMAP)


def recognises(path: Path) -> bool:
    """Whether a file is a DICOM segmentation; never raises."""
    try:
        return is_seg(path)
    except HilumError:
        return False


def write(
    path: Path, mask: Mask, source_files: Sequence[Path | str], kind: str = "binary", series: str = "segmentation",
    model: str = "",
) -> None:  # fmt: skip
    """Write `mask` as segments; decoded again by two libraries and compared before it appears.

    mask.array: (i, j, k) whole numbers, or (K, i, j, k) bool where stacked; for kind "fractional" (K, i, j, k) float
    0..1 in the order of sorted(classes), kept within 1/510. source_files: the slices in the order of k, as in
    meta["files"] of `dicom.read`, or one multi-frame file. series: what its series is called, after "Hilum".
    model: digits that tell what found it: a parameter of the algorithm there, and a part of all identifiers.

    Refused: another grid (HIL-N14), instances, values without a class name, overlap in a label map, fractions outside
    0..1 (HIL-IO-04).
    """
    path = Path(path)
    source = origin.origin(source_files, "DICOM SEG")
    segmentation = seg_write.build(path, mask, source, kind, series, model)
    with writing(path) as part:
        segmentation.save_as(part)
        grid = Image(np.broadcast_to(np.uint8(0), (1, *source.shape)), source.affine)
        seen = probabilities(part, grid) if kind == "fractional" else read(part, grid)
        if kind == "fractional":
            _close(path, mask.array, seen.array)
        else:
            wanted = _flat(mask) if mask.stacked and not seen.stacked else mask.array
            same(path, wanted.astype(np.int32), seen.array.astype(np.int32), source.affine, seen.affine)
        if dict(seen.classes) != {value: str(name) for value, name in mask.classes.items()}:
            raise HilumError(
                "HIL-IO-05", f"{path} was not written: it names {dict(seen.classes)}", "Report this as a bug in Hilum"
            )
        seg_write.check(part, path, mask, source)


def _flat(mask: Mask) -> Array:
    """A stacked mask without overlap as a label map."""
    values = np.array(sorted(mask.classes), dtype=np.int32)
    return np.einsum("kxyz,k->xyz", mask.array.astype(np.int32), values)


def _close(path: Path, wanted: Array, seen: Array) -> None:
    """Fractions are stored in 255 steps: half a step is the most that may be lost."""
    far = float(np.abs(wanted.astype(np.float64) - seen).max())
    if wanted.shape != seen.shape or far > 0.5 / 255 + 1e-6:
        raise HilumError(
            "HIL-IO-05", f"{path} was not written: read back, fractions are {far:.4f} off", "Report it as a bug"
        )


def read(path: Path, like: Image | None = None, threshold: float | None = None) -> Mask:
    """A segmentation as a label map (i, j, k) int32, or stacked (K, i, j, k) bool where segments overlap.

    like: the image to whose grid the mask belongs; without it the grid spans the slices that the file holds.
    threshold: for fractional files, 0 < threshold <= 1: a voxel belongs to a segment from that fraction on.
    Refused: not a SEG, fractional without a threshold, another series, frame of reference or grid than `like`
    (HIL-D43), slices of `like` that were resampled so that labels can not follow (D21, D23, D24), cut short (HIL-D01).
    """
    path = Path(path)
    with reading(path):
        found = seg_read.load(path, like)
        if found.kind == "FRACTIONAL":
            if threshold is None:
                raise HilumError(
                    "HIL-D43", f"{path} is a fractional segmentation (0 to {found.top}), not a mask",
                    "Export it as a binary SEG, or give dicom_seg.read a threshold",
                )  # fmt: skip
            if not 0 < threshold <= 1:
                raise HilumError("HIL-D43", f"{path}: the threshold {threshold} is not within 0 to 1", "Give 0.5")
            return Mask(seg_read.stack(found, threshold), found.classes, found.affine, stacked=True)
        array = seg_read.labels(found)
        if array is None:
            return Mask(seg_read.stack(found), found.classes, found.affine, stacked=True)
        return Mask(array, found.classes, found.affine)


def probabilities(path: Path, like: Image | None = None) -> Mask:
    """A fractional segmentation as (K, i, j, k) float32 0..1, stacked, in the order of its segment numbers.

    Probability and occupancy are told apart in the file only; both come as fractions. Refused as in `read`, and
    files that are not fractional (HIL-D43).
    """
    path = Path(path)
    with reading(path):
        found = seg_read.load(path, like)
        if found.kind != "FRACTIONAL":
            raise HilumError("HIL-D43", f"{path} is a {found.kind} segmentation, not fractional", "Use dicom_seg.read")
        return Mask(seg_read.stack(found, fractions=True), found.classes, found.affine, stacked=True)
