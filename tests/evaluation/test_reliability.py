"""Worked examples, intervals against scipy, and laws: parts add up, chance alone is told from a fault."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from hilum.evaluation import reliability as r
from hilum.metrics import brier, ece


def sample(n=400, k=3, sharp=1.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, k))
    truth = np.minimum((rng.random((n, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1), k - 1)
    return softmax(sharp * logits, axis=1), truth


def test_the_worked_example_of_six_points() -> None:
    rows = r.reliability(np.array([0.95, 0.9, 0.85, 0.75, 0.65, 0.55]), np.array([1, 1, 0, 1, 0, 1]), bins=10)
    assert r.expected_error(rows) == pytest.approx(0.358333, abs=1e-6)
    assert [row.n for row in rows] == [0, 0, 0, 0, 0, 1, 1, 1, 2, 1]  # 0.9 lies in (0.8, 0.9]
    assert rows[8][3:5] == pytest.approx((0.875, 0.5)) and rows[0][3:] == (None,) * 4


def test_the_rows_give_the_metric() -> None:
    p, truth = sample(sharp=2.0)
    rows = r.reliability(p.max(axis=1), p.argmax(axis=1) == truth)
    assert r.expected_error(rows) == pytest.approx(ece.measure(p, truth), abs=1e-12)
    assert sum(row.n for row in rows) == len(truth)
    assert r.expected_error([]) is None


def test_bins_of_equal_mass_share_the_cases_and_never_part_equal_confidences() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(300) ** 0.1
    rows = r.reliability(confidence, rng.random(300) < confidence, 10, equal_mass=True)
    assert [row.n for row in rows] == [30] * 10 and rows[0].low == 0 and rows[-1].high == 1
    assert all(a.high == b.low for a, b in pairwise(rows))
    tied = np.array([0.9] * 49 + [0.4] * 6 + [1.0] * 5)
    rows = r.reliability(tied, np.ones(60), 10, equal_mass=True)
    assert [row.n for row in rows] == [6, 49, 5]
    (row,) = r.reliability(np.ones(7), np.ones(7), 10, equal_mass=True)
    assert row.n == 7 and row.share == 1


def test_the_interval_is_scipys_wilson() -> None:
    from scipy.stats import binomtest

    for right, n in [(0, 1), (1, 1), (3, 7), (0, 20), (20, 20), (450, 500)]:
        theirs = binomtest(right, n).proportion_ci(method="wilson")
        assert r.wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        assert r.wilson(right, n)[0] <= right / n <= r.wilson(right, n)[1]


def test_copies_of_a_case_within_a_patient_do_not_narrow_a_bin() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1, 80)
    right = rng.random(80) < confidence

    def rows(copies: int) -> list[r.Bin]:
        codes = np.repeat(np.arange(80), copies)
        return r.reliability(confidence[codes], right[codes], 8, groups=codes.tolist())

    assert rows(1) == r.reliability(confidence, right, 8)
    for one, two, many in zip(rows(1), rows(2), rows(6), strict=True):
        assert (many.share_low, many.share_high) == (two.share_low, two.share_high)
        if one.n:
            assert many.n == 6 * one.n and many.share == pytest.approx(one.share)
            assert many.share_high - many.share_low > 0.85 * (one.share_high - one.share_low)


def test_a_bin_of_few_patients_has_no_interval_and_one_without_a_mistake_is_no_certainty() -> None:
    for patients in (5, 6):
        codes = np.repeat(np.arange(patients), 4)
        (row,) = r.reliability(np.full(len(codes), 0.9), codes % 2 == 0, 1, groups=codes.tolist())
        assert row.n == 4 * patients and (row.share_low is None, row.share_high is None) == ((patients < 6,) * 2)
    for right in (0, 1):
        (row,) = r.reliability(np.full(24, 0.9), np.full(24, right), 1, groups=codes.tolist())
        assert (row.share_low, row.share_high) == r.wilson(6 * right, 6)


def test_perfect_calibration_lies_within_its_null_and_overconfidence_does_not() -> None:
    inside = 0
    for seed in range(60):
        p, truth = sample(150, seed=seed)
        confidence = p.max(axis=1)
        inside += ece.measure(p, truth) <= r.ece_null(confidence, resamples=300, seed=seed)[1]
    assert inside >= 53  # 57 expected; fewer than 53 has a chance below 2 in 100
    p, truth = sample(150, sharp=3.0)
    assert ece.measure(p, truth) > r.ece_null(p.max(axis=1))[1]


def test_the_null_falls_with_the_number_of_cases_and_is_what_one_bin_says() -> None:
    few, many = r.ece_null(np.full(20, 0.8)), r.ece_null(np.full(2000, 0.8))
    assert 0 < many[0] < many[1] < few[0] < few[1]
    # one bin: the mean distance of a binomial share from its chance
    assert many[0] == pytest.approx(np.sqrt(2 / np.pi * 0.8 * 0.2 / 2000), rel=0.1)
    assert r.ece_null(np.ones(5)) == (0.0, 0.0)
    with pytest.raises(ValueError, match="no cases"):
        r.ece_null(np.zeros(0))


def test_the_null_draws_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    confidence = np.random.default_rng(0).random(50)
    whole = r.ece_null(confidence, resamples=100)
    monkeypatch.setattr(r, "_BLOCK", 350)
    assert r.ece_null(confidence, resamples=100) == pytest.approx(whole)


def test_cases_of_one_patient_share_one_draw() -> None:
    alike = r.ece_null(np.full(100, 0.8), groups=(np.arange(100) // 10).tolist())
    assert alike == pytest.approx(r.ece_null(np.full(10, 0.8))) and alike[1] > r.ece_null(np.full(100, 0.8))[1]


def test_the_parts_of_the_brier_score_add_up() -> None:
    p, truth = sample()
    for values in (p, p.round(1), np.eye(3)[truth]):
        d = r.brier_decomposition(values, truth)
        total = d.reliability - d.resolution + d.uncertainty + d.within
        assert total == pytest.approx(brier.measure(values, truth), abs=1e-12)
    # a forecast in the middle of its bin hides nothing
    middle = np.where(p[:, 0] > 0.5, 0.7, 0.3)
    d = r.brier_decomposition(np.stack([middle, 1 - middle], axis=1), (truth > 0).astype(int), bins=5)
    assert d.within == pytest.approx(0, abs=1e-12)
    perfect = r.brier_decomposition(np.eye(3)[truth], truth)
    assert perfect.reliability == 0 and perfect.resolution == pytest.approx(perfect.uncertainty)
    share = np.bincount(truth) / len(truth)
    always = r.brier_decomposition(np.tile(share, (len(truth), 1)), truth)
    assert (always.reliability, always.resolution) == pytest.approx((0, 0), abs=1e-12)
    assert always.uncertainty == pytest.approx(1 - (share**2).sum())
    assert r.brier_decomposition(np.zeros((0, 3)), np.zeros(0, int)) is None


def test_class_wise_error_sees_what_the_top_class_hides() -> None:
    # always 0.5, 0.3, 0.2 where 0.5, 0.2, 0.3 happens: the top class is right
    truth = np.repeat([0, 1, 2], [5, 2, 3])
    p = np.tile([0.5, 0.3, 0.2], (10, 1))
    assert ece.measure(p, truth) == pytest.approx(0)
    assert r.classwise_ece(p, truth) == pytest.approx([0, 0.1, 0.1])
    assert r.classwise_ece(np.zeros((0, 3)), np.zeros(0, int)) is None


def test_slope_and_intercept_of_known_faults() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1.5, 20_000)
    y = rng.random(20_000) < expit(x)
    true = r.slope(expit(x), y)
    assert (true.slope, true.intercept, true.large) == pytest.approx((1, 0, 0), abs=0.05)
    sure = r.slope(expit(2 * x + 1), y)
    assert sure.slope == pytest.approx(true.slope / 2, abs=1e-4)
    assert sure.intercept == pytest.approx(true.intercept - true.slope / 2, abs=1e-4)
    assert r.slope(expit(x - 0.7), y).large == pytest.approx(0.7 + true.large, abs=1e-4)


def test_slope_and_intercept_are_those_of_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    p = rng.random(80)
    y = (rng.random(80) < p).astype(int)
    theirs = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(logit(p)[:, None], y)
    found = r.slope(p, y)
    assert (found.slope, found.intercept) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=1e-4)


@pytest.mark.parametrize(
    "p, y",
    [([0.2, 0.7, 0.9], [1, 1, 1]), ([0.5, 0.5, 0.5], [0, 1, 0]), ([0.1, 0.3, 0.8], [0, 0, 1]), ([0.1, 0.8], [1, 0])],
)
def test_without_a_line_there_is_no_slope(p: list[float], y: list[int]) -> None:
    assert r.slope(np.array(p), np.array(y)) is None


def test_wrong_input_is_refused() -> None:
    for confidence, correct in [([0.5, 1.2], [0, 1]), ([0.5], [2]), ([0.5], [0, 1]), ([np.nan], [1])]:
        with pytest.raises(ValueError):
            r.reliability(np.array(confidence), np.array(correct))
    with pytest.raises(ValueError, match="bins"):
        r.reliability(np.array([0.5]), np.array([1]), bins=0)
