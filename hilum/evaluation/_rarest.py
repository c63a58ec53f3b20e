"""What a metric of a whole set rests on: not on all groups where it is a mean over classes, or about lesions alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hilum.evaluation.bootstrap import FEW, Estimate
from hilum.metrics import _names
from hilum.tasks._task import Judged

OVER_CLASSES = ("balanced_accuracy", "macro_f1", "auroc", "ap50", "map")
# Every class weighs alike in these, however few cases it has.

Function = Callable[[list[Any]], float | None]


def groups(name: str, judged: Sequence[Judged]) -> int:
    """Groups that the metric's value rests on: of a mean over classes those of the rarest one, of boxes those with any.

    Of the pooled voxels of all images those with foreground. judged: cases that the metric counts. An accuracy, or how
    probable the truth was, rests on all of them.
    """
    takes = _names.card(name)["takes"]
    if takes == "counts":
        return len({j.group for j in judged if j.record[1].any()})
    everyone = {j.group for j in judged}
    of_class: dict[Any, set[str]] = {}
    for one in judged if takes in ("scores", "boxes") else ():
        for label in [one.record[1]] if takes == "scores" else np.unique(one.record["true_labels"]).tolist():
            of_class.setdefault(label, set()).add(one.group)
    if of_class and _names.split(name)[0] in OVER_CLASSES:
        return min(len(own) for own in of_class.values())
    if of_class and takes == "boxes":
        return len(set[str]().union(*of_class.values()))
    return len(everyone)


def enough(estimate: Estimate, groups: int) -> Estimate:
    """The estimate as one of so many groups: with fewer than FEW there is no interval but the one without width.

    Draws of many groups, few of which have the rarest class, leave the range of what those few gave no more than draws
    of these few alone would.
    """
    wide = estimate.low != estimate.high
    rested = replace(estimate, groups=groups)
    return replace(rested, low=None, high=None) if groups < FEW and wide else rested


def spared(estimate: Estimate, name: str, judged: Sequence[Judged]) -> Estimate:
    """The estimate of a balanced accuracy, wider by what classes without one mistake (or one hit) leave open.

    No draw has a mistake in such a class, so that its part of the interval would have no width: six of six right only
    rule out a share below 0.54 (the exact binomial limit for the groups of that class). Other metrics stay as they are.
    """
    if _names.split(name)[0] != "balanced_accuracy" or estimate.low is None or estimate.high is None:
        return estimate
    if estimate.low == estimate.high:
        return estimate
    right: dict[int, list[bool]] = {}
    within: dict[int, set[str]] = {}
    for one in judged:
        scores, truth = one.record
        right.setdefault(truth, []).append(int(np.argmax(scores)) == truth)
        within.setdefault(truth, set()).add(one.group)
    open_ = {k: (1 - 0.025 ** (1 / len(within[k]))) / len(right) for k in right}
    low = estimate.low - sum(open_[k] for k in right if all(right[k]))
    high = estimate.high + sum(open_[k] for k in right if not any(right[k]))
    return replace(estimate, low=max(0.0, low), high=min(1.0, high))


def whole(name: str, function: Function, records: Sequence[Any]) -> Function:
    """The metric, undefined for records that lack a class which `records` have: it would be a mean over other classes.

    A draw without its hardest class flatters, and raises the upper end of an interval. Other metrics stay as they are.
    records: of scores (probabilities, class); of boxes as the metric's `prepare` makes them.
    """
    takes = _names.card(name)["takes"]
    if takes not in ("scores", "boxes") or _names.split(name)[0] not in OVER_CLASSES:
        return function
    classes = _of_scores if takes == "scores" else _of_boxes
    wanted = classes(records)
    return lambda some: function(some) if wanted <= classes(some) else None


def _of_scores(records: Sequence[Any]) -> set[Any]:
    """The true classes."""
    return {record[1] for record in records}


def _of_boxes(records: Sequence[Any]) -> set[Any]:
    """Classes with a true box. records: `ap50.Matched`, or lists of them by threshold, whose true boxes are alike."""
    matched = (record[0] if isinstance(record, list) else record for record in records)
    return {label for one in matched for label, (_, _, real) in one.items() if real}
