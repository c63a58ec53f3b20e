"""How unlike the training images an input is: by its own statistics, and by the features of the predicting network.

Five views: the most unusual feature of technical quality; small descriptions of the picture and of its texture, by the
distance of Mahalanobis; the network's features by the same, to the nearest class mean under one shared covariance (Lee
et al. 2018); and by the distance to the k-th nearest training image (Sun et al. 2022). They are joined by the harmonic
mean of their p values (Wilson 2019). An image counts for the share of held-out images that are less unlike. Seen are
another modality, another body part, a bad image; a disease that nobody has seen may well be taken for usual.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Image
from hilum.core.plan import Normalisation
from hilum.data.store import Prepared
from hilum.infer._pooled import pooled
from hilum.prepare.patches import cut, window_starts
from hilum.tasks._task import Task
from hilum.trust._description import input_statistics

if TYPE_CHECKING:
    from torch import nn

DESCRIBED = ("picture", "texture")
# Views by numbers without a network. Runs that learned what is usual before there was a view go without it.
LEAST = 20
# Images to learn from, and images held out, that are needed.
KEPT = 2000
# Training images, evenly chosen, whose network features are kept to find the nearest in.
NEIGHBOURS = 50
# The k-th nearest counts, k a twentieth of the images and at most this (the k of Sun et al. for large sets).
SAME = 1e-4
# Two feature vectors of length 1 that are nearer than this are of the same image.
WINDOWS = 4
# Of an image that the network sees in windows, so many are looked at.
USUAL = 0.99
# A share above this is called unlike: about one image in a hundred of the same kind is.
KNOTS = np.linspace(-2.4, 2.4, 17)
# Normal quantiles at which the values of each feature of the image in training are kept: skewed and heavy-tailed ones
# become normal. Features of a network have several peaks, one for a class, and are only scaled.
STEP = 0.3
# Of the least change of a feature of quality that counts, what is a standard deviation at least (see quality.BEYOND).


@dataclass(frozen=True)
class Score:
    """share: of held-out images that are less unlike the training images, 0..1. parts: the same of each view alone."""

    share: float
    parts: dict[str, float]


def views(
    task: Task,
    net: "nn.Module",
    case: Case,
    prepared: Prepared | None = None,
    known: Mapping[str, float] | None = None,
    features: Callable[[Sequence[Any]], Array] | None = None,
) -> dict[str, Array] | None:
    """{"quality", "picture", "texture", "network": (d,)} of a case, the last where the network has features.

    None of raw data. Of a pair both images are described. prepared: what the task made of the case, known: features of
    quality of its "image", where they are there already. features: as `network_features` of this network, faster.
    """
    items = {role: case.read(role) for role in ("image", "fixed", "moving") if role in case.items}
    if not items or not all(isinstance(item, Image) for item in items.values()):
        return None
    # the channels of a reconstruction are parts of a complex number, its image is a magnitude
    rules = [Normalisation(scheme="none")] if task.plan.task == "reconstruct" else task.plan.normalisation
    seen = [input_statistics(item, rules, known if role == "image" else None) for role, item in items.items()]
    found = {view: np.concatenate([one[view] for one in seen]) for view in seen[0]}
    if hasattr(net, "features") and hasattr(net, "head"):
        if prepared is None:
            prepared = task.prepare(replace(case, items={**case.items, **items}), truth=False)
        own = features or partial(network_features, net)
        found["network"] = np.mean([own(one) for one in _inputs(task, prepared)], axis=0)
    return found


def _inputs(task: Task, prepared: Prepared) -> Iterator[tuple[Any, ...]]:
    """A case as the network's arguments: whole, or some windows that are spread evenly, one at a time."""
    if task.CARD["infer"] != "windows":
        yield task.inputs(task.whole(prepared))
        return
    import torch

    image, patch = prepared["image"], task.plan.patch
    lines = [window_starts(n, p) for n, p in zip(image.shape[1:], patch, strict=True)]
    starts = list(itertools.product(*lines))
    few = np.unique(np.linspace(0, len(starts) - 1, WINDOWS).round().astype(np.int64))
    # an image smaller than the window lies in its middle
    pads = [max(0, (p - n) // 2) for n, p in zip(image.shape[1:], patch, strict=True)]
    for i in few:
        part = cut(image, [s - pad for s, pad in zip(starts[i], pads, strict=True)], patch)
        yield task.inputs({"image": torch.from_numpy(np.ascontiguousarray(part))[None]})


def network_features(net: "nn.Module", inputs: Sequence[Any]) -> Array:
    """(F,) float64: what the last layer of a network of the zoo reads, its mean over space and the batch.

    inputs: the network's arguments, tensors with a batch axis. The network has `features`, as those with `head` do.
    """
    import torch

    with torch.inference_mode():
        return pooled(net.features(*inputs))  # type: ignore[operator]


def mahalanobis(rows: Array, means: Array, precision: Array) -> Array:
    """(n,) distance of rows (n, d) to the nearest of the means (K, d). precision: (d, d), inverse of the covariance."""
    squares = [np.einsum("nd,nd->n", (rows - mean) @ precision, rows - mean) for mean in means]
    found: Array = np.sqrt(np.maximum(np.min(squares, axis=0), 0))
    return found


def neighbours(rows: Array, bank: Array) -> Array:
    """(n,) distance of rows (n, d) to their k-th nearest in the bank (m, d), all scaled to length 1.

    k: a twentieth of m, from 1 to NEIGHBOURS. A row of the bank that is the image itself, or its copy, does not count:
    asked for an image that was learned from, the others answer.
    """
    rows, bank = _unit(rows), _unit(bank)
    k = int(np.clip(len(bank) // 20, 1, NEIGHBOURS))
    apart = np.sqrt(np.maximum(2 - 2 * rows @ bank.T, 0))
    apart.sort(axis=1)
    copies = (apart < SAME).sum(axis=1)
    found: Array = np.take_along_axis(apart, np.minimum(copies + k - 1, len(bank) - 1)[:, None], axis=1)[:, 0]
    return found


def _unit(rows: Array) -> Array:
    """Rows of length 1."""
    rows = np.asarray(rows, dtype=np.float64)
    found: Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def fit(
    train: Mapping[str, Array], held: Mapping[str, Array], classes: Sequence[Any] | None = None
) -> dict[str, Array]:
    """What is usual, as {name: float32 array} for a safetensors file.

    train, held: {view: (n, d)}, the `views` of training images and of images held out from training (the validation
    part) in rows. classes: (n,) of the training images, where the network was taught any.
    Errors: HIL-TRUST-11 for fewer than LEAST in either, HIL-TRUST-12 where a feature is not finite.
    """
    for name, part in (("training", train), ("validation", held)):
        count = min(len(rows) for rows in part.values())
        if count < LEAST:
            raise HilumError(
                "HIL-TRUST-11", f"{count} {name} images can not say what is usual, {LEAST} are needed",
                "Train with more images, or go without a check for unlike inputs",
            )  # fmt: skip
    if any(not np.isfinite(rows).all() for part in (train, held) for rows in part.values()):
        raise HilumError("HIL-TRUST-12", "A feature of a training or validation image is not finite", "Train again")
    known = dict[str, Array]()
    if "quality" in train:
        known["quality.knots"] = _knots(train["quality"], np.full(train["quality"].shape[1], STEP))
    for view in [v for v in DESCRIBED if v in train]:
        spread = train[view].std(axis=0)
        known[f"{view}.knots"] = _knots(train[view], np.maximum(spread, max(float(np.median(spread)), 1e-3)) / 10)
        known |= _gaussian(view, normal(train[view], known[f"{view}.knots"]), None, 1.0)
    if "network" in train:
        known |= _gaussian("network", train["network"], classes, 0.1)
        few = np.linspace(0, len(train["network"]) - 1, min(KEPT, len(train["network"]))).astype(np.int64)
        known["neighbours.bank"] = _unit(train["network"][few])
    known = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in known.items()}
    apart = distances(known, held)
    known |= {f"{view}.held": np.sort(values).astype(np.float32) for view, values in apart.items()}
    known["joined.held"] = np.sort(_joined([_among(values) for values in apart.values()])).astype(np.float32)
    return known


def _gaussian(view: str, rows: Array, classes: Sequence[Any] | None, least: float) -> dict[str, Array]:
    """Scale of each feature, class means, and the inverse of the covariance that the classes share (Ledoit-Wolf).

    least: of the median deviation, that by which any feature may vary, were it ever the same in training.
    """
    from sklearn.covariance import LedoitWolf

    rows = np.asarray(rows, dtype=np.float64)
    named = [""] * len(rows) if classes is None else [str(c) for c in classes]
    codes = np.unique(named, return_inverse=True)[1]
    means = np.stack([rows[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
    rest = rows - means[codes]
    spread = rest.std(axis=0)
    scale = np.maximum(spread, max(least * float(np.median(spread)), 1e-6))
    covariance = LedoitWolf(assume_centered=True).fit(rest / scale).covariance_
    covariance += np.diag(1 - (spread / scale) ** 2)
    return {f"{view}.scale": scale, f"{view}.means": means / scale, f"{view}.precision": np.linalg.inv(covariance)}


def _knots(rows: Array, least: Array) -> Array:
    """(len(KNOTS), d): quantiles of every feature, apart by at least `least` for a deviation of 1, so that all rise."""
    from scipy.special import ndtr

    found: Array = np.quantile(np.asarray(rows, dtype=np.float64), ndtr(KNOTS), axis=0)
    step = least * (KNOTS[1] - KNOTS[0])
    middle = len(KNOTS) // 2
    for i in range(middle + 1, len(KNOTS)):
        found[i] = np.maximum(found[i], found[i - 1] + step)
        found[-1 - i] = np.minimum(found[-1 - i], found[-i] - step)
    return found


def normal(rows: Array, knots: Array) -> Array:
    """(n, d) as normal scores: linear between the knots (k, d), and beyond them as steep as their outer half."""
    rows, half = np.asarray(rows, dtype=np.float64), len(KNOTS) // 4
    found = np.empty_like(rows)
    for column, (values, own) in enumerate(zip(rows.T, np.asarray(knots, dtype=np.float64).T, strict=True)):
        slopes = (KNOTS[half] - KNOTS[0]) / np.array([own[half] - own[0], own[-1] - own[-1 - half]])
        below, above = np.minimum(values - own[0], 0) * slopes[0], np.maximum(values - own[-1], 0) * slopes[1]
        found[:, column] = np.interp(values, own, KNOTS) + below + above
    return found


def distances(known: Mapping[str, Array], rows: Mapping[str, Array]) -> dict[str, Array]:
    """{view: (n,)} distances of images by every view that is known. rows: as for `fit`, at least those it was given.

    A technical fault shows in one feature of quality, so that the most unusual one counts; in the others all together.
    """
    known, found = {name: array.astype(np.float64) for name, array in known.items()}, {}
    if "quality.knots" in known:
        found["quality"] = np.abs(normal(rows["quality"], known["quality.knots"])).max(axis=1)
    for view in [v for v in (*DESCRIBED, "network") if f"{v}.means" in known]:
        knots = known.get(f"{view}.knots")
        ready = (rows[view] if knots is None else normal(rows[view], knots)) / known[f"{view}.scale"]
        found[view] = mahalanobis(ready, known[f"{view}.means"], known[f"{view}.precision"])
    if "neighbours.bank" in known:
        found["neighbours"] = neighbours(rows["network"], known["neighbours.bank"])
    return found


def _surprise(values: Array, held: Array) -> Array:
    """(n,) -log(1 - share), where the share is that of the m sorted held-out values that are lower.

    Above all of them, where it is m / (m + 1), the rest halves again as it does from their median to the highest:
    an exponential tail, so that few held-out values do not hide what is far.
    """
    count, most, median = len(held), float(held[-1]), float(np.median(held))
    # of equal values none is more by rounding
    values = values * (1 - 1e-5)
    ratio = (values - median) / max(most - median, 1e-6)
    above = np.log(2) + ratio * np.log((count + 1) / 2)
    return np.where(values > most, above, -np.log1p(-np.searchsorted(held, values) / (count + 1)))


def _among(values: Array) -> Array:
    """(n,) surprise of held-out values among the others, each as if it were new."""
    order = np.argsort(values, kind="stable")
    found = _surprise(values, values[order][:-1])
    # only the highest is above all the others
    found[order[:-1]] = -np.log1p(-np.searchsorted(values[order], values[order[:-1]]) / len(values))
    return found


def _joined(parts: Sequence[Array]) -> Array:
    """(n,) surprise of several views together, minus the logarithm of the harmonic mean of their p values.

    A p value is 1 - share. It is near the smallest of them, whatever the views have in common, and smaller where two
    views are unusual than where one is (Wilson 2019, doi:10.1073/pnas.1814092116).
    """
    found: Array = np.logaddexp.reduce(np.stack(parts), axis=0) - np.log(len(parts))
    return found


def score(known: Mapping[str, Array], seen: Mapping[str, Array]) -> Score:
    """How unlike the training images one image is. known: of `fit`. seen: its `views`, with all that was fit.

    The more unlike by a view, the more that view counts. What the views give together is again compared with what the
    held-out images reach, as of several one is high more often than each.
    """
    apart = distances(known, {view: np.asarray(row)[None] for view, row in seen.items()})
    parts = {view: _surprise(value, known[f"{view}.held"]) for view, value in apart.items()}
    # runs that learned what is usual earlier know only of the highest
    most, held = (np.maximum.reduce, known["held"]) if "held" in known else (_joined, known["joined.held"])
    joined = float(_surprise(most(list(parts.values())), held)[0])
    return Score(_shared(joined), {view: _shared(float(part[0])) for view, part in parts.items()})


def _shared(surprise: float) -> float:
    """The share of a surprise."""
    return float(-np.expm1(-surprise))
