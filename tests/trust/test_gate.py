"""The gate keeps its stated error, says why, and never accepts what it knows nothing about."""

import numpy as np
import pytest

from hilum.core.calibration import Gate
from hilum.trust.gate import Look, decide, learned, limits, promise


def gate(**more: object) -> Gate:
    facts = {"error": 0.1, "measure": "1 - probability", "wrong": "the class is wrong", "accept": 0.2, "person": 0.6}
    return Gate(**(facts | {"groups": 50, "rate": 0.7, "outlier": 3.0} | more))  # type: ignore[arg-type]


def test_the_limit_is_the_highest_that_keeps_the_error() -> None:
    doubts, wrong = np.arange(20) / 20, np.zeros(20)
    assert learned(doubts, wrong, range(20), 0.05) == 0.95  # (0 + 1) / 21
    assert learned(doubts, wrong, range(20), 0.04) is None
    wrong[10] = 1
    # with the wrong one: (1 + 1) / 21 = 0.095
    assert learned(doubts, wrong, range(20), 0.05) == 0.45
    assert learned(doubts, wrong, range(20), 0.1) == 0.95


def test_results_of_equal_doubt_stand_or_fall_together() -> None:
    doubts = np.array([0.1] * 10 + [0.2] * 10)
    wrong = np.array([0] * 10 + [0] * 9 + [1])
    assert learned(doubts, wrong, range(20), 0.06) == 0.1


def test_a_patient_with_many_images_counts_once() -> None:
    doubts, wrong = np.linspace(0, 1, 40), np.ones(40)
    wrong[:20] = 0
    one = ["same"] * 20 + list(range(20))
    assert learned(doubts, wrong, [str(g) for g in one], 0.05) == pytest.approx(doubts[19])
    many = [str(n) for n in range(20)] + ["bad"] * 20
    # one bad patient of 21: (1 + 1) / 22 = 0.09, whatever the number of its images
    assert learned(doubts, wrong, many, 0.1) == 1.0


def test_the_error_is_kept_on_average_over_validation_parts() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        doubts = rng.random(260)
        wrong = rng.random(260) < doubts**2
        limit = learned(doubts[:60], wrong[:60], range(60), 0.1)
        found.append(0.0 if limit is None else np.mean((doubts[60:] <= limit) & wrong[60:]))
    assert 0.08 < np.mean(found) <= 0.1 + 2 * np.std(found) / np.sqrt(300)


def test_too_few_patients_accept_nothing_and_say_so() -> None:
    made, notes = limits(np.arange(5) / 5, np.zeros(5), range(5), 0.1, "1 - probability", "the class is wrong")
    assert made.accept is None and made.rate == 0
    assert "5 validation patients can not show less than 16.7 %" in notes[0]
    verdict = decide(Look(doubt=0.0), made)
    assert verdict.decision == "flag" and "nothing is accepted" in verdict.reasons[0]


def test_the_rate_leaves_out_what_has_a_prediction_set_of_several_classes() -> None:
    doubts, single = np.arange(20) / 20, np.arange(20) < 14
    made, _ = limits(doubts, np.zeros(20), range(20), 0.1, "1 - probability", "the class is wrong", single)
    assert made.accept == 0.95 and made.rate == 0.7


@pytest.mark.parametrize(
    "look, decision, word",
    [
        (Look(doubt=0.1), "accept", "at most 10 %"),
        (Look(doubt=0.1, classes=("a",), outlier=1.0), "accept", "50 of validation"),
        (Look(doubt=0.3), "flag", "doubtful (1 - probability 0.3"),
        (Look(doubt=0.1, classes=("a", "b")), "flag", "2 classes: a, b"),
        (Look(doubt=0.1, quality=("The image is blurred.",)), "flag", "blurred"),
        (Look(), "flag", "not measured"),
        (Look(doubt=float("nan")), "flag", "not measured"),
        (Look(doubt=float("inf")), "flag", "not measured"),
        (Look(doubt=0.7), "person", "more doubtful"),
        (Look(doubt=0.1, outlier=3.5), "person", "unlike the training images (score 3.5"),
    ],
)
def test_every_reason_is_said_in_words(look: Look, decision: str, word: str) -> None:
    verdict = decide(look, gate())
    assert verdict.decision == decision
    assert any(word in reason for reason in verdict.reasons), verdict.reasons


def test_without_a_gate_a_person_judges() -> None:
    assert decide(Look(doubt=0.0), None).decision == "person"


def test_an_acceptance_of_scaled_answers_says_what_it_assumes_besides() -> None:
    (bare,) = decide(Look(doubt=0.1), gate()).reasons
    (told,) = decide(Look(doubt=0.1), gate(), "the fit holds").reasons
    assert bare.endswith(", on average.") and told == bare.removesuffix(".") + ", if the fit holds."
    assert promise(gate(), "the fit holds") == told.replace("Doubt is low enough that, ", "Promise: ")
    assert promise(gate(accept=None)) is None and promise(None) is None


def test_rounding_does_not_part_a_validation_case_from_the_limit_that_it_gave() -> None:
    for limit in (0.517362, -31.5):
        made = gate(accept=limit, person=limit)
        assert decide(Look(doubt=limit + 1e-6 * abs(limit), outlier=0.0), made).decision == "accept"
        assert decide(Look(doubt=limit + 1e-4 * abs(limit), outlier=0.0), made).decision == "person"
