"""AUROC of several networks: DeLong where cases are independent, resampled groups where they are not."""

import numpy as np
import pytest

from hilum.evaluation import areas, delong
from hilum.evaluation.areas import compare_areas, sentences, supported


def chances(rng, truth, shift, seeds=1):
    """(S, n, 2) probabilities of two classes, further apart with a larger shift."""
    logit = rng.normal(size=(seeds, len(truth))) + shift * truth
    upper = 1 / (1 + np.exp(-logit))
    return np.stack([1 - upper, upper], axis=2)


def test_independent_cases_are_compared_by_delong():
    rng, truth = np.random.default_rng(0), np.arange(80) % 2
    scores = {"good": chances(rng, truth, 3.0), "poor": chances(rng, truth, 0.2)}
    best, other = compare_areas(scores, truth, ["healthy", "ill"], range(80), "good")
    wanted = delong.difference(scores["poor"][:, :, 1].T, scores["good"][:, :, 1].T, truth)
    assert (other["difference"], other["p"], other["method"]) == (wanted.difference, wanted.p, "DeLong")
    assert best["class"] == other["class"] == "ill" and best["low"] < best["auroc"] < best["high"] and "p" not in best
    assert other["p holm"] == other["p"] and other["supported"]
    (said,) = sentences([best, other], "good")
    assert "p below 0.001 by DeLong, below 0.001 after Holm" in said
    assert said.startswith("poor against good, AUROC of ill: -0.") and said.endswith("the difference is supported.")


@pytest.mark.parametrize("each", [1, 2])
def test_a_difference_within_the_luck_of_seeds_is_not_called(each, monkeypatch):
    """The seeds were taken as they are: two networks whose seeds alone differ were said to differ."""
    monkeypatch.setattr(areas, "RESAMPLES", 60)
    rng, found, alone = np.random.default_rng(6), [], []
    truth, groups = np.repeat(np.arange(40) % 2, each), np.repeat(np.arange(40), each)
    for _ in range(400 if each == 1 else 60):
        patients = rng.normal(0, 0.5, len(truth))
        scores = {}
        for net in "ab":
            shifts = rng.normal(1.5, 0.6, (3, 1))
            logit = patients + shifts * truth + rng.normal(0, 0.3, (3, len(truth)))
            upper = 1 / (1 + np.exp(-logit))
            scores[net] = np.stack([1 - upper, upper], axis=2)
        _, other = compare_areas(scores, truth, ["healthy", "ill"], groups, "a")
        found.append(other["supported"])
        gap = delong.difference(scores["b"][:, :, 1].T, scores["a"][:, :, 1].T, truth)
        alone.append(gap.p <= 0.05)
    assert np.mean(found) <= 0.08 and np.mean(alone) > 0.3


def test_a_difference_beyond_the_luck_of_seeds_is_called():
    rng, truth = np.random.default_rng(0), np.arange(80) % 2
    scores = {"good": chances(rng, truth, 3.0, 3), "poor": chances(rng, truth, 0.2, 3)}
    best, other = compare_areas(scores, truth, ["healthy", "ill"], range(80), "good")
    wanted = delong.difference(scores["poor"][:, :, 1].T, scores["good"][:, :, 1].T, truth)
    assert other["supported"] and other["method"] == "DeLong and seeds" and other["p"] > wanted.p
    assert other["difference low"] < wanted.low and wanted.high < other["difference high"]
    own = delong.area(scores["good"][:, :, 1].T, truth)
    assert best["auroc"] == own.auroc and best["low"] < own.low and own.high < best["high"] <= 1


def test_patients_with_several_cases_are_resampled():
    rng, truth = np.random.default_rng(1), np.repeat(np.arange(20) % 2, 4)
    scores = {"a": chances(rng, truth, 1.0), "b": chances(rng, truth, 1.0)}
    groups = np.repeat(np.arange(20), 4)
    _, other = compare_areas(scores, truth, ["healthy", "ill"], groups, "a")
    assert other["method"] == "resampled groups" and not other["supported"]
    assert other["difference low"] < other["difference"] < other["difference high"]
    assert other["auroc"] == pytest.approx(delong.area(scores["b"][0, :, 1], truth).auroc)


def test_p_of_groups_does_not_depend_on_how_sure_a_network_is():
    rng, truth = np.random.default_rng(3), np.repeat(np.arange(20) % 2, 3)
    scores = {"a": chances(rng, truth, 2.0), "b": chances(rng, truth, 0.5)}
    groups = np.repeat(np.arange(20), 3)
    _, plain = compare_areas(scores, truth, ["healthy", "ill"], groups, "a")
    upper = scores["b"][:, :, 1] ** 9 / 100
    shy = scores | {"b": np.stack([1 - upper, upper], axis=2)}
    _, other = compare_areas(shy, truth, ["healthy", "ill"], groups, "a")
    assert other == plain


def test_a_class_that_is_told_apart_without_a_fault_is_no_certainty():
    truth, groups = np.repeat(np.arange(6) % 2, 3), np.repeat(np.arange(6), 3)
    upper = 0.1 + 0.8 * truth + 0.001 * np.arange(18)
    scores = {n: np.stack([1 - upper, upper], axis=1)[None] for n in "ab"}
    rows = compare_areas(scores, truth, ["healthy", "ill"], groups, "a")
    assert [(r["auroc"], r["high"]) for r in rows] == [(1, 1), (1, 1)]
    # three groups are ill, three are healthy: nobody has seen six of a kind
    assert [r["low"] for r in rows] == [pytest.approx(0.025 ** (1 / 3))] * 2


def test_three_classes_are_each_against_the_rest_and_share_holm():
    rng, truth = np.random.default_rng(2), np.arange(60) % 3
    scores = {n: rng.dirichlet(np.ones(4), (1, 60)) for n in "abc"}
    rows = compare_areas(scores, truth, ["x", "y", "z", "never seen"], range(60), "a")
    assert [(r["class"], r["net"]) for r in rows] == [(k, n) for k in "xyz" for n in "abc"]
    compared = [r for r in rows if r["net"] != "a"]
    smallest = min(compared, key=lambda r: r["p"])
    assert smallest["p holm"] == pytest.approx(min(1.0, 6 * smallest["p"]))
    assert len(sentences(rows, "a")) == 6


def test_one_class_has_no_rows_and_equal_networks_no_difference():
    rng, truth = np.random.default_rng(3), np.arange(10) % 2
    scores = {"a": chances(rng, truth, 1.0)}
    assert compare_areas(scores, np.ones(10, int), ["healthy", "ill"], range(10), "a") == []
    same = compare_areas(scores | {"b": scores["a"]}, truth, ["healthy", "ill"], range(10), "a")
    assert same[1]["p"] == 1.0 and not same[1]["supported"]
    assert "no difference is supported" in sentences(same, "a")[0]


def test_supported_asks_for_p_and_for_the_interval_where_there_is_one():
    assert supported(0.05, 0.1, 0.2) and supported(0.001, -0.2, -0.1)
    assert not supported(0.06, 0.1, 0.2) and not supported(0.01, -0.1, 0.2)
    assert not supported(None, 0.1, 0.2) and not supported(1.0, None, None)
    assert supported(0.01, None, None), "every case differs alike"


@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize(("ill", "held"), [(3, False), (6, True)])
def test_an_area_of_few_ill_patients_has_no_interval_however_many_are_healthy(ill, held, each):
    rng, groups = np.random.default_rng(4), np.repeat(np.arange(40 // each), each)
    truth = (groups < ill).astype(int)
    scores = {"a": chances(rng, truth, 1.0), "b": chances(rng, truth, 1.0)}
    one, other = compare_areas(scores, truth, ["healthy", "ill"], groups, "a")
    assert [row[end] is not None for row in (one, other) for end in ("low", "high")] == [held] * 4
    assert (other["difference low"] is not None) == held and other["p"] is not None
    assert other["method"] == ("DeLong" if held and each == 1 else "resampled groups")


def test_a_difference_of_two_ill_patients_is_no_matter_of_the_normal_curve(monkeypatch):
    """DeLong's variance of two was taken at its word: of equal networks one in five differences was called."""
    monkeypatch.setattr(areas, "RESAMPLES", 100)
    rng, truth = np.random.default_rng(7), np.r_[1, 1, np.zeros(40, int)]
    called = []
    for _ in range(60):
        scores = {net: chances(rng, truth, 1.0) for net in "ab"}
        called.append(compare_areas(scores, truth, ["healthy", "ill"], range(42), "a")[1]["supported"])
    # one in twenty: more than seven of 60 come about once in 100 tries
    assert sum(called) <= 7


def test_the_doubt_of_seeds_does_not_reach_further_than_two_areas_can_lie_apart():
    rng, truth = np.random.default_rng(9), np.arange(80) % 2
    wild = np.concatenate([chances(rng, truth, shift) for shift in (-4.0, 4.0)])
    _, other = compare_areas({"a": chances(rng, truth, 3.0, 2), "b": wild}, truth, ["healthy", "ill"], range(80), "a")
    assert (other["difference low"], other["difference high"]) == (-1, 1)


def test_networks_that_differ_alike_in_all_draws_have_no_interval():
    groups, truth = np.repeat(np.arange(20), 2), np.repeat(np.arange(20) % 2, 2)
    scores = {"a": np.stack([1 - truth, truth], 1)[None].astype(float), "b": np.full((1, 40, 2), 0.5)}
    one, other = compare_areas(scores, truth, ["healthy", "ill"], groups, "a")
    assert (one["auroc"], other["auroc"]) == (1, 0.5) and other["difference"] == -0.5
    assert other["difference low"] is None and other["difference high"] is None and other["supported"]


def test_many_comparisons_of_patients_with_several_cases_can_still_be_supported(monkeypatch):
    monkeypatch.setattr(areas, "RESAMPLES", 20)
    rng, truth = np.random.default_rng(5), np.repeat(np.arange(40) % 2, 2)
    scores = {f"poor {k}": chances(rng, truth, 0.0) for k in range(3)} | {"good": chances(rng, truth, 40.0)}
    rows = compare_areas(scores, truth, ["healthy", "ill"], np.repeat(np.arange(40), 2), "good")
    # with 20 draws no p is below 1 / 21, of which Holm makes 3 / 21; as with 500 draws and 26 comparisons
    assert min(row["p holm"] for row in rows if row["net"] != "good") == pytest.approx(3 / 121)
