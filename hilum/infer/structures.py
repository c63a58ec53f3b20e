"""What a mask measures: size of every structure, and the intensities inside it as the image has them."""

import math
from collections.abc import Sequence

import numpy as np

from hilum.core.findings import Mask
from hilum.core.image import Array, Image, Table

PERCENTILES = (5, 50, 95)
BLOCK = 1 << 20
# Intensities that are turned into float64 at a time.


def table(mask: Mask, image: Image, channels: Sequence[str] = ()) -> Table:
    """A row for every class and channel, in the order of mask.classes; a class that is nowhere has one too.

    mask: a label map on the image's grid (not numbered objects). channels: their names; numbers where they do not fit.
    Columns: structure, value, channel, voxels, volume_ml (None without mm), and of the intensities in the image's unit
    (Hounsfield units where it is CT) mean, sd (population), median, p05, p95 (linear between values); None where there
    is no voxel. Values that are no numbers are left out of the intensities.
    """
    ml = None
    if image.affine is not None and image.dims == 3:
        ml = abs(float(np.linalg.det(np.asarray(image.affine)[:3, :3]))) / 1000
    names = list(channels) if len(channels) == len(image.array) else [str(i) for i in range(len(image.array))]
    boxes = _boxes(mask.array)
    rows = []
    for value, name in mask.classes.items():
        box = boxes.get(value) if boxes is not None else (slice(None),) * mask.array.ndim
        inside = None if box is None else mask.array[box] == value
        count = 0 if inside is None else int(np.count_nonzero(inside))
        size = {"voxels": count, "volume_ml": None if ml is None else round(count * ml, 6)}
        for number, channel in enumerate(names):
            values = np.zeros(0) if box is None or inside is None else image.array[number][box][inside]
            rows.append({"structure": name, "value": value, "channel": channel} | size | _intensity(values))
    return Table(tuple(rows))


def _boxes(array: Array) -> dict[int, tuple[slice, ...]] | None:
    """Where each value lies, so that a small structure costs little; None for values too large to list."""
    if array.dtype.itemsize > 2:
        return None
    from scipy import ndimage

    return {value: box for value, box in enumerate(ndimage.find_objects(array), 1) if box is not None}


def _intensity(values: Array) -> dict[str, float | None]:
    """Statistics of (n,) intensities, whose order is not kept: of a large structure no copy as float64 is made."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        values = values if finite.all() else values[finite]
    if not len(values):
        return dict.fromkeys(("mean", "sd", "median", "p05", "p95"))
    mean = float(values.mean(dtype=np.float64))
    parts = (values[start : start + BLOCK].astype(np.float64) - mean for start in range(0, len(values), BLOCK))
    with np.errstate(over="ignore", invalid="ignore"):
        spread = math.sqrt(sum(float((part**2).sum()) for part in parts) / len(values))
    low, middle, high = _percentiles(values)
    found = {"mean": mean, "sd": spread, "median": middle, "p05": low, "p95": high}
    # of damaged values the squares may be beyond any number
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in found.items()}


def _percentiles(values: Array) -> list[float]:
    """PERCENTILES of (n,) values, linear between two of them; what is asked for is brought into place, not copied."""
    places = [p / 100 * (len(values) - 1) for p in PERCENTILES]
    lower = [math.floor(place) for place in places]
    upper = [min(n + 1, len(values) - 1) for n in lower]
    values.partition(sorted({*lower, *upper}))
    ends = [(float(values[a]), float(values[b])) for a, b in zip(lower, upper, strict=True)]
    return [a + (b - a) * (place - n) for (a, b), place, n in zip(ends, places, lower, strict=True)]
