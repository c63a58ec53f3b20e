"""95 % Hausdorff distance in mm: how far the surfaces lie apart, all but the worst twentieth.

Definition used: the larger of the two directed 95th percentiles (as in MONAI and Metrics Reloaded), not the 95th
percentile of the pooled distances. The pooled number is hardly ever larger, because a long good surface dilutes a short
bad one. Surfaces are voxels with a face neighbour outside the mask, distances are between voxel centres and use the
spacing of every axis. In pixel space (spacing 1) the number is in pixels.
"""

import numpy as np

from hilum.metrics._surface import Array, check_masks, diagonal, surface_distances

CARD = {
    "better": "lower",
    "unit": "mm",
    "range": [0, None],
    "level": "case",
    "takes": "masks",
    "aggregate": "mean over classes that are defined within a case, then over cases",
    "missing": "the image diagonal: nothing found; left out in registration, where no mask is kept",
    "empty": "both empty: undefined; one empty: the image diagonal in mm",
    "source": "Huttenlocher et al. 1993; the larger of two directed 95th percentiles, Metrics Reloaded 2024",
}


def measure(prediction: Array, truth: Array, spacing: tuple[float, ...]) -> float | None:
    """prediction, truth: (*space) bool; spacing: mm per voxel along each axis. Returns mm."""
    prediction, truth = check_masks(prediction, truth, spacing)
    found, real = bool(prediction.any()), bool(truth.any())
    if not found and not real:
        return None
    if not found or not real:
        return diagonal(truth.shape, spacing)
    there, back = surface_distances(prediction, truth, spacing)
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))
