"""Expected calibration error: how far the stated confidence lies from the share that was right.

Confidence is the highest probability of a case; bins are (low, high], equally wide. It is biased upwards when cases are
few, and a model that always answers with the prevalence has none: read it beside nll and brier.
"""

import numpy as np

from hilum.metrics._scores import Array, check_scores

CARD = {
    "better": "lower",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "scores",
    "aggregate": "one value of all cases together",
    "missing": "a sure wrong class (probability 1 on another class)",
    "empty": "empty bins weigh nothing; no cases: undefined",
    "source": "Naeini et al. 2015; Guo et al. 2017: 15 equally wide bins of the top-class confidence",
}

BINS = 15


def measure(probabilities: Array, truth: Array, bins: int = BINS) -> float | None:
    """probabilities: (n, K) rows sum to 1; truth: (n,) class index. Returns 0..1."""
    probabilities, truth = check_scores(probabilities, truth)
    if not truth.size:
        return None
    return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth, bins)


def calibration_error(confidence: Array, correct: Array, bins: int = BINS) -> float:
    """Sum over bins of (share of cases) * |share correct - mean confidence|. confidence: (n,) 0..1; correct: (n,)."""
    weights = np.asarray(correct, dtype=np.float64) - confidence
    gap = np.bincount(places(confidence, bins), weights=weights, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def places(confidence: Array, bins: int = BINS) -> Array:
    """The bin 0..bins-1 of each confidence (n,), 0..1."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    # side="left" puts a value on an edge into the bin below it: (low, high]
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
