"""Laws of entropy, what Dice to expect, and doubt that finds the errors."""

import itertools

import numpy as np
import pytest

from hilum.metrics import dice, nll
from hilum.trust.uncertainty import entropies, expected_dice, referral, risk_coverage


def drawn(seed, members=5, shape=(7,), classes=4):
    """Random probabilities (M, ..., K)."""
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.7), (members, *shape))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_total_entropy_is_expected_entropy_plus_mutual_information(kind):
    p = drawn(0, shape=(6, 5)).astype(kind)
    found = entropies(p)
    wide = p.astype(np.float64)
    mean = wide.mean(axis=0)
    # the mutual information by its other definition: how far members lie from their mean
    apart = (wide * np.log(wide / mean)).sum(axis=-1).mean(axis=0)
    own = -(wide * np.log(wide)).sum(axis=-1).mean(axis=0)
    np.testing.assert_allclose(found.mutual, apart, atol=1e-6)
    np.testing.assert_allclose(found.expected, own, atol=1e-6)
    np.testing.assert_allclose(found.total, -(mean * np.log(mean)).sum(axis=-1), atol=1e-6)
    np.testing.assert_allclose(found.total, found.expected + found.mutual, atol=1e-6)
    assert found.mean.dtype == kind and (found.mutual >= 0).all() and found.mutual.shape == (6, 5)


def test_identical_members_have_no_mutual_information_even_with_a_probability_of_zero():
    p = np.concatenate([drawn(1, members=1), [np.eye(4)[[0, 1, 2, 3, 0, 1, 2]]]], axis=1)[0]
    found = entropies([p] * 7)
    np.testing.assert_allclose(found.mutual, 0, atol=1e-12)
    assert (found.mutual >= 0).all() and found.total[-1] == 0 and found.members == 7


def test_two_sure_members_that_disagree_are_all_disagreement():
    found = entropies(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert (found.total, found.expected, found.mutual) == pytest.approx((np.log(2), 0, np.log(2)))
    assert found.normalised() == pytest.approx((1, 0, 1))
    even = entropies(np.full((3, 4), 0.25)).normalised()
    assert even == pytest.approx((1, 1, 0))


def test_members_disagree_no_more_than_there_are_of_them():
    """Two that were sure of other classes of four disagreed by half of the most there can be."""
    assert entropies(np.eye(4)[:2]).normalised()[2] == pytest.approx(1)
    assert entropies(np.eye(4)).normalised() == pytest.approx((1, 0, 1))
    assert entropies(np.eye(2)[[0, 1, 0, 1]]).normalised() == pytest.approx((1, 0, 1))
    assert entropies(drawn(6, members=1)).normalised()[2] == pytest.approx(0)


def test_the_class_axis_may_be_first_and_members_may_come_one_by_one():
    p = drawn(2, shape=(3, 4))
    last, first = entropies(p), entropies((np.moveaxis(m, -1, 0) for m in p), axis=0)
    np.testing.assert_allclose(first.mutual, last.mutual)
    assert first.classes == last.classes == 4 and first.mean.shape == (4, 3, 4)


def test_what_are_no_probabilities_is_refused():
    for wrong in ([[0.5, 0.6]], [[1.5, -0.5]], [[np.nan, 1.0]], [[1.0]], []):
        with pytest.raises(ValueError, match=r"probabilities|classes|no members"):
            entropies(np.array(wrong, dtype=float))
    with pytest.raises(ValueError, match="members are"):
        entropies([np.full((2, 2), 0.5), np.full((3, 2), 0.5)])


def test_the_mean_of_members_has_no_higher_nll_than_members_have_on_average():
    p = drawn(3, members=5, shape=(200,))
    truth = np.random.default_rng(4).integers(4, size=200)
    assert nll.measure(entropies(p).mean, truth) <= np.mean([nll.measure(m, truth) for m in p])


@pytest.mark.parametrize("sure", [0.3, 3.0])
def test_the_expected_dice_is_the_mean_dice_where_probabilities_are_true(sure):
    rng = np.random.default_rng(5)
    probability = rng.beta(sure, 2 * sure, size=(16, 16, 16))
    mask = probability > 0.4
    true = [dice.measure(mask, rng.random(mask.shape) < probability, (1.0, 1.0, 1.0)) for _ in range(40)]
    assert expected_dice(probability, mask) == pytest.approx(np.mean(true), abs=0.005)


def test_the_expected_dice_approximates_the_sum_over_every_possible_truth():
    probability = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05])
    mask = probability > 0.5
    exact = 0.0
    for bits in itertools.product((0, 1), repeat=len(probability)):
        truth = np.array(bits, dtype=bool)
        chance = np.where(truth, probability, 1 - probability).prod()
        exact += chance * dice.measure(mask, truth, (1.0,))
    assert expected_dice(probability, mask) == pytest.approx(exact, abs=0.02)


def test_a_voxel_that_stands_for_several_counts_as_often() -> None:
    probability, mask = np.array([0.9, 0.4, 0.2]), np.array([True, False, True])
    often = np.array([3, 1, 2])
    wanted = expected_dice(np.repeat(probability, often), np.repeat(mask, often))
    assert expected_dice(probability, mask, often) == pytest.approx(wanted)


def test_of_sure_voxels_the_expected_dice_is_the_dice():
    rng = np.random.default_rng(6)
    truth, mask = rng.random((9, 9)) < 0.4, rng.random((9, 9)) < 0.5
    assert expected_dice(truth.astype(np.float32), mask) == pytest.approx(dice.measure(mask, truth, (1.0, 1.0)))
    empty = np.zeros((9, 9), bool)
    assert expected_dice(np.zeros((9, 9)), empty) is None and expected_dice(np.ones((9, 9)), empty) == 0


def test_a_perfect_order_never_lowers_the_risk_and_has_the_best_area():
    rng = np.random.default_rng(7)
    loss = np.round(rng.random(60), 1)
    perfect, worst, chance = risk_coverage(-loss, loss), risk_coverage(loss, loss), risk_coverage(np.zeros(60), loss)
    assert (np.diff(perfect.risk) >= -1e-12).all() and perfect.aurc == pytest.approx(perfect.best)
    assert (np.diff(worst.risk) <= 1e-12).all()
    np.testing.assert_allclose(chance.risk, loss.mean())
    assert perfect.aurc < chance.aurc < worst.aurc and perfect.coverage[-1] == 1
    assert risk_coverage(np.zeros(0), np.zeros(0)) is None


def test_risk_and_coverage_by_hand():
    curve = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4) and curve.best == pytest.approx(5 / 24)
    assert curve.accuracy(0.5) == 0.5 and curve.accuracy(0.7) == pytest.approx(2 / 3) and curve.accuracy(0.1) == 1
    with pytest.raises(ValueError, match="coverage"):
        curve.accuracy(0)


def test_equal_confidence_is_judged_as_any_order_would_be_on_average():
    wrong = np.array([1, 0, 0, 0, 1])
    confidence = np.array([2.0, 2.0, 1.0, 1.0, 1.0])
    orders = [[*a, *b] for a in itertools.permutations([0, 1]) for b in itertools.permutations([2, 3, 4])]
    mean = np.mean([np.cumsum(wrong[order]) / np.arange(1, 6) for order in orders], axis=0)
    np.testing.assert_allclose(risk_coverage(confidence, wrong).risk, mean)


def test_referral_by_hand_and_against_chance():
    confidence, wrong = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([0, 0, 1, 0, 1])
    found = referral(confidence, wrong, 0.4)
    assert (found.n, found.referred, found.before, found.random) == (5, 2, 0.4, 0.4)
    assert found.after == pytest.approx(1 / 3) and found.caught == pytest.approx(0.5) and found.caught_random == 0.4
    blind = referral(np.zeros(5), wrong, 0.4)
    assert blind.after == pytest.approx(blind.random) and blind.caught == pytest.approx(blind.caught_random)
    everything = referral(confidence, wrong, 1.0)
    assert everything.after is None and everything.caught == 1
    assert referral(confidence, wrong, 0.0).after == 0.4 and referral(confidence, np.zeros(5), 0.4).caught is None
    assert referral(np.zeros(0), np.zeros(0), 0.5) is None
    with pytest.raises(ValueError, match="share"):
        referral(confidence, wrong, 1.2)
