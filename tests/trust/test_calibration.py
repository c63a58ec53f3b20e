"""Scaling lowers the loss where it may, leaves the answer alone, and is judged on patients that it has not seen."""

import numpy as np
import pytest
from scipy.special import logit, softmax

from hilum.core.errors import HilumError
from hilum.metrics import ece, nll
from hilum.trust import calibration
from hilum.trust.calibration import choose, fit_temperature, fit_vector, out_of_fold, scaled, with_prevalence


def honest(n=2000, k=4, seed=0, size=1.0):
    """Logits (n, K) whose softmax is exactly the chance of each class, and the classes drawn by it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, size, (n, k))
    truth = (rng.random((n, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)
    return logits, np.minimum(truth, k - 1)


def test_true_logits_times_three_need_a_temperature_of_three() -> None:
    logits, truth = honest()
    sure = softmax(3 * logits, axis=1)
    t = fit_temperature(sure, truth)
    assert 2.7 < t < 3.3
    after = scaled(sure, 1 / t)
    assert nll.measure(after, truth) < nll.measure(sure, truth) - 0.2
    assert ece.measure(after, truth) < 0.5 * ece.measure(sure, truth)
    # nearly the truth itself
    assert nll.measure(after, truth) == pytest.approx(nll.measure(softmax(logits, axis=1), truth), abs=0.005)


def test_the_temperature_is_the_lowest_point_of_the_loss() -> None:
    logits, truth = honest(300, 3)
    sure = softmax(1.7 * logits, axis=1)
    t = fit_temperature(sure, truth)
    around = [nll.measure(scaled(sure, 1 / (t * f)), truth) for f in (0.99, 1.0, 1.01)]
    assert min(around) == around[1]
    # where the mean of the true class's logit is what the softmax expects, the slope is zero
    p = softmax(1.7 * logits / t, axis=1)
    assert np.mean(logits[np.arange(300), truth] - (p * logits).sum(axis=1)) == pytest.approx(0, abs=1e-5)


def test_temperature_on_log_probabilities_is_temperature_on_logits() -> None:
    logits = np.random.default_rng(0).normal(5, 3, (50, 5))
    for t in (0.5, 1.0, 4.0):
        assert scaled(softmax(logits, axis=1), 1 / t) == pytest.approx(softmax(logits / t, axis=1), abs=1e-12)


def test_the_loss_never_rises_on_the_cases_of_the_fit_and_temperature_keeps_the_answer() -> None:
    rng = np.random.default_rng(1)
    for trial in range(40):
        n, k = int(rng.integers(2, 60)), int(rng.integers(2, 6))
        p = softmax(rng.normal(0, rng.uniform(0.1, 12), (n, k)), axis=1)
        truth = rng.integers(0, k, n)
        before = nll.measure(p, truth)
        t = fit_temperature(p, truth)
        cooled = scaled(p, 1 / t)
        assert nll.measure(cooled, truth) <= before + 1e-9, trial
        assert (cooled.argmax(axis=1) == p.argmax(axis=1)).all()
        assert nll.measure(scaled(p, *fit_vector(p, truth)), truth) <= before + 1e-9, trial


def test_a_calibrated_model_is_left_nearly_alone() -> None:
    logits, truth = honest(4000)
    p = softmax(logits, axis=1)
    assert fit_temperature(p, truth) == pytest.approx(1, abs=0.1)
    scale, bias = fit_vector(p, truth)
    assert scale == pytest.approx(np.ones(4), abs=0.25) and bias == pytest.approx(np.zeros(4), abs=0.25)


def test_vector_scaling_finds_a_bias_and_few_cases_hardly_move_it() -> None:
    logits, truth = honest(4000, 3)
    shifted = softmax(logits + np.array([0, 0, 1.5]), axis=1)
    _, bias = fit_vector(shifted, truth)
    assert bias[2] - bias[:2].mean() == pytest.approx(-1.5, abs=0.3)
    # three cases of one class: without the pull the bias would grow without end
    scale, bias = fit_vector(shifted[:3], np.zeros(3, int))
    assert np.abs(scale - 1).max() < 1 and np.abs(bias).max() < 0.7


def test_the_vector_fit_is_where_its_slope_is_zero() -> None:
    logits, truth = honest(200, 3, seed=4)
    p = softmax(2 * logits, axis=1)
    scale, bias = fit_vector(p, truth)
    away = (scaled(p, scale, bias) - np.eye(3)[truth]).mean(axis=0)
    assert away + bias / (200 * calibration.SPREAD**2) == pytest.approx(np.zeros(3), abs=1e-4)


def test_a_weight_of_two_is_the_case_twice() -> None:
    logits, truth = honest(60, 3, seed=2)
    p = softmax(2 * logits, axis=1)
    twice = np.arange(60) < 20
    weights = np.where(twice, 2.0, 1.0)
    again = np.concatenate([np.arange(60), np.flatnonzero(twice)])
    assert fit_temperature(p, truth, weights) == pytest.approx(fit_temperature(p[again], truth[again]), rel=1e-4)
    assert fit_temperature(p, truth, weights) == pytest.approx(fit_temperature(p, truth, 7 * weights), rel=1e-4)
    with pytest.raises(ValueError, match="weights"):
        fit_temperature(p, truth, np.zeros(60))


@pytest.mark.parametrize("method", ["none", "temperature", "vector"])
def test_out_of_fold_never_uses_the_own_group(method: str) -> None:
    logits, truth = honest(120, 3)
    p, groups = softmax(3 * logits, axis=1), np.arange(120) // 4
    clean = out_of_fold(p, truth, groups, method)
    own = groups == 7
    lies = np.where(own, (truth + 1) % 3, truth)
    # whatever is said to be true of a patient, its own numbers stay the same
    assert np.array_equal(out_of_fold(p, lies, groups, method)[own], clean[own])
    if method != "none":
        assert not np.allclose(out_of_fold(p, lies, groups, method)[~own], clean[~own])
    # and every one of them comes from the cases of the other folds alone
    fold = calibration.folds_of(groups, 5, 0)
    rest = fold != fold[own][0]
    expected = calibration.applied(calibration.fit(method, p[rest], truth[rest]), p[own])
    assert clean[own] == pytest.approx(expected)


def test_folds_hold_whole_groups_of_about_equal_number() -> None:
    groups = [f"p{k // 3}" for k in range(90)]
    fold = calibration.folds_of(groups, 5, 3)
    by_group = fold.reshape(30, 3)
    assert (by_group == by_group[:, :1]).all() and (np.bincount(by_group[:, 0]) == 6).all()
    assert len(set(calibration.folds_of(["a", "b", "a"], 5, 0))) == 2


def test_the_method_is_chosen_by_what_unseen_patients_gain() -> None:
    logits, truth = honest(400, 3)
    groups = np.arange(400) // 2
    calm = choose(softmax(logits, axis=1), truth, groups)
    assert calm.scaling.method == "none" and calm.scaling.scale == [1.0]
    sure = choose(softmax(3 * logits, axis=1), truth, groups)
    assert sure.scaling.method == "temperature" and 1 / sure.scaling.scale[0] == pytest.approx(3, rel=0.15)
    assert sure.nll["temperature"] < sure.nll["none"] and sure.groups == 200
    skewed = choose(softmax(logits + np.array([0, 0, 2]), axis=1), truth, groups)
    assert skewed.scaling.method == "vector" and len(skewed.scaling.bias) == 3
    assert skewed.nll["vector"] < skewed.nll["temperature"] and "vector" in skewed.why


def test_vector_is_not_tried_where_a_class_is_rare() -> None:
    logits, truth = honest(400, 3)
    keep = (truth != 2) | (np.cumsum(truth == 2) <= calibration.LEAST_OF_CLASS - 1)
    found = choose(softmax(logits + np.array([0, 0, 2]), axis=1)[keep], truth[keep], np.arange(keep.sum()))
    assert "vector" not in found.nll


def test_a_gain_must_be_above_its_standard_error_over_groups() -> None:
    for low, clear in ((-1.5, True), (-3.0, False)):
        gain = np.array([1.0] * 8 + [low] * 2)
        assert (gain.mean() > gain.std(ddof=1) / np.sqrt(10)) == clear == calibration.beats(gain, range(10))
    # ten times the same patient is one fact, not ten
    assert calibration.beats(np.tile([0.5, 1.0], 10), range(20)) and not calibration.beats(np.ones(20), ["a"] * 20)
    assert not calibration.beats(np.zeros(20), range(20))


def test_a_model_without_mistakes_is_not_sharpened() -> None:
    truth = np.arange(40) % 2
    p = np.where(np.eye(2)[truth] == 1, 0.8, 0.2)
    found = choose(p, truth, range(40))
    assert found.scaling.method == "none" and "no mistake" in found.why


def test_what_can_not_be_fitted_is_refused_by_sentence() -> None:
    p, truth = np.full((40, 2), 0.5), np.arange(40) % 2
    for function in (choose, lambda *a: out_of_fold(*a, "temperature")):
        with pytest.raises(HilumError, match="HIL-TRUST-01"):
            function(p, np.zeros(40, int), range(40))
        with pytest.raises(HilumError, match=r"9 patients; .* from 10 on.*HIL-TRUST-02"):
            function(p, truth, np.arange(40) % 9)
        with pytest.raises(ValueError, match="groups"):
            function(p, truth, range(39))


def test_prevalence_moves_the_log_odds_by_the_log_of_the_odds_ratio() -> None:
    p = np.array([[0.3, 0.7], [0.9, 0.1]])
    moved = with_prevalence(p, [0.5, 0.5], [0.9, 0.1])
    assert logit(moved[:, 1]) == pytest.approx(logit(p[:, 1]) + logit(0.1) - logit(0.5))
    assert moved.sum(axis=1) == pytest.approx([1, 1])
    assert with_prevalence(moved, [0.9, 0.1], [0.5, 0.5]) == pytest.approx(p)
    assert with_prevalence(p, [1 / 3, 2 / 3], [0, 1])[:, 1] == pytest.approx([1, 1])


def test_prevalence_makes_an_oversampled_model_calibrated_again() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(200_000) < 0.05).astype(int)
    x = rng.normal(2 * truth, 1)
    # by Bayes, for two classes that are equally common
    balanced = softmax(np.stack([-(x**2), -((x - 2) ** 2)], axis=1) / 2, axis=1)
    moved = with_prevalence(balanced, [0.5, 0.5], [0.95, 0.05])
    assert moved[:, 1].mean() == pytest.approx(0.05, abs=0.003) and balanced[:, 1].mean() > 0.15
    before, after = (ece.calibration_error(p[:, 1], truth) for p in (balanced, moved))
    assert after < 0.003 and before > 0.1


@pytest.mark.parametrize("trained, here", [([0.5, 0.6], [0.5, 0.5]), ([0, 1], [0.5, 0.5]), ([0.5, 0.5], [-0.1, 1.1])])
def test_a_prevalence_that_is_none_is_refused(trained: list[float], here: list[float]) -> None:
    with pytest.raises(HilumError, match="HIL-TRUST-03"):
        with_prevalence(np.full((1, 2), 0.5), trained, here)
