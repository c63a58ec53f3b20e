"""The model beside the raters: as like them as they are like one another, or not, or nothing can be said."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image as Picture

from hilum.core.errors import HilumError
from hilum.core.findings import Mask, Result, Score, Scores
from hilum.core.plan import Plan, checked
from hilum.data.dataset import open_dataset
from hilum.evaluation import raters
from hilum.evaluation.raters_section import section
from hilum.pictures.page import Page
from hilum.tasks import _task

SIDE = 24
PLAN = {
    "task": "segment", "dims": 2, "roles": ["image", "label"], "channels": ["image"], "patch": [16, 16], "batch": 2,
    "normalisation": [{"scheme": "zscore"}], "networks": {"net": {"name": "nnunet"}}, "regime": "supervised",
    "classes": [{"value": 7, "name": "cell"}], "data": {"labels": {"cell": "nonzero"}},
}  # fmt: skip
KINDS = {"task": "classify", "classes": [{"value": 1, "name": "benign"}, {"value": 2, "name": "malignant"}]}


class Echo:
    """A predictor that says what it is told to: {case: mask or class}."""

    def __init__(self, says, **changes):
        self.says, self.task = says, _task.load(checked(Plan, PLAN | changes, "plan"))

    def __call__(self, case):
        told = self.says[case.id]
        if isinstance(told, HilumError):
            raise told
        if isinstance(told, str):
            names = [c.name for c in self.task.plan.classes]
            return Result({"scores": Scores(tuple(Score(n, float(n == told)) for n in names))})
        return Result({"mask": Mask(told * 7, {7: "cell"})})


def measured(predictor, cases):
    """What `evaluate` makes of these cases."""
    seen, missing = raters.Raters(predictor.task), []
    for case in cases:
        try:
            result = predictor(case)
        except HilumError as error:
            missing.append((case, str(error)))
            continue
        seen(case, result)
    return seen.summary(missing)


def disc(row, column, radius):
    grid = np.mgrid[:SIDE, :SIDE]
    return ((grid[0] - row) ** 2 + (grid[1] - column) ** 2 <= radius**2).astype(np.uint8)


def save(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(mask * 255 if mask.dtype == np.uint8 and mask.max() == 1 else mask).save(path)


def written(folder, cases=8, names=("anna", "ben"), more=""):
    """A data set on disk: a disc per case, every rater a little off; the truth without error is returned."""
    rng = np.random.default_rng(0)
    truth = {}
    for number in range(cases):
        case = f"case_{number}"
        row, column, radius = rng.uniform(9, 14), rng.uniform(9, 14), rng.uniform(5, 7)
        truth[case] = disc(row, column, radius)
        one = rng.choice([-1.6, 1.6], 2)
        shifts = (one, -one, np.array([one[1], -one[0]]))
        save(folder / "images" / f"{case}.png", rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8))
        for name, shift in zip(names, shifts, strict=False):
            save(folder / f"labels@{name}" / f"{case}.png", disc(row + shift[0], column + shift[1], radius))
    chosen = f"roles: {{label: labels@{names[0]}}}\n"
    (folder / "dataset.yaml").write_text(f"labels: {{cell: nonzero}}\npatients: case\n{chosen}{more}", encoding="utf-8")
    return truth


def grouped(folder):
    return [replace(case, group=case.id) for case in open_dataset(folder, ["image", "label"]).cases]


def test_a_model_that_lies_between_two_raters_is_as_like_them_as_they_are(tmp_path):
    truth = written(tmp_path)
    found = measured(Echo(truth), grouped(tmp_path))
    assert found["raters"] == {"anna": 8, "ben": 8} and found["cases"] == 8 and not found["left_out"]
    row = found["rows"][0]
    assert (row["measure"], row["class"], row["within"]) == ("dice", "all", True)
    assert row["model"]["mean"] > row["raters"]["mean"] and row["difference"]["low"] >= 0
    assert row["difference"]["difference"] == pytest.approx(row["model"]["mean"] - row["raters"]["mean"], abs=2e-6)
    assert found["sentence"] == f"dice: {raters.LIKE}"
    assert {r["measure"] for r in found["rows"]} == {"dice", "hd95_mm"} and json.dumps(found, allow_nan=False)
    far = next(r for r in found["rows"] if r["measure"] == "hd95_mm")
    assert far["model"]["mean"] < far["raters"]["mean"] and far["better"] == "lower"
    assert "no consensus" in found["consensus"]["sentence"] and 0 < found["disputed"]["mean"] < 1


def test_a_model_that_lies_elsewhere_is_not(tmp_path):
    truth = written(tmp_path)
    off = {case: np.roll(mask, 7, axis=0) for case, mask in truth.items()}
    found = measured(Echo(off), grouped(tmp_path))
    assert found["rows"][0]["within"] is False and raters.UNLIKE in found["sentence"]
    far = next(r for r in found["rows"] if r["measure"] == "hd95_mm")
    assert far["within"] is False and far["difference"]["low"] > 0


def test_three_raters_give_a_consensus_and_the_odd_one_is_seen(tmp_path):
    truth = written(tmp_path, names=("anna", "ben", "carl"))
    for case, mask in truth.items():
        save(tmp_path / "labels@anna" / f"{case}.png", mask)
        save(tmp_path / "labels@ben" / f"{case}.png", mask)
        save(tmp_path / "labels@carl" / f"{case}.png", np.roll(mask, 8, axis=1))
    found = measured(Echo(truth), grouped(tmp_path))
    assert found["consensus"]["cases"] == 8 and found["consensus"]["rows"]["dice"]["mean"] == pytest.approx(1)
    each = {r["rater"]: r for r in found["each"] if r["measure"] == "dice"}
    assert each["carl"]["others"]["mean"] < each["anna"]["others"]["mean"]
    assert each["anna"]["model"]["mean"] == 1 and each["anna"]["model"]["low"] is None


def test_one_rater_is_a_sentence_and_no_number(tmp_path):
    truth = written(tmp_path, names=("anna",))
    found = measured(Echo(truth), grouped(tmp_path))
    assert found["cases"] == 0 and "one rater only (anna)" in found["sentence"] and "rows" not in found
    assert "not known" in section(Page("x"), found).html()


def test_data_without_raters_has_no_such_part(tmp_path):
    truth = written(tmp_path, names=("anna",))
    (tmp_path / "labels@anna").rename(tmp_path / "labels")
    (tmp_path / "dataset.yaml").write_text("labels: {cell: nonzero}\n", encoding="utf-8")
    assert measured(Echo(truth), grouped(tmp_path)) is None


def test_one_patient_gives_no_interval_and_no_claim(tmp_path):
    truth = written(tmp_path, cases=3)
    cases = open_dataset(tmp_path, ["image", "label"]).cases
    found = measured(Echo(truth), cases)
    assert {case.group for case in cases} == {""}
    assert found["rows"][0]["within"] is None and found["rows"][0]["difference"]["low"] is None
    assert "nothing can be said" in found["sentence"]


def test_a_bad_reading_costs_its_case_only(tmp_path):
    truth = written(tmp_path, cases=5)
    save(tmp_path / "labels@ben" / "case_1.png", np.zeros((5, 5), np.uint8))
    says = truth | {"case_2": HilumError("HIL-M10", "No numbers", "Train again")}
    found = measured(Echo(says), grouped(tmp_path))
    assert [row["case"] for row in found["left_out"]] == ["case_1", "case_2"] and found["cases"] == 3
    assert "HIL-N14" in found["left_out"][0]["why"]
    assert "2 cases that raters have read are left out" in section(Page("x"), found).html()


def test_the_section_says_what_was_found_in_words(tmp_path):
    truth = written(tmp_path, names=("anna", "ben", "carl"))
    drawn = section(Page("x"), measured(Echo(truth), grouped(tmp_path))).html()
    for words in ("Beside several raters", "anna: 8 cases", raters.LIKE, "against the consensus", "do not all agree"):
        assert words in drawn
    assert "<script" not in drawn
    assert "over patients: resampled, of two to five Student" in drawn and "patients are too few. The first" in drawn


def test_beside_claims_nothing_without_an_interval_that_says_so():
    groups = list(range(12))
    rng = np.random.default_rng(3)
    spread = rng.uniform(0.7, 0.9, 12)
    alike = raters.beside((spread + rng.normal(0, 0.03, 12)).tolist(), spread.tolist(), groups, "higher")
    assert alike.within is None and alike.sentence == raters.OPEN and alike.difference.low < 0 < alike.difference.high
    assert raters.beside((spread + 0.05).tolist(), spread.tolist(), groups, "higher").within is None
    better = spread + rng.uniform(0.01, 0.05, 12)
    assert raters.beside(better.tolist(), spread.tolist(), groups, "higher").within is True
    assert raters.beside(better.tolist(), spread.tolist(), groups, "lower").within is False
    few = raters.beside([0.9, 0.8, 0.85, 0.95, 0.7], [0.5, 0.5, 0.6, 0.4, 0.5], list(range(5)), "higher")
    assert few.difference.low > 0 and few.difference.p == 0.0625 and few.within is None
    assert raters.beside([None] * 12, spread.tolist(), groups, "higher").difference.difference is None
    assert raters.beside([0.9], [0.8], [0], "higher").within is None


def test_many_classes_show_nothing_by_chance():
    """Each class was tested by itself: of 15 in which nothing differs one or another was said to."""
    rng, classes, called, bare = np.random.default_rng(4), [f"k{n}" for n in range(15)], 0, 0
    for _ in range(20):
        read = []
        for case in map(str, range(12)):
            model, pair = ({"dice": dict(zip(classes, rng.normal(0.8, 0.05, 15), strict=True))} for _ in range(2))
            read.append(raters.Reading(case, case, {"anna": model, "ben": model}, {("anna", "ben"): pair}, disputed=0))
        first, *others = raters.summary(read, [], classes)["rows"]
        assert first["p holm"] == first["difference"]["p"] and len(others) == 15
        assert all(row["p holm"] >= row["difference"]["p"] for row in others)
        called += any(row["within"] is not None for row in others)
        bare += any(row["difference"]["p"] <= raters.CHANCE for row in others)
    # five of 100 tables may: more than four of 20 come about once in 390 tries
    assert called <= 4 < bare


def test_both_means_are_of_the_same_cases():
    found = raters.beside([0.9, None, 0.7], [0.8, 0.1, None], [0, 1, 2], "higher")
    assert found.model.mean == 0.9 and found.raters.mean == 0.8 and found.difference.n == 1


def test_classes_by_raters_are_columns_of_a_table(tmp_path):
    rows = ["image,class,class@anna,class@ben,class@carl"]
    rng = np.random.default_rng(2)
    said = {}
    for number in range(10):
        case = f"case_{number}"
        save(tmp_path / f"{case}.png", rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8))
        truth = ("benign", "malignant")[number % 2]
        other = ("malignant", "benign")[number % 2]
        said[case] = truth
        rows.append(f"{case}.png,{truth},{truth},{other if number in (0, 1, 2) else truth},{truth if number else ''}")
    table = tmp_path / "cases_table.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    cases = open_dataset(table, ["image", "class"]).cases
    echo = Echo(said, **KINDS, data={})
    found = measured(echo, [replace(case, group=case.id) for case in cases])
    assert found["raters"] == {"anna": 10, "ben": 10, "carl": 9} and "consensus" not in found
    kappa = {row["of"]: row for row in found["kappa"]}
    assert kappa["anna and ben"]["mean"] == pytest.approx(0.4) and kappa["the model and anna"]["mean"] == 1
    assert kappa["all raters"]["n"] == 9
    row = found["rows"][0]
    assert row["measure"] == "agreement" and row["model"]["mean"] > row["raters"]["mean"]
    assert "Agreement beyond chance" in section(Page("x"), found).html()


def test_na_is_no_reading(tmp_path):
    """It was a class that the model does not know, and took the readings of the others with it."""
    table = tmp_path / "cases_table.csv"
    said = {}
    for word in ("", "NA", "n/a"):
        rows = ["image,class,class@anna,class@ben"]
        for number in range(4):
            case, truth = f"case_{number}", ("benign", "malignant")[number % 2]
            save(tmp_path / f"{case}.png", np.full((SIDE, SIDE), number, np.uint8))
            said[case] = truth
            rows.append(f"{case}.png,{truth},{truth},{truth if number else word}")
        table.write_text("\n".join(rows) + "\n", encoding="utf-8")
        cases = open_dataset(table, ["image", "class"]).cases
        found = measured(Echo(said, **KINDS, data={}), [replace(case, group=case.id) for case in cases])
        assert found["left_out"] == [] and found["raters"] == {"anna": 4, "ben": 3} and found["cases"] == 3


def test_a_class_that_the_model_does_not_know_is_named(tmp_path):
    save(tmp_path / "a.png", np.zeros((SIDE, SIDE), np.uint8))
    table = tmp_path / "cases_table.csv"
    table.write_text("image,class,class@anna\na.png,benign,begnin\n", encoding="utf-8")
    found = measured(Echo({"a": "benign"}, **KINDS, data={}), open_dataset(table).cases)
    assert "HIL-EVAL-20" in found["left_out"][0]["why"] and "begnin" in found["left_out"][0]["why"]
    assert "nobody" in found["sentence"]


def test_a_false_lesion_where_all_raters_mark_nothing_costs_the_model(tmp_path):
    truth = written(tmp_path)
    empty = np.zeros((SIDE, SIDE), np.uint8)
    for name in ("anna", "ben"):
        for number in range(4):
            save(tmp_path / f"labels@{name}" / f"case_{number}.png", empty)
    found = measured(Echo(truth), grouped(tmp_path))
    for row in found["rows"]:
        assert row["difference"]["n"] == row["model"]["n"] == row["raters"]["n"] == 8
    dice = found["rows"][0]
    assert dice["model"]["mean"] < 0.5 < dice["raters"]["mean"] and dice["within"] is not True
    anna = next(row for row in found["each"] if (row["measure"], row["rater"]) == ("dice", "anna"))
    assert anna["model"]["mean"] < 0.5 < anna["others"]["mean"] and anna["others"]["n"] == 8
    # where the model marks nothing either there is nothing to compare
    quiet = measured(Echo(truth | {f"case_{number}": empty for number in range(4)}), grouped(tmp_path))
    assert [row["difference"]["n"] for row in quiet["rows"]] == [4] * len(quiet["rows"])


def test_of_three_raters_the_two_that_mark_nothing_agree(tmp_path):
    """A false lesion cost nothing beside a third rater that marked something else."""
    truth = written(tmp_path, cases=4, names=("anna", "ben", "cleo"))
    empty, lesion = np.zeros((SIDE, SIDE), np.uint8), disc(1, 1, 1)
    for name in ("anna", "ben"):
        for case in truth:
            save(tmp_path / f"labels@{name}" / f"{case}.png", empty)
    loud, quiet = (measured(Echo(dict.fromkeys(truth, mask)), grouped(tmp_path)) for mask in (lesion, empty))
    for found, own in ((loud, 0), (quiet, 2 / 3)):
        assert found["rows"][0]["model"]["mean"] == pytest.approx(own, abs=1e-6)
        assert found["rows"][0]["raters"]["mean"] == pytest.approx(1 / 3, abs=1e-6)


def test_a_class_that_nobody_marks_is_credited_to_the_raters_over_all_classes_too():
    """Filled in only where nothing of a case was marked, a false lesion every time was 'no more than they differ'."""
    rng, read = np.random.default_rng(0), []
    for number in range(12):
        # the least of noise: equal cases have no interval
        near, far = 0.65 + 0.01 * rng.normal(), 0.30 + 0.01 * rng.normal()
        model = {rater: {"dice": {"a": near, "b": 0.0}} for rater in ("anna", "ben")}
        pairs = {("anna", "ben"): {"dice": {"a": far, "b": None}}}
        read.append(raters.Reading(str(number), str(number), model, pairs, disputed=0.0))
    found = raters.summary(read, [], ["a", "b"])
    assert found["sentence"] == f"dice: {raters.UNLIKE}"
    whole, a, b = found["rows"]
    assert (whole["within"], a["within"], b["model"]["mean"], b["raters"]["mean"]) == (False, True, 0, 1)
    assert whole["model"]["mean"] == pytest.approx(0.325, abs=0.01)
    assert whole["raters"]["mean"] == pytest.approx(0.65, abs=0.01)
    for row in found["each"]:
        assert row["model"]["mean"] < row["others"]["mean"]


@pytest.mark.parametrize("positive", [5, 6])
def test_a_kappa_rests_on_the_patients_with_the_rarer_answer(positive):
    """Forty patients, of whom few have anything: draws can not leave the range of what these gave."""
    read = []
    for number in range(40):
        truth = int(number < positive)
        answers = {"anna": truth, "ben": truth if number else 0, "carl": truth, "": truth if number != 1 else 0}
        names = [name for name in answers if name]
        model = {name: {"agreement": {"": float(answers[""] == answers[name])}} for name in names}
        pairs = {(a, b): {"agreement": {"": float(answers[a] == answers[b])}} for a, b in combinations(names, 2)}
        read.append(raters.Reading(str(number), str(number), model, pairs, answers=answers))
    kappa = {row["of"]: row for row in raters.summary(read, [], ["healthy", "ill"])["kappa"]}
    for who in ("anna and ben", "the model and anna", "all raters"):
        assert 0.8 < kappa[who]["mean"] < 1 and kappa[who]["n"] == 40
        assert (kappa[who]["low"] is None, kappa[who]["high"] is None) == ((positive < 6,) * 2)


def test_readings_that_are_numbers_of_files_are_said_to_be_nobody_s(tmp_path):
    """Of SEGs that do not say who drew them rater 1 was one person's reading here and another's there."""
    truth = written(tmp_path)
    cases = grouped(tmp_path)
    found = measured(Echo(truth), [replace(case, attributes={"readings": "numbered"}) for case in cases])
    assert found["sentence"] == f"dice: {raters.LIKE} {raters.NOBODY}"
    assert raters.NOBODY not in measured(Echo(truth), cases)["sentence"]
