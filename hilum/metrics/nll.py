"""Negative log-likelihood: the mean of -log(probability given to the true class), in nats."""

import numpy as np

from hilum.metrics._scores import Array, check_scores

CARD = {
    "better": "lower",
    "unit": "nats",
    "range": [0, None],
    "level": "set",
    "takes": "scores",
    "aggregate": "one value of all cases together",
    "missing": "a sure wrong class (probability 1 on another class)",
    "empty": "no cases: undefined",
    "source": "proper score (Good 1952); probabilities are clipped at 1e-12, so one sure mistake costs 27.6",
}

FLOOR = 1e-12
# A probability of exactly 0 would make one mistake infinite, which is not a number that JSON can hold.


def measure(probabilities: Array, truth: Array) -> float | None:
    """probabilities: (n, K) rows sum to 1; truth: (n,) class index. Returns nats, 0 is perfect."""
    probabilities, truth = check_scores(probabilities, truth)
    if not truth.size:
        return None
    chosen = probabilities[np.arange(truth.size), truth]
    return float(np.abs(np.log(np.clip(chosen, FLOOR, 1.0))).mean())
