"""Scaling of class probabilities so that a stated 80 % is right in 80 of 100 cases: temperature, vector, prior shift.

Everything works on log(p), for softmax(log(p) / T) is softmax(logits / T): no logits need to be kept. Everything is
fitted on the validation part, and what comes after (prediction sets, the gate) uses `out_of_fold`, where no patient's
answer was scaled by a fit that has seen the patient. Models of an ensemble are averaged first and scaled after.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.data.groups import numbered
from hilum.metrics._scores import check_scores
from hilum.metrics.nll import FLOOR

Method = Literal["none", "temperature", "vector"]
Numbers = float | Sequence[float] | Array

LEAST_GROUPS = 10
# Patients below which nothing is fitted: a fold would hold one of them, and its cases alone would decide.
LEAST_OF_CLASS = 10
# Patients of every class below which vector scaling, two numbers for each class, is not tried.
HOTTEST = 20.0
# Temperatures lie in 1 / HOTTEST .. HOTTEST: a model without mistakes would be sharpened for ever.
SPREAD = 0.5
# Vector scaling takes scales near 1 and biases near 0 (standard deviation of a normal prior) for likely beforehand.


@dataclass(frozen=True)
class Choice:
    """What `choose` found. nll: out of fold, in nats, of every method tried. groups: patients. why: in words."""

    scaling: Scaling
    nll: dict[str, float]
    groups: int
    why: str


def log_softmax(scores: Array, axis: int = 1) -> Array:
    """log of the softmax of scores along one axis, float64."""
    from scipy.special import logsumexp

    scores = np.asarray(scores, dtype=np.float64)
    normal: Array = scores - logsumexp(scores, axis=axis, keepdims=True)
    return normal


def scaled(probabilities: Array, scale: Numbers, bias: Numbers = 0.0, axis: int = 1) -> Array:
    """softmax(scale * log(p) + bias), float64, of the same shape; temperature T is scale = 1 / T.

    probabilities: (n, K), or any shape with the K classes along `axis`. scale, bias: one number or K of them.
    Probabilities below 1e-12 are raised to it, as the metric nll does.
    """
    logs = np.log(np.clip(np.asarray(probabilities, dtype=np.float64), FLOOR, None))
    shape = [1] * logs.ndim
    shape[axis] = -1
    by, plus = (np.asarray(v, dtype=np.float64).reshape(shape) for v in (scale, bias))
    return np.exp(log_softmax(by * logs + plus, axis))


def fit_temperature(probabilities: Array, truth: Array, weights: Array | None = None) -> float:
    """The one T > 0 that minimises the NLL of softmax(log(p) / T), within 1/20 .. 20 (Guo et al. 2017).

    probabilities: (n, K), rows sum to 1. truth: (n,) class index. weights: (n,) >= 0 of the cases, all alike when not
    given. The order of the classes stays, so no answer changes. The NLL never rises on these cases: where no T lowers
    it, T is 1.
    """
    from scipy.optimize import minimize_scalar

    logs, truth, share = _ready(probabilities, truth, weights)

    def loss(log_t: float) -> float:
        return _nll(logs * np.exp(-log_t), truth, share)

    # NLL is convex in 1 / T, so it has one valley in log T
    edge = float(np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=(-edge, edge), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def fit_vector(probabilities: Array, truth: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """scale (K,) and bias (K,) of softmax(scale * log(p) + bias) by L-BFGS, pulled to scale 1 and bias 0.

    Arguments as for `fit_temperature`. The pull is a normal prior of standard deviation 0.5 on all 2 K numbers: scales
    of 0 to 2 and odds changed up to threefold are likely beforehand. It adds sum(change ** 2) / (2 * 0.5 ** 2) nats
    once, whatever the number of cases, so it rules where a class has a handful of cases and fades where it has
    hundreds. (Weights count as the number of equal cases that would be as certain: sum ** 2 / sum of squares.) The
    answer with the highest probability may change; the NLL of these cases never rises.
    """
    from scipy.optimize import minimize

    logs, truth, share = _ready(probabilities, truth, weights)
    k, pull = logs.shape[1], float(np.sum(share**2)) / SPREAD**2
    hit = np.eye(k)[truth]
    identity = np.concatenate([np.ones(k), np.zeros(k)])

    def loss(x: Array) -> tuple[float, Array]:
        normal = log_softmax(x[:k] * logs + x[k:])
        slope = share[:, None] * (np.exp(normal) - hit)
        away = x - identity
        value = -float(share @ normal[np.arange(len(truth)), truth]) + 0.5 * pull * float(away @ away)
        return value, np.concatenate([(slope * logs).sum(axis=0), slope.sum(axis=0)]) + pull * away

    bounds = [(1 / HOTTEST, HOTTEST)] * k + [(None, None)] * k
    found = minimize(loss, identity, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    best = found.x if found.fun <= loss(identity)[0] else identity
    return best[:k].copy(), best[k:].copy()


def fit(method: Method, probabilities: Array, truth: Array, weights: Array | None = None) -> Scaling:
    """The scaling of one method, fitted on these cases, as a run stores it."""
    if method == "temperature":
        return Scaling(method=method, scale=[1 / fit_temperature(probabilities, truth, weights)])
    if method == "vector":
        scale, bias = fit_vector(probabilities, truth, weights)
        return Scaling(method=method, scale=scale.tolist(), bias=bias.tolist())
    return Scaling()


def applied(scaling: Scaling, probabilities: Array, axis: int = 1) -> Array:
    """Probabilities as the scaling has them; as they are, in float64, where its method is "none"."""
    if scaling.method == "none":
        return np.array(probabilities, dtype=np.float64)
    return scaled(probabilities, scaling.scale, scaling.bias, axis)


def folds_of(groups: Sequence[Hashable], folds: int, seed: int) -> Array:
    """The fold 0..folds-1 of every case, (n,): whole groups, dealt out in random order; no more folds than groups."""
    if folds < 2:
        raise ValueError(f"{folds} folds")
    codes, count = numbered(groups)
    dealt = np.random.default_rng(seed).permutation(count) % min(folds, count)
    fold: Array = dealt[codes]
    return fold


def out_of_fold(
    probabilities: Array, truth: Array, groups: Sequence[Hashable], method: Method, folds: int = 5, seed: int = 0
) -> Array:
    """Every case scaled by a fit that has seen no case of its group, (n, K) float64.

    probabilities: (n, K). truth: (n,). groups: (n,) patient of each case. folds: 2 or more. Refused as by `refuse`.
    """
    probabilities, truth = _fits_groups(probabilities, truth, groups)
    refuse(truth, groups)
    out, fold = np.array(probabilities), folds_of(groups, folds, seed)
    for one in np.unique(fold):
        held = fold == one
        out[held] = applied(fit(method, probabilities[~held], truth[~held]), probabilities[held])
    return out


def refuse(truth: Array, groups: Sequence[Hashable]) -> None:
    """HIL-TRUST-02 with fewer than LEAST_GROUPS groups, HIL-TRUST-01 where only one class is seen."""
    if len(set(groups)) < LEAST_GROUPS:
        raise HilumError(
            "HIL-TRUST-02", f"The validation part has {len(set(groups))} patients; probabilities are scaled from "
            f"{LEAST_GROUPS} on", "Give it more patients, or use the probabilities as they are",
        )  # fmt: skip
    if len(np.unique(truth)) < 2:
        raise HilumError(
            "HIL-TRUST-01", f"All {len(truth)} validation cases have the same class, so nothing says how often another "
            "one is missed", "Put cases of every class into the validation part",
        )  # fmt: skip


def choose(probabilities: Array, truth: Array, groups: Sequence[Hashable], folds: int = 5, seed: int = 0) -> Choice:
    """None, temperature or vector scaling, by their out-of-fold NLL, then fitted on all cases.

    Arguments as for `out_of_fold`. The simpler one wins ties, and a tie is a gain of no more than one standard error
    over patients (Breiman et al. 1984). Vector is tried where every class has LEAST_OF_CLASS patients. A model without
    a mistake here stays as it is: nothing shows how sure it may be. Refused with one class or fewer than LEAST_GROUPS
    patients.
    """
    probabilities, truth = _fits_groups(probabilities, truth, groups)
    refuse(truth, groups)
    count, rows = len(set(groups)), np.arange(len(truth))

    def losses(method: Method) -> Array:
        logs: Array = -np.log(np.clip(out_of_fold(probabilities, truth, groups, method, folds, seed), FLOOR, None))
        return logs[rows, truth]

    best: Method = "none"
    tried = {"none": losses("none")}
    if (probabilities.argmax(axis=1) == truth).all():
        why = "The model makes no mistake on the validation part, so nothing shows how sure it may be: not scaled."
        return Choice(Scaling(), {"none": float(tried["none"].mean())}, count, why)
    for method in _methods(probabilities.shape[1], truth, groups):
        tried[method] = losses(method)
        if beats(tried[best] - tried[method], groups):
            best = method
    nll = {name: float(loss.mean()) for name, loss in tried.items()}
    said = ", ".join(f"{name} {value:.4f}" for name, value in nll.items())
    why = f"Out-of-fold NLL over {count} validation patients: {said}. Chosen: {best}; a tie goes to the simpler one."
    return Choice(fit(best, probabilities, truth), nll, count, why)


def beats(gain: Array, groups: Sequence[Hashable]) -> bool:
    """Whether the mean gain (n,) is above one standard error of it, counted over groups."""
    codes, g = numbered(groups)
    mean = float(np.mean(gain))
    if g < 2:
        return False
    spread = np.bincount(codes, weights=gain - mean)
    return mean > float(np.sqrt(g / (g - 1) * np.sum(spread**2))) / len(gain)


def with_prevalence(probabilities: Array, trained: Sequence[float], here: Sequence[float]) -> Array:
    """Probabilities for a place where the classes are more or less common: p * here / trained, summing to 1 again.

    For two classes logit(p) grows by the log of the odds ratio (Saerens et al. 2002). probabilities: (n, K). trained:
    (K,) share of each class that the probabilities were made for, above 0. here: (K,) share now. It holds where
    each class looks alike in both places. Shares that do not sum to 1 are refused (HIL-TRUST-03).
    For Python: no command asks for a prevalence, which only the place knows.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    old, new = (np.asarray(v, dtype=np.float64) for v in (trained, here))
    for name, share, low in (("trained", old, FLOOR), ("here", new, 0.0)):
        if share.shape != probabilities.shape[1:]:
            raise ValueError(f"{share.shape} shares for probabilities {probabilities.shape}")
        if not (np.isfinite(share).all() and (share >= low).all() and abs(share.sum() - 1) <= 1e-3):
            raise HilumError(
                "HIL-TRUST-03", f"The prevalence {name!r} is {share.tolist()}",
                "Give every class a share; they sum to 1, and none that the model was trained on is 0",
            )  # fmt: skip
    moved = np.clip(probabilities, FLOOR, None) * (new / old)
    return moved / moved.sum(axis=1, keepdims=True)


def _methods(k: int, truth: Array, groups: Sequence[Hashable]) -> list[Method]:
    """Simplest first."""
    of_class = [len({g for g, t in zip(groups, truth, strict=True) if t == c}) for c in range(k)]
    return ["temperature", "vector"] if min(of_class) >= LEAST_OF_CLASS else ["temperature"]


def _fits_groups(probabilities: Array, truth: Array, groups: Sequence[Hashable]) -> tuple[Array, Array]:
    if len(groups) != len(truth):
        raise ValueError(f"{len(truth)} cases but {len(groups)} groups")
    return check_scores(probabilities, truth)


def _ready(probabilities: Array, truth: Array, weights: Array | None) -> tuple[Array, Array, Array]:
    """log(p) (n, K), truth (n,), and the weights as shares that sum to 1."""
    probabilities, truth = check_scores(probabilities, truth)
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != truth.shape or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(f"weights {weights.shape} for {len(truth)} cases: one each, 0 or more, not all 0")
    return np.log(np.clip(probabilities, FLOOR, None)), truth, weights / weights.sum()


def _nll(scores: Array, truth: Array, share: Array) -> float:
    return -float(share @ log_softmax(scores)[np.arange(len(truth)), truth])
