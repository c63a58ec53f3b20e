"""DeLong's method: how sure an area under the ROC curve (AUROC) is, and whether two on the same cases differ.

DeLong, DeLong & Clarke-Pearson 1988, with the mid-ranks of Sun & Xu 2014 in place of all pairs of cases. Every case
must be an independent one: where patients have several cases, the method calls differences too easily, and the
bootstrap that resamples patients is to be used instead. Nor is it for a model that only adds to another.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

CLUSTERED = (
    "Some groups have several cases. DeLong's method takes every case for an independent one and would call "
    "differences too easily, so groups are resampled instead."
)
_NOTHING = 1e-28
# Variances below this are rounding: the smallest real one among 10,000 + 10,000 cases is about 1e-17.


@dataclass(frozen=True)
class Area:
    """An AUROC, 0..1. variance: None with fewer than two cases of a class.

    low, high: None there too, and where nothing varies (an area of 0 or 1): that is no certainty.
    """

    auroc: float
    variance: float | None
    low: float | None
    high: float | None
    positives: int
    negatives: int


@dataclass(frozen=True)
class AreaDifference:
    """AUROC of the first minus that of the second. p: of "no difference", two-sided.

    Where the two never differ in spread z, low and high are None, and p is 1 (equal areas) or None (unequal ones).
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    z: float | None
    p: float | None
    positives: int
    negatives: int


def independent(groups: Sequence[Hashable]) -> bool:
    """Whether every group has one case, as DeLong's method needs it."""
    return len(set(groups)) == len(groups)


def area(scores: Array, positive: Array, level: float = 0.95) -> Area | None:
    """The AUROC with its variance, and an interval on the logit scale, which stays within 0..1. None for one class.

    scores: (n,), or (n, R) for R seeds, whose areas are averaged. positive: (n,) bool.
    """
    scores, positive = _checked(scores, positive)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return None
    upper, lower = _placements(scores, positive)
    auroc, variance = float(upper.mean()), _variance(upper, lower)
    low, high = _logit_interval(auroc, variance, level)
    return Area(auroc, variance, low, high, m, n)


def difference(first: Array, second: Array, positive: Array, level: float = 0.95) -> AreaDifference | None:
    """Two AUROCs on the same cases compared; None for one class.

    first, second: (n,), or (n, R) for R seeds each, whose areas are averaged: a contrast of 2 R correlated areas. The
    seeds are taken as they are; what other seeds would give is not in p.
    """
    one, positive = _checked(first, positive)
    two, _ = _checked(second, positive)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return None
    (upper, lower), (upper2, lower2) = _placements(one, positive), _placements(two, positive)
    # the variance of the placements' difference is S11 + S22 - 2 S12, without the loss of digits
    variance, gap = _variance(upper - upper2, lower - lower2), float(upper.mean() - upper2.mean())
    low, high, z, p = _wald(gap, variance, level)
    return AreaDifference(float(upper.mean()), float(upper2.mean()), gap, low, high, z, p, m, n)


def _checked(scores: Array, positive: Array) -> tuple[Array, Array]:
    """Scores (n, R) float64 and truth (n,) bool."""
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive)
    scores = scores[:, None] if scores.ndim == 1 else scores
    if scores.ndim != 2 or positive.shape != scores.shape[:1] or not scores.shape[1]:
        raise ValueError(f"expected scores (n,) or (n, R) and truth (n,), got {scores.shape} and {positive.shape}")
    if not np.isfinite(scores).all() or not np.isin(positive, (0, 1)).all():
        raise ValueError("scores must be finite and the truth 0 or 1")
    return scores, positive.astype(bool)


def _midranks(values: Array) -> Array:
    """Ranks from 1 up; equal values share the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2.0)[where]
    return ranks


def _placements(scores: Array, positive: Array) -> tuple[Array, Array]:
    """Of every positive the share of negatives below it, and of every negative the share of positives above it.

    Ties count one half; means over the columns of scores (n, R). Both have the AUROC as their mean.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    upper, lower = np.zeros(m), np.zeros(n)
    for column in scores.T:
        ranks = _midranks(column)
        upper += (ranks[positive] - _midranks(column[positive])) / n
        lower += 1 - (ranks[~positive] - _midranks(column[~positive])) / m
    return upper / scores.shape[1], lower / scores.shape[1]


def _variance(upper: Array, lower: Array) -> float | None:
    """Of the mean placement; None where a class has one case, whose spread nobody knows."""
    if len(upper) < 2 or len(lower) < 2:
        return None
    return float(upper.var(ddof=1) / len(upper) + lower.var(ddof=1) / len(lower))


def _logit_interval(auroc: float, variance: float | None, level: float) -> tuple[float | None, float | None]:
    from scipy.special import expit, logit, ndtri

    if variance is None or variance < _NOTHING or not 0 < auroc < 1:
        return None, None
    reach = ndtri((1 + level) / 2) * np.sqrt(variance) / (auroc * (1 - auroc))
    return float(expit(logit(auroc) - reach)), float(expit(logit(auroc) + reach))


def _wald(
    gap: float, variance: float | None, level: float
) -> tuple[float | None, float | None, float | None, float | None]:
    """low, high, z and p of a difference."""
    from scipy.special import ndtr, ndtri

    if variance is None:
        return None, None, None, None
    if variance < _NOTHING:
        return None, None, None, 1.0 if abs(gap) < 1e-12 else None
    error = float(np.sqrt(variance))
    reach = float(ndtri((1 + level) / 2)) * error
    z = gap / error
    return max(-1.0, gap - reach), min(1.0, gap + reach), z, float(2 * ndtr(-abs(z)))
