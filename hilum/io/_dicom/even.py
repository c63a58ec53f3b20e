"""Slices of an uneven or tilted stack onto an even, upright grid: linear, slice by slice as they are decoded.

Labels are never interpolated: those drawn on the slices are refused where the grid does not hold them all.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.io import _buffer
from hilum.io._dicom.origin import tolerances
from hilum.io._dicom.stack import Even

Box = tuple[tuple[int, int], tuple[int, int]]
# Rows and columns, first and end, of what was measured.
EXACT = 1e-4
# A slice or pixel nearer to a grid point than this share of a step is taken as it is.
BY_HAND = "Resample the image and its labels yourself, for example to NIfTI, or leave the case out"
# What helps where labels can not follow their image.


def resampled(frames: Iterable[Array], even: Even, shape: tuple[int, int, int], outside: float) -> Array:
    """Frames (rows, columns) in order along the normal -> float32 (k, rows, columns) of the grid `shape` (i, j, k).

    outside: the value where no slice was measured. Linear along the slices and, where they shift sideways, in plane.
    """
    columns, rows, count = shape
    out = _buffer.empty((count, rows, columns), np.float32)
    out[:] = outside
    before: tuple[float, Array, Box] | None = None
    k = 0
    for frame, aside, place in zip(frames, even.aside, even.along, strict=True):
        here, box = _shifted(frame, aside, (rows, columns))
        while k < count and k <= place + EXACT:
            if before is None or place - k < EXACT:
                out[k][_window(box)] = here[_window(box)]
            else:
                both = _window(_meet(before[2], box))
                weight = np.float32((k - before[0]) / (place - before[0]))
                out[k][both] = before[1][both] * (1 - weight) + here[both] * weight
            k += 1
        before = float(place), here, box
    return out


def _window(box: Box) -> tuple[slice, slice]:
    return slice(box[0][0], box[0][1]), slice(box[1][0], box[1][1])


def _meet(a: Box, b: Box) -> Box:
    """Where both slices were measured: between two slices nothing is guessed from one of them."""
    rows, columns = ((max(x[0], y[0]), max(max(x[0], y[0]), min(x[1], y[1]))) for x, y in zip(a, b, strict=True))
    return rows, columns


def _shifted(frame: Array, aside: Array, size: tuple[int, int]) -> tuple[Array, Box]:
    """The frame moved by `aside` pixels along (columns, rows) onto a plane of `size` (rows, columns), and its place."""
    plane = frame.astype(np.float32, copy=False)
    plane, columns = _moved(plane, 1, float(aside[0]), size[1])
    plane, rows = _moved(plane, 0, float(aside[1]), size[0])
    return plane, (rows, columns)


def _moved(plane: Array, axis: int, offset: float, length: int) -> tuple[Array, tuple[int, int]]:
    """One axis moved by `offset` >= 0 pixels and widened to `length`, and the part of it that was measured."""
    old = plane.shape[axis]
    whole = round(offset) if abs(offset - round(offset)) < EXACT else int(np.floor(offset))
    part = np.float32(offset - whole if abs(offset - whole) >= EXACT else 0)
    if old == length and whole == 0 and part == 0:
        return plane, (0, old)
    lines = np.moveaxis(plane, axis, 0)
    wide = np.zeros((length, lines.shape[1]), np.float32)
    if part == 0:
        wide[whole : whole + old] = lines
        return np.moveaxis(wide, 0, axis), (whole, whole + old)
    # grid line whole + n lies between pixels n - 1 and n
    wide[whole + 1 : whole + old] = lines[:-1] * part + lines[1:] * (1 - part)
    return np.moveaxis(wide, 0, axis), (whole + 1, whole + old)


def off_grid(path: Path, like: Image | None, seen: str, remedy: str) -> HilumError:
    """Labels that do not lie on their image (HIL-D43), or what its slices were resampled for (HIL-D21, D23, D24)."""
    why = () if like is None else record_of(like).get("why", ())
    if not why:
        return HilumError("HIL-D43", f"{path} {seen}", remedy)
    words = f"{path} {seen}: its slices were resampled ({', '.join(why)}), and labels can not follow"
    return HilumError(why[0], words, f"{BY_HAND}. Were they made from another image: {remedy[0].lower()}{remedy[1:]}")


def all_drawn(path: Path, like: Image, drawn: Collection[int]) -> None:
    """Refuse labels beside slices that were interpolated and that nobody drew on (HIL-D21, D23, D24).

    drawn: slices k of the grid of `like` that hold labels. Between two slices without any there is nothing to draw.
    """
    record = record_of(like)
    if not record or like.affine is None:
        return
    step, most = like.spacing[2], tolerances(np.asarray(like.affine), like.shape[2])[1]
    places = [(round(mm / step), mm) for mm in record["positions_mm"]]
    measured = sorted({k for k, mm in places if abs(mm - k * step) <= most})
    held = set(drawn)
    for a, b in pairwise(measured):
        if held & {a, b} and not held.issuperset(range(a + 1, b)):
            why = record["why"]
            raise HilumError(
                why[0], f"{path} has labels beside slice {a + 1} of {like.shape[2]}, which was interpolated "
                f"({', '.join(why)}): between two labels lies no third one", BY_HAND,
            )  # fmt: skip


def record_of(like: Image) -> Mapping[str, Any]:
    """How the slices of an image were resampled, as `dicom.read` says it; empty where they were not."""
    found = like.meta.get("resampled") or {}
    # a sheared NIfTI says something else under this name
    return found if "positions_mm" in found else {}
