"""Dice overlap: twice the shared voxels over the voxels of both masks."""

from hilum.metrics._surface import Array, check_masks

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "case",
    "takes": "masks",
    "aggregate": "mean over classes that are defined within a case, then over cases",
    "missing": "0: nothing found; a class without truth stays undefined, and so does a pair without labels",
    "empty": "both empty: undefined; one empty: 0",
    "source": "Dice 1945; Metrics Reloaded (Maier-Hein et al. 2024): per case, then over cases",
}


def measure(prediction: Array, truth: Array, spacing: tuple[float, ...]) -> float | None:
    """prediction, truth: (*space) bool; spacing: mm per axis, not used. Returns 0..1, or None where both are empty."""
    prediction, truth = check_masks(prediction, truth, spacing)
    total = int(prediction.sum()) + int(truth.sum())
    return 2.0 * int((prediction & truth).sum()) / total if total else None
