"""Normalised mean squared error: the energy of the error over the energy of the truth, over the whole volume."""

from hilum.metrics._pictures import Array, check_pictures

CARD = {
    "better": "lower",
    "unit": "",
    "range": [0, None],
    "level": "case",
    "takes": "pictures",
    "aggregate": "mean over cases",
    "missing": "it has no worst value: left out, counted under missing",
    "empty": "truth zero everywhere: undefined",
    "source": "fastMRI (Zbontar et al. 2018): ||truth - prediction||^2 / ||truth||^2",
}


def measure(prediction: Array, truth: Array) -> float | None:
    """prediction, truth: any one shape, same unit. Returns 0 (same) upwards; 1 is what a black picture gets."""
    prediction, truth = check_pictures(prediction, truth)
    energy = float((truth**2).sum())
    return float(((truth - prediction) ** 2).sum()) / energy if energy else None
