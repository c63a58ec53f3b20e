"""mAP: the thresholds that a box reaches, its matching against MONAI's COCO matching, and what it does not promise."""

from typing import Any

import numpy as np
import pytest

from hilum.core import catalogue
from hilum.metrics import ap50

mean_precision: Any = catalogue.load("hilum.metrics", "map")
A, B, FAR = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]


def case(boxes: Any = (), scores: Any = (), true_boxes: Any = (), labels: Any = None, true_labels: Any = None) -> Any:
    return {
        "boxes": np.array(boxes, float).reshape(-1, 4),
        "scores": np.array(scores, float),
        "labels": np.zeros(len(scores), int) if labels is None else np.array(labels),
        "true_boxes": np.array(true_boxes, float).reshape(-1, 4),
        "true_labels": np.zeros(len(true_boxes), int) if true_labels is None else np.array(true_labels),
    }


@pytest.mark.parametrize(("height", "reached"), [(10, 10), (9, 9), (7, 5), (5.5, 2), (5, 1), (4.9, 0)])
def test_a_box_counts_at_the_thresholds_that_it_reaches(height: float, reached: int) -> None:
    # a box of that height inside A has IoU height / 10; exactly on a threshold it counts
    assert mean_precision.measure([case([[0, 0, 10, height]], [0.9], [A])]) == pytest.approx(reached / 10)


def test_exact_boxes_have_the_same_precision_at_every_threshold() -> None:
    cases = [case([A, FAR, B], [0.9, 0.8, 0.7], [A, B]), case([A], [0.9], [A], labels=[2], true_labels=[2])]
    assert mean_precision.measure(cases) == pytest.approx(ap50.measure(cases)) == pytest.approx((5 / 6 + 1) / 2)


def test_what_is_matched_once_is_the_same_number() -> None:
    cases = [case([A, FAR], [0.9, 0.8], [A, B]), case(), case([B], [0.5], [])]
    assert mean_precision.summarise([mean_precision.prepare(c) for c in cases]) == mean_precision.measure(cases)


def test_edges() -> None:
    assert mean_precision.measure([case(true_boxes=[A])]) == 0
    assert mean_precision.measure([case([A], [0.9])]) is None and mean_precision.measure([]) is None


def test_leaving_out_a_loose_box_can_raise_it() -> None:
    # IoU 0.55 for A, surer than the exact box for B: found at two thresholds, in the way at eight
    loose = case([[0, 0, 10, 5.5], B], [0.9, 0.8], [A, B])
    assert mean_precision.measure([loose]) == pytest.approx((2 * 1 + 8 * 0.25) / 10)
    assert mean_precision.measure([case([B], [0.8], [A, B])]) == pytest.approx(0.5)


def scene(rng: np.random.Generator) -> Any:
    """Crowded boxes of two classes with good, loose, double and false candidates; scores differ."""
    low = rng.integers(0, 60, (6, 2)).astype(float)
    truth = np.hstack([low, low + rng.integers(10, 25, (6, 2))])
    near = np.repeat(truth, 2, axis=0) + rng.integers(-2, 3, (12, 4)) * rng.integers(0, 2, (12, 1))
    labels = rng.integers(0, 2, 6)
    guessed = np.where(rng.random(12) < 0.8, np.repeat(labels, 2), rng.integers(0, 2, 12))
    return case(near, rng.random(12), truth, guessed, labels)


def read_at_101_recalls(scores: Any, hit: Any, real: int) -> float:
    """COCO's reading of the same curve."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(hit[order])
    precision = np.maximum.accumulate((found / np.arange(1, len(order) + 1))[::-1])[::-1]
    place = np.searchsorted(found / real, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0.0)[np.minimum(place, len(order))].mean())


@pytest.mark.filterwarnings("ignore")
def test_the_matching_is_that_of_coco_in_monai() -> None:
    coco = pytest.importorskip("monai.apps.detection.metrics.coco")
    matching = pytest.importorskip("monai.apps.detection.metrics.matching")
    from monai.data.box_utils import box_iou

    rng = np.random.default_rng(0)
    cases = [scene(rng) for _ in range(8)]
    judge = coco.COCOMetric(["a", "b"], iou_list=[0.5], iou_range=(0.5, 0.95, 0.05), max_detection=[100], verbose=False)
    names = {"pred_boxes": "boxes", "pred_classes": "labels", "pred_scores": "scores"}
    names |= {"gt_boxes": "true_boxes", "gt_classes": "true_labels"}
    matches = matching.matching_batch(
        box_iou, judge.iou_thresholds, **{theirs: [c[ours] for c in cases] for theirs, ours in names.items()}
    )
    theirs = judge(matches)[0]["mAP_IoU_0.50_0.95_0.05_MaxDet_100"]
    readings = []
    for k in range(10):
        for label in (0, 1):
            parts = [mean_precision.prepare(c)[k][label] for c in cases if label in mean_precision.prepare(c)[k]]
            scores, hit = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
            readings.append(read_at_101_recalls(scores, hit, sum(p[2] for p in parts)))
    assert 0.1 < theirs < 0.9 and np.mean(readings) == pytest.approx(theirs, abs=1e-6)
    # the whole area instead of 101 readings: less than one step of recall apart
    assert mean_precision.measure(cases) == pytest.approx(theirs, abs=0.01)


@pytest.mark.filterwarnings("ignore")
def test_at_equal_scores_the_order_of_images_decides_in_monai_and_not_here() -> None:
    coco = pytest.importorskip("monai.apps.detection.metrics.coco")
    matching = pytest.importorskip("monai.apps.detection.metrics.matching")
    from monai.data.box_utils import box_iou

    right, wrong = case([A], [0.5], [A]), case([FAR], [0.5], [])
    judge = coco.COCOMetric(["a"], iou_list=[0.5], iou_range=(0.5, 0.95, 0.05), max_detection=[100], verbose=False)
    names = {"pred_boxes": "boxes", "pred_classes": "labels", "pred_scores": "scores"}
    names |= {"gt_boxes": "true_boxes", "gt_classes": "true_labels"}
    theirs = []
    for cases in ([right, wrong], [wrong, right]):
        given = {name: [c[ours] for c in cases] for name, ours in names.items()}
        found = judge(matching.matching_batch(box_iou, judge.iou_thresholds, **given))[0]
        theirs.append(found["AP_IoU_0.50_MaxDet_100"])
        assert ap50.measure(cases) == 0.5
    assert theirs == pytest.approx([1.0, 0.5])
