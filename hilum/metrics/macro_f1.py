"""Macro F1: the mean over classes of the harmonic mean of precision and recall."""

import numpy as np

from hilum.metrics._scores import Array, check_scores, confusion

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "scores",
    "aggregate": "one value of all cases together",
    "missing": "a sure wrong class (probability 1 on another class)",
    "empty": "a class neither true nor predicted is left out of the mean; no cases: undefined",
    "source": "equals scikit-learn f1_score(average='macro')",
}


def measure(probabilities: Array, truth: Array) -> float | None:
    """probabilities: (n, K) 0..1; truth: (n,) class index. Returns 0..1."""
    probabilities, truth = check_scores(probabilities, truth)
    if not truth.size:
        return None
    counts = confusion(probabilities, truth)
    both = counts.sum(axis=0) + counts.sum(axis=1)
    seen = both > 0
    return float(np.mean(2.0 * counts.diagonal()[seen] / both[seen]))
