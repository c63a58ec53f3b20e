"""FROC and AP: the worked example, the hit rules, duplicates, empty scans."""

import numpy as np
import pytest

from hilum.metrics import ap50, froc


def case(boxes=(), scores=(), true_boxes=(), labels=None, true_labels=None):
    return {
        "boxes": np.array(boxes, float).reshape(-1, 4),
        "scores": np.array(scores, float),
        "labels": np.ones(len(scores), int) if labels is None else np.array(labels),
        "true_boxes": np.array(true_boxes, float).reshape(-1, 4),
        "true_labels": np.ones(len(true_boxes), int) if true_labels is None else np.array(true_labels),
    }


A, B, FAR = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]


def far(count):
    return [[100 * i, 500, 100 * i + 10, 510] for i in range(1, count + 1)]


def worked():
    """The worked example: 2 scans, 3 lesions, hits .9 .6, one miss, false positives .8 .7 .3 .2."""
    return [
        case([A, *far(2)], [0.9, 0.8, 0.3], [A, B]),
        case([A, *far(2)], [0.6, 0.7, 0.2], [A]),
    ]


def test_the_worked_example():
    assert froc.cpm([0.9, 0.6], [0.8, 0.7, 0.3, 0.2], 3, 2) == pytest.approx(0.523810, abs=1e-6)
    assert froc.measure(worked()) == pytest.approx(0.523810, abs=1e-6)
    x, y = froc.curve([0.9, 0.6], [0.8, 0.7, 0.3, 0.2], 3, 2)
    assert x.tolist() == [0, 0, 0.5, 1, 1, 1.5, 2]
    assert (y * 3).round().tolist() == [0, 1, 1, 1, 2, 2, 2]


def test_a_duplicate_on_a_lesion_changes_nothing_for_froc_but_costs_precision():
    twice = [case([A, A, FAR], [0.9, 0.8, 0.7], [A, FAR])]
    once = [case([A, FAR], [0.9, 0.7], [A, FAR])]
    assert froc.measure(twice) == froc.measure(once) == 1.0
    assert ap50.measure(twice) < ap50.measure(once) == 1.0


def test_an_empty_scan_counts_as_a_scan():
    x2, _ = froc.curve([0.9], [0.8, 0.7], 1, 2)
    x3, _ = froc.curve([0.9], [0.8, 0.7], 1, 3)
    assert np.allclose(x3, x2 * 2 / 3)
    # half as many false positives per scan: two rates find one lesion of three, five find two
    assert froc.measure([*worked(), case(), case()]) == pytest.approx(4 / 7)


def test_without_false_positives_every_rate_gives_the_recall():
    assert froc.cpm([0.9, 0.2], [], 4, 3) == 0.5


def test_no_candidates_find_nothing_and_no_lesions_are_undefined():
    for metric in (froc, ap50):
        assert metric.measure([case(true_boxes=[A])]) == 0.0
        assert metric.measure([case([A], [0.9])]) is None
        assert metric.measure([]) is None


@pytest.mark.parametrize("metric", [froc, ap50])
def test_monotone_scores_and_the_order_of_cases_are_irrelevant(metric):
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(30):
        truth = rng.integers(0, 40, (2, 2))
        truth = np.hstack([truth, truth + 12])
        found = np.vstack(
            [truth + rng.integers(-5, 6, truth.shape), rng.integers(0, 9, (2, 4)) + np.array([60, 60, 70, 70])]
        )
        cases.append(case(found, rng.integers(1, 9, 4) / 10, truth))
    value = metric.measure(cases)
    assert metric.measure([c | {"scores": c["scores"] ** 3} for c in cases]) == pytest.approx(value)
    assert metric.measure(cases[::-1]) == pytest.approx(value)
    assert metric.summarise([metric.prepare(c) for c in cases]) == value


def test_the_hit_rule_has_the_same_error_per_axis_in_2d_and_3d():
    narrow = [2.5, 2.5, 7.5, 7.5]  # half the side: IoU 0.25 in 2-D, 0.125 in 3-D
    assert froc.measure([case([narrow], [0.9], [A])]) == 1.0
    tiny = [3, 3, 7, 7]  # 0.4 of the side: IoU 0.16 and 0.064
    assert froc.measure([case([tiny], [0.9], [A])]) == 0.0
    for low, high, expected in [(2.5, 7.5, 1.0), (3, 7, 0.0)]:
        volume = case() | {
            "boxes": np.array([[low] * 3 + [high] * 3]),
            "true_boxes": np.array([[0, 0, 0, 10, 10, 10]]),
            "scores": [0.9],
            "labels": [1],
            "true_labels": [1],
        }
        assert froc.measure([volume]) == expected


def test_the_wrong_label_is_no_hit():
    assert froc.measure([case([A], [0.9], [A], labels=[2])]) == 0.0
    assert ap50.measure([case([A], [0.9], [A], labels=[2])]) == 0.0


def test_ap_of_a_hand_example_is_the_mean_over_classes():
    # class 1: hit .9, miss .8, hit .7 of two -> 1 * .5 + 2/3 * .5; class 2: found at once -> 1
    one = case([A, FAR, B], [0.9, 0.8, 0.7], [A, B])
    two = case([A], [0.9], [A], labels=[2], true_labels=[2])
    assert ap50.measure([one]) == pytest.approx(0.5 + 1 / 3)
    assert ap50.measure([one, two]) == pytest.approx((0.5 + 1 / 3 + 1) / 2)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="equally many"):
        froc.measure([case([A], [0.9, 0.8])])
