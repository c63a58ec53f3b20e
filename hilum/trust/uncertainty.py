"""How much a model doubts its answer, from the probabilities of several members, and whether that finds its errors.

The entropy of the mean is all doubt; the mean of the entropies is what every member has by itself (noise in the data,
"aleatoric"); the difference, the mutual information, is how far members disagree (too little learned, "epistemic").
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hilum.core.image import Array


@dataclass(frozen=True)
class Entropies:
    """mean: probabilities in the shape of a member. total, expected, mutual: without the class axis, in nats.

    total = expected + mutual, and none is below 0. members, classes: how many.
    """

    mean: Array
    total: Array
    expected: Array
    mutual: Array
    members: int
    classes: int

    def normalised(self) -> tuple[Array, Array, Array]:
        """total, expected, mutual as shares of the most there can be, 0..1.

        That is log K of K classes; of mutual the logarithm of the fewer of classes and members.
        """
        most = np.log(self.classes)
        # of one member it is 0, and stays so
        apart = np.log(max(2, min(self.classes, self.members)))
        return self.total / most, self.expected / most, self.mutual / apart


@dataclass(frozen=True)
class RiskCoverage:
    """Mean loss of the surest cases, as more and more are answered.

    coverage: (n,) share answered, 1/n .. 1. risk: (n,) their mean loss. aurc: the mean of `risk` (lower is better);
    best: the same for a perfect order; a random order has the mean loss of all, `risk[-1]`.
    """

    coverage: Array
    risk: Array
    aurc: float
    best: float

    def accuracy(self, coverage: float) -> float:
        """Share right among the surest `coverage` (above 0, at most 1) of the cases, where losses are 0 or 1."""
        return 1 - float(self.risk[_count(coverage, len(self.risk)) - 1])


@dataclass(frozen=True)
class Referral:
    """What sending the `referred` least sure of `n` cases to a person does to the rest.

    before, after: mean loss of all cases, and of those kept (None where none is). random: of those kept when as many
    are sent at random, which is `before`. caught: share of the whole loss that is sent, None without any loss;
    caught_random: the same at random.
    """

    n: int
    referred: int
    before: float
    after: float | None
    random: float
    caught: float | None
    caught_random: float


def entropies(members: Iterable[Array], axis: int = -1) -> Entropies:
    """Decompose the doubt of several members about the same thing. One member is held at a time.

    members: arrays of one shape, each with the probabilities of K >= 2 classes along `axis`, or one array
    (M, ...) of them. float32 is kept, all else becomes float64.
    """
    from scipy.special import entr

    count, mean, expected = 0, np.zeros(0), np.zeros(0)
    for member in members:
        p = _probabilities(member, axis)
        own = entr(p).sum(axis=axis)
        if count and p.shape != mean.shape:
            raise ValueError(f"members are {mean.shape} and {p.shape}")
        mean, expected = (mean + p, expected + own) if count else (p, own)
        count += 1
    if not count:
        raise ValueError("no members")
    mean, expected = mean / count, expected / count
    # the mean of equal numbers may differ from them in the last bit
    total = np.maximum(entr(mean).sum(axis=axis), expected)
    return Entropies(mean, total, expected, total - expected, count, mean.shape[axis])


def _probabilities(member: Array, axis: int) -> Array:
    """Checked: finite, not negative, adding up to 1 along the axis."""
    p = np.asarray(member)
    p = p if p.dtype == np.float32 else p.astype(np.float64)
    if p.ndim < 1 or p.shape[axis] < 2:
        raise ValueError(f"expected two classes or more along axis {axis}, got {p.shape}")
    if not (p >= 0).all() or not np.allclose(p.sum(axis=axis), 1, atol=1e-3):
        raise ValueError("these are no probabilities: negative, not finite, or their sum is not 1")
    return p


def expected_dice(probability: Array, mask: Array, weights: Array | None = None) -> float | None:
    """The Dice to expect of a mask, without a reference, from voxel probabilities. An approximation.

    probability: (*space) 0..1, how likely a voxel is to belong. mask: (*space) bool. 2 sum(p in mask) / (sum(mask) +
    sum(p)): the ratio of the expectations of numerator and denominator in place of the expectation of the ratio, close
    for many voxels whose errors are independent. It is only as good as the calibration of the probabilities, and errors
    of neighbouring voxels are not independent. weights: (*space), of a sample, how many voxels each stands for. None
    where mask and probabilities are empty.
    """
    probability, mask = np.asarray(probability), np.asarray(mask, dtype=bool)
    if probability.shape != mask.shape:
        raise ValueError(f"probability is {probability.shape}, mask {mask.shape}")
    each = np.ones(mask.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    there = each * probability
    both = float(each[mask].sum()) + float(there.sum())
    return 2 * float(there[mask].sum()) / both if both > 0 else None


def risk_coverage(confidence: Array, wrong: Array) -> RiskCoverage | None:
    """The surest cases first. confidence: (n,), higher is surer. wrong: (n,) loss >= 0, for example 0 or 1, 1 - Dice.

    Cases of equal confidence share their mean loss: the curve to expect of any order among them. None without cases.
    """
    confidence, wrong = _pairs(confidence, wrong)
    n = len(wrong)
    if not n:
        return None
    _, codes = np.unique(-confidence, return_inverse=True)
    shared = np.bincount(codes, weights=wrong) / np.bincount(codes)
    steps = np.arange(1, n + 1)
    risk = np.cumsum(shared[np.sort(codes)]) / steps
    best = np.cumsum(np.sort(wrong)) / steps
    return RiskCoverage(steps / n, risk, float(risk.mean()), float(best.mean()))


def referral(confidence: Array, wrong: Array, share: float) -> Referral | None:
    """Send the least sure `share` (0..1) of the cases to a person. Arguments as of `risk_coverage`."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}")
    curve = risk_coverage(confidence, wrong)
    if curve is None:
        return None
    n, before = len(curve.risk), float(curve.risk[-1])
    kept = n - int(share * n + 1e-9)
    after = float(curve.risk[kept - 1]) if kept else None
    left = 0.0 if after is None else after * kept
    caught = 1 - left / (before * n) if before > 0 else None
    return Referral(n, n - kept, before, after, before, caught, (n - kept) / n)


def _count(coverage: float, n: int) -> int:
    """How many of n cases are at least that share."""
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage is {coverage}")
    return int(np.ceil(coverage * n - 1e-9))


def _pairs(confidence: Array, wrong: Array) -> tuple[Array, Array]:
    """Both (n,) float64, finite, losses not negative."""
    confidence, wrong = np.asarray(confidence, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    if confidence.ndim != 1 or confidence.shape != wrong.shape:
        raise ValueError(f"expected (n,) and (n,), got {confidence.shape} and {wrong.shape}")
    if not np.isfinite(confidence).all() or not (np.isfinite(wrong) & (wrong >= 0)).all():
        raise ValueError("a confidence or a loss is not finite, or a loss is negative")
    return confidence, wrong
