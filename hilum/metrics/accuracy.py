"""Share of cases whose most probable class is the true one. Misleads where classes are rare: read balanced_accuracy."""

from hilum.metrics._scores import Array, check_scores

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "scores",
    "aggregate": "one value of all cases together",
    "missing": "a sure wrong class (probability 1 on another class)",
    "empty": "no cases: undefined",
    "source": "share of correct argmax",
}


def measure(probabilities: Array, truth: Array) -> float | None:
    """probabilities: (n, K) 0..1; truth: (n,) class index. Returns 0..1."""
    probabilities, truth = check_scores(probabilities, truth)
    return float((probabilities.argmax(axis=1) == truth).mean()) if truth.size else None
