"""Normalised surface distance at 1 mm: the share of both surfaces that lies within 1 mm of the other.

Surfaces are counted in voxels (as MONAI does), not weighted by area. Where voxels are coarser than 1 mm only exactly
matching surface voxels count; in pixel space (spacing 1) the tolerance is one pixel.
"""

from hilum.metrics._surface import Array, check_masks, surface_distances

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "case",
    "takes": "masks",
    "aggregate": "mean over classes that are defined within a case, then over cases",
    "missing": "0: nothing found; a class without truth stays undefined",
    "empty": "both empty: undefined; one empty: 0",
    "source": "Nikolov et al. 2018 (surface Dice); tolerance 1 mm, counted in surface voxels",
}

TOLERANCE_MM = 1.0
# About the disagreement of two careful readers on a sharp border; the name of the metric says it.


def measure(prediction: Array, truth: Array, spacing: tuple[float, ...]) -> float | None:
    """prediction, truth: (*space) bool; spacing: mm per voxel along each axis. Returns 0..1."""
    prediction, truth = check_masks(prediction, truth, spacing)
    found, real = bool(prediction.any()), bool(truth.any())
    if not found and not real:
        return None
    if not found or not real:
        return 0.0
    there, back = surface_distances(prediction, truth, spacing)
    # a hair of slack, so that a distance of 1 mm stored as 1.0000001 mm still counts
    near = int((there <= TOLERANCE_MM + 1e-6).sum()) + int((back <= TOLERANCE_MM + 1e-6).sum())
    return near / (there.size + back.size)
