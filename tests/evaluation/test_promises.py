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


def test_a_wide_mask_is_judged_by_its_class_and_where_there_is_a_truth() -> None:
    """The second class of the plan has the value that is the place of the first, and the other way round."""
    plan = PLAN | {
        "classes": [{"value": 2, "name": "cell"}, {"value": 1, "name": "gland"}],
        "data": {"labels": {"cell": [2], "gland": [1]}, "ignore": 9},
    }
    label, found, wide = np.zeros((3, 10, 10), np.uint8)
    # 20 pixels of cells, 30 of glands, and 20 that nobody has judged
    label[:2], label[2:5], label[5:7] = 2, 1, 9
    # 12 judged pixels are found to be cells, 10 more where nobody has judged
    found[0], found[7, :2], found[5], found[2:4] = 2, 2, 2, 1
    # 15 cells are reached, 15 judged pixels that are none, and 20 more
    wide[0], wide[1, :5], wide[2, :5], wide[7], wide[5:7] = 2, 2, 2, 2, 2
    masks = {"mask": Mask(found, {2: "cell", 1: "gland"}), "wide_cell": Mask(wide, {2: "cell"})}
    judge = Promises(_task.load(checked(Plan, plan, "plan")), None)
    case = Case("a", "p", {"label": Image(label[None])})
    judge(case, Result(masks, meta={"measured": {AREA: {"value": 22.0}}}))
    row = judge.summary(KNOWN)["wide"]["cell"]
    assert (row["cases"], row["missed"], row["times as large"]) == (1, 0.25, 2.5)
    assert judge.missed == {"cell": [(0.25, 2.5, "p")]}
    # what is not there can not be missed
    without = Case("b", "q", {"label": Image(np.ones((1, 10, 10), np.uint8))})
    judge(without, Result(masks, meta={"measured": {AREA: {"value": 22.0}}}))
    assert len(judge.missed["cell"]) == 1
    # where nothing was found, the wide mask is compared with one pixel
    masks["mask"] = Mask(np.zeros((10, 10), np.uint8), {2: "cell", 1: "gland"})
    judge(case, Result(masks, meta={"measured": {AREA: {"value": 0.0}}}))
    assert judge.missed["cell"][1:] == [(0.25, 30.0, "p")]


def test_an_interval_that_is_not_said_is_not_judged_and_the_wide_mask_is() -> None:
    """Of what was not found nothing is promised; runs of before promise it all the same."""
    label, wide = np.zeros((2, 10, 10), np.uint8)
    label[:2], wide[0] = 1, 1
    one = KNOWN.measured[AREA].model_copy(update={"where_found": True})
    for known, count in ((KNOWN.model_copy(update={"measured": {AREA: one}}), 1), (KNOWN, 2)):
        judge = Promises(kept().task, known)
        for name, found in (("a", label), ("b", np.zeros_like(label))):
            masks = {"mask": Mask(found, {1: "cell"}), "wide_cell": Mask(np.maximum(found, wide), {1: "cell"})}
            judge(Case(name, name, {"label": Image(label[None])}), Result(masks, meta={"measured": {}}))
        assert judge.summary(known)["intervals"][AREA]["cases"] == count
        assert [missed for missed, *_ in judge.missed["cell"]] == [0.0, 0.5]


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
