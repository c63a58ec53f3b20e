"""Pictures as labels: what is no map of class values is refused with the values that were counted."""

import functools
from pathlib import Path

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._raster.decoded import Decoded

SHOWN = 5
FEW, APART = 2, 32
# Values between two others at an edge: more of them than this, between two that lie this far apart, speak of softened
# edges; one or two may be a class that is drawn as an outline.
MOSTLY = 0.9
MOST_LOOKED_AT = 1 << 22


def plain_values(path: Path, decoded: Decoded) -> Array:
    """The label map (1, row, column). Refused with counts (HIL-I08): colours, lossy codecs, softened edges."""
    array = decoded.array
    if array.shape[0] == 3:
        if any((array[0] != array[channel]).any() for channel in (1, 2)):
            raise HilumError(
                "HIL-I08", f"{path} is a colour picture: {_colours(array)}", "Save class values, not colours"
            )
        array = array[:1]
    values, counts = np.unique(array, return_counts=True)
    if decoded.lossy and len(values) > 2:
        raise HilumError(
            "HIL-I08", f"{path} is a {decoded.kind} label with blurred edges: {_counted(values, counts)}",
            "Save it as PNG, from before the lossy step",
        )  # fmt: skip
    if array.dtype.kind in "iu" and _softened(array[0], values, counts):
        raise HilumError(
            "HIL-I08", f"{path} has softened edges: {_counted(values, counts)}",
            "Save it without smoothing, or cut it at half height first",
        )  # fmt: skip
    return array


def _softened(array: Array, values: Array, counts: Array) -> bool:
    """Whether nearly all values but the two commonest are steps of an edge: a lower and a higher one beside each.

    Between two areas of a label map there is no step; where classes lie inside each other their values are few. Of
    numbered objects the inner pixels have no lower neighbour, and the edge of one that touches nothing no higher one.
    """
    main = np.sort(values[np.argsort(counts)[-2:]])
    between = values[(values > main[0]) & (values < main[-1])]
    if (
        len(between) <= FEW
        or int(main[-1]) - int(main[0]) < APART
        or len(between) < 0.9 * (len(values) - 2)
        or min(array.shape) < 3
    ):
        return False
    part = array[: max(3, MOST_LOOKED_AT // array.shape[1])]
    inner = part[1:-1, 1:-1]
    around = [
        part[1 + y : part.shape[0] - 1 + y, 1 + x : part.shape[1] - 1 + x]
        for y, x in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
    ]
    lowest, highest = functools.reduce(np.minimum, around), functools.reduce(np.maximum, around)
    step = (inner > main[0]) & (inner < main[-1])
    edge = step & (lowest < inner) & (highest > inner)
    return bool(step.any() and edge.sum() >= MOSTLY * step.sum())


def _counted(values: Array, counts: Array) -> str:
    """'0 in 312 pixels, 255 in 100, and 41 other values in 12'."""
    order = np.argsort(-counts, kind="stable")
    shown = ", ".join(f"{values[i]} in {counts[i]} pixels" for i in order[:SHOWN])
    rest = order[SHOWN:]
    return shown + (f", and {len(rest)} other values in {int(counts[rest].sum())} pixels" if len(rest) else "")


def _colours(array: Array) -> str:
    """The commonest colours and in how many pixels each is."""
    wide = array.astype(np.uint64)
    step = np.uint64(np.iinfo(array.dtype).max) + np.uint64(1) if array.dtype.kind in "iu" else np.uint64(1 << 16)
    codes, counts = np.unique((wide[0] * step + wide[1]) * step + wide[2], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = ", ".join(
        f"({codes[i] // step // step}, {codes[i] // step % step}, {codes[i] % step}) in {counts[i]} pixels"
        for i in order[:SHOWN]
    )
    rest = order[SHOWN:]
    more = f", and {len(rest)} other colours in {int(counts[rest].sum())} pixels" if len(rest) else ""
    return f"{len(codes)} colours, {shown}{more}"
