"""Kappa by hand, and by two libraries; a consensus of equal readers is what they all read."""

import numpy as np
import pytest

from hilum.evaluation import agreement

FLEISS = np.array(
    [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]
)  # fmt: skip
# The worked example of the encyclopaedia's page on Fleiss' kappa: 14 readers, 10 subjects, 5 classes.


def square(low, high, size=24, value=1):
    mask = np.zeros((size, size), np.int16)
    mask[low:high, low:high] = value
    return mask


def test_cohens_kappa_by_hand():
    # 50 proposals: both yes 20, both no 15, only the first yes 5, only the second yes 10; seen 0.7, by chance 0.5
    first, second = [1] * 20 + [0] * 15 + [1] * 5 + [0] * 10, [1] * 20 + [0] * 15 + [0] * 5 + [1] * 10
    assert agreement.cohen_kappa(first, second, 2) == pytest.approx(0.4, abs=1e-12)


def test_kappa_of_equal_readers_is_one_and_of_one_class_is_nothing():
    assert agreement.cohen_kappa([0, 1, 2, 1], [0, 1, 2, 1], 3) == 1
    assert agreement.cohen_kappa([1, 1, 1], [1, 1, 1], 3) is None and agreement.cohen_kappa([], [], 2) is None
    # one names one class, the other two: chance explains all of it
    assert agreement.cohen_kappa([1, 1, 1, 1], [1, 0, 1, 0], 2) == pytest.approx(0)
    assert agreement.fleiss_kappa(np.array([[3, 0], [0, 3]])) == pytest.approx(1)
    assert agreement.fleiss_kappa(np.array([[3, 0], [3, 0]])) is None
    assert agreement.fleiss_kappa(np.zeros((0, 2))) is None


def test_fleiss_kappa_of_the_worked_example():
    assert agreement.fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)


def test_readers_at_random_agree_by_chance_only():
    rng = np.random.default_rng(0)
    readings = rng.integers(0, 3, size=(4000, 4))
    counts = np.stack([np.bincount(row, minlength=3) for row in readings])
    assert abs(agreement.fleiss_kappa(counts)) < 0.02
    assert abs(agreement.cohen_kappa(readings[:, 0].tolist(), readings[:, 1].tolist(), 3)) < 0.05


def test_kappa_is_the_same_whoever_is_first():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 4, 60).tolist(), rng.integers(0, 4, 60).tolist()
    one, other = (agreement.cohen_kappa(a, b, 4) for a, b in ((first, second), (second, first)))
    assert one == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: agreement.cohen_kappa([0, 1], [0], 2),
        lambda: agreement.cohen_kappa([0, 5], [0, 1], 2),
        lambda: agreement.fleiss_kappa(np.array([[2, 0], [1, 0]])),
        lambda: agreement.fleiss_kappa(np.array([[1, 0], [0, 1]])),
        lambda: agreement.staple([square(2, 5)], 1),
        lambda: agreement.staple([square(2, 5), square(2, 5, size=10)], 1),
    ],
)
def test_what_can_not_be_compared_is_refused(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize("readers", [2, 3, 5])
def test_a_consensus_of_equal_readers_is_what_they_read(readers):
    mask = square(3, 9) + square(14, 20, value=2)
    np.testing.assert_array_equal(agreement.staple([mask] * readers, 2), mask)
    whole, empty = np.ones((6, 6), np.int16), np.zeros((6, 6), np.int16)
    np.testing.assert_array_equal(agreement.staple([whole] * readers, 1), whole)
    np.testing.assert_array_equal(agreement.staple([empty] * readers, 1), empty)
    solid = np.zeros((8, 9, 10), np.int16)
    solid[2:5, 3:7, 4:9] = 1
    np.testing.assert_array_equal(agreement.staple([solid] * readers, 1), solid)


def test_a_consensus_follows_the_many_and_not_the_one():
    odd = square(14, 22)
    found = agreement.staple([square(4, 12), square(4, 12), square(4, 12), odd], 1)
    np.testing.assert_array_equal(found, square(4, 12))


def test_a_consensus_knows_no_order_and_nobody_judges_what_one_leaves_out():
    masks = [square(4, 12), square(5, 13), square(4, 13)]
    np.testing.assert_array_equal(agreement.staple(masks, 1), agreement.staple(masks[::-1], 1))
    masks[1][:6] = -1
    assert (agreement.staple(masks, 1)[:6] == -1).all()


def test_soft_labels_are_the_shares_of_the_readers():
    masks = [square(4, 12), square(6, 14, value=2), square(4, 12)]
    shares = agreement.soft_labels(masks, 2)
    assert shares.shape == (3, 24, 24) and shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(shares[:, 5, 5], [1 / 3, 2 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(shares[:, 7, 7], [0, 2 / 3, 1 / 3], atol=1e-6)
    masks[0][7, 7] = -1
    np.testing.assert_allclose(agreement.soft_labels(masks, 2)[:, 7, 7], [0, 0.5, 0.5], atol=1e-6)
    assert (agreement.soft_labels([np.full((4, 4), -1)] * 2, 2) == 0).all()


def test_disputed_counts_marked_voxels_only():
    assert agreement.disputed([square(4, 12)] * 3, 1) == 0
    assert agreement.disputed([square(0, 0)] * 3, 1) is None
    # 64 voxels each, 36 of them shared: 56 of 92 are disputed
    assert agreement.disputed([square(4, 12), square(6, 14)], 1) == pytest.approx(56 / 92)


def test_pairs_are_compared_the_same_both_ways():
    masks = {"a": square(4, 12), "b": square(6, 14), "c": square(4, 12)}
    pairs = agreement.pairwise(masks, ["x"], (1.0, 1.0))
    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs["a", "c"] == {"dice": {"x": 1.0}, "hd95_mm": {"x": 0.0}}
    assert pairs["a", "b"]["dice"]["x"] == pytest.approx(72 / 128)
    assert pairs["a", "b"] == agreement.compared(masks["b"], masks["a"], ["x"], (1.0, 1.0))
    assert agreement.pairwise({"a": masks["a"]}, ["x"], (1.0, 1.0)) == {}
    wide = agreement.compared(masks["a"], masks["b"], ["x"], (2.0, 2.0))["hd95_mm"]["x"]
    assert wide == pytest.approx(2 * pairs["a", "b"]["hd95_mm"]["x"])


def test_what_one_does_not_judge_counts_for_neither():
    first, second = square(4, 12), square(4, 12)
    second[:8] = -1
    assert agreement.compared(first, second, ["x"], (1.0, 1.0))["dice"] == {"x": 1.0}
