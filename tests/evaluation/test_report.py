"""What the report says before the numbers: what may flatter, and what units mean."""

from types import SimpleNamespace
from typing import Any

import pytest

from hilum.evaluation import _parts
from hilum.evaluation.evaluator import Evaluation
from hilum.evaluation.report import PIXELS, _noted
from hilum.pictures.page import Page


def told(part: str, *metrics: str, spacing: list[float] | None = None) -> str:
    """The head of the report of an evaluation of these metrics."""
    plan: Any = SimpleNamespace(spacing=spacing, data={})
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
