"""Metrics of numbered objects: matched one to one, whatever the numbers are."""

import numpy as np
import pytest

from hilum.metrics import ap50_instances, dice, pq

MODULES = {"ap50_instances": ap50_instances, "pq": pq}


def squares(*corners, side=4, shape=(40, 40)):
    """One object per corner, numbered from 1."""
    out = np.zeros(shape, np.int32)
    for number, (row, column) in enumerate(corners, 1):
        out[row : row + side, column : column + side] = number
    return out


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_the_numbers_mean_nothing(module):
    rng = np.random.default_rng(0)
    truth = squares((0, 0), (0, 4), (10, 10), (20, 30))
    names = np.concatenate([[0], rng.permutation(np.arange(1, 400))[:4] + 70_000])
    assert module.measure(names[truth], truth) == 1.0 == module.measure(truth, names[truth])


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_empty(module):
    empty, one = squares(), squares((3, 3))
    assert module.measure(empty, empty) is None
    assert module.measure(one, empty) == 0 == module.measure(empty, one)


def test_counts_by_hand():
    """Two of three found, one of them shifted by a row (IoU 12/20), one false."""
    truth = squares((0, 0), (10, 10), (20, 20))
    found = squares((0, 0), (11, 10), (30, 0))
    assert ap50_instances.measure(found, truth) == pytest.approx(2 / 4)
    assert pq.measure(found, truth) == pytest.approx((1 + 12 / 20) / 3)


def test_merged_objects_are_lost_though_every_voxel_is_right():
    truth = squares((0, 0), (0, 4))
    merged = (truth > 0).astype(np.int32)
    assert dice.measure(merged > 0, truth > 0, (1, 1)) == 1
    # the merged one has IoU 0.5 with either, and may be counted for one of them only
    assert ap50_instances.measure(merged, truth) == pytest.approx(1 / 2)
    assert ap50_instances.measure(truth, merged) == pytest.approx(1 / 2)
    truth[0:4, 0:8] = 1
    truth[0, 0], truth[0:2, 7] = 0, 0
    third = squares((0, 0), (0, 4), (0, 8))
    assert ap50_instances.measure((third > 0).astype(int), third) == 0


def test_equals_a_plain_count_on_random_objects():
    rng = np.random.default_rng(1)
    for _ in range(20):
        truth = squares(*rng.integers(0, 34, (12, 2)), side=6)
        found = squares(*(rng.integers(0, 34, (12, 2))), side=6)
        found = np.where(rng.random() < 0.7, np.roll(truth, rng.integers(0, 3, 2), (0, 1)), found)
        hits, total = 0, []
        for f in np.unique(found[found > 0]):
            for t in np.unique(truth[truth > 0]):
                iou = ((found == f) & (truth == t)).sum() / ((found == f) | (truth == t)).sum()
                # objects that lost voxels to others may lie at exactly one half, with one partner each
                hits += iou >= 0.5
                total += [iou] if iou >= 0.5 else []
        objects = len(np.unique(found)) + len(np.unique(truth)) - 2
        assert ap50_instances.measure(found, truth) == pytest.approx(hits / (objects - hits))
        assert pq.measure(found, truth) == pytest.approx(2 * sum(total) / objects)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="shape"):
        pq.measure(np.ones((3, 3), int), np.ones((3, 1), int))
    with pytest.raises(ValueError, match="whole numbers"):
        pq.measure(np.ones((3, 3)), np.ones((3, 3), int))
