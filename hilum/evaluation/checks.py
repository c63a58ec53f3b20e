"""What a good number may hide: masks that fit the truth better when mirrored, and classes that the frame gives away."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from hilum.core.evenly import evenly
from hilum.core.findings import Result
from hilum.core.image import Array, Case
from hilum.evaluation import _rarest
from hilum.evaluation.bootstrap import FEW, Estimate, interval_of_set, paired
from hilum.evaluation.evaluator import honest
from hilum.infer.faults import fault
from hilum.infer.predictor import Predictor
from hilum.metrics import balanced_accuracy, dice
from hilum.tasks import _task
from hilum.tasks._labels import judged_channels, stored, unnamed

MOST = 200
# Cases, evenly chosen, that are predicted once more from their frame alone.
MARGIN = 0.05
# Balanced accuracy from the frame, or Dice gained by mirroring, that is not worth a sentence.
RESAMPLES = 500


class Mirrors:
    """Watches masks: Dice of every case as found, and mirrored along each axis of the image.

    Called with (case, result); cases without a mask or a truth are passed over.
    """

    def __init__(self, task: _task.Task) -> None:
        self.task = task
        self.rows: list[list[float]] = []
        self.groups: list[str] = []

    def __call__(self, case: Case, result: Result) -> None:
        """Look at one case."""
        if "mask" not in result.findings or self.task.plan.task != "segment" or result["mask"].instances:
            return
        truth = judged_channels(case, stored(case), self.task.plan)[0]
        found = result["mask"].array
        straight = self._dice(found, truth)
        turned = [self._dice(np.flip(found, axis), truth) for axis in range(found.ndim)]
        if straight is not None and None not in turned:
            self.rows.append([straight, *[t for t in turned if t is not None]])
            self.groups.append(case.group)

    def _dice(self, found: Array, truth: Array) -> float | None:
        """Mean over the classes that are defined."""
        spacing, silent = (1.0,) * truth.ndim, unnamed(self.task.plan)
        pairs = [(k, c.value) for k, c in enumerate(self.task.plan.classes, 1) if c.name not in silent]
        values = [dice.measure((found == value) & (truth >= 0), truth == k, spacing) for k, value in pairs]
        known = [v for v in values if v is not None]
        return float(np.mean(known)) if known else None

    def sentence(self) -> str | None:
        """A warning where mirroring along one axis surely makes the masks better."""
        table = np.array(self.rows)
        for axis in range(1, table.shape[1] if len(table) else 1):
            gain = paired(table[:, axis].tolist(), table[:, 0].tolist(), self.groups)
            if gain.low is not None and gain.low > MARGIN:
                return (
                    f"The masks fit the truth better when they are mirrored along axis {axis - 1} of the image (Dice "
                    f"{table[:, axis].mean():.3f} against {table[:, 0].mean():.3f}): images, labels or output are "
                    "mirrored."
                )
        return None


def frame_alone(predictor: Predictor, cases: Sequence[Case]) -> dict[str, Any] | None:
    """Balanced accuracy of a classifier that is shown the frame of every image only; None of any other model.

    Returns mean, low, high, chance (1 / classes), cases, answers (how many classes it named), "gives away" (whether it
    surely does), and a sentence; of too few groups the last two alone. A model that looks at the middle answers at
    random then, or always alike.
    """
    plan = predictor.plan
    if plan.task != "classify" or plan.options.get("control") == "border" or not cases:
        return None
    blind = copy(predictor)
    blind.plan = plan.edited({"options.control": "border"})
    blind.task = _task.load(blind.plan)
    chosen = evenly(cases, MOST)
    judged: list[_task.Judged] = []
    for case in chosen:
        try:
            judged.append(blind.task.judge(blind.opinion(case).result, case))
        except Exception as error:
            # it has failed before, and is counted there; a full disk ends everything
            fault(error, case)
    records = [one.record for one in judged]
    found = _balanced(judged)
    if found.groups < FEW or found.mean is None or found.low is None or found.high is None:
        return {"gives away": False, "sentence": _not_judged(found.groups)}
    chance = 1 / len({r[1] for r in records})
    row = {"mean": found.mean, "low": found.low, "high": found.high, "chance": chance, "cases": len(records)}
    row["answers"] = len({int(np.argmax(r[0])) for r in records})
    return row | {"gives away": found.low > chance + MARGIN, "sentence": _words(row)}


def _balanced(judged: Sequence[_task.Judged]) -> Estimate:
    """Balanced accuracy with its interval, as the evaluator tells it: it rests on the groups of the rarest class."""
    name, records = "balanced_accuracy", [one.record for one in judged]

    def measured(rows: list[Any]) -> float | None:
        return balanced_accuracy.measure(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]))

    rested, groups = _rarest.groups(name, judged), [one.group for one in judged]
    found = interval_of_set(records, groups, _rarest.whole(name, measured, records), RESAMPLES, rests_on=rested)
    told = _rarest.spared(_rarest.enough(found, rested), name, judged)
    # one answer to all cases has no width either, and is told in words of its own
    return honest(told, name) if told.mean in (0, 1) else told


def _not_judged(groups: int) -> str:
    return (
        "Whether the frame of the images alone gives the class away could not be judged: it takes "
        f"{FEW} independent groups of every class, and of one these cases make {groups}."
    )


def _words(row: dict[str, Any]) -> str:
    if row["answers"] == 1:
        return (
            f"From the frame of the images alone, the middle hidden, the model gives one answer to all {row['cases']} "
            f"cases. That shows neither that it reads the class off the frame nor that it does not: train one on the "
            f"frame alone (--set options.control=border) and see what it reaches."
        )
    seen = (
        f"From the frame of the images alone, the middle hidden, balanced accuracy is {row['mean']:.2f} (95 % interval "
        f"{row['low']:.2f} to {row['high']:.2f}; chance is {row['chance']:.2f}; {row['cases']} cases)"
    )
    if row["low"] > row["chance"] + MARGIN:
        return f"{seen}: the frame gives the class away, so a good number may not be about the body at all."
    return f"{seen}: no sign that the model reads the class off the frame."
