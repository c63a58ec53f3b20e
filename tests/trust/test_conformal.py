"""Sets and intervals hold the truth as often as promised: by hand, over many draws, with ties, and by patient."""

import math
from functools import partial

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import beta

from hilum.core.errors import HilumError
from hilum.trust import conformal
from hilum.trust.conformal import aps, coverage_band, covered, lac, least, one_per_group, quantile


def toy(rng, n, classes=4):
    """Four Gaussians in the plane, and the true probabilities of each class: (n, K), (n,)."""
    angle = 2 * np.pi * np.arange(classes) / classes
    centres = 1.2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    truth = rng.integers(classes, size=n)
    points = centres[truth] + rng.standard_normal((n, 2))
    return softmax(-0.5 * ((points[:, None] - centres) ** 2).sum(-1), axis=1), truth


def test_99_points_and_an_error_of_a_tenth_take_the_90th():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    assert quantile(scores, 0.1) == 90
    # 10 * (1 - 0.7) is a hair above 3
    assert quantile(np.arange(1.0, 10.0), 0.7) == 3


@pytest.mark.parametrize("error", [0.01, 0.05, 0.1, 1 / 3, 0.5, 0.9])
def test_with_fewer_than_the_least_points_nothing_is_left_out(error):
    n = least(error)
    assert math.isfinite(quantile(np.arange(float(n)), error))
    assert quantile(np.arange(float(n - 1)), error) == math.inf
    assert coverage_band(n - 1, 50, error) == (1.0, 1.0)
    assert "too few" in conformal.guarantee(error, n - 1) and f"At least {n} " in conformal.guarantee(error, n - 1)
    assert conformal.sets(np.full((2, 3), 1 / 3), math.inf).all()


def test_least_is_9_for_a_tenth_and_19_for_a_twentieth():
    assert (least(0.1), least(0.05)) == (9, 19)


@pytest.mark.parametrize("error", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_of_errors_that_is_none_is_refused(error):
    with pytest.raises(HilumError) as raised:
        quantile(np.arange(5.0), error)
    assert raised.value.code == "HIL-TRUST-05"


@pytest.mark.parametrize(("n", "error"), [(99, 0.1), (20, 0.1), (50, 0.25)])
def test_the_mean_coverage_over_redraws_is_the_promised_one(n, error):
    # of uniform scores the threshold itself is the coverage
    rng = np.random.default_rng(1)
    found = np.mean([quantile(rng.random(n), error) for _ in range(500)])
    assert 1 - error - 0.005 <= found <= 1 - error + 1 / (n + 1) + 0.005


def test_ties_only_raise_the_coverage():
    rng = np.random.default_rng(2)
    held = [np.mean(rng.integers(5, size=400) <= quantile(rng.integers(5, size=30), 0.2)) for _ in range(500)]
    assert np.mean(held) >= 0.8 - 0.005
    assert quantile(np.full(30, 7.0), 0.2) == 7


@pytest.mark.parametrize("name", ["lac", "aps", "aps randomised"])
def test_on_gaussians_every_score_covers_nine_in_ten(name):
    rng = np.random.default_rng(3)
    (p, truth), (new, new_truth) = toy(rng, 1000), toy(rng, 20000)
    chance, fresh = rng.random(len(p)), rng.random(len(new))
    scores = {
        "lac": (lac, lac),
        "aps": (aps, aps),
        "aps randomised": (partial(aps, chance=chance), partial(aps, chance=fresh)),
    }
    score, again = scores[name]
    threshold = quantile(conformal.of_truth(score(p), truth), 0.1)
    found = covered(conformal.sets(new, threshold, again), new_truth)
    low, high = coverage_band(1000, 20000, 0.1, level=0.999)
    assert found is not None and low <= found.coverage <= high and 0.85 < low < 0.9 < high < 0.95
    assert 1 < found.size < 4


def test_aps_by_hand():
    p = np.array([[0.3, 0.5, 0.2]])
    np.testing.assert_allclose(aps(p), [[0.5, 0.0, 0.8]])
    np.testing.assert_allclose(aps(p, np.zeros(1)), [[0.8, 0.5, 1.0]])
    np.testing.assert_allclose(aps(p, np.array([0.5])), [[0.65, 0.25, 0.9]])
    np.testing.assert_allclose(lac(p), [[0.7, 0.5, 0.8]])


@pytest.mark.parametrize("score", [aps, lac])
def test_the_likeliest_class_is_in_every_set(score):
    """By the threshold alone, sets of a model that errs less often than they may are empty."""
    p, truth = toy(np.random.default_rng(4), 2000)
    for error in (0.05, 0.5, 0.95):
        inside = conformal.sets(p, quantile(conformal.of_truth(score(p), truth), error), score)
        assert inside[np.arange(len(p)), p.argmax(axis=1)].all()
        assert covered(inside, truth).coverage >= 1 - error
    assert conformal.sets(p, 0.0).sum(axis=1).tolist() == [1] * len(p)


def test_equal_probabilities_keep_their_scores_apart():
    assert sorted(aps(np.full((1, 4), 0.25))[0]) == pytest.approx([0, 0.25, 0.5, 0.75])


def test_one_score_per_patient():
    groups = ["a", "b", "a", "c", "b", "a"]
    scores = np.arange(6.0)
    found = [sorted(one_per_group(scores, groups, seed).tolist()) for seed in range(200)]
    for picked in found:
        assert sorted(groups[int(s)] for s in picked) == ["a", "b", "c"]
    assert {p for picked in found for p in picked} == set(range(6))
    again = one_per_group(scores, [f"patient {g}" for g in groups], 7)
    np.testing.assert_array_equal(again, one_per_group(scores, groups, 7))
    with pytest.raises(ValueError, match="groups"):
        one_per_group(scores, groups[:5])


def test_with_many_images_of_a_patient_one_each_keeps_the_promise_and_the_band():
    """All images count as points: coverage scatters far more than the band of their number tells."""
    rng = np.random.default_rng(6)
    low, high = coverage_band(20 * 30, 10**4, 0.1)
    names, one, every = np.repeat(np.arange(20), 30), [], []
    for seed in range(400):
        # patients differ, images of a patient do not
        scores = np.repeat(rng.random(20), 30)
        one.append(quantile(one_per_group(scores, names, seed), 0.1))
        every.append(quantile(scores, 0.1))
    assert 0.9 - 0.005 <= np.mean(one) <= 0.9 + 1 / 21 + 0.005
    assert np.mean([(low <= e <= high) for e in every]) < 0.6


def test_the_band_holds_19_in_20_draws():
    rng = np.random.default_rng(7)
    low, high = coverage_band(50, 40, 0.1)
    held = [low <= np.mean(rng.random(40) <= quantile(rng.random(50), 0.1)) <= high for _ in range(3000)]
    assert 0.94 <= np.mean(held) <= 0.995
    assert coverage_band(50, 1, 0.1) == (0.0, 1.0)


def test_with_many_new_cases_the_band_is_that_of_the_beta_distribution():
    found = coverage_band(99, 20000, 0.1)
    assert found == pytest.approx(beta.ppf([0.025, 0.975], 90, 10), abs=2e-3)


def test_covered_by_hand():
    inside = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=bool)
    found = covered(inside, np.array([0, 1, 1, 0]))
    assert (found.n, found.coverage, found.size) == (4, 0.5, 1.0)
    assert found.classes == (0.5, 0.5, None) and found.worst is None and found.worst_coverage is None
    assert covered(inside[:0], np.zeros(0, int)) is None


def test_the_worst_group_is_named_where_it_is_large_enough_to_tell():
    inside = np.zeros((32, 2), dtype=bool)
    inside[:, 0] = True
    truth = np.zeros(32, dtype=int)
    truth[[0, 1, 20, 30, 31]] = 1
    groups = ["north"] * 20 + ["south"] * 10 + ["tiny"] * 2
    found = covered(inside, truth, groups)
    assert (found.worst, found.worst_coverage) == ("north", 0.9)
    truth[21] = 1
    assert covered(inside, truth, groups).worst == "south"
    assert covered(inside, truth, range(32)).worst is None


def test_intervals_by_hand():
    assert conformal.interval(5.0, 2.0) == (3.0, 7.0)
    assert conformal.interval(1.0, 0.5, scale=4.0, low=0.0) == (0.0, 3.0)
    assert conformal.interval(0.9, 0.2, high=1.0) == (pytest.approx(0.7), 1.0)


def test_the_guarantee_states_what_it_promises_and_what_it_assumes():
    words = conformal.guarantee(0.15, 40, "the true volume is in the interval")
    assert "85 %" in words and "40 patients" in words and "the true volume is in the interval" in words
    for part in ("exchangeable", "marginal", "not about a single patient", "on average"):
        assert part in words


def test_what_is_no_probability_is_refused():
    for wrong in (np.ones(3), np.array([[0.7, 0.7]]), np.array([[1.5, -0.5]]), np.array([[np.nan, 1.0]])):
        with pytest.raises(ValueError, match="probabilit"):
            aps(wrong)
    with pytest.raises(ValueError, match="NaN"):
        quantile(np.array([1.0, np.nan]), 0.1)
