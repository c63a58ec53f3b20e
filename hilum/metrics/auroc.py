"""Area under the ROC curve: the chance that a case of a class scores higher than a case of another.

One class against the rest, averaged over the classes that occur; ties count one half (Mann-Whitney). With two
classes whose probabilities sum to one this is the ordinary AUROC.
"""

import numpy as np

from hilum.metrics._scores import Array, check_scores

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "scores",
    "aggregate": "one value of all cases together",
    "missing": "a sure wrong class (probability 1 on another class)",
    "empty": "a class without cases is left out of the mean; one class only: undefined",
    "source": "Hanley and McNeil 1982; macro one-vs-rest over the classes present",
}


def _area(scores: Array, positive: Array) -> float:
    """Mann-Whitney by mid-ranks. scores: (n,); positive: (n,) bool with both kinds present."""
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    upto = np.cumsum(counts)
    ranks = (upto - (counts - 1) / 2.0)[where]
    p = int(positive.sum())
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * (positive.size - p)))


def measure(probabilities: Array, truth: Array) -> float | None:
    """probabilities: (n, K), any monotone score; truth: (n,) class index. Returns 0..1; chance is 0.5."""
    probabilities, truth = check_scores(probabilities, truth)
    present = np.unique(truth)
    if present.size < 2:
        return None
    return float(np.mean([_area(probabilities[:, k], truth == k) for k in present]))
