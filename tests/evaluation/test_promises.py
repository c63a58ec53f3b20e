"""Promises are judged as they were made: of patients, and from the places that have a truth."""

from typing import Any

import numpy as np
import pytest

from hilum.core.calibration import Calibration, Interval, Wide
from hilum.core.findings import Mask, Result
from hilum.core.image import Case, Image
from hilum.core.plan import Plan, checked
from hilum.evaluation.promises import Promises, over_groups
from hilum.tasks import _task
from hilum.trust import promises

PLAN: dict[str, Any] = {
    "task": "segment", "dims": 2, "roles": ["image", "label"], "channels": ["image"], "patch": [16, 16], "batch": 2,
    "normalisation": [{"scheme": "zscore"}], "networks": {"net": {"name": "nnunet"}}, "regime": "supervised",
    "classes": [{"value": 1, "name": "cell"}], "data": {"labels": {"cell": [1]}, "ignore": 9},
}  # fmt: skip
AREA = "area of cell"
KNOWN = Calibration(
    cases=9, groups=9, wide=Wide(risk=0.1, thresholds={"cell": 0.2}, groups={"cell": 9}),
    measured={AREA: Interval(unit="pixels", error=0.1, groups=9, width=0.1, floor=0.0, low=0.0)},
)  # fmt: skip


def kept() -> Promises:
    return Promises(_task.load(checked(Plan, PLAN, "plan")), KNOWN)


def test_an_interval_is_judged_from_the_places_that_have_a_truth() -> None:
    """It was learned there; 20 pixels are found in them, 30 more where nobody has judged."""
    label = np.zeros((1, 10, 10), np.uint8)
    label[0, :2], label[0, 5:8] = 1, 9
    said = {AREA: promises.said(KNOWN.measured[AREA], 50.0)}
    result = Result({"mask": Mask((label[0] != 0).astype(np.uint8), {1: "cell"})}, meta={"measured": said})
    judge = kept()
    judge(Case("a", "a", {"label": Image(label)}), result)
    found = judge.summary(KNOWN)["intervals"][AREA]
    assert (found["cases"], found["coverage"], found["median width"]) == (1, 1.0, pytest.approx(4.0))
    # without a calibration there is nothing to hold it against
    silent = Promises(judge.task, None)
    silent(Case("a", "a", {"label": Image(label)}), result)
    assert silent.summary(KNOWN) == {}


def test_a_patient_with_many_cases_counts_once() -> None:
    judge = kept()
    for group, size, missed in (("a", 5.0, 0.0), ("a", 5.0, 0.0), ("a", 5.0, 0.0), ("b", 50.0, 1.0)):
        judge._inside(AREA, {"low": 0.0, "high": 10.0}, size, group)
        judge.missed["cell"].append((missed, 1.0, group))
    found = judge.summary(KNOWN)
    for row, name in ((found["intervals"][AREA], "coverage"), (found["wide"]["cell"], "missed")):
        assert (row["cases"], row["groups"], row[name]) == (4, 2, 0.5)


def test_nothing_missed_in_four_patients_is_no_certainty() -> None:
    judge = kept()
    for group in "abcd":
        judge.missed["cell"].append((0.0, 1.0, group))
    found = judge.summary(KNOWN)["wide"]["cell"]
    assert (found["missed"], found["low"]) == (0, 0) and found["high"] == pytest.approx(1 - 0.025 ** (1 / 4))


def test_groups_need_not_lie_together() -> None:
    assert over_groups([1.0, 0.0, 0.0, 1.0], ["a", "b", "a", "a"]) == pytest.approx([2 / 3, 0.0])
