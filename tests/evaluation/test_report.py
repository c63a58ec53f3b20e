"""What the report says before the numbers: what may flatter, and what units mean."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Case
from hilum.evaluation import _parts
from hilum.evaluation.evaluator import Evaluation, measure
from hilum.evaluation.report import (
    GROUPING,
    PIXELS,
    VOXELS,
    _confusion,
    _grouped,
    _noted,
    _pictures,
    _sentence,
    _trained,
)
from hilum.pictures import draw
from hilum.pictures.page import Page
from hilum.tasks._task import Judged


def told(part: str, *metrics: str, spacing: list[float] | None = None, dims: int = 2) -> str:
    """The head of the report of an evaluation of these metrics."""
    plan: Any = SimpleNamespace(spacing=spacing, data={}, dims=dims)
    page = Page("x")
    _noted(page, Evaluation([], [], {name: {} for name in metrics}, metrics[0]), plan, part)
    return page.html()


@pytest.mark.parametrize("part", ["train", "val"])
def test_cases_that_were_learned_from_raise_an_alarm(part: str) -> None:
    assert _parts.LEARNED[part] in told(part, "dice")


@pytest.mark.parametrize("part", ["test", "all"])
def test_new_cases_do_not(part: str) -> None:
    assert not any(words in told(part, "dice") for words in _parts.LEARNED.values())


@pytest.mark.parametrize("name", ["hd95_mm", "nsd_1mm", "volume_error_ml"])
def test_without_a_spacing_mm_are_pixels_and_ml_thousands_of_them(name: str) -> None:
    assert "ml thousands of pixels" in PIXELS and PIXELS in told("test", "dice", name)
    assert PIXELS not in told("test", "dice", name, spacing=[1.0, 1.0]) and PIXELS not in told("test", "dice")
    # planned as they lie, volumes are measured by the spacing that each has
    assert PIXELS not in told("test", name, dims=3) and VOXELS in told("test", name, dims=3)


def test_many_patients_who_are_all_alike_are_not_called_too_few() -> None:
    rows = [Judged(str(n), str(n), {"dice": {"": 0.5}}) for n in range(40)]
    row = measure("dice", Evaluation(rows, []))
    assert row is not None and row["low"] is None
    said = _sentence(Evaluation(rows, [], {"dice": row}, "dice"), "test", 40)
    assert said == "dice 0.500 (no interval, as nothing varies or groups are too few) on the test part, 40 cases."


def test_the_table_of_classes_says_that_lost_cases_are_not_in_it() -> None:
    """Accuracy counts them as wrong, and could not be told from the table."""
    right = Judged("a", "a", {}, (np.array([0.2, 0.8]), 1))
    page, whole = Page("x"), Page("x")
    _confusion(page, Evaluation([right], [(Case("b", "b", {}), "it is damaged")]), ["healthy", "ill"])
    _confusion(whole, Evaluation([right], []), ["healthy", "ill"])
    assert "counts as wrong, are not in it: 1." in page.html() and "not in it" not in whole.html()


def test_cases_without_a_value_are_not_counted_in() -> None:
    rows = [Judged(str(n), str(n), {"dice": {"": None if n % 4 == 0 else 0.1 * (n % 7)}}) for n in range(40)]
    row = measure("dice", Evaluation(rows, []))
    assert row is not None and row["n"] == 30
    said = _sentence(Evaluation(rows, [], {"dice": row}, "dice"), "test", 40)
    assert said.endswith(" on the test part, 30 of 40 cases.")


def test_parts_that_share_a_patient_are_not_said_to_be_apart() -> None:
    words = "HIL-T09: accepted by dataset.yaml: 1 same patient"
    plan: Any = SimpleNamespace(data={"grouping": "patient", "warnings": [words]})
    assert _grouped(plan) == f"The parts are not apart. {words}"
    assert _grouped(SimpleNamespace(data={"grouping": "patient"})) == GROUPING["patient"]  # type: ignore[arg-type]


def test_a_training_that_ended_early_says_so() -> None:
    run: Any = SimpleNamespace(ledger=lambda: [{"event": "train", "steps": 300}])
    run.plan = SimpleNamespace(steps=1000, batch=2, minutes=None, data={"fingerprint": "a"})
    assert _trained(run) == "300 steps of 2, ended before 1000"
    run.plan = SimpleNamespace(steps=300, batch=2, minutes=4.0, data={"fingerprint": "a"})
    assert _trained(run) == "300 steps of 2, planned for 4 minutes"
    run.plan = SimpleNamespace(steps=None, batch=1, minutes=None, data={})
    assert _trained(run) == "not known"


@pytest.mark.parametrize("values", [[1, 8], [1, 22, 43], [*range(1, 15)], [*range(2, 44, 2)]])
def test_every_class_of_the_legend_has_a_colour_of_its_own(values: list[int]) -> None:
    """Two of them, seven values apart, had one and could not be told apart in any picture."""
    task = SimpleNamespace(CARD={"infer": "windows"}, legend=[(f"class {v}", v) for v in values])
    page, predictor = Page("x"), SimpleNamespace(task=task)
    _pictures(page, predictor, Evaluation([], [], {}, "dice"), [])  # type: ignore[arg-type]
    found = re.findall(r'<i style="background:rgb\((\d+),(\d+),(\d+)\)"', page.html())
    assert len(found) == len(set(found)) == len(values)
    assert [tuple(map(int, one)) for one in found] == [*draw.colours(values).values()], "as in the pictures"
