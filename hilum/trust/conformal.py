"""Prediction sets and intervals that hold the truth as often as promised: split conformal prediction.

What calibrates has not trained, and the points are exchangeable with those to come: so one point per patient, for the
images of one patient are not exchangeable with those of another (`one_per_group`). Sources: Vovk et al. 2005; Sadinle
et al. 2019 (LAC); Romano et al. 2020 (APS); Angelopoulos et al. 2021 (RAPS) and 2023 ("A gentle introduction").
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array

Score = Callable[[Array], Array]
# Probabilities (n, K) -> how ill each class fits, (n, K); higher fits worse.

LEAST_CASES = 10
# Of a group, below which its coverage is not told apart from chance.
HAIR = 1e-9
# 10 * (1 - 0.7) is 3.0000000000000004, and its ceiling must be 3.


@dataclass(frozen=True)
class Covered:
    """How sets did on `n` cases. coverage: share that holds the truth. size: mean number of classes.

    classes: coverage of the cases of each true class, None without any. worst, worst_coverage: the group with the
    lowest coverage among those of LEAST_CASES cases or more; None without groups of that size.
    """

    n: int
    coverage: float
    size: float
    classes: tuple[float | None, ...]
    worst: str | None
    worst_coverage: float | None


def check_error(error: float) -> None:
    """Refuse a share of errors outside 0..1, both excluded (HIL-TRUST-05)."""
    if not 0 < error < 1:
        raise HilumError("HIL-TRUST-05", f"The share of errors allowed is {error}", "Give one above 0 and below 1")


def _rank(n: int, error: float) -> int:
    """Which of n sorted scores is the threshold, counted from 1; above n: none of them."""
    check_error(error)
    return max(1, math.ceil((n + 1) * (1 - error) - HAIR))


def least(error: float) -> int:
    """The fewest calibration points with which anything can be promised: 9 for an error of 0.1."""
    check_error(error)
    return math.ceil((1 - error) / error - HAIR)


def quantile(scores: Array, error: float) -> float:
    """The ceil((n + 1) (1 - error))-th smallest of the scores (n,); infinity where that is more than n.

    A new exchangeable score is at most that with probability 1 - error or more, and, where scores do not tie, at most
    1 / (n + 1) more. Scores may be infinite, not NaN.
    """
    scores = np.sort(np.asarray(scores, dtype=np.float64))
    if scores.ndim != 1 or np.isnan(scores).any():
        raise ValueError(f"expected (n,) numbers, got {scores.shape} or NaN")
    rank = _rank(len(scores), error)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


def one_per_group(scores: Array, groups: Sequence[Hashable], seed: int = 0) -> Array:
    """One random score of every group (patient), (G,): then points are exchangeable, and the promise is per patient.

    scores: (n,). Which case of a patient is taken depends on `seed` only, not on the scores.
    """
    scores = np.asarray(scores)
    if scores.shape != (len(groups),):
        raise ValueError(f"{scores.shape} scores but {len(groups)} groups")
    chosen: dict[Hashable, int] = {}
    for place in np.random.default_rng(seed).permutation(len(scores)).tolist():
        chosen.setdefault(groups[place], place)
    return scores[sorted(chosen.values())]


def _checked(probabilities: Array) -> Array:
    """(n, K) float64, rows of probabilities; anything else is refused."""
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not (p >= 0).all() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise ValueError(f"expected probabilities (n, K) whose rows add up to 1, got {p.shape}")
    return p


def lac(probabilities: Array) -> Array:
    """1 - p of every class, (n, K) -> (n, K): the smallest sets on average."""
    return 1 - _checked(probabilities)


def aps(probabilities: Array, chance: Array | None = None) -> Array:
    """Probability of all classes before a class, the likeliest first, (n, K) -> (n, K): larger sets for hard cases.

    chance: (n,) independent uniform numbers 0..1, by which a share (1 - chance) of the class's own probability is
    added, so that coverage is exact (Romano's randomised score). Without it none is, so that the likeliest class has
    score 0 and is in every set.
    """
    p = _checked(probabilities)
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    if chance is not None:
        before = before + (1 - np.asarray(chance, dtype=np.float64))[:, None] * ranked
    scores = np.empty_like(p)
    # adding up may leave a hair below 0
    np.put_along_axis(scores, order, np.maximum(before, 0), axis=1)
    return scores


def sets(probabilities: Array, threshold: float, score: Score = lac) -> Array:
    """Which classes are in each set: probabilities (n, K) -> (n, K) bool. threshold: of `quantile`, may be infinite.

    score: the same function that calibrated; one with `chance` needs fresh numbers, not those of the calibration. The
    likeliest class is in every set, whatever the threshold: it can only raise the coverage, and no set is empty.
    """
    inside: Array = score(probabilities) <= threshold
    inside[np.arange(len(inside)), np.argmax(probabilities, axis=1)] = True
    return inside


def of_truth(scores: Array, truth: Array) -> Array:
    """The scores (n, K) of the true classes (n,), which calibrate: (n,)."""
    return np.asarray(scores)[np.arange(len(truth)), np.asarray(truth, dtype=np.int64)]


def covered(inside: Array, truth: Array, groups: Sequence[Hashable] | None = None) -> Covered | None:
    """How sets (n, K) bool did for true classes (n,). groups: (n,) site, scanner, sex, ...; None without cases."""
    inside, truth = np.asarray(inside, dtype=bool), np.asarray(truth, dtype=np.int64)
    if inside.ndim != 2 or truth.shape != inside.shape[:1] or (groups is not None and len(groups) != len(truth)):
        raise ValueError(f"expected (n, K), (n,) and (n,), got {inside.shape}, {truth.shape}")
    if not len(truth):
        return None
    held, sizes = of_truth(inside, truth), inside.sum(axis=1)
    by_class = [held[truth == k] for k in range(inside.shape[1])]
    names = np.array([str(g) for g in groups]) if groups is not None else np.zeros(0, dtype=str)
    large = [name for name in np.unique(names) if (names == name).sum() >= LEAST_CASES]
    shares = [(float(held[names == name].mean()), str(name)) for name in large]
    worst = min(shares, default=None)
    return Covered(
        len(truth), float(held.mean()), float(sizes.mean()),
        tuple(float(h.mean()) if len(h) else None for h in by_class), worst and worst[1], worst and worst[0],
    )  # fmt: skip


def coverage_band(n: int, m: int, error: float, level: float = 0.95) -> tuple[float, float]:
    """Between which shares the coverage of `m` new points lies, with probability `level` or more, when all is well.

    n: points that calibrated. Exact for scores without ties: the covered ones are beta-binomial (k, n + 1 - k), k the
    rank of the threshold; the calibration draw and the test draw are both in it. Ties, and likeliest classes that
    are in their sets all the same (`sets`), raise the coverage.
    """
    from scipy.stats import betabinom

    if m < 1 or not 0 < level < 1:
        raise ValueError(f"m is {m} and level {level}")
    rank = _rank(n, error)
    if rank > n:
        return 1.0, 1.0
    below = np.cumsum(betabinom.pmf(np.arange(m + 1), m, rank, n + 1 - rank))
    ends = np.searchsorted(below, [(1 - level) / 2, (1 + level) / 2])
    return int(ends[0]) / m, min(int(ends[1]), m) / m


def interval(
    value: float, width: float, scale: float = 1.0, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    """Ends of the interval around `value`. width: in multiples of `scale`. low, high: what is possible.

    Cutting at what is possible (a volume of at least 0, an SSIM of at most 1) loses no coverage.
    """
    return max(low, value - width * scale), min(high, value + width * scale)


def guarantee(error: float, n: int, what: str = "the true class is in the set", fitted: str = "") -> str:
    """The promise and what it rests on, in plain words. n: patients that calibrated. fitted: of `promises.fitted`."""
    wanted = f"{100 * (1 - error):g} %"
    if n < least(error):
        return (
            f"{n} calibration patients are too few to promise that {what} for {wanted} of patients, so nothing is "
            f"left out. At least {least(error)} are needed."
        )
    besides = f"; and {fitted}" if fitted else ""
    return (
        f"Promise: for at least {wanted} of new patients {what}, on average over calibration parts like this one of "
        f"{n} patients. Assumption: the new patients are exchangeable with these, that is, drawn in the same way: the "
        f"same hospitals, scanners, protocols and mix of diseases{besides}. It is a promise about all patients "
        f"together (marginal), not about a single patient, a single class or a subgroup."
    )
