"""Ranking: firm where systems differ, open where they do not, and the same on every machine."""

import numpy as np
import pytest

from hilum.evaluation.ranking import _tau, stability


def test_what_is_better_on_every_case_is_always_first():
    rng = np.random.default_rng(0)
    base = rng.random(20)
    found = stability({"poor": base - 2, "good": base, "fair": base - 1}, range(20), "higher")
    assert list(found.shares) == ["good", "fair", "poor"] and found.tau == 1.0
    assert found.shares["fair"] == (0.0, 1.0, 0.0)
    assert "good comes first in 100 %" in found.sentence and "would hardly change the order" in found.sentence
    lower = stability({"poor": base - 2, "good": base, "fair": base - 1}, range(20), "lower")
    assert list(lower.shares) == ["poor", "fair", "good"]


def test_two_that_win_equally_often_share_the_first_place():
    wins = np.array([1.0, -1.0] * 50)
    found = stability({"a": wins, "b": np.zeros(100)}, range(100), "higher")
    assert found.shares["a"][0] == pytest.approx(0.5, abs=0.05) and found.tau is None
    close = stability({"a": wins + 0.01, "b": np.zeros(100)}, range(100), "higher")
    assert abs(close.tau) < 0.2 and close.sentence.endswith(": other cases may change the order.")


def test_of_few_patients_nothing_is_told_however_clear_they_are():
    found = stability({"a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.6]}, range(3), "higher")
    assert found.shares["a"] == (1, 0) and not found.told
    assert found.sentence == "How firm the order is can not be told of so few groups: 3, and it takes 6."
    for groups in (5, 6):
        found = stability({"a": np.arange(groups) + 1.0, "b": np.arange(groups)}, range(groups), "higher")
        assert found.told == (groups == 6) == ("would hardly change" in found.sentence)


def test_a_tie_on_top_of_many_is_not_firm():
    """Of 15 pairs 14 never change, which says nothing of the one on top."""
    base, wins = np.random.default_rng(7).random(30), np.array([1.0, -1.0] * 15)
    values = {"a": base + wins + 1e-3, "b": base} | {name: base - 5 - k for k, name in enumerate("cdef")}
    found = stability(values, range(30), "higher")
    assert found.tau >= 0.9 and 0.3 < found.shares["a"][0] < 0.7
    assert "hardly" not in found.sentence and found.sentence.endswith("other cases may change the order.")


def test_a_first_place_that_is_nearly_sure_is_not_said_to_be_lost():
    gap = np.random.default_rng(8).normal(size=40)
    gap = (gap - gap.mean()) / gap.std() + 1.55 / 40**0.5
    found = stability({"a": gap, "b": np.zeros(40)}, range(40), "higher")
    assert 0.91 < found.shares["a"][0] < 0.95 and 0.8 < found.tau < 0.9
    assert "may change the order" in found.sentence and "would" not in found.sentence


def test_equal_systems_share_their_places_and_have_no_order():
    values = np.random.default_rng(1).random(12)
    found = stability({"a": values, "b": values, "c": values}, range(12), "higher")
    assert all(s == pytest.approx((1 / 3, 1 / 3, 1 / 3)) for s in found.shares.values())
    assert found.tau is None and "no order" in found.sentence


def test_places_and_systems_each_sum_to_1():
    rng = np.random.default_rng(2)
    values = {name: rng.integers(0, 2, 15).astype(float) for name in "abcd"}
    shares = np.array(list(stability(values, range(15), "higher").shares.values()))
    assert shares.sum(axis=0) == pytest.approx(np.ones(4)) and shares.sum(axis=1) == pytest.approx(np.ones(4))


def test_tau_is_kendalls():
    from scipy.stats import kendalltau

    rng = np.random.default_rng(3)
    seen, drawn = rng.random(7), rng.random((50, 7))
    assert _tau(seen, drawn) == pytest.approx(np.mean([kendalltau(seen, row).statistic for row in drawn]))


def test_patients_are_drawn_whole():
    rng = np.random.default_rng(4)
    gap = np.repeat(rng.normal(0.3, 1, 8), 10)
    values = {"a": gap, "b": np.zeros(80)}
    firm = stability(values, range(80), "higher").shares["a"][0]
    open_ = stability(values, np.repeat(np.arange(8), 10), "higher").shares["a"][0]
    assert abs(open_ - 0.5) < abs(firm - 0.5) - 0.02


def test_the_names_of_groups_do_not_matter():
    values = {"a": np.random.default_rng(5).random(10), "b": np.full(10, 0.5)}
    assert stability(values, range(10), "higher") == stability(values, [f"patient {k}" for k in range(10)], "higher")


def test_undefined_cases_are_left_out_for_all_and_too_few_groups_have_no_ranking():
    found = stability({"a": [1.0, None, 3.0], "b": [0.0, 9.0, 0.0]}, "xyz", "higher")
    assert found.cases == 2 and found.groups == 2 and next(iter(found.shares)) == "a"
    assert stability({"a": [1.0, 2.0], "b": [0.0, 0.0]}, "xx", "higher") is None
    assert stability({"a": [1.0, 2.0]}, "xy", "higher") is None
    assert stability({"a": [None, None], "b": [1.0, 2.0]}, "xy", "higher") is None
    with pytest.raises(ValueError, match="better"):
        stability({"a": [1.0], "b": [1.0]}, "x", "best")
