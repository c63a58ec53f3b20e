"""Metrics of class probabilities: worked examples, scikit-learn, and what happens when classes are missing."""

import numpy as np
import pytest

from hilum.metrics import accuracy, auroc, balanced_accuracy, brier, ece, macro_f1, nll

ALL = [accuracy, balanced_accuracy, macro_f1, auroc, nll, brier, ece]


def sample(seed=0, n=120, k=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), truth] += 1.0
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities.round(2) + 1e-9, truth  # rounding makes ties


@pytest.mark.parametrize("metric", ALL)
def test_a_perfect_answer_is_best_and_a_sure_mistake_is_worse(metric):
    truth = np.array([0, 1, 2, 0])
    best, bad = metric.measure(np.eye(3)[truth], truth), metric.measure(np.eye(3)[(truth + 1) % 3], truth)
    assert best == (1.0 if metric.CARD["better"] == "higher" else 0.0)
    assert bad < best if metric.CARD["better"] == "higher" else bad > best
    low, high = metric.CARD["range"]
    assert bad >= low and (high is None or bad <= high)


@pytest.mark.parametrize("metric", ALL)
def test_the_order_of_cases_is_irrelevant(metric):
    probabilities, truth = sample()
    order = np.random.default_rng(1).permutation(len(truth))
    assert metric.measure(probabilities, truth) == pytest.approx(metric.measure(probabilities[order], truth[order]))


@pytest.mark.parametrize("metric", ALL)
def test_no_cases_is_undefined(metric):
    assert metric.measure(np.zeros((0, 3)), np.zeros(0, int)) is None


def test_agreement_with_scikit_learn():
    from sklearn import metrics as sk

    probabilities, truth = sample()
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    guess = probabilities.argmax(axis=1)
    assert accuracy.measure(probabilities, truth) == pytest.approx(sk.accuracy_score(truth, guess))
    assert balanced_accuracy.measure(probabilities, truth) == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    assert macro_f1.measure(probabilities, truth) == pytest.approx(sk.f1_score(truth, guess, average="macro"))
    theirs = sk.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    assert auroc.measure(probabilities, truth) == pytest.approx(theirs)
    assert nll.measure(probabilities, truth) == pytest.approx(sk.log_loss(truth, probabilities), rel=1e-9)
    two, answer = sample(2, 80, 2)
    assert auroc.measure(two, answer) == pytest.approx(sk.roc_auc_score(answer, two[:, 1]), abs=1e-12)
    half = sk.brier_score_loss(answer, two[:, 1])
    assert brier.measure(two, answer) == pytest.approx(2 * half, abs=1e-6)


def test_auroc_of_the_worked_example():
    scores = np.array([0.9, 0.8, 0.7, 0.55, 0.3, 0.6, 0.4, 0.35, 0.2, 0.1])
    truth = np.repeat([1, 0], 5)
    assert auroc.measure(np.stack([1 - scores, scores], axis=1), truth) == pytest.approx(0.84)


def test_classes_that_do_not_occur_are_left_out_and_one_class_has_no_auroc():
    probabilities, truth = sample()
    only = truth != 2
    assert auroc.measure(probabilities[only], truth[only]) is not None
    assert balanced_accuracy.measure(np.eye(3)[truth[only]], truth[only]) == 1.0
    assert auroc.measure(probabilities[truth == 0], truth[truth == 0]) is None


def test_ece_of_the_worked_example():
    confidence = np.array([0.95, 0.9, 0.85, 0.75, 0.65, 0.55])
    correct = np.array([1, 1, 0, 1, 0, 1])
    assert ece.calibration_error(confidence, correct, bins=10) == pytest.approx(0.358333, abs=1e-6)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert ece.measure(probabilities, 1 - correct, bins=10) == pytest.approx(0.358333, abs=1e-6)


def test_ece_is_zero_where_confidence_equals_the_share_that_is_right():
    probabilities = np.tile([0.75, 0.25], (8, 1))
    assert ece.measure(probabilities, np.array([0, 0, 0, 1] * 2)) == pytest.approx(0.0)


def test_what_is_not_a_table_of_probabilities_is_refused():
    with pytest.raises(ValueError, match="expected"):
        accuracy.measure(np.zeros((3, 1)), np.zeros(3, int))
    with pytest.raises(ValueError, match="lies outside"):
        accuracy.measure(np.full((2, 2), 0.5), np.array([0, 2]))
    with pytest.raises(ValueError, match="not finite"):
        nll.measure(np.array([[np.nan, 1.0]]), np.array([0]))
