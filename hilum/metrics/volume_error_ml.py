"""Absolute difference between the predicted and the true volume, in ml."""

import math

from hilum.metrics._surface import Array, check_masks

CARD = {
    "better": "lower",
    "unit": "ml",
    "range": [0, None],
    "level": "case",
    "takes": "masks",
    "aggregate": "mean over classes that are defined within a case, then over cases",
    "missing": "the whole true volume: nothing found",
    "empty": "both empty: undefined; one empty: the whole volume of the other",
    "source": "voxel count times voxel volume; 2-D masks count as one slice 1 mm thick",
}


def measure(prediction: Array, truth: Array, spacing: tuple[float, ...]) -> float | None:
    """prediction, truth: (*space) bool; spacing: mm per voxel along each axis. Returns ml (1000 mm3).

    It does not see where the voxels lie: read it beside dice, never instead of it.
    """
    prediction, truth = check_masks(prediction, truth, spacing)
    found, real = int(prediction.sum()), int(truth.sum())
    if not found and not real:
        return None
    return abs(found - real) * math.prod(spacing) / 1000.0
