"""What is promised of single results with a stated error: wide masks that miss little, intervals for measurements.

Measured on the image's own grid, as a user would. The probabilities are the network's own, or the mean of several
opinions: nothing that was fitted to the same patients comes between, so that the promise holds.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.calibration import Calibration, Interval, Wide
from hilum.core.findings import Mask, Result
from hilum.core.image import Array, Case
from hilum.core.plan import ClassPlan
from hilum.infer.predictor import Opinion
from hilum.infer.streamed import mapped
from hilum.metrics import _names
from hilum.tasks._labels import judged_channels, stored, unnamed
from hilum.tasks._task import Task
from hilum.trust import conformal, risk_control

if TYPE_CHECKING:
    from torch import Tensor

THRESHOLDS = np.geomspace(1e-4, 0.5, 60)
# Of a class's probability; from 0.5 on a voxel is found anyway.
BLOCK = 1 << 22
# Voxels counted at a time.
FLOOR = 0.1
# Share of the median that is added to a measurement where its error is told in multiples of it: small ones are not
# promised to be exact.
FOUND = "; of a volume, area or number among patients in whom it was found"
BOTH = (
    "; of a volume, area or number it was learned of patients with and without it together, and may be too narrow for "
    "those who have it: calibrate the run again"
)
# What is added to the promise of intervals: as they are learned now, and as they were before.
FITTED = "{}, fitted on these patients too, does for new ones what it did for these while they were held out"
# What a promise assumes besides, where the answer to a new patient goes through a fit.


@dataclass(frozen=True)
class Held:
    """What one validation case holds. measured: {what: (found, true, unit)}. missed: {class: (T,) or None}."""

    measured: dict[str, tuple[float, float, str]]
    missed: dict[str, Array | None]


def held(task: Task, opinion: Opinion, case: Case) -> Held:
    """A segmented case against its truth. missed: share of true voxels below each of THRESHOLDS that was not found."""
    missed: dict[str, Array | None] = {}
    if not getattr(task, "numbered", False):
        truth = judged_channels(case, stored(case), task.plan)[0]
        for channel, one in enumerate(task.plan.classes, 1):
            there = truth == channel
            # what is not there can not be missed
            missed[one.name] = (
                risk_control.false_negative_losses(reached(opinion, task, channel), there, THRESHOLDS)
                if there.any()
                else None
            )
    return Held(measured(task, opinion.result, case), missed)


def reached(opinion: Opinion, task: Task, channel: int) -> Array:
    """(*space) float32: the probability of a class on the image's own grid; 1 where the class was found."""
    import torch

    def chance(scores: "Tensor") -> "Tensor":
        # one class at a time, without the probabilities of all
        return (scores[channel] - torch.logsumexp(scores, dim=0)).exp()

    chances = mapped(opinion.logits[: 1 + len(task.plan.classes)], chance)
    back: Array = opinion.prepared["placed"].channels_back(chances[None].numpy())[0]
    back[opinion.result["mask"].array == task.plan.classes[channel - 1].value] = 1
    return back


def wide_names(classes: Sequence[ClassPlan]) -> list[str]:
    """What the wide mask of each class is called; with its value where two would be called alike."""
    names = [f"wide_{c.name}".replace("/", "_").replace(" ", "_") for c in classes]
    folded = [name.lower() for name in names]
    return [n if folded.count(n.lower()) == 1 else f"{n}_{c.value}" for n, c in zip(names, classes, strict=True)]


def wide_masks(opinion: Opinion, task: Task, known: Wide, where: Array | None = None) -> dict[str, Mask]:
    """{"wide_<class>": Mask} of the classes that have a threshold.

    where: (*space) bool, outside of which nothing is said; None: everywhere.
    """
    found: dict[str, Mask] = {}
    names = wide_names(task.plan.classes)
    for channel, one in enumerate(task.plan.classes, 1):
        threshold = known.thresholds.get(one.name)
        if threshold is not None:
            # compared as `false_negative_losses` does, in float32
            inside = reached(opinion, task, channel) >= np.float32(threshold)
            if where is not None:
                inside &= where
            values = np.zeros(inside.shape, dtype=np.min_scalar_type(one.value))
            values[inside] = one.value
            found[names[channel - 1]] = Mask(values, {one.value: one.name}, opinion.result["mask"].affine)
    return found


def sizes(task: Task, mask: Mask, where: Array | None = None) -> dict[str, tuple[float, str]]:
    """{what: (how much, unit)} of a mask: the volume of each class in ml, its pixels without a place, or objects.

    where: (*space) bool, what counts; everything if not given.
    """
    array = mask.array if where is None else np.where(where, mask.array, 0)
    if mask.instances:
        count = len(np.unique(array[array != 0]))
        return {f"number of {one.name}": (float(count), "") for one in task.plan.classes}
    if mask.affine is None or array.ndim != 3:
        step, unit, what = 1.0, "pixels", "area"
    else:
        step, unit, what = abs(float(np.linalg.det(np.asarray(mask.affine)[:3, :3]))) / 1000, "ml", "volume"
    counts = _counts(array, [one.value for one in task.plan.classes])
    return {f"{what} of {one.name}": (step * counts[one.value], unit) for one in task.plan.classes}


def _counts(array: Array, values: Sequence[int]) -> dict[int, int]:
    """Voxels of each value, all counted in one pass, some at a time."""
    if array.dtype not in (np.uint8, np.uint16):
        return {value: int(np.count_nonzero(array == value)) for value in values}
    flat, found = array.reshape(-1, order="A"), np.zeros(1 << 16, dtype=np.int64)
    for start in range(0, len(flat), BLOCK):
        some = np.bincount(flat[start : start + BLOCK])
        found[: len(some)] += some
    return {value: int(found[value]) if 0 <= value < len(found) else 0 for value in values}


def measured(task: Task, result: Result, case: Case) -> dict[str, tuple[float, float, str]]:
    """{what: (found, true, unit)} of a segmented case, where its label is judged, of the classes that labels name."""
    label, mask = stored(case), result["mask"]
    channels = judged_channels(case, label, task.plan)[0]
    values = np.array([0, *[c.value for c in task.plan.classes]])[np.maximum(channels, 0)]
    if mask.instances:
        values = np.where(channels > 0, label.array[0], 0)
    truth = Mask(values, mask.classes, mask.affine, instances=mask.instances)
    found, true, silent = sizes(task, mask, channels >= 0), sizes(task, truth), unnamed(task.plan)
    named = [what for what in found if what.partition(" of ")[2] not in silent]
    return {what: (found[what][0], true[what][0], found[what][1]) for what in named}


def wide(
    cases: Sequence[Held], groups: Sequence[Hashable], names: Sequence[str], risk: float
) -> tuple[Wide | None, list[str]]:
    """Thresholds that keep the share of each class's voxels that is missed, and what is promised in words."""
    thresholds: dict[str, float | None] = {}
    counts: dict[str, int] = {}
    notes = []
    for name in names:
        rows = [(c.missed[name], g) for c, g in zip(cases, groups, strict=True) if c.missed.get(name) is not None]
        if not rows:
            continue
        losses = np.stack([row for row, _ in rows if row is not None])
        what = f"share of true voxels of {name} that a wide mask misses"
        found = risk_control.choose(losses, THRESHOLDS, risk, [g for _, g in rows], what)
        thresholds[name], counts[name] = found.threshold, found.n
        notes.append(found.sentence)
    return (Wide(risk=risk, thresholds=thresholds, groups=counts) if thresholds else None), notes


def of_measured(
    cases: Sequence[Held], groups: Sequence[Hashable], error: float, seed: int
) -> tuple[dict[str, Interval], list[str]]:
    """An interval for everything that was measured, its width in multiples of the measurement.

    Learned where it was found, which is known of a new patient too: of what is neither there nor found the error is 0,
    and many such patients would narrow the interval of those who have it.
    """
    found: dict[str, Interval] = {}
    counted: dict[int, list[str]] = {}
    for what in dict.fromkeys(w for c in cases for w in c.measured):
        rows = [(*c.measured[what], g) for c, g in zip(cases, groups, strict=True) if what in c.measured]
        rows = [row for row in rows if row[0] > 0]
        own = [row[3] for row in rows]
        counted.setdefault(len(set(own)), []).append(what)
        if not rows:
            continue
        values, truth = (np.array([row[i] for row in rows]) for i in (0, 1))
        made = around(values, truth, own, error, seed, FLOOR * float(np.median(values)))
        if made is not None:
            found[what] = made.model_copy(update={"unit": rows[0][2], "low": 0.0, "where_found": True})
    # one sentence for all that rest on the same patients
    whats = {n: ", ".join(names) for n, names in counted.items()}
    words = "the true value is in its interval (for each by itself, among patients in whom it was found: {})"
    return found, [conformal.guarantee(error, n, words.format(names)) for n, names in whats.items()]


def around(
    values: Array, truth: Array, groups: Sequence[Hashable], error: float, seed: int, floor: float | None = None
) -> Interval | None:
    """An interval around a value that is known of every case; None with too few patients."""
    scale = np.ones(len(values)) if floor is None else values + floor
    points = conformal.one_per_group(np.abs(values - truth) / scale, groups, seed)
    width = conformal.quantile(points, error)
    if not np.isfinite(width):
        return None
    return Interval(unit="", error=error, groups=len(points), width=width, floor=floor)


def of_metric(
    name: str, values: Sequence[float | None], groups: Sequence[Hashable], error: float, seed: int,
    guesses: Array | None = None,
) -> Interval | None:  # fmt: skip
    """How good a new result is, by the metric that only its truth would show; None with too few patients.

    guesses: what is expected of each case without its truth, around which the interval lies. Without them there is one
    bound for all: the metric is at least (at most, where lower is better) what all but `error` of patients reach.
    """
    kept = [i for i, v in enumerate(values) if v is not None]
    if not kept:
        return None
    card = _names.card(name)
    low, high = card["range"]
    truth, own = np.array([values[i] for i in kept], dtype=np.float64), [groups[i] for i in kept]
    if guesses is not None:
        made = around(np.asarray(guesses)[kept], truth, own, error, seed)
        return None if made is None else made.model_copy(update={"unit": card["unit"], "low": low, "high": high})
    sign = -1 if card["better"] == "higher" else 1
    points = conformal.one_per_group(sign * truth, own, seed)
    limit = sign * conformal.quantile(points, error)
    if not np.isfinite(limit):
        return None
    ends = {"low": limit, "high": high} if sign < 0 else {"low": low, "high": limit}
    return Interval(unit=card["unit"], error=error, groups=len(points), width=None, **ends)


def told(known: Interval, value: float | None) -> bool:
    """Whether anything is promised of a measurement: of what was not found nothing is, but in runs of before."""
    return not known.where_found or bool(value)


def said(known: Interval, value: float | None) -> dict[str, Any]:
    """One measurement as predictions.json has it: value (None where only the bound is known), low, high, unit.

    And what that rests on: coverage, the share of new patients whose truth is promised inside, and how many patients.
    """
    low, high = known.low, known.high
    if known.width is not None and value is not None:
        scale = 1.0 if known.floor is None else value + known.floor
        ends = conformal.interval(
            value, known.width, scale, -np.inf if low is None else low, np.inf if high is None else high
        )
        low, high = float(ends[0]), float(ends[1])
    found = {"value": value if known.width is not None else None, "low": low, "high": high, "unit": known.unit}
    return found | {"coverage": round(1 - known.error, 6), "patients": known.groups}


def fitted(known: Calibration) -> str:
    """What promises of scaled answers and of foretold qualities assume besides; "" where nothing was fitted.

    Their thresholds are learned of answers by fits which had not seen the patient. A new one's goes through a fit of
    all these patients, of a kind that was chosen on them: exchangeable patients alone do not make the two alike.
    """
    if known.foreseen is not None:
        return FITTED.format(f"the sum that foretells {known.foreseen.metric}")
    return "" if known.scaling.method == "none" else FITTED.format("the scaling of probabilities")


def sentences(known: Calibration, wides: bool) -> list[str]:
    """What is promised of sets and intervals of single results, and (wides) of wide masks, each with its assumption.

    Of promises that rest on different numbers of patients the fewest are named; each row of `said` has its own.
    """
    found, besides = [], fitted(known)
    if known.sets is not None:
        found.append(conformal.guarantee(known.sets.error, known.sets.groups, fitted=besides))
    for error in dict.fromkeys(one.error for one in known.measured.values()):
        rows = {what: one for what, one in known.measured.items() if one.error == error}
        own = list(rows.values())
        sized = [one.where_found for one in own if one.floor is not None]
        among = (FOUND if all(sized) else BOTH) if sized else ""
        words = f"a true value is in its interval (each by itself{among})"
        # what lies around an expectation, which the fit has made
        foretold = [what for what, one in rows.items() if one.width is not None and one.floor is None]
        more = f"for {', '.join(foretold)} {besides}" if besides and foretold else ""
        found.append(conformal.guarantee(error, min(one.groups for one in own), words, more))
    kept = [] if known.wide is None else [name for name, t in known.wide.thresholds.items() if t is not None]
    if wides and known.wide is not None and kept:
        fewest = min(known.wide.groups[name] for name in kept)
        found.append(
            f"Promise: on average over new patients who have the class, its wide mask misses at most "
            f"{100 * known.wide.risk:g} % of its voxels; learned from {fewest} patients or more of each class. "
            "Assumption: the new patients are exchangeable with these, that is, drawn in the same way. It is a promise "
            "about the mean, not about a single patient."
        )
    return found
