"""From the frames of a DICOM segmentation to masks: which segment and which slice each frame is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.io import _buffer
from hilum.io._dicom import even, origin
from hilum.io._dicom.file import capped
from hilum.io._dicom.stack import SAME_PLACE_MM, UNEVEN
from hilum.io._guard import MOST_BYTES

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
VALUE = re.compile(r"Hilum class value (\d+)")
# The class value travels in the segment description, because segment numbers must run 1, 2, 3 ...
EMPTY_SLICES = 1000
# So many slices without a frame are believed between the first and the last; more is a wrong distance.
FAR = 2.5
# Slices so many times their thickness apart have others between them, which the file leaves out.


@dataclass(frozen=True)
class Segments:
    """A checked file. kind: BINARY, FRACTIONAL or LABELMAP. numbers: segment of every frame (none in a label map).

    slots: slice k of every frame on the grid `affine` (RAS+ mm), `shape` (i, j, k). values: {segment number: class
    value}; classes: {class value: name}. top: the stored value that means 1.
    """

    path: Path
    data: Any
    kind: str
    numbers: list[int]
    slots: list[int]
    affine: Array
    shape: tuple[int, ...]
    values: dict[int, int]
    classes: dict[int, str]
    top: int = 1

    def frames(self) -> Iterator[tuple[Array, int, int]]:
        """(stored (i, j), segment number, slice k), decoded one at a time."""
        numbers = self.numbers or [0] * len(self.slots)
        for frame, number, k in zip(_frames(self.data), numbers, self.slots, strict=True):
            yield frame.T, number, k


def _frames(data: Any) -> Iterator[Array]:
    """Stored frames (row, column), one at a time."""
    from pydicom.pixels import iter_pixels

    if int(data.BitsAllocated) != 1 or data.file_meta.TransferSyntaxUID.is_compressed:
        yield from iter_pixels(data)
        return
    # one bit a pixel, least significant first, and a frame may begin in the middle of a byte
    rows, columns = int(data.Rows), int(data.Columns)
    raw, size = np.frombuffer(data.PixelData, np.uint8), rows * columns
    for start in range(0, size * len(data.PerFrameFunctionalGroupsSequence), size):
        held = np.unpackbits(raw[start // 8 : (start + size + 7) // 8], bitorder="little")
        yield held[start % 8 : start % 8 + size].reshape(rows, columns)


def load(path: Path, like: Image | None) -> Segments:
    """Everything but the pixels.

    Refused: no SEG, another series, frame of reference or grid (HIL-D43), cut (D01), slices of the image that were
    resampled so that labels can not follow (D21, D23, D24).
    """
    import pydicom

    data: Any = pydicom.dcmread(capped(path))
    if data.get("SOPClassUID") not in (SEG, LABELMAP):
        raise HilumError("HIL-D43", f"{path} is no DICOM segmentation", "Export it as a SEG")
    kind = "LABELMAP" if data.SOPClassUID == LABELMAP else str(data.get("SegmentationType", ""))
    _claims(path, data, kind)
    if like is not None:
        named = origin.series_named(data)
        origin.belongs(path, str(data.get("FrameOfReferenceUID") or ""), named, like)
    numbers, positions = _functional(data, kind)
    affine, shape = (like.affine, like.shape) if like is not None else _own_grid(path, data, positions)
    if affine is None or len(shape) != 3:
        raise HilumError("HIL-D43", f"{path} does not belong to an image in pixel space", "Give its source volume")
    values, classes = _classes(data, kind)
    strange = sorted(set(numbers) - set(values))
    if strange:
        raise HilumError("HIL-D43", f"{path} has frames of the undescribed segments {strange[:5]}", "Export it again")
    top = int(data.get("MaximumFractionalValue", 255)) if kind == "FRACTIONAL" else 1
    if not 1 <= top <= 255:
        raise HilumError("HIL-D43", f"{path} has the largest fractional value {top}", "Export it again")
    slots = _slots(path, data, positions, np.asarray(affine), tuple(shape), like)
    found = Segments(path, data, kind, numbers, slots, np.asarray(affine), tuple(shape), values, classes, top)
    if like is not None and even.record_of(like):
        # some writers store a frame for every slice, most of them empty
        even.all_drawn(path, like, {k for frame, _, k in found.frames() if frame.any()})
    return found


def _claims(path: Path, data: Any, kind: str) -> None:
    """Refuse what the file can not hold, before anything is decoded."""
    rows, columns, frames = int(data.Rows), int(data.Columns), int(data.get("NumberOfFrames", 1) or 1)
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise HilumError("HIL-D43", f"{path} is a segmentation of the type {kind!r}", "Export it as a binary SEG")
    wanted = {"BINARY": (1,), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}[kind]
    if int(data.BitsAllocated) not in wanted or int(data.get("SamplesPerPixel", 1)) != 1:
        raise HilumError("HIL-D43", f"{path}: {data.BitsAllocated} bits for a {kind} segmentation", "Export it again")
    items = len(data.PerFrameFunctionalGroupsSequence)
    if frames != items or rows < 1 or columns < 1:
        raise HilumError(
            "HIL-D43", f"{path} speaks of {frames} frames of {rows} x {columns} and describes {items}", "Export again"
        )
    bits = rows * columns * frames * int(data.BitsAllocated)
    packed = data.file_meta.TransferSyntaxUID.is_compressed
    if "PixelData" not in data or (not packed and len(data.PixelData) < (bits + 7) // 8):
        held = len(data.get("PixelData", b""))
        raise HilumError("HIL-D01", f"{path} holds {held} of {(bits + 7) // 8} bytes of pixels", "Export it again")
    if packed and bits // 8 > MOST_BYTES:
        raise HilumError("HIL-D11", f"{path} claims {bits // 8} bytes of pixels", "Cut it in parts")


def _classes(data: Any, kind: str) -> tuple[dict[int, int], dict[int, str]]:
    """Class value of every segment number (those Hilum wrote, else the numbers), and names by value."""
    names = {int(item.SegmentNumber): item for item in data.SegmentSequence}
    if kind == "LABELMAP":
        names.pop(int(data.get("PixelPaddingValue", 0)), None)
    found = {n: VALUE.fullmatch(str(item.get("SegmentDescription", ""))) for n, item in names.items()}
    values = {n: int(match[1]) if match else n for n, match in found.items()}
    if len(set(values.values())) < len(values):
        values = {n: n for n in names}
    return dict(sorted(values.items())), {values[n]: str(names[n].SegmentLabel) for n in sorted(names)}


def labels(found: Segments) -> Array | None:
    """A label map (i, j, k) int32 of a BINARY or LABELMAP file, or None where segments overlap."""
    array = _buffer.empty(found.shape, np.int32)
    array[...] = 0
    table = _table(found) if found.kind == "LABELMAP" else None
    for frame, number, k in found.frames():
        part = array[:, :, k]
        if table is not None:
            # wide enough for the table's length, which 255 or 65535 segments have one more than fits
            new = table[np.minimum(frame.astype(np.int64), len(table) - 1)]
            if (new < 0).any():
                odd = np.unique(frame[new < 0]).tolist()
                raise HilumError("HIL-D43", f"{found.path} holds undescribed values {odd[:5]}", "Export it again")
        else:
            new = frame.astype(bool) * np.int32(found.values[number])
        if ((part != 0) & (new != 0) & (part != new)).any():
            return None
        np.maximum(part, new, out=part)
    return array


def _table(found: Segments) -> Array:
    """Class value by stored value; -1 where no segment has it."""
    background = int(found.data.get("PixelPaddingValue", 0))
    table = np.full(max([background, *found.values]) + 2, -1, dtype=np.int32)
    table[background] = 0
    for number, value in found.values.items():
        table[number] = value
    return table


def stack(found: Segments, threshold: float | None = None, fractions: bool = False) -> Array:
    """(K, i, j, k), segments by number: float32 0..1 where `fractions`, else bool (at least `threshold` of the top)."""
    order = {number: row for row, number in enumerate(found.values)}
    kind = np.dtype(np.float32 if fractions else np.bool_)
    size = len(order) * int(np.prod(found.shape, dtype=np.int64)) * kind.itemsize
    if size > MOST_BYTES:
        raise HilumError(
            "HIL-D11", f"{found.path}: {len(order)} segments need {size >> 20} MB", "Export fewer segments"
        )
    array = _buffer.empty((len(order), *found.shape), kind)
    array[...] = 0
    low = 1 if threshold is None else max(1.0, threshold * found.top - 1e-6)
    for frame, number, k in found.frames():
        if int(frame.max()) > found.top:
            raise HilumError(
                "HIL-D43", f"{found.path} holds {int(frame.max())} of at most {found.top}", "Export it again"
            )
        part = array[order[number], :, :, k]
        np.maximum(part, frame / np.float32(found.top) if fractions else frame >= low, out=part)
    return array


def _functional(data: Any, kind: str) -> tuple[list[int], Array]:
    """Segment number (none in a label map) and position (LPS mm) of every frame."""
    numbers, positions = [], []
    shared = data.SharedFunctionalGroupsSequence[0]
    for item in data.PerFrameFunctionalGroupsSequence:
        if kind != "LABELMAP":
            holder = item if "SegmentIdentificationSequence" in item else shared
            numbers.append(int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber))
        holder = item if "PlanePositionSequence" in item else shared
        positions.append([float(v) for v in holder.PlanePositionSequence[0].ImagePositionPatient])
    return numbers, np.array(positions)


def _measures(data: Any) -> Any:
    """Pixel spacing and thickness, as the first frame has them."""
    shared, frame = data.SharedFunctionalGroupsSequence[0], data.PerFrameFunctionalGroupsSequence[0]
    return (shared if "PixelMeasuresSequence" in shared else frame).PixelMeasuresSequence[0]


def _plane(data: Any) -> tuple[Array, Array, float, float]:
    """Row and column directions (LPS), spacing between columns and rows."""
    shared, frame = data.SharedFunctionalGroupsSequence[0], data.PerFrameFunctionalGroupsSequence[0]
    turned = shared if "PlaneOrientationSequence" in shared else frame
    across, down = np.array(turned.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    between = _measures(data).PixelSpacing
    return across, down, float(between[1]), float(between[0])


def _step(data: Any, along: Array) -> float:
    """Distance between slices whose positions along the normal are `along`; empty slices are left out of the file.

    As stated where every slice lies on such steps; else the smallest difference that divides the others. A thickness is
    no distance (slices overlap, or leave gaps): it counts for one position only, or two that can be no neighbours.
    """
    held = _measures(data)
    stated, thick = (abs(float(held.get(name) or 0)) for name in ("SpacingBetweenSlices", "SliceThickness"))
    gaps = np.diff(np.sort(along))
    gaps = gaps[gaps > SAME_PLACE_MM]
    if not gaps.size:
        return stated or thick or 1.0
    least = float(gaps.min())
    far = gaps.size == 1 and least > FAR * thick
    for step in (stated, *((thick, least) if far else (least, thick))):
        counts = np.round(gaps / step) if step > 0 else np.zeros(1)
        # positions are written with few digits, which adds up over the slices between
        if counts.min() >= 1 and (np.abs(gaps - counts * step) <= UNEVEN * step + SAME_PLACE_MM * counts).all():
            return float(gaps.sum() / counts.sum())
    return least


def _own_grid(path: Path, data: Any, positions: Array) -> tuple[Array, tuple[int, ...]]:
    """The grid from the first to the last slice that the file holds."""
    across, down, column_mm, row_mm = _plane(data)
    normal = np.cross(across, down)
    along = positions @ normal
    step = _step(data, along) if np.isfinite(positions).all() else 0.0
    if not step > 0 or not np.ptp(along) / max(step, 1e-9) < len(positions) + EMPTY_SLICES:
        raise HilumError("HIL-D43", f"{path}: {len(positions)} frames over {np.ptp(along):g} mm", "Give its image")
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = across * column_mm, down * row_mm, normal * step
    lps[:3, 3] = positions[int(np.argmin(along))]
    return geometry.flip_lps_ras(lps), (int(data.Columns), int(data.Rows), round(float(np.ptp(along)) / step) + 1)


def _slots(
    path: Path, data: Any, positions: Array, affine: Array, shape: tuple[int, ...], like: Image | None
) -> list[int]:
    """Slice index k of every frame on the grid; refused where size, direction or position do not fit it."""
    across, down, column_mm, row_mm = _plane(data)
    lps = geometry.flip_lps_ras(affine)
    plane = np.stack([across * column_mm, down * row_mm], axis=1)
    slots, most = [], origin.tolerances(affine, shape[2])
    fits = shape[:2] == (int(data.Columns), int(data.Rows)) and np.abs(plane - lps[:3, :2]).max() * max(shape) < 0.1
    for position in positions if fits else ():
        index = np.linalg.solve(lps[:3, :3], position - lps[:3, 3])
        k = round(float(index[2]))
        beside, along = origin.apart(affine, (lps[:3, :3] @ (index - [0, 0, k]))[None])
        fits = fits and beside <= most[0] and along <= most[1] and 0 <= k < shape[2]
        slots.append(k)
    if not fits:
        raise even.off_grid(path, like, "does not lie on the grid of its image", "Give the series it was made from")
    return slots
