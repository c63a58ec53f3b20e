"""Conformal risk control: a threshold whose mean loss on new patients stays below a wanted risk.

Angelopoulos, Bates, Fisch, Lei, Schuster: "Conformal risk control" (2024). Where prediction sets bound how often the
truth is left out, this bounds the mean of any loss that grows with the threshold, such as the share of a lesion that a
mask misses.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.core.image import Array
from hilum.data.groups import numbered
from hilum.trust.conformal import HAIR, check_error, least

MISSED = "share of true voxels that a mask misses"


@dataclass(frozen=True)
class Controlled:
    """threshold: the highest that keeps the risk, None where none does. n: patients that it rests on.

    bound: (n * mean loss + 1) / (n + 1) at the threshold, at most the risk; the expected loss is not above it.
    sentence: the promise with its assumption, or why there is no threshold.
    """

    threshold: float | None
    bound: float | None
    risk: float
    n: int
    sentence: str


def false_negative_losses(probability: Array, truth: Array, thresholds: Array) -> Array | None:
    """Of one case: the share of true voxels with a probability below each threshold, (T,) 0..1, growing.

    probability: (*space) 0..1. truth: (*space) bool. thresholds: (T,). The mask is probability >= threshold. None
    without a true voxel: nothing can be missed, and the promise is about patients that have something. Only the (T,)
    numbers of a case need to be kept, not its volume.
    """
    probability, truth = np.asarray(probability), np.asarray(truth, dtype=bool)
    if probability.shape != truth.shape:
        raise ValueError(f"probability is {probability.shape}, truth {truth.shape}")
    values = np.sort(probability[truth])
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    if not len(values):
        return None
    if not np.isfinite(values).all():
        raise ValueError("a probability is not finite")
    # in the voxels' own precision, as `probability >= threshold` would compare
    found: Array = np.searchsorted(values, np.asarray(thresholds).astype(values.dtype), side="left") / len(values)
    return found


def by_group(losses: Array, groups: Sequence[Hashable]) -> Array:
    """The mean loss of every group (patient): (n, T) -> (G, T), in order of first appearance."""
    losses = np.asarray(losses, dtype=np.float64)
    if len(losses) != len(groups):
        raise ValueError(f"{len(losses)} rows but {len(groups)} groups")
    codes, count = numbered(groups)
    sums = np.zeros((count, losses.shape[1]))
    np.add.at(sums, codes, losses)
    return sums / np.bincount(codes, minlength=count)[:, None]


def choose(
    losses: Array, thresholds: Array, risk: float, groups: Sequence[Hashable] | None = None, loss: str = MISSED
) -> Controlled:
    """The highest threshold with n / (n + 1) * mean loss + 1 / (n + 1) <= risk.

    losses: (cases, T), each 0..1 and not falling along the thresholds (T,), which rise. risk: wanted mean loss of a new
    patient, above 0 and below 1. groups: patient of each case; n counts patients, each with the mean of its cases.
    loss: what it is, for the sentence.
    """
    check_error(risk)
    losses, thresholds = np.asarray(losses, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    if losses.ndim != 2 or not losses.shape[1] or losses.shape[1:] != thresholds.shape:
        raise ValueError(f"expected (n, T) and (T,), got {losses.shape} and {thresholds.shape}")
    if not ((losses >= 0) & (losses <= 1)).all():
        raise ValueError("a loss lies outside 0..1")
    if (np.diff(thresholds) <= 0).any() or (np.diff(losses, axis=1) < -HAIR).any():
        raise ValueError("thresholds must rise, and losses must not fall along them")
    rows = losses if groups is None else by_group(losses, groups)
    n = len(rows)
    bounds = (rows.sum(axis=0) + 1) / (n + 1)
    held = np.flatnonzero(bounds <= risk + HAIR)
    if not len(held):
        return Controlled(None, None, risk, n, _refusal(n, risk, rows, loss))
    best = held[-1]
    sentence = (
        f"Promise: with the threshold {thresholds[best]:.4g} the {loss} is at most {100 * risk:g} % on average over "
        f"new patients (bound from {n} patients: {100 * bounds[best]:.3g} %). Assumption: the new patients are "
        f"exchangeable with these, that is, drawn in the same way. It is a promise about the mean, not about a single "
        f"patient."
    )
    return Controlled(float(thresholds[best]), float(bounds[best]), risk, n, sentence)


def _refusal(n: int, risk: float, rows: Array, loss: str) -> str:
    """Why no threshold keeps the risk."""
    if n < least(risk):
        return (
            f"{n} patients are too few to keep the {loss} below {100 * risk:g} %: at least {least(risk)} are needed, "
            f"even where none of them has any loss."
        )
    return (
        f"No threshold keeps the {loss} below {100 * risk:g} %: at the lowest one it is "
        f"{100 * rows[:, 0].mean():.3g} % on average over {n} patients."
    )
