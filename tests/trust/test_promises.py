"""What is promised of single results: the promises by hand, kept on average, and said where they can not be made."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hilum.core.calibration import Calibration, Foreseen, Interval, Scaling, Sets, Wide
from hilum.core.findings import Mask, Result
from hilum.core.image import Image
from hilum.core.plan import ClassPlan
from hilum.infer.predictor import Opinion
from hilum.prepare import grid
from hilum.trust import promises
from hilum.trust.promises import Held


def task_of(*names: str) -> Any:
    classes = [SimpleNamespace(name=n, value=v) for v, n in enumerate(names, 3)]
    return SimpleNamespace(plan=SimpleNamespace(classes=classes), numbered=False)


def opinion_of(probability: np.ndarray[Any, Any]) -> Opinion:
    """Two classes of equal rank on the grid of a picture, foreground as likely as said."""
    p = probability.astype(np.float32)
    logits = torch.from_numpy(np.log(np.stack([1 - p, p])))
    placed = grid.place(Image(p[None], None), None)[1]
    mask = Mask(np.where(p > 0.5, 3, 0), {3: "cell"})
    return Opinion(Result({"mask": mask}), {"placed": placed}, logits)


def test_wide_masks_of_classes_that_are_called_nearly_alike_lie_beside_each_other() -> None:
    classes = [ClassPlan(value=v, name=n) for v, n in ((1, "left lung"), (2, "Left_lung"), (3, "heart"))]
    assert promises.wide_names(classes) == ["wide_left_lung_1", "wide_Left_lung_2", "wide_heart"]


def test_a_wide_mask_holds_what_was_found_and_what_reaches_the_threshold() -> None:
    opinion = opinion_of(np.array([[0.02, 0.2, 0.6, 0.9], [0.1, 0.3, 0.45, 0.55]]))
    task = task_of("cell")
    known = promises.Wide(risk=0.1, thresholds={"cell": 0.25}, groups={"cell": 9})
    (name, mask), *rest = promises.wide_masks(opinion, task, known).items()
    assert name == "wide_cell" and not rest and mask.classes == {3: "cell"}
    np.testing.assert_array_equal(mask.array, [[0, 0, 3, 3], [0, 3, 3, 3]])
    assert not promises.wide_masks(opinion, task, known.model_copy(update={"thresholds": {"cell": None}}))
    # where nothing was learned nothing is said
    where = np.array([[True, True, True, False], [True, False, True, True]])
    mask = promises.wide_masks(opinion, task, known, where)["wide_cell"]
    np.testing.assert_array_equal(mask.array, [[0, 0, 3, 0], [0, 0, 3, 3]])


def test_sizes_have_a_unit() -> None:
    task = task_of("cell")
    square = Mask(np.array([[0, 3], [3, 4]]), {3: "cell"})
    assert promises.sizes(task, square) == {"area of cell": (2.0, "pixels")}
    volume = Mask(np.full((2, 2, 5), 3), {3: "cell"}, np.diag([10.0, 10.0, 2.0, 1.0]))
    assert promises.sizes(task, volume)["volume of cell"] == (pytest.approx(20 * 0.2), "ml")
    where = np.zeros((2, 2, 5), bool)
    where[0] = True
    assert promises.sizes(task, volume, where)["volume of cell"][0] == pytest.approx(10 * 0.2)
    numbered = Mask(np.array([[0, 7], [7, 9]]), {3: "cell"}, instances=True)
    assert promises.sizes(task, numbered) == {"number of cell": (2.0, "")}


def test_intervals_hold_the_truth_as_often_as_promised() -> None:
    rng, inside, widths = np.random.default_rng(0), [], []
    for _ in range(400):
        truth = rng.lognormal(1, 0.5, 31)
        found = truth * rng.normal(1, 0.1, 31)
        cases = [Held({"volume of x": (f, t, "ml")}, {}) for f, t in zip(found[:30], truth[:30], strict=True)]
        known, _ = promises.of_measured(cases, [str(i) for i in range(30)], 0.1, 0)
        said = promises.said(known["volume of x"], float(found[30]))
        inside.append(said["low"] <= truth[30] <= said["high"])
        widths.append((said["high"] - said["low"]) / found[30])
        assert said["unit"] == "ml" and said["low"] >= 0
    # at least 90 %, at most 1 / 31 more, and three standard errors of 400 draws
    assert 0.9 - 0.045 <= np.mean(inside) <= 0.9 + 1 / 31 + 0.045
    # large things have wide intervals: the width is a share of the measurement
    assert np.std(widths) < np.mean(widths)


@pytest.mark.parametrize(("name", "end"), [("dice", "low"), ("hd95_mm", "high")])
def test_a_bound_of_a_metric_is_an_order_statistic(name: str, end: str) -> None:
    values = np.linspace(0.5, 0.88, 19)
    known = promises.of_metric(name, values.tolist(), [str(i) for i in range(19)], 0.1, 0)
    assert known is not None and known.width is None
    said = promises.said(known, None)
    # 19 patients at 10 %: one of them may be worse
    assert said[end] == pytest.approx(values[1] if end == "low" else values[-2])
    assert said["value"] is None and said["high" if end == "low" else "low"] == (1 if name == "dice" else 0)


def test_numbers_say_what_they_rest_on_and_sentences_what_it_means() -> None:
    one = Interval(unit="ml", error=0.1, groups=40, width=0.2, floor=1.0)
    assert promises.said(one, 4.0) == {
        "value": 4.0, "low": 3.0, "high": 5.0, "unit": "ml", "coverage": 0.9, "patients": 40
    }  # fmt: skip
    wide = Wide(risk=0.1, thresholds={"x": 0.2, "y": None}, groups={"x": 30, "y": 12})
    known = Calibration(
        cases=40, groups=40, measured={"volume of x": one, "dice": one.model_copy(update={"groups": 25})}
    )
    (told,) = promises.sentences(known, True)
    assert "for at least 90 % of new patients a true value is in its interval" in told and "25 patients" in told
    known = known.model_copy(update={"wide": wide, "sets": Sets(error=0.05, threshold=0.6, groups=50)})
    assert len(promises.sentences(known, False)) == 2
    sets, _, wides = promises.sentences(known, True)
    assert "95 % of new patients the true class is in the set" in sets and "50 patients" in sets
    assert "misses at most 10 % of its voxels" in wides and "30 patients" in wides


def test_what_goes_through_a_fit_says_that_it_must_do_for_new_patients_what_it_did_out_of_fold() -> None:
    """A new patient is scaled by one more fit, of all patients: that they are exchangeable was all that was said."""
    volume = Interval(unit="ml", error=0.1, groups=40, width=0.2, floor=1.0, where_found=True)
    dice, bound = (volume.model_copy(update={"width": w, "floor": None}) for w in (0.2, None))
    made = Calibration(cases=40, groups=40, sets=Sets(error=0.1, threshold=0.6, groups=40))
    made = made.model_copy(update={"measured": {"volume of x": volume, "dice": dice}})
    scaled = made.model_copy(update={"scaling": Scaling(method="temperature", scale=[0.5])})
    sets, told = promises.sentences(scaled, True)
    words = "the scaling of probabilities, fitted on these patients too, does for new ones what it did for these while"
    assert f"mix of diseases; and {words} they were held out. It is" in sets and f"; and for dice {words}" in told
    # nothing was scaled, or what was is in no promise
    assert promises.fitted(made) == "" and not any("fitted" in one for one in promises.sentences(made, True))
    for measured in ({"volume of x": volume}, {"dice": bound}):
        only = scaled.model_copy(update={"measured": measured, "sets": None})
        assert not any("fitted" in one for one in promises.sentences(only, True))
    model = Foreseen(metric="psnr_db", base=20, parts={}, groups=40)
    assert promises.fitted(made.model_copy(update={"foreseen": model})).startswith(
        "the sum that foretells psnr_db, fitted"
    )


def test_patients_without_a_lesion_do_not_narrow_the_interval_of_those_who_have_one() -> None:
    """Of 40 patients 3 had one, and 37 errors of 0 made an interval without width."""
    cases = [Held({"volume of x": (f, t, "ml")}, {}) for f, t in [(0.0, 0.0)] * 37 + [(10.0, 14.0)] * 3]
    known, (note,) = promises.of_measured(cases, [str(i) for i in range(40)], 0.1, 0)
    assert not known and note.startswith("3 calibration patients are too few") and "in whom it was found" in note
    known, _ = promises.of_measured([*cases, *cases[37:] * 2], [str(i) for i in range(46)], 0.1, 0)
    one = known["volume of x"]
    assert one.groups == 9 and promises.said(one, 10.0)["high"] == pytest.approx(14)
    assert promises.told(one, 10.0) and not promises.told(one, 0.0)
    # found in nobody
    known, (note,) = promises.of_measured(cases[:37], [str(i) for i in range(37)], 0.1, 0)
    assert not known and note.startswith("0 calibration patients are too few")


def test_the_promise_says_of_whom_an_interval_was_learned() -> None:
    """Runs of before learned it of all patients, and say it of all."""
    before = Interval(unit="ml", error=0.1, groups=40, width=0.2, floor=1.0)
    metric = Interval(unit="", error=0.1, groups=40, width=0.2)
    for one, words in (
        (before, "may be too narrow for those who have it: calibrate the run again)"),
        (before.model_copy(update={"where_found": True}), "among patients in whom it was found)"),
        (metric, "(each by itself)"),
    ):
        (told,) = promises.sentences(Calibration(cases=40, groups=40, measured={"x": one, "dice": metric}), True)
        assert words in told
    assert promises.told(before, 0.0) and promises.told(metric, 0.0) and promises.told(metric, None)


def test_an_interval_of_before_can_be_read_and_what_nothing_used_is_not_written() -> None:
    stored = '{"unit": "ml", "error": 0.1, "groups": 9, "width": 0.2, "floor": null, "centre": null, "low": 0.0}'
    one = Interval.model_validate_json(stored)
    assert "centre" not in one.model_dump() and not one.where_found


def test_with_too_few_patients_there_is_no_interval_and_a_sentence() -> None:
    cases = [Held({"area of x": (5.0, 6.0, "pixels")}, {}) for _ in range(8)]
    known, notes = promises.of_measured(cases, [str(i) for i in range(8)], 0.1, 0)
    assert (
        not known
        and "too few to promise that the true value is in its interval" in notes[0]
        and "area of x" in notes[0]
    )
    # one patient eight times is one patient
    many, _ = promises.of_measured(cases * 3, ["same"] * 24, 0.1, 0)
    assert not many
    assert promises.of_metric("dice", [0.9] * 8, [str(i) for i in range(8)], 0.1, 0) is None
    assert promises.of_metric("dice", [None] * 20, [str(i) for i in range(20)], 0.1, 0) is None


def test_wide_thresholds_keep_the_risk_on_average() -> None:
    rng, missed = np.random.default_rng(1), []
    for _ in range(100):
        cases = []
        for _ in range(25):
            hard = rng.uniform(0.5, 3)
            chance = rng.beta(3, hard, 200)
            cases.append(np.array([(chance < t).mean() for t in promises.THRESHOLDS]))
        held = [Held({}, {"x": losses}) for losses in cases[:24]]
        known, notes = promises.wide(held, [str(i) for i in range(24)], ["x"], 0.1)
        assert known is not None and known.groups == {"x": 24}
        threshold = known.thresholds["x"]
        missed.append(1.0 if threshold is None else cases[24][np.searchsorted(promises.THRESHOLDS, threshold)])
        assert "wide mask misses" in notes[0]
    assert np.mean(missed) <= 0.1 + 3 * np.std(missed) / 10


def test_a_class_that_validation_never_shows_has_no_threshold() -> None:
    known, notes = promises.wide([Held({}, {"x": None})] * 30, [str(i) for i in range(30)], ["x"], 0.1)
    assert known is None and not notes
