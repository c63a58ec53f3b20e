"""What a mask measures: size of every structure, and the intensities inside it as the image has them."""

from collections.abc import Sequence

import numpy as np

from hilum.core.findings import Mask
from hilum.core.image import Array, Image, Table

PERCENTILES = (5, 50, 95)


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
    """Statistics of (n,) intensities."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return dict.fromkeys(("mean", "sd", "median", "p05", "p95"))
    low, middle, high = np.percentile(values, PERCENTILES)
    found = {"mean": values.mean(), "sd": values.std(), "median": middle, "p05": low, "p95": high}
    return {name: round(float(v), 6) for name, v in found.items()}
