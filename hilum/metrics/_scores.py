"""What the metrics of class probabilities share: checking, and the confusion matrix."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def check_scores(probabilities: Array, truth: Array) -> tuple[Array, Array]:
    """Probabilities (n, K) float64 and truth (n,) int in 0..K-1; anything else is refused."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    truth = np.asarray(truth)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2 or truth.shape != probabilities.shape[:1]:
        raise ValueError(f"expected (n, K >= 2) and (n,), got {probabilities.shape} and {truth.shape}")
    if not np.isfinite(probabilities).all():
        raise ValueError("a probability is not finite: give a missing case its worst row instead")
    if truth.size and (truth.min() < 0 or truth.max() >= probabilities.shape[1]):
        raise ValueError(f"a true class lies outside 0..{probabilities.shape[1] - 1}")
    return probabilities, truth.astype(np.int64)


def confusion(probabilities: Array, truth: Array) -> Array:
    """(K, K) counts: row = true class, column = the class with the highest probability (first on a tie)."""
    k = probabilities.shape[1]
    return np.bincount(truth * k + probabilities.argmax(axis=1), minlength=k * k).reshape(k, k)
