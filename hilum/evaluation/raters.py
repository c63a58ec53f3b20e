"""The model's error beside the spread between raters: on cases that several people have read.

Masks: items `label@rater` of a case. Classes: attributes `class@rater` (columns of a table or of cases.csv), the name
of a class. The question is not whether the model is like one person, but whether it is as like each of them as they are
like one another. Nobody's reading is taken for the truth.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import Mask, Result
from hilum.core.image import Array, Case
from hilum.core.plan import Plan
from hilum.data.dataset import attribute
from hilum.data.layouts.studies import NUMBERED
from hilum.evaluation import _rarest, agreement
from hilum.evaluation.agreement import Values
from hilum.evaluation.bootstrap import Estimate, Paired, interval, interval_of_set, paired
from hilum.evaluation.multiple import holm
from hilum.metrics import _names
from hilum.tasks import _labels
from hilum.tasks._task import Task

MARK = {"segment": "label@", "classify": "class@"}
# What the names of raters follow, by task. Other tasks have no such roles.
LEAST = 3
# Raters from which a consensus is formed: two have no majority.
RESAMPLES = 500
# Of kappa, which is computed anew for each.
DRAWS = 2000
# Of differences, and the fewest flips of signs.
CHANCE = 0.05
# The interval alone is too narrow for a handful of patients.
LIKE = "The model differs from the raters no more than they differ from one another."
UNLIKE = "The model differs from the raters more than they differ from one another."
OPEN = "These cases do not show whether the model differs from the raters more than they differ from one another."
NOBODY = "The raters are numbers of files here and no persons: what is said of one of them is of nobody."


@dataclass(frozen=True)
class Reading:
    """One case as raters and the model read it.

    model: {rater: model against that rater}. pairs: {(one, other): those two raters}. consensus: model against it, None
    for fewer than LEAST raters. disputed: `agreement.disputed`. answers: {rater or "": class}, the model's under "".
    """

    case: str
    group: str
    model: dict[str, Values]
    pairs: dict[tuple[str, str], Values]
    consensus: Values | None = None
    disputed: float | None = None
    answers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """model: against the raters. raters: against each other. difference: model less raters on the same cases.

    within: True where it is shown that the model is no further off, False where the opposite is, None where neither is.
    """

    model: Estimate
    raters: Estimate
    difference: Paired
    within: bool | None
    sentence: str


def beside(
    model: Sequence[float | None],
    raters: Sequence[float | None],
    groups: Sequence[Hashable],
    better: str,
    ends: Sequence[float | None] = (None, None),
    draws: int = DRAWS,
) -> Beside:
    """The model's value against the raters beside theirs against each other, over cases.

    model, raters: (n,) per case, the mean over raters and over pairs of raters. groups: (n,) patient. better: "higher"
    (Dice) or "lower" (mm). Something is said only where the whole interval and the test by signs (p at most CHANCE)
    agree; five patients or fewer can never show it. An interval of no width is taken for none. ends: as of `interval`,
    draws: as `resamples` of `paired`.
    """
    gap = paired(model, raters, groups, draws)
    if gap.low is not None and gap.low == gap.high:
        gap = replace(gap, low=None, high=None, p=None)
    both = [a is not None and b is not None for a, b in zip(model, raters, strict=True)]
    used = [[v if k else None for v, k in zip(values, both, strict=True)] for values in (model, raters)]
    one, other = (interval(values, groups, ends=ends) for values in used)
    return Beside(one, other, gap, *_shown(gap, better, gap.p))


def _shown(gap: Paired, better: str, p: float | None) -> tuple[bool | None, str]:
    """`within` and `sentence` of a difference. p: its own, or of one among many the adjusted one."""
    if gap.difference is None:
        return None, "No case has a defined value for the model and for two raters."
    if gap.low is None or gap.high is None:
        words = "There is no interval (fewer than two patients, or cases that do not differ), so nothing can be said "
        return None, words + "about how the model compares with the raters."
    low, high = (gap.low, gap.high) if better == "higher" else (-gap.high, -gap.low)
    if p is None or p > CHANCE or low < 0 <= high:
        return None, OPEN
    return (True, LIKE) if low >= 0 else (False, UNLIKE)


def named(case: Case, task: str) -> list[str]:
    """The raters who read the case, in order of their names."""
    mark = MARK.get(task, "")
    if task == "segment":
        return sorted(role[len(mark) :] for role in case.items if role.startswith(mark))
    known = [key for key in case.attributes if mark and key.startswith(mark) and attribute(case, key)]
    return sorted(key[len(mark) :] for key in known)


def read(case: Case, result: Result, task: Task) -> Reading:
    """One case that raters have read, and what the model found in it.

    Refused: a rater's mask on another grid (HIL-N14) or with values that are no class (N15), a class that the model
    does not know (HIL-EVAL-20).
    """
    return (_masks if task.plan.task == "segment" else _classes)(case, result, task)


def _masks(case: Case, result: Result, task: Task) -> Reading:
    plan, image = task.plan, case.read("image")
    names, spacing = [c.name for c in plan.classes], image.spacing
    masks: dict[str, Array] = {}
    for rater in named(case, plan.task):
        # a reading takes the place of the label, so that it is read and checked as one
        own = replace(case, items={**case.items, "label": case.items[f"label@{rater}"]})
        label = _labels.stored(own)
        _labels.same_grid(own, image, label)
        masks[rater] = _labels.judged_channels(own, label, plan)[0]
    found = _places(result["mask"], plan)
    readings = list(masks.values())
    together: Values | None = None
    if len(masks) >= LEAST:
        together = agreement.compared(found, agreement.staple(readings, len(names)), names, spacing)
    return Reading(
        case.id, case.group,
        {rater: agreement.compared(found, mask, names, spacing) for rater, mask in masks.items()},
        agreement.pairwise(masks, names, spacing), together,
        agreement.disputed(readings, len(names)) if len(masks) > 1 else None,
    )  # fmt: skip


def _places(mask: Mask, plan: Plan) -> Array:
    """The model's mask as places in plan.classes that are named; numbered objects are all of the one class."""
    if mask.instances:
        return (mask.array != 0).astype(np.int16)
    found, silent = np.zeros(mask.array.shape, np.int16), _labels.unnamed(plan)
    for place, known in enumerate(plan.classes, 1):
        if known.name not in silent:
            found[mask.array == known.value] = place
    return found


def _classes(case: Case, result: Result, task: Task) -> Reading:
    known = [c.name for c in task.plan.classes]
    answers = {}
    for rater in named(case, task.plan.task):
        given = attribute(case, f"class@{rater}")
        if given not in known:
            raise HilumError(
                "HIL-EVAL-20", f"Case {case.id}: class@{rater} is {given!r}, which the model does not know",
                f"Write one of {', '.join(known)}, or leave the cell empty",
            )  # fmt: skip
        answers[rater] = known.index(given)
    own = int(np.argmax(result["scores"].vector()))

    def same(one: int, other: int) -> Values:
        return {"agreement": {"": float(one == other)}}

    pairs = {(a, b): same(answers[a], answers[b]) for a, b in combinations(answers, 2)}
    model = {rater: same(own, answer) for rater, answer in answers.items()}
    return Reading(case.id, case.group, model, pairs, answers={**answers, "": own})


class Raters:
    """Called with every case and its result (`judge_all`'s watch); `summary` then sets the model beside the raters."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.readings: list[Reading] = []
        self.left_out: list[dict[str, str]] = []
        self.numbered = False

    def __call__(self, case: Case, result: Result) -> None:
        if named(case, self.task.plan.task):
            self.numbered |= case.attributes.get(NUMBERED[0]) == NUMBERED[1]
            try:
                self.readings.append(read(case, result, self.task))
            except HilumError as error:
                # a reading that can not be used is no fault of the model's answer
                self.left_out.append({"case": case.id, "why": str(error)})

    def summary(self, missing: Sequence[tuple[Case, str]] = ()) -> dict[str, Any] | None:
        """Everything about the raters, as raters.json holds it; None where no case names one.

        missing: cases without a result, with the reason.
        """
        lost = [{"case": c.id, "why": why} for c, why in missing if named(c, self.task.plan.task)]
        if not self.readings and not self.left_out and not lost:
            return None
        found = summary(self.readings, self.left_out + lost, [c.name for c in self.task.plan.classes])
        if self.numbered and self.task.plan.task == "segment":
            found["sentence"] += f" {NOBODY}"
        return found


def summary(
    readings: Sequence[Reading], left_out: Sequence[Mapping[str, str]], classes: Sequence[str]
) -> dict[str, Any]:
    """What the readings say together: rows by measure and class, each rater by himself, the consensus, kappa."""
    raters = sorted({rater for reading in readings for rater in reading.model})
    several = [reading for reading in readings if reading.pairs]
    counts = {rater: sum(rater in reading.model for reading in readings) for rater in raters}
    found: dict[str, Any] = {"raters": counts, "cases": len(several), "left_out": list(left_out)}
    if not several:
        who = f"by one rater only ({', '.join(raters)})" if raters else "by nobody whose reading can be used"
        why = "how far raters differ from one another is not known here, so the model's error can not be set beside it"
        return found | {"sentence": f"Every case was read {who}: {why}."}
    rows = _rows(several)
    found |= {"sentence": f"{rows[0]['measure']}: {rows[0]['sentence']}", "rows": rows, "each": _each(several, raters)}
    if several[0].answers:
        return found | {"kappa": _kappa(several, raters, len(classes))}
    spread = interval([reading.disputed for reading in several], [reading.group for reading in several], ends=(0, 1))
    return found | {"consensus": _consensus(several), "disputed": _plain(spread)}


def _value(values: Values | None, measure: str, key: str | None) -> float | None:
    """One class's value, or (key None) the mean over the classes that have one."""
    own = (values or {}).get(measure, {})
    return own.get(key) if key is not None else _mean(own.values())


def _mean(values: Any) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _better(measure: str) -> str:
    return "higher" if measure == "agreement" else str(catalogue.card("hilum.metrics", measure)["better"])


def _ends(measure: str) -> Sequence[float | None]:
    """The least and the most a measure can be."""
    return [0, 1] if measure == "agreement" else list(catalogue.card("hilum.metrics", measure)["range"])


def _best(measure: str) -> float | None:
    """The value of two readings that are alike."""
    return 1.0 if measure == "agreement" else _names.ends(measure)[1]


def _means(sides: Sequence[Sequence[float | None]], best: float | None) -> list[float | None]:
    """The mean of each side's pairs of one case. Where some pair marks something, one that marks nothing is alike.

    A measure of masks has no value of a pair in which neither marks anything: they agree. Left out, such a case would
    cost who marks something there nothing.
    """
    some = any(value is not None for side in sides for value in side)
    return [_mean(best if value is None and some else value for value in side) for side in sides]


def _of_case(sides: Sequence[Sequence[Values]], measure: str, key: str | None) -> list[float | None]:
    """Each side's mean of one case, of one class or (key None) over the classes that have one.

    Class by class first: who marks nothing of a class is alike in that class, whatever else he marks.
    """
    names = dict.fromkeys(name for side in sides for values in side for name in values.get(measure, {}))
    told = [
        _means([[_value(values, measure, name) for values in side] for side in sides], _best(measure))
        for name in (names if key is None else [key])
    ]
    return [_mean(row[place] for row in told) for place in range(len(sides))]


def _rows(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Model and raters by measure, over all classes and by class.

    The first row is the answer; p of all others is adjusted together (Holm), or some would show something by chance.
    """
    shape = next(iter(readings[0].pairs.values()))
    groups = [reading.group for reading in readings]
    told = [[list(side.values()) for side in (r.model, r.pairs)] for r in readings]
    asked = [(measure, key) for measure, classes in shape.items() for key in [None, *(n for n in classes if n)]]
    # enough flips for the smallest p to stay below CHANCE after Holm
    draws, found = max(DRAWS, 40 * len(asked)), list[Beside]()
    for measure, key in asked:
        model, pairs = zip(*(_of_case(sides, measure, key) for sides in told), strict=True)
        found.append(beside(model, pairs, groups, _better(measure), _ends(measure), draws))
    adjusted = [found[0].difference.p, *holm([one.difference.p for one in found[1:]])]
    return [_row(*what, one, p) for what, one, p in zip(asked, found, adjusted, strict=True)]


def _row(measure: str, key: str | None, found: Beside, p: float | None) -> dict[str, Any]:
    """One row of raters.json. key: the class, None for all. p: adjusted."""
    better = _better(measure)
    within, sentence = _shown(found.difference, better, p)
    return {
        "measure": measure, "class": key or "all", "better": better,
        "model": _plain(found.model), "raters": _plain(found.raters), "difference": _plain(found.difference),
        "p holm": None if p is None else round(p, 6), "within": within, "sentence": sentence,
    }  # fmt: skip


def _each(readings: Sequence[Reading], raters: Sequence[str]) -> list[dict[str, Any]]:
    """Every rater against the model and against the other raters: who reads otherwise than all others is seen here."""
    rows = []
    for measure in next(iter(readings[0].pairs.values())):
        for rater in raters:
            own = [r for r in readings if rater in r.model]
            groups, ends = [r.group for r in own], _ends(measure)
            told = [[[r.model[rater]], [v for pair, v in r.pairs.items() if rater in pair]] for r in own]
            sides = list(zip(*(_of_case(two, measure, None) for two in told), strict=True)) or [(), ()]
            one, other = (_plain(interval(side, groups, ends=ends)) for side in sides)
            row = {"measure": measure, "rater": rater, "better": _better(measure)}
            rows.append(row | {"model": one, "others": other})
    return rows


def _consensus(readings: Sequence[Reading]) -> dict[str, Any]:
    """The model against STAPLE's consensus, where there are enough raters for one."""
    own = [reading for reading in readings if reading.consensus is not None]
    if not own:
        words = f"No case was read by {LEAST} raters or more: no consensus was formed."
        return {"cases": 0, "rows": {}, "sentence": words}
    groups = [reading.group for reading in own]
    values = {m: [_value(r.consensus, m, None) for r in own] for m in own[0].consensus or {}}
    rows = {m: _plain(interval(column, groups, ends=_ends(m))) for m, column in values.items()}
    words = f"Consensus: STAPLE of {LEAST} raters or more, each class against the rest, from a probability of one half."
    return {"cases": len(own), "rows": rows, "sentence": words}


def _kappa(readings: Sequence[Reading], raters: Sequence[str], classes: int) -> list[dict[str, Any]]:
    """Cohen's kappa of every two raters and of the model with each; Fleiss' of all raters, on cases that all read."""
    rows = []
    for one, other in [*combinations(raters, 2), *(("", rater) for rater in raters)]:
        own = [r for r in readings if one in r.answers and other in r.answers]
        pairs, groups = [(r.answers[one], r.answers[other]) for r in own], [r.group for r in own]
        rests = _rests_on(pairs, groups)
        found = interval_of_set(
            pairs, groups, lambda drawn: agreement.cohen_kappa([a for a, _ in drawn], [b for _, b in drawn], classes),
            RESAMPLES, rests_on=rests,
        )  # fmt: skip
        told = _plain(_rarest.enough(found, rests))
        rows.append({"of": f"{one or 'the model'} and {other}", "kappa": "Cohen", **told})
    own = [r for r in readings if all(rater in r.answers for rater in raters)]
    every, groups = [[r.answers[rater] for rater in raters] for r in own], [r.group for r in own]
    rests = _rests_on(every, groups)
    found = interval_of_set(
        [np.bincount(row, minlength=classes) for row in every], groups,
        lambda drawn: agreement.fleiss_kappa(np.stack(drawn)), RESAMPLES, rests_on=rests,
    )  # fmt: skip
    return [*rows, {"of": "all raters", "kappa": "Fleiss", **_plain(_rarest.enough(found, rests))}]


def _rests_on(answers: Sequence[Sequence[int]], groups: Sequence[str]) -> int:
    """Groups that a kappa rests on: those in which the commonest class is named, or another one, whichever are fewer.

    answers: (n, readers).
    """
    named = [label for row in answers for label in row]
    common = max(set(named), key=named.count, default=-1)
    told = [(group, set(row)) for group, row in zip(groups, answers, strict=True)]
    return min(len({g for g, row in told if common in row}), len({g for g, row in told if row != {common}}))


def _plain(found: Estimate | Paired) -> dict[str, Any]:
    """Numbers for JSON, to six places; an interval of no width is none."""
    if found.low is not None and found.low == found.high:
        found = replace(found, low=None, high=None)
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(found).items() if k != "dropped"}
