"""Pixel AUROC: the chance that a foreground voxel has a higher probability than a background voxel, per image.

Only voxels that are judged count (inside the validity mask, not of the ignored value). Exact: ties count one half
(Mann-Whitney). It says how well probabilities rank, not where a mask would be cut: read it beside dice. Where the
background is large and easy, as in most volumes, it is near 1 for any model.
"""

import numpy as np

from hilum.metrics._scores import Array

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "case",
    "takes": "probabilities",
    "aggregate": "mean over cases",
    "missing": "0.5: the same probability everywhere",
    "empty": "foreground or background missing: undefined",
    "source": "Hanley and McNeil 1982 over the voxels of one image, then over images",
}


def check_voxels(probability: Array, truth: Array) -> tuple[Array, Array]:
    """float (n,) and bool (n,) of the judged voxels; another shape, or what is no number, is refused."""
    probability, truth = np.asarray(probability), np.asarray(truth)
    if probability.shape != truth.shape:
        raise ValueError(f"the probabilities have shape {probability.shape}, the truth {truth.shape}")
    if not np.isfinite(probability).all():
        raise ValueError("a probability is not finite")
    return probability.ravel(), truth.ravel().astype(bool, copy=False)


def measure(probability: Array, truth: Array) -> float | None:
    """probability: any shape, any monotone score; truth: the same shape, bool. Returns 0..1; chance is 0.5."""
    probability, truth = check_voxels(probability, truth)
    high, low = probability[truth], np.sort(probability[~truth])
    if not high.size or not low.size:
        return None
    below = np.searchsorted(low, high, "left").sum(dtype=np.float64)
    upto = np.searchsorted(low, high, "right").sum(dtype=np.float64)
    return float((below + upto) / 2 / high.size / low.size)
