"""Balanced accuracy: the mean, over the classes that occur, of the share found of each."""

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
    "empty": "a class without cases is left out of the mean; no cases: undefined",
    "source": "mean recall; equals scikit-learn balanced_accuracy_score",
}


def measure(probabilities: Array, truth: Array) -> float | None:
    """probabilities: (n, K) 0..1; truth: (n,) class index. Returns 0..1; chance is 1 / classes present."""
    probabilities, truth = check_scores(probabilities, truth)
    if not truth.size:
        return None
    counts = confusion(probabilities, truth)
    present = counts.sum(axis=1) > 0
    return float(np.mean(counts.diagonal()[present] / counts.sum(axis=1)[present]))
