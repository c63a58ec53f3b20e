"""Slices of an uneven or tilted stack onto an even, upright grid: linear, slice by slice as they are decoded."""

from collections.abc import Iterable

import numpy as np

from hilum.core.image import Array
from hilum.io import _buffer
from hilum.io._dicom.stack import Even

Box = tuple[tuple[int, int], tuple[int, int]]
# Rows and columns, first and end, of what was measured.
EXACT = 1e-4
# A slice or pixel nearer to a grid point than this share of a step is taken as it is.


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
