"""Pooled pixel AUROC: the chance that a foreground voxel of any image outranks a background voxel of any image.

The number that papers on vessels report: all judged voxels of all test images as one set, large images counting more,
and the probabilities of different images compared with each other. Images are kept as counts in BINS bins of the logit
between -LIMIT and LIMIT, so that memory does not grow with them: voxels less than 0.004 apart in logit, or both beyond
the limits, may count as ties (one half).
"""

from collections.abc import Iterable

import numpy as np

from hilum.metrics._scores import Array
from hilum.metrics.pixel_auroc import check_voxels

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "counts",
    "aggregate": "all voxels of all cases together",
    "missing": "probability 0 in its foreground, 1 in its background",
    "empty": "foreground or background missing in all images together: undefined",
    "source": "Hanley and McNeil 1982 over the voxels of all images; binned by logit",
}

BINS, LIMIT = 8192, 16.0


def counts(probability: Array, truth: Array) -> Array:
    """(2, BINS) int64: background and foreground voxels of one image by the logit of their probability (0..1)."""
    probability, truth = check_voxels(probability, truth)
    if probability.size and (probability.min() < 0 or probability.max() > 1):
        raise ValueError("a probability is outside 0..1")
    p = probability.astype(np.float64)
    with np.errstate(divide="ignore"):
        logit = np.log(p) - np.log1p(-p)
    place = np.floor((np.clip(logit, -LIMIT, LIMIT) + LIMIT) * (BINS / (2 * LIMIT))).astype(np.int64)
    place = np.minimum(place, BINS - 1)
    return np.stack([np.bincount(place[truth == side], minlength=BINS) for side in (False, True)])


def measure(records: Iterable[Array]) -> float | None:
    """records: what `counts` gave for each image. Returns 0..1; chance is 0.5."""
    total = np.stack(list(records)).sum(axis=0).astype(np.float64)
    low, high = total[0], total[1]
    if not low.sum() or not high.sum():
        return None
    below = np.cumsum(low) - low
    return float((high * (below + low / 2)).sum() / low.sum() / high.sum())
