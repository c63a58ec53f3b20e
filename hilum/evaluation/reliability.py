"""Is a stated 80 % right in 80 of 100 cases? Bins with intervals, ECE beside what chance alone gives, Brier's parts.

Cases are taken as independent, but for the bins and the null value of the ECE where these are told of which group
(patient) each case is.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hilum.core.image import Array
from hilum.data.groups import numbered
from hilum.evaluation.bootstrap import FEW, interval_of_set
from hilum.metrics._scores import check_scores
from hilum.metrics.ece import BINS, calibration_error
from hilum.metrics.nll import FLOOR

RESAMPLES = 500
# Of a bin whose cases hang together.
_BLOCK = 1 << 22
# Most numbers drawn at once, so that memory stays flat in the number of cases.


class Bin(NamedTuple):
    """Cases with a confidence in (low, high]. What an empty bin does not have is None.

    n: cases. confidence: their mean confidence. share: of them that were right, with its 95 % interval (None of too
    few groups, where cases hang together).
    """

    low: float
    high: float
    n: int
    confidence: float | None
    share: float | None
    share_low: float | None
    share_high: float | None


@dataclass(frozen=True)
class Decomposition:
    """Brier score = reliability - resolution + uncertainty + within, each on the scale 0..2 of the metric brier.

    reliability: distance of stated from observed, lower is better. resolution: how bins differ from the mean, higher
    is better. uncertainty: of the classes themselves. within: what the bins hide; 0 for forecasts equal within bins.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float


@dataclass(frozen=True)
class Slope:
    """Logistic regression of the outcome on logit(p): slope below 1 is too sure, intercept is then beside it.

    large: the intercept with the slope held at 1 (calibration in the large); above 0 the probabilities are too low.
    """

    slope: float
    intercept: float
    large: float


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share of n >= 1 independent cases (Wilson 1927), within 0..1."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 + level / 2))
    share, wide = right / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / wide
    half = z / wide * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    # rounding must not leave an observed 0 or 1 outside
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


def reliability(
    confidence: Array,
    correct: Array,
    bins: int = BINS,
    equal_mass: bool = False,
    groups: Sequence[Hashable] | None = None,
) -> list[Bin]:
    """The rows of a reliability diagram.

    confidence: (n,) 0..1, of the answer or of one class. correct: (n,) bool, whether the answer was right or the class
    was there. bins: (low, high], equally wide, the empty ones too; or with about as many cases in each, where equal
    confidences stay together and so there may be fewer bins. groups: (n,) patient of each case; where any has several,
    intervals draw whole patients anew.
    """
    confidence, correct = _checked(confidence, correct)
    edges = _edges(confidence, bins, equal_mass)
    place, count = _places(confidence, edges), len(edges) - 1
    n = np.bincount(place, minlength=count)
    stated = np.bincount(place, weights=confidence, minlength=count)
    right = np.bincount(place, weights=correct, minlength=count)
    together = None if groups is None or len(set(groups)) == len(groups) else numbered(groups)[0]
    rows = []
    for k in range(count):
        ends = float(edges[k]), float(edges[k + 1])
        if n[k]:
            share, own = float(right[k] / n[k]), place == k
            doubt = wilson(int(right[k]), int(n[k])) if together is None else _of_groups(correct[own], together[own])
            rows.append(Bin(*ends, int(n[k]), float(stated[k] / n[k]), share, *doubt))
        else:
            rows.append(Bin(*ends, 0, None, None, None, None))
    return rows


def _of_groups(correct: Array, groups: Array) -> tuple[float, float] | tuple[None, None]:
    """Interval of the share of one bin's cases, whole groups drawn anew; None with fewer than FEW of them.

    Where all are right, or all wrong, no draw differs: as many groups as independent cases say what that leaves open.
    """
    count = len(np.unique(groups))
    if count < FEW:
        return None, None
    if correct.all() or not correct.any():
        return wilson(count if correct.all() else 0, count)
    found = interval_of_set(correct.tolist(), groups.tolist(), lambda drawn: sum(drawn) / len(drawn), RESAMPLES)
    assert found.low is not None and found.high is not None  # there are groups enough
    return found.low, found.high


def expected_error(rows: Sequence[Bin]) -> float | None:
    """ECE of the rows: the mean distance of stated and observed, each bin by its cases; None without cases."""
    gaps = [(r.n, abs(r.share - r.confidence)) for r in rows if r.share is not None and r.confidence is not None]
    return sum(n * gap for n, gap in gaps) / sum(n for n, _ in gaps) if gaps else None


def ece_null(
    confidence: Array, bins: int = BINS, resamples: int = 1000, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> tuple[float, float]:
    """(mean, upper 95 % limit) of the ECE that a perfectly calibrated model with these confidences shows by chance.

    confidence: (n >= 1,) 0..1. Every resample draws right or wrong for each case with its confidence as the chance
    (Vaicenavicius et al. 2019). An ECE below the limit is no evidence against the model. groups: (n,) patient of each
    case, whose cases share one draw: right or wrong together, the most that they can hang together.
    """
    confidence, _ = _checked(confidence, np.zeros(len(confidence)))
    if not len(confidence):
        raise ValueError("no cases")
    rng, found = np.random.default_rng(seed), list[float]()
    order = np.argsort(confidence, kind="stable")
    stated = confidence[order]
    codes, count = (np.arange(len(stated)), len(stated)) if groups is None else numbered([groups[i] for i in order])
    place = _places(stated, _edges(stated, bins, False))
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    step = max(1, _BLOCK // len(stated))
    for done in range(0, resamples, step):
        drawn = rng.random((min(step, resamples - done), count))[:, codes] < stated
        gaps = np.add.reduceat(drawn - stated, starts, axis=1)
        found += (np.abs(gaps).sum(axis=1) / len(stated)).tolist()
    return float(np.mean(found)), float(np.quantile(found, 0.95))


def classwise_ece(probabilities: Array, truth: Array, bins: int = BINS) -> Array | None:
    """ECE of each class's own probability against whether the class was there, (K,); its mean is the class-wise ECE.

    probabilities: (n, K), rows sum to 1. truth: (n,) class index (Kull et al. 2019). None without cases.
    """
    probabilities, truth = check_scores(probabilities, truth)
    if not truth.size:
        return None
    columns = range(probabilities.shape[1])
    return np.array([calibration_error(probabilities[:, k], truth == k, bins) for k in columns])


def brier_decomposition(probabilities: Array, truth: Array, bins: int = BINS) -> Decomposition | None:
    """The parts of the Brier score (Murphy 1973), summed over classes; None without cases.

    probabilities: (n, K). truth: (n,). Each class's probabilities go into equally wide bins and stand there for their
    mean; `within` is what that leaves out (Stephenson et al. 2008), so the four parts always make up the metric brier.
    """
    probabilities, truth = check_scores(probabilities, truth)
    if not truth.size:
        return None
    parts = np.zeros(4)
    for k in range(probabilities.shape[1]):
        p, y = probabilities[:, k], (truth == k).astype(np.float64)
        place = _places(p, _edges(p, bins, False))
        n = np.maximum(np.bincount(place, minlength=bins), 1)
        stated = (np.bincount(place, weights=p, minlength=bins) / n)[place]
        seen = (np.bincount(place, weights=y, minlength=bins) / n)[place]
        within = np.mean((p - y) ** 2) - np.mean((stated - y) ** 2)
        parts += [np.mean((stated - seen) ** 2), np.mean((seen - y.mean()) ** 2), y.mean() * (1 - y.mean()), within]
    return Decomposition(*parts.tolist())


def slope(probability: Array, outcome: Array) -> Slope | None:
    """Calibration slope and intercept for two classes (Cox 1958), as TRIPOD+AI asks; 1 and 0 are perfect.

    probability: (n,) of the positive class, kept 1e-12 away from 0 and 1. outcome: (n,) 0 or 1. None where there is no
    such line: one outcome only, one probability only, or a threshold that parts the outcomes without a mistake.
    """
    from scipy.optimize import brentq, minimize
    from scipy.special import expit, logit

    probability, outcome = _checked(probability, outcome)
    x = logit(np.clip(probability, FLOOR, 1 - FLOOR))
    yes, no = x[outcome == 1], x[outcome == 0]
    if not len(yes) or not len(no) or x.min() == x.max() or no.max() <= yes.min() or yes.max() <= no.min():
        return None
    # in units of the spread, so that both numbers are of one size
    middle, spread = float(x.mean()), float(x.std())
    unit = (x - middle) / spread

    def loss(line: Array) -> tuple[float, Array]:
        score = line[0] + line[1] * unit
        away = expit(score) - outcome
        return float(np.mean(np.logaddexp(0.0, score) - outcome * score)), np.array([away.mean(), (away * unit).mean()])

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}).x
    steep = float(found[1] / spread)
    large = brentq(lambda a: float(np.mean(expit(x + a) - outcome)), -100.0, 100.0, xtol=1e-10)
    return Slope(steep, float(found[0] - steep * middle), float(large))


def _checked(confidence: Array, correct: Array) -> tuple[Array, Array]:
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidence.ndim != 1 or confidence.shape != correct.shape:
        raise ValueError(f"expected (n,) and (n,), got {confidence.shape} and {correct.shape}")
    if not (np.isfinite(confidence).all() and (confidence >= 0).all() and (confidence <= 1 + 1e-9).all()):
        raise ValueError("a confidence lies outside 0..1")
    if not np.isin(correct, (0, 1)).all():
        raise ValueError("right or wrong is 1 or 0")
    return confidence, correct


def _edges(confidence: Array, bins: int, equal_mass: bool) -> Array:
    """Ends of the bins, (count + 1,), rising."""
    if bins < 1:
        raise ValueError(f"{bins} bins")
    if not equal_mass or not len(confidence):
        return np.linspace(0.0, 1.0, bins + 1)
    # the k-th edge is the confidence at which k / bins of the cases are reached, in whole numbers
    reached = -(-np.arange(1, bins) * len(confidence) // bins) - 1
    inner = np.unique(np.sort(confidence)[reached])
    inner = inner[(inner > 0) & (inner < confidence.max())]
    return np.concatenate([[0.0], inner, [1.0]])


def _places(confidence: Array, edges: Array) -> Array:
    """The bin of each confidence, (low, high]; 0 itself belongs to the first."""
    return np.searchsorted(edges[1:-1], confidence, side="left")
