"""Several seeds: their variance is told from that of patients, and intervals cover when both are drawn."""

import numpy as np
import pytest

from hilum.evaluation.bootstrap import interval, paired
from hilum.evaluation.seeds import interval_of_seeds, paired_of_seeds, variances


def drawn(rng, seeds=4, groups=30, each=1, of_seeds=0.5, of_groups=1.0, rest=0.3):
    """(S, n) values around 0 and groups (n,); the rest is a seed's own luck with a group."""
    table = (
        rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, of_groups, groups) + rng.normal(0, rest, (seeds, groups))
    )
    return np.repeat(table, each, axis=1), np.repeat(np.arange(groups), each)


def test_the_parts_of_the_variance_are_found():
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        v = variances(*drawn(rng, seeds=5, groups=20))
        found.append((v.between_seeds, v.between_groups, v.rest))
    assert np.mean(found, axis=0) == pytest.approx((0.25, 1.0, 0.09), rel=0.12)


def test_the_parts_of_a_table_by_hand():
    # rows differ by 2 and columns by 4, with nothing left: variances 2 and 8
    found = variances([[1.0, 5.0], [3.0, 7.0]], "ab")
    assert (found.between_seeds, found.between_groups, found.rest) == pytest.approx((2.0, 8.0, 0.0))
    assert found.sentence.startswith(
        "2 seeds, 2 groups: standard deviation 1.4142 between seeds, 2.8284 between groups"
    )


def test_a_patient_with_several_cases_counts_once():
    values, groups = drawn(np.random.default_rng(1), each=3)
    found, once = variances(values, groups), variances(values[:, ::3], groups[::3])
    assert (found.between_seeds, found.between_groups) == pytest.approx((once.between_seeds, once.between_groups))
    assert found.rest == pytest.approx(once.rest) and found.groups == once.groups == 30


def test_equal_seeds_have_no_variance_and_the_interval_of_one():
    values, groups = drawn(np.random.default_rng(2), seeds=1)
    same = np.repeat(values, 3, axis=0)
    assert variances(same, groups).between_seeds == 0
    one, three = interval(list(values[0]), list(groups)), interval_of_seeds(same, groups)
    assert three.mean == pytest.approx(one.mean) and three.seeds == 3
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=0.06)


def test_one_seed_says_that_the_doubt_of_seeds_is_not_known():
    values, groups = drawn(np.random.default_rng(3), seeds=1)
    found = interval_of_seeds(values, groups)
    plain = interval(list(values[0]), list(groups))
    assert (found.seeds, found.mean, found.low, found.high) == (1, plain.mean, plain.low, plain.high)
    alone = variances(values, groups)
    assert alone.between_seeds is None and alone.sentence.startswith("One seed") and "not known" in alone.sentence
    assert variances([[1.0], [2.0]], "a").sentence.startswith("Fewer than two groups")


@pytest.mark.parametrize(("seeds", "of_seeds"), [(3, 0.0), (3, 0.2), (5, 1.0), (2, 0.5)])
def test_the_interval_covers_the_truth_when_seeds_and_patients_are_drawn(seeds, of_seeds):
    rng, hits = np.random.default_rng(4), 0
    for trial in range(400):
        values, groups = drawn(rng, seeds, groups=20, of_seeds=of_seeds)
        found = interval_of_seeds(values, groups, resamples=400, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 0.93 <= hits / 400 <= 0.998


def test_of_two_seeds_the_interval_is_as_wide_as_students_t_asks():
    """Draws of two seeds have three values: their percentiles fell short by more than a quarter."""
    found = interval_of_seeds([[0.0] * 10, [1.0] * 10], range(10))
    # half of the distance is the standard error, with one degree of freedom
    assert (found.low, found.high) == pytest.approx((0.5 - 12.706 / 2, 0.5 + 12.706 / 2), abs=1e-3)
    rng, hits = np.random.default_rng(9), 0
    for trial in range(4000):
        values, groups = drawn(rng, 2, groups=10, of_seeds=0.5, of_groups=0.05, rest=0.05)
        one = interval_of_seeds(values, groups, resamples=100, seed=trial)
        hits += one.low <= 0 <= one.high
    assert hits / 4000 >= 0.945


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(5)
    values, groups = drawn(rng, seeds=5, of_seeds=0.0)
    wild = values + np.array([[-1.0], [1.0], [0.5], [-0.5], [0.0]])
    narrow, wide = interval_of_seeds(values, groups), interval_of_seeds(wild, groups)
    assert narrow.mean == pytest.approx(wide.mean) and wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_a_difference_within_the_luck_of_seeds_is_not_called():
    rng, alone, both = np.random.default_rng(6), [], []
    for trial in range(600):
        patients = rng.normal(0, 1, 30)
        first, second = (patients + rng.normal(0, 0.3, (3, 1)) + rng.normal(0, 0.2, (3, 30)) for _ in range(2))
        both.append(paired_of_seeds(first, second, range(30), resamples=60, seed=trial).p <= 0.05)
        alone.append(paired(list(first.mean(axis=0)), list(second.mean(axis=0)), range(30), resamples=60).p <= 0.05)
    assert np.mean(both) <= 0.08 and np.mean(alone) > 0.5


def test_a_peer_that_knows_no_seed_adds_no_certainty_about_seeds():
    """Its repeated seeds counted as a degree of freedom more: t of 4.3 where two seeds of one method allow 12.7."""
    rng, called, pooled = np.random.default_rng(6), [], []
    for trial in range(600):
        patients = rng.normal(0, 1, 30)
        first = patients + rng.normal(0, 0.3, (2, 1)) + rng.normal(0, 0.05, (2, 30))
        second = np.repeat((patients + rng.normal(0, 0.05, 30))[None], 2, axis=0)
        called.append(paired_of_seeds(first, second, range(30), resamples=60, seed=trial).p <= 0.05)
        means = first.mean(axis=1) - second.mean(axis=1)
        pooled.append(abs(means.mean()) > 4.303 * means.std(ddof=1) / 2**0.5)
    assert np.mean(called) <= 0.08 and np.mean(pooled) > 0.1


def test_a_difference_beyond_the_luck_of_seeds_is_called():
    rng = np.random.default_rng(7)
    patients = rng.normal(0, 1, 30)
    first, second = (patients + k + rng.normal(0, 0.05, (3, 1)) + rng.normal(0, 0.2, (3, 30)) for k in (1.0, 0.0))
    found = paired_of_seeds(first, second, range(30))
    assert found.p <= 0.01 and 0.5 < found.low < found.difference < found.high < 1.5 and found.seeds == 3
    turned = paired_of_seeds(second, first, range(30))
    assert turned.difference == -found.difference and turned.p == pytest.approx(found.p)


def test_one_seed_each_is_the_paired_comparison_of_patients():
    values, groups = drawn(np.random.default_rng(8), seeds=2, each=2)
    found, plain = (
        paired_of_seeds(values[:1], values[1:], groups),
        paired(list(values[0]), list(values[1]), list(groups)),
    )
    assert (found.difference, found.low, found.high, found.p) == (plain.difference, plain.low, plain.high, plain.p)


def test_few_patients_can_not_give_a_small_p_however_clear_the_seeds_are():
    first, second = np.ones((3, 4)), np.zeros((3, 4))
    found = paired_of_seeds(first, second, "abcd")
    assert found.p == 2 / 16 and (found.difference, found.low, found.high) == (1.0, 1.0, 1.0)
    assert paired_of_seeds(first, first, "abcd").p == 1.0


def test_what_a_seed_has_undefined_is_left_out_for_all():
    found = interval_of_seeds([[1.0, None, 3.0], [2.0, 2.0, 4.0]], "abc")
    assert (found.mean, found.n, found.groups) == (2.5, 2, 2) and found.low <= 2.5 <= found.high
    nothing = interval_of_seeds([[None], [1.0]], "a")
    assert nothing.mean is None and nothing.n == 0
    assert paired_of_seeds([[None]], [[1.0]], "a").difference is None
    assert interval_of_seeds([[1.0, 2.0], [3.0, 4.0]], "aa").low is None
    with pytest.raises(ValueError, match="one value"):
        interval_of_seeds([[1.0, 2.0], [1.0]], "ab")
