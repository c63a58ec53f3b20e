"""Intervals cover what they promise, clustering widens them, and p is honest when nothing differs."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from hilum.evaluation.bootstrap import Estimate, interval, interval_of_set, paired, paired_of_set


def clustered(rng, groups=25, each=4, between=1.0, within=1.0):
    """Values around 0 that share a part within each group."""
    values = np.repeat(rng.normal(0, between, groups), each) + rng.normal(0, within, groups * each)
    return values, np.repeat(np.arange(groups), each)


@pytest.mark.parametrize("groups", [2, 3, 4, 5, 6, 25])
def test_the_interval_covers_the_truth_about_95_times_in_100(groups):
    rng = np.random.default_rng(0)
    # few groups are not resampled, so that many trials cost little
    hits, trials = 0, 2000 if groups < 6 else 400
    for trial in range(trials):
        values, codes = clustered(rng, groups)
        e = interval(values, codes, resamples=600, seed=trial)
        hits += e.low <= 0 <= e.high
    assert 0.92 <= hits / trials <= 0.98


def test_few_groups_of_unequal_size_are_covered_too():
    rng, codes, hits = np.random.default_rng(8), np.repeat(np.arange(3), [1, 1, 10]), 0
    for _ in range(2000):
        values = rng.normal(0, 1, 3)[codes] + rng.normal(0, 1, 12)
        e = interval(values, codes)
        hits += e.low <= 0 <= e.high
    assert hits / 2000 >= 0.94


def test_few_groups_have_students_interval_of_a_mean_and_of_a_difference():
    gap = [0.1, 0.3, 0.2, 0.5]
    wanted = ttest_1samp(gap, 0).confidence_interval()
    e, p = interval(gap, "abcd"), paired([v + 1 for v in gap], [1.0] * 4, "abcd")
    assert (e.low, e.high) == pytest.approx((wanted.low, wanted.high))
    assert (p.low, p.high, p.p) == (pytest.approx(wanted.low), pytest.approx(wanted.high), 2 / 16)
    # patients with several cases count by their means
    twice = interval([0.0, 0.2, 0.2, 0.4, 0.1, 0.3, 0.4, 0.6], "aabbccdd")
    assert (twice.mean, twice.low, twice.high) == pytest.approx((e.mean, e.low, e.high))


def test_the_interval_of_few_groups_is_cut_at_what_the_number_can_be():
    e = interval([0.9, 1.0], "ab", ends=(0, 1))
    assert e.high == 1 and e.low == pytest.approx(0.95 - 12.7062 * 0.05, abs=1e-5)
    assert interval([0.9, 1.0], "ab", ends=(0, None)).high > 1


def test_what_is_no_mean_has_no_interval_with_few_groups_unless_nothing_varies():
    for groups, there in (("aabbccddee", False), ("aabbccddef", True)):
        values = [float(k % 3) for k in range(10)]
        assert (interval(values, groups, statistic=lambda v: float(np.median(v))).low is not None) is there
        assert (interval_of_set(values, groups, max).low is not None) is there
        found = paired_of_set(values, values[::-1], groups, sum)
        assert (found.low is not None) is there and found.p is not None
    e = interval_of_set([1.0] * 5, "abcde", lambda rows: float(np.mean(rows)))
    assert (e.low, e.high) == (1.0, 1.0)


def test_clustering_widens_the_interval():
    values, groups = clustered(np.random.default_rng(1), each=10)
    wide, naive = interval(values, groups), interval(values, np.arange(len(values)))
    assert wide.high - wide.low > 1.5 * (naive.high - naive.low)
    assert wide.mean == naive.mean == pytest.approx(values.mean())


def test_the_fast_mean_is_the_slow_mean():
    values, groups = clustered(np.random.default_rng(2), each=3)
    fast, slow = interval(values, groups), interval(values, groups, statistic=lambda v: float(v.mean()))
    assert fast.low == pytest.approx(slow.low, abs=0.08) and fast.high == pytest.approx(slow.high, abs=0.08)
    median = interval(values, groups, statistic=lambda v: float(np.median(v)))
    assert median.low <= median.mean <= median.high


def test_the_same_seed_gives_the_same_interval_whatever_the_names_of_the_groups():
    values, groups = clustered(np.random.default_rng(3))
    assert interval(values, groups) == interval(values, [f"patient {g}" for g in groups])
    assert interval(values, groups, seed=1) != interval(values, groups, seed=2)


def test_undefined_values_are_counted_and_left_out():
    e = interval([1.0, None, 3.0, float("nan")], ["a", "b", "c", "d"])
    assert (e.mean, e.n, e.groups, e.undefined) == (2.0, 2, 2, 2)
    assert (e.low, e.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)


def test_fewer_than_two_groups_have_no_interval():
    assert interval([1.0, 2.0], ["a", "a"]) == Estimate(1.5, None, None, 2, 1)
    assert interval([], []) == Estimate(None, None, None, 0)
    assert interval_of_set([1, 2], ["a", "a"], sum).low is None
    assert paired([1.0], [2.0], ["a"]).p is None


def test_a_set_metric_drops_and_counts_the_resamples_where_it_is_undefined():
    records = [0] * 7 + [1]

    def share(rows):
        return None if len(set(rows)) < 2 else float(np.mean(rows))

    e = interval_of_set(records, range(8), share, resamples=500)
    assert e.mean == 0.125 and e.low <= 0.125 <= e.high
    assert e.dropped / 500 == pytest.approx((7 / 8) ** 8 + (1 / 8) ** 8, abs=0.08)
    never = interval_of_set(records, range(8), lambda rows: 1.0 if len(rows) == 8 and rows == records else None)
    assert never.mean == 1.0 and never.low is None and never.dropped > 1000


def test_a_set_metric_that_is_a_mean_has_the_interval_of_the_mean():
    values, groups = clustered(np.random.default_rng(4))
    mean = interval(values, groups)
    for halves in (False, True):
        e = interval_of_set(list(values), groups, lambda rows: float(np.mean(rows)), halves=halves)
        assert e.low == pytest.approx(mean.low, abs=0.12) and e.high == pytest.approx(mean.high, abs=0.12)


def test_p_is_uniform_when_nothing_differs_and_small_when_something_does():
    rng = np.random.default_rng(5)
    p = []
    for trial in range(300):
        values, groups = clustered(rng, groups=15)
        p.append(paired(values, np.zeros_like(values), groups, resamples=400, seed=trial).p)
    p = np.array(p)
    assert 0.02 <= np.mean(p <= 0.05) <= 0.085
    assert abs(np.mean(p <= 0.5) - 0.5) < 0.09
    values, groups = clustered(rng, groups=30)
    better = paired(values + 3, np.zeros_like(values), groups)
    assert better.p < 0.005 and better.low > 0


def test_few_groups_are_compared_exactly_and_equal_methods_have_p_1():
    assert paired([2.0, 3.0, 4.0], [1.0, 1.0, 1.0], "abc").p == 2 / 8
    same = paired([2.0, 3.0, 4.0], [2.0, 3.0, 4.0], "abc")
    assert (same.p, same.difference, same.low, same.high) == (1.0, 0.0, 0.0, 0.0)
    one, other = paired([2.0, 5.0, 4.0], [1.0, 7.0, 1.0], "abc"), paired([1.0, 7.0, 1.0], [2.0, 5.0, 4.0], "abc")
    assert one.p == other.p and one.difference == -other.difference
    assert paired([2.0, None, 4.0], [1.0, 1.0, 1.0], "abc").n == 2


def test_set_metrics_are_compared_by_swapping_methods_within_groups():
    a, b = [3.0, 4.0, 5.0, 6.0], [1.0, 1.0, 1.0, 2.0]
    by_set = paired_of_set(a, b, "abcd", lambda rows: float(np.mean(rows)))
    by_case = paired(a, b, "abcd")
    assert by_set.difference == by_case.difference and by_set.p == by_case.p == 2 / 16
    values, groups = clustered(np.random.default_rng(9))
    by_set = paired_of_set(values, np.zeros_like(values), groups, lambda rows: float(np.mean(rows)))
    by_case = paired(values, np.zeros_like(values), groups)
    assert by_set.difference == pytest.approx(by_case.difference)
    assert by_set.low == pytest.approx(by_case.low, abs=0.1) and by_set.high == pytest.approx(by_case.high, abs=0.1)


def test_groups_must_be_as_many_as_values():
    with pytest.raises(ValueError, match="groups"):
        interval([1.0, 2.0], ["a"])
