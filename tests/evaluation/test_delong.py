"""DeLong's method: worked numbers, the fast form against the naive one, and honesty when nothing differs."""

import numpy as np
import pytest

from hilum.evaluation import delong
from hilum.metrics import auroc

TRUTH = np.array([True] * 5 + [False] * 5)
ONE = np.array([0.9, 0.8, 0.7, 0.55, 0.3, 0.6, 0.4, 0.35, 0.2, 0.1])
TWO = np.array([0.6, 0.9, 0.4, 0.5, 0.2, 0.7, 0.45, 0.3, 0.35, 0.1])
TIED = np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.6, 0.4, 0.3, 0.2, 0.1])


def naive(first, second, positive):
    """Areas and their 2 x 2 covariance by all pairs of cases, as written by DeLong, DeLong & Clarke-Pearson 1988."""
    upper, lower = [], []
    for scores in (first, second):
        x, y = scores[positive][:, None], scores[~positive][None]
        pairs = (x > y) + 0.5 * (x == y)
        upper.append(pairs.mean(axis=1))
        lower.append(pairs.mean(axis=0))
    m, n = int(positive.sum()), int((~positive).sum())
    return np.mean(upper, axis=1), np.cov(upper) / m + np.cov(lower) / n


def correlated(rng, n=80, shift=1.0, second=1.0):
    """Two tests of the same patients that share half of their noise."""
    positive = np.arange(n) < n // 2
    shared = rng.normal(size=n)
    return [shift * k * positive + shared + rng.normal(size=n) for k in (1.0, second)], positive


@pytest.mark.parametrize(
    ("first", "areas", "variances", "z", "p"),
    [
        (ONE, (0.84, 0.68), (0.0192, 0.0368), 1.511858, 0.130570),
        (TIED, (0.88, 0.68), (0.0128, 0.0368), 1.825742, 0.067889),
    ],
    ids=["without ties", "with ties"],
)
def test_the_worked_examples(first, areas, variances, z, p):
    found = delong.difference(first, TWO, TRUTH)
    assert (found.first, found.second) == pytest.approx(areas) and found.difference == pytest.approx(areas[0] - 0.68)
    assert delong.area(first, TRUTH).variance == pytest.approx(variances[0], abs=1e-9)
    assert delong.area(TWO, TRUTH).variance == pytest.approx(variances[1], abs=1e-9)
    assert found.z == pytest.approx(z, abs=1e-6) and found.p == pytest.approx(p, abs=1e-6)
    turned = delong.difference(TWO, first, TRUTH)
    assert turned.z == -found.z and turned.p == found.p and turned.low == -found.high


def test_the_fast_form_is_the_naive_one_with_ties():
    rng = np.random.default_rng(0)
    for _ in range(30):
        n = int(rng.integers(8, 60))
        positive = np.arange(n) < rng.integers(3, n - 3)
        first, second = rng.integers(0, 8, (2, n)) + positive
        areas, covariance = naive(first, second, positive)
        found = delong.difference(first, second, positive)
        assert (found.first, found.second) == pytest.approx(tuple(areas))
        assert delong.area(first, positive).variance == pytest.approx(covariance[0, 0])
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        assert found.z == pytest.approx((areas[0] - areas[1]) / np.sqrt(variance))


def test_the_area_is_the_metric_and_does_not_mind_a_monotone_change():
    (scores, _), positive = correlated(np.random.default_rng(1))
    chance = 1 / (1 + np.exp(-scores))
    metric = auroc.measure(np.stack([1 - chance, chance], axis=1), positive.astype(int))
    assert delong.area(scores, positive).auroc == pytest.approx(metric)
    assert delong.area(chance, positive).variance == pytest.approx(delong.area(scores, positive).variance)
    assert delong.area(-scores, positive).auroc == pytest.approx(1 - metric)


def test_the_variance_is_that_of_the_bootstrap():
    rng = np.random.default_rng(2)
    (scores, _), positive = correlated(rng, n=200)
    upper, lower = np.flatnonzero(positive), np.flatnonzero(~positive)
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([rng.choice(upper, len(upper)), rng.choice(lower, len(lower))])
        drawn.append(delong.area(scores[rows], positive[rows]).auroc)
    assert delong.area(scores, positive).variance == pytest.approx(np.var(drawn), rel=0.1)


def test_the_interval_covers_the_truth_and_stays_within_0_and_1():
    from scipy.special import ndtr

    rng, hits = np.random.default_rng(3), 0
    for _ in range(400):
        positive = np.arange(60) < 30
        found = delong.area(2 * positive + rng.normal(size=60), positive)
        hits += found.low is not None and found.low <= ndtr(np.sqrt(2)) <= found.high
        assert found.low is None or 0 < found.low < found.auroc < found.high < 1
    assert 0.92 <= hits / 400 <= 0.985


def test_p_is_at_most_5_percent_about_5_times_in_100_when_nothing_differs():
    rng = np.random.default_rng(4)
    p = []
    for _ in range(600):
        (first, second), positive = correlated(rng)
        p.append(delong.difference(first, second, positive).p)
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.07
    assert abs(np.mean(np.array(p) <= 0.5) - 0.5) < 0.06
    (first, second), positive = correlated(rng, n=200, shift=2.5, second=0.2)
    found = delong.difference(first, second, positive)
    assert found.p < 1e-4 and found.low > 0


def test_several_cases_of_a_patient_make_it_call_differences_too_easily():
    rng, called = np.random.default_rng(5), []
    for _ in range(200):
        (first, second), positive = correlated(rng, n=20)
        copies = [np.repeat(v, 5) + 0.1 * rng.normal(size=100) for v in (first, second)]
        called.append(delong.difference(*copies, np.repeat(positive, 5)).p <= 0.05)
    assert np.mean(called) > 0.2
    assert delong.independent(["a", "b"]) and not delong.independent(["a", "b", "a"])


def test_identical_scores_have_p_1():
    found = delong.difference(ONE, ONE, TRUTH)
    assert (found.difference, found.p, found.z, found.low) == (0.0, 1.0, None, None)
    assert delong.difference(ONE, 3 * ONE + 1, TRUTH).p == 1.0


def test_where_nothing_varies_nothing_is_certain():
    perfect = TRUTH.astype(float)
    found = delong.area(perfect, TRUTH)
    assert (found.auroc, found.low, found.high) == (1.0, None, None)
    against = delong.difference(perfect, 1 - perfect, TRUTH)
    assert against.difference == 1.0 and against.p is None


def test_one_class_has_no_area_and_one_case_of_a_class_no_interval():
    assert delong.area(ONE, np.ones(10, bool)) is None and delong.difference(ONE, TWO, np.zeros(10, bool)) is None
    lone = delong.area(ONE, np.arange(10) == 3)
    assert lone.variance is None and lone.low is None and 0 < lone.auroc < 1
    assert delong.difference(ONE, TWO, np.arange(10) == 3).p is None


def test_seeds_are_averaged_as_a_contrast_of_areas():
    both = np.stack([ONE, TWO], axis=1)
    areas, covariance = naive(ONE, TWO, TRUTH)
    found = delong.area(both, TRUTH)
    assert found.auroc == pytest.approx(areas.mean()) and found.variance == pytest.approx(covariance.mean())
    assert delong.area(np.stack([ONE, ONE], axis=1), TRUTH) == delong.area(ONE, TRUTH)
    assert delong.difference(both, both[:, ::-1], TRUTH).p == 1.0


@pytest.mark.parametrize(
    ("scores", "positive"),
    [(ONE[:5], TRUTH), (np.full(10, np.nan), TRUTH), (ONE, np.arange(10)), (ONE[:, None, None], TRUTH)],
)
def test_what_does_not_fit_is_refused(scores, positive):
    with pytest.raises(ValueError, match="scores"):
        delong.area(scores, positive)
