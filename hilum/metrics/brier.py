"""Brier score: the mean squared distance between the probabilities and the truth, summed over classes."""

import numpy as np

from hilum.metrics._scores import Array, check_scores

CARD = {
    "better": "lower",
    "unit": "",
    "range": [0, 2],
    "level": "set",
    "takes": "scores",
    "aggregate": "one value of all cases together",
    "missing": "a sure wrong class (probability 1 on another class)",
    "empty": "no cases: undefined",
    "source": "Brier 1950, the original sum over all classes (0..2); the two-class half-form is half of it",
}


def measure(probabilities: Array, truth: Array) -> float | None:
    """probabilities: (n, K) rows sum to 1; truth: (n,) class index. Returns 0 (perfect) .. 2 (sure and wrong)."""
    probabilities, truth = check_scores(probabilities, truth)
    if not truth.size:
        return None
    error = probabilities.copy()
    error[np.arange(truth.size), truth] -= 1.0
    return float((error**2).sum(axis=1).mean())
