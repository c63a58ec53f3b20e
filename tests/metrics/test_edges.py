"""T14, clause by clause: every edge of a metric has a rule that its CARD prints, and the rule is what happens."""

import numpy as np
import pytest

from hilum.core import catalogue

MASKS = [n for n, card in catalogue.cards("hilum.metrics").items() if card["takes"] == "masks"]
SCORES = [n for n, card in catalogue.cards("hilum.metrics").items() if card["takes"] == "scores"]
SPACING = (2.0, 1.0, 0.5)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Nothing, and one voxel of 5 x 6 x 7."""
    empty = np.zeros((5, 6, 7), bool)
    one = empty.copy()
    one[2, 2, 2] = True
    return empty, one


@pytest.mark.parametrize("name", MASKS)
def test_t14_both_empty_is_undefined_and_printed(name: str) -> None:
    empty, _ = masks()
    module = catalogue.load("hilum.metrics", name)
    assert module.measure(empty, empty, SPACING) is None and "both empty: undefined" in module.CARD["empty"]


@pytest.mark.parametrize("name", MASKS)
def test_t14_an_empty_prediction_and_an_empty_truth_cost_the_same_and_are_printed(name: str) -> None:
    empty, one = masks()
    module = catalogue.load("hilum.metrics", name)
    found, missed = module.measure(one, empty, SPACING), module.measure(empty, one, SPACING)
    assert found == missed and np.isfinite(missed) and "one empty: " in module.CARD["empty"]
    assert missed != module.measure(one, one, SPACING)


def test_t14_the_hausdorff_distance_to_nothing_is_the_image_diagonal() -> None:
    empty, one = masks()
    module = catalogue.load("hilum.metrics", "hd95_mm")
    assert module.measure(empty, one, SPACING) == pytest.approx(np.sqrt(10**2 + 6**2 + 3.5**2))
    assert "diagonal" in module.CARD["empty"]


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
def test_t14_a_spacing_that_is_no_length_is_refused(name: str, bad: float) -> None:
    empty, one = masks()
    for prediction in (empty, one):
        with pytest.raises(ValueError, match="no length"):
            catalogue.load("hilum.metrics", name).measure(prediction, one, (1.0, bad, 1.0))


@pytest.mark.parametrize("name", SCORES)
def test_t14_no_case_at_all_is_undefined(name: str) -> None:
    assert catalogue.load("hilum.metrics", name).measure(np.zeros((0, 2)), np.zeros(0, int)) is None


@pytest.mark.parametrize("name", [n for n in SCORES if n != "auroc"])
def test_t14_one_class_only_is_defined(name: str) -> None:
    """One case of two is right, the other is called a class that no case has."""
    wanted = {
        "accuracy": 0.5, "balanced_accuracy": 0.5, "brier": 0.37, "ece": 0.35, "macro_f1": 1 / 3,
        "nll": -np.log(0.9 * 0.4) / 2,
    }  # fmt: skip
    value = catalogue.load("hilum.metrics", name).measure(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
    assert value == pytest.approx(wanted[name])


def test_t14_one_class_only_has_no_roc_curve() -> None:
    module = catalogue.load("hilum.metrics", "auroc")
    assert module.measure(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0])) is None
    assert "one class only: undefined" in module.CARD["empty"]


@pytest.mark.parametrize("name", sorted(catalogue.cards("hilum.metrics")))
def test_t14_every_metric_prints_its_rule(name: str) -> None:
    rule = catalogue.cards("hilum.metrics")[name]["empty"]
    assert "undefined" in rule
