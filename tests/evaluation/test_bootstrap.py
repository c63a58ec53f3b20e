"""Intervals cover what they promise, clustering widens them, and p is honest when nothing differs."""

import numpy as np
import pytest

from hilum.evaluation.bootstrap import Estimate, interval, interval_of_set, paired, paired_of_set


def clustered(rng, groups=25, each=4, between=1.0, within=1.0):
    """Values around 0 that share a part within each group."""
    values = np.repeat(rng.normal(0, between, groups), each) + rng.normal(0, within, groups * each)
    return values, np.repeat(np.arange(groups), each)


@pytest.mark.parametrize("groups", [6, 25])
def test_the_interval_covers_the_truth_about_95_times_in_100(groups):
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        values, codes = clustered(rng, groups)
        e = interval(values, codes, resamples=600, seed=trial)
        hits += e.low <= 0 <= e.high
    assert 0.92 <= hits / 400 <= 0.98


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
    assert (e.low, e.high) == (1.0, 3.0)


def test_fewer_than_two_groups_have_no_interval():
    assert interval([1.0, 2.0], ["a", "a"]) == Estimate(1.5, None, None, 2, 1)
    assert interval([], []) == Estimate(None, None, None, 0)
    assert interval_of_set([1, 2], ["a", "a"], sum).low is None
    assert paired([1.0], [2.0], ["a"]).p is None


def test_a_set_metric_drops_and_counts_the_resamples_where_it_is_undefined():
    records = [0, 0, 0, 1]

    def share(rows):
        return None if len(set(rows)) < 2 else float(np.mean(rows))

    e = interval_of_set(records, range(4), share, resamples=500)
    assert e.mean == 0.25 and e.low <= 0.25 <= e.high
    assert e.dropped / 500 == pytest.approx(0.75**4 + 0.25**4, abs=0.08)
    never = interval_of_set(records, range(4), lambda rows: 1.0 if len(rows) == 4 and rows == records else None)
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
    assert by_set.low == pytest.approx(by_case.low, abs=0.1)


def test_groups_must_be_as_many_as_values():
    with pytest.raises(ValueError, match="groups"):
        interval([1.0, 2.0], ["a"])
