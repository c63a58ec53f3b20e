"""Laws that a metric must keep, tried on generated cases; used by metric_properties.py and tests/metrics.

A law yields (metric, before, after) for one case. "worse": after comes from a strictly worse answer and must not be
better, nor undefined. "same": both must be equal. A law names the metrics that must keep it; what it yields of other
metrics is counted only, because their definition does not promise it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import metric_cases as make
import numpy as np
from metric_cases import Array, Random

from hilum.core import catalogue
from hilum.evaluation.bootstrap import interval
from hilum.tasks._task import headline_value

Value = float | None
Comparison = tuple[str, Value, Value]


def value(name: str, *arguments: Any) -> Value:
    """The metric of that name."""
    found: Value = catalogue.load("hilum.metrics", name).measure(*arguments)
    return found


def takes(kind: str) -> list[str]:
    """The metrics that take that."""
    return [name for name, card in catalogue.cards("hilum.metrics").items() if card["takes"] == kind]


MASKS, SCORES, BOXES = takes("masks"), takes("scores"), takes("boxes")
PROPER = ("accuracy", "balanced_accuracy", "brier", "nll")


def _masks(before: Array, after: Array, truth: Array, spacing: Any) -> Iterator[Comparison]:
    for name in MASKS:
        yield name, value(name, before, truth, spacing), value(name, after, truth, spacing)


def more_errors(rng: Random) -> Iterator[Comparison]:
    """Voxels lost from the truth and voxels added outside of it, the first errors inside the second."""
    shape, spacing = make.grid(rng)
    truth = make.blob(rng, shape)
    few, many = make.nested(rng, np.ones(shape, bool), 0.6)
    yield from _masks(truth ^ few, truth ^ many, truth, spacing)


def more_errors_on_one_side(rng: Random) -> Iterator[Comparison]:
    """The same, but only lost voxels (up to all), or only added ones."""
    shape, spacing = make.grid(rng)
    truth = make.blob(rng, shape)
    few, many = make.nested(rng, truth if rng.random() < 0.5 else ~truth, 1.0)
    yield from _masks(truth ^ few, truth ^ many, truth, spacing)


def a_false_piece_far_away(rng: Random) -> Iterator[Comparison]:
    """A false piece farther from everything than any present error."""
    near, far = make.blob(rng, (14, 14)), make.blob(rng, (14, 6))
    truth, mm = make.blob(rng, (14, 14)), float(rng.uniform(0.4, 2.5))
    gap, none = np.zeros((14, 24), bool), np.zeros((14, 6), bool)
    before, after = (np.hstack([near, gap, piece]) for piece in (none, far))
    yield from _masks(before, after, np.hstack([truth, gap, none]), (mm, mm))


def grown_or_shrunk(rng: Random) -> Iterator[Comparison]:
    """The truth grown, or shrunk, by whole voxels all around; the second time by at least two voxels more."""
    from scipy import ndimage

    flat = rng.random() < 0.7
    truth = np.pad(make.blob(rng, (14, 14) if flat else (7, 7, 7)), 7)
    mm = float(rng.uniform(0.4, 2.5))
    few = int(rng.integers(0, 4))
    more = int(rng.integers(few + 2, 7))
    if rng.random() < 0.5:
        distance = ndimage.distance_transform_edt(~truth)
        before, after = distance <= few, distance <= more
    else:
        distance = ndimage.distance_transform_edt(truth)
        before, after = distance > few, distance > more
    yield from _masks(before, after, truth, (mm,) * truth.ndim)


def _mean(cases: list[dict[str, Value]]) -> Value:
    """Classes within a case, then cases: as the evaluator does."""
    return interval([headline_value(c) for c in cases], ["one group"] * len(cases)).mean


def _by_class(name: str, found: Array, truth: Array, classes: Any, spacing: Any) -> dict[str, Value]:
    return {str(c): value(name, found == c, truth == c, spacing) for c in classes}


def dropped_structure(rng: Random) -> Iterator[Comparison]:
    """A structure that the truth has is not predicted in one of two cases; the mean over classes and cases."""
    cases = [make.label_maps(rng) for _ in range(2)]
    truth, found, classes, _ = cases[0]
    there = [c for c in range(1, classes + 1) if (truth == c).any() and (found == c).any()]
    if not there:
        return
    lost = int(rng.choice(there))
    for name in MASKS:
        first, second = (_by_class(name, f, t, range(1, k + 1), mm) for t, f, k, mm in cases)
        none = value(name, np.zeros_like(truth, dtype=bool), truth == lost, cases[0][3])
        yield name, _mean([first, second]), _mean([first | {str(lost): none}, second])


def dropped_object(rng: Random) -> Iterator[Comparison]:
    """Every found object that matches one true object is left out."""
    truth, found = make.objects(rng)
    pairs = [(t, f) for t in np.unique(truth[truth > 0]) for f in np.unique(found[(truth == t) & (found > 0)])]
    good = [(t, f) for t, f in pairs if 2 * ((truth == t) & (found == f)).sum() >= ((truth == t) | (found == f)).sum()]
    if good:
        lost = good[int(rng.integers(len(good)))][1]
        for name in takes("instances"):
            yield name, value(name, found, truth), value(name, np.where(found == lost, 0, found), truth)


def dropped_box(rng: Random) -> Iterator[Comparison]:
    """A candidate that finds a true box (IoU >= 0.5, its label) is left out."""
    from hilum.metrics._boxes import overlap

    cases = make.scans(rng)
    for scan in cases:
        for row, of in enumerate(scan["of"]):
            one, other = scan["boxes"][row : row + 1], scan["true_boxes"][of : of + 1]
            if of < 0 or scan["labels"][row] != scan["true_labels"][of] or overlap(one, other)[0, 0] < 0.5:
                continue
            kept = np.arange(len(scan["of"])) != row
            without = scan | {key: scan[key][kept] for key in ("boxes", "scores", "labels", "of")}
            changed = [without if s is scan else s for s in cases]
            for name in BOXES:
                yield name, value(name, cases), value(name, changed)
            return


def false_box(rng: Random) -> Iterator[Comparison]:
    """A box where nothing is, with any score, is added to one scan."""
    cases = make.scans(rng)
    d = cases[0]["boxes"].shape[1] // 2
    known = cases[0]["scores"]
    score = rng.choice(known) if len(known) and rng.random() < 0.3 else rng.random()
    more = make.changed(cases[0], make.far_boxes(rng, 1, d), np.array([score]), rng.integers(1, 3, 1))
    for name in BOXES:
        yield name, value(name, cases), value(name, [more, *cases[1:]])


def duplicate_box(rng: Random) -> Iterator[Comparison]:
    """A candidate is given twice, the second time with the same or a lower score."""
    cases = make.scans(rng)
    scan = cases[0]
    if not len(scan["of"]):
        return
    row = int(rng.integers(len(scan["of"])))
    score = scan["scores"][row] * rng.choice([1.0, rng.random()])
    more = make.changed(scan, scan["boxes"][row : row + 1], np.array([score]), scan["labels"][row : row + 1])
    for name in BOXES:
        yield name, value(name, cases), value(name, [more, *cases[1:]])


def more_wrong_row(rng: Random) -> Iterator[Comparison]:
    """In one row probability moves from the true class to another, up to all of it."""
    before, truth = make.scores(rng)
    row = int(rng.integers(len(truth)))
    other = int(rng.choice([k for k in range(before.shape[1]) if k != truth[row]]))
    after = before.copy()
    moved = before[row, truth[row]] * min(1.0, 1.2 * rng.random())
    after[row, truth[row]] -= moved
    after[row, other] += moved
    for name in SCORES:
        yield name, value(name, before, truth), value(name, after, truth)


def lost_row(rng: Random) -> Iterator[Comparison]:
    """A case gives no result and counts as quite sure of a wrong class."""
    before, truth = make.scores(rng)
    row, after = int(rng.integers(len(truth))), before.copy()
    after[row] = np.eye(before.shape[1])[(truth[row] + 1) % before.shape[1]]
    for name in SCORES:
        yield name, value(name, before, truth), value(name, after, truth)


def more_wrong_voxels(rng: Random) -> Iterator[Comparison]:
    """Probabilities of some foreground voxels fall, of some background voxels rise."""
    from hilum.metrics.pixel_auroc_pooled import counts

    truth = rng.random(80) < rng.uniform(0.1, 0.9)
    before = np.round(rng.random(80), int(rng.integers(1, 4)))
    chosen, share = rng.random(80) < 0.3, rng.random(80)
    after = np.where(chosen, np.where(truth, before * share, 1 - (1 - before) * share), before)
    other = counts(rng.random(40), rng.random(40) < 0.5)
    yield "pixel_auroc", value("pixel_auroc", before, truth), value("pixel_auroc", after, truth)
    pooled = (value("pixel_auroc_pooled", [counts(p, truth), other]) for p in (before, after))
    yield "pixel_auroc_pooled", next(pooled), next(pooled)


def more_noise(rng: Random) -> Iterator[Comparison]:
    """The same error picture, larger everywhere by one factor."""
    shape = (int(rng.integers(8, 16)), int(rng.integers(8, 16)))
    truth = rng.random(shape) ** 2
    error = rng.normal(size=shape) * rng.uniform(0.01, 0.3) + rng.normal() * 0.05
    factor = rng.uniform(1, 5)
    for name in takes("pictures"):
        yield name, value(name, truth + error, truth), value(name, truth + factor * error, truth)


def order_of_cases(rng: Random) -> Iterator[Comparison]:
    """The same cases in another order."""
    from hilum.metrics.pixel_auroc_pooled import counts

    p, truth = make.scores(rng)
    order = rng.permutation(len(truth))
    for name in SCORES:
        yield name, value(name, p, truth), value(name, p[order], truth[order])
    cases = make.scans(rng)
    shuffled = [cases[i] for i in rng.permutation(len(cases))]
    for name in BOXES:
        yield name, value(name, cases), value(name, shuffled)
    masks = [(make.blob(rng, (9, 9)), make.blob(rng, (9, 9))) for _ in range(3)]
    for name in MASKS:
        values = [{"": value(name, found, real, (1.0, 0.6))} for found, real in masks]
        yield name, _mean(values), _mean(values[::-1])
    images = [counts(rng.random(30), rng.random(30) < 0.4) for _ in range(3)]
    yield "pixel_auroc_pooled", value("pixel_auroc_pooled", images), value("pixel_auroc_pooled", images[::-1])
    made, real = rng.normal(size=(12, 4)), rng.normal(size=(15, 4)) + 0.5
    for name in takes("features"):
        yield name, value(name, made, real), value(name, rng.permutation(made), rng.permutation(real))


def names_of_classes(rng: Random) -> Iterator[Comparison]:
    """Classes, labels and numbers of objects are called otherwise, in truth and answer alike."""
    p, truth = make.scores(rng)
    new = rng.permutation(p.shape[1])
    for name in SCORES:
        yield name, value(name, p, truth), value(name, p[:, np.argsort(new)], new[truth])
    cases = make.scans(rng)
    words = np.array([0, 7, 3])
    renamed = [s | {"labels": words[s["labels"]], "true_labels": words[s["true_labels"]]} for s in cases]
    for name in BOXES:
        yield name, value(name, cases), value(name, renamed)
    real, found, classes, mm = make.label_maps(rng)
    other = np.concatenate([[0], rng.permutation(classes) + 1])
    for name in MASKS:
        before = _by_class(name, found, real, range(1, classes + 1), mm)
        after = _by_class(name, other[found], other[real], range(1, classes + 1), mm)
        yield name, _mean([before]), _mean([after])
    real, found = make.objects(rng)
    numbers = np.concatenate([[0], rng.permutation(60) + 1])
    for name in takes("instances"):
        yield name, value(name, found, real), value(name, numbers[found], numbers[real])


class Law(NamedTuple):
    """kind: "worse" or "same". keep: the metrics that must keep it; None: all that it yields."""

    make: Callable[[Random], Iterator[Comparison]]
    kind: str
    keep: tuple[str, ...] | None


LAWS = (
    Law(more_errors, "worse", ("dice",)),
    Law(more_errors_on_one_side, "worse", ("dice", "volume_error_ml")),
    Law(a_false_piece_far_away, "worse", ("dice", "hd95_mm", "nsd_1mm")),
    Law(grown_or_shrunk, "worse", None),
    Law(dropped_structure, "worse", ("dice", "hd95_mm", "nsd_1mm")),
    Law(dropped_object, "worse", None),
    Law(dropped_box, "worse", ("ap50", "froc")),
    Law(false_box, "worse", None),
    Law(duplicate_box, "worse", None),
    Law(more_wrong_row, "worse", (*PROPER, "auroc")),
    Law(lost_row, "worse", PROPER),
    Law(more_wrong_voxels, "worse", None),
    Law(more_noise, "worse", ("psnr_db", "nmse")),
    Law(order_of_cases, "same", None),
    Law(names_of_classes, "same", None),
)
