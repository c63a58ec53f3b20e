"""What the metrics of boxes share: checking a case, and the overlap of boxes.

Boxes are (N, 2*d) rows low..., high... with `high` exclusive, as in `core.findings.Boxes`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class CheckedCase(NamedTuple):
    """One case. boxes: (N, 2d) by falling score; scores, labels: (N,); true_boxes: (M, 2d); true_labels: (M,)."""

    boxes: Array
    scores: Array
    labels: Array
    true_boxes: Array
    true_labels: Array


def check_case(case: Mapping[str, Any]) -> CheckedCase:
    """The case with its candidates by falling score; refused when lengths differ or a score is not finite."""
    boxes = np.asarray(case["boxes"], dtype=np.float64)
    true_boxes = np.asarray(case["true_boxes"], dtype=np.float64)
    scores = np.asarray(case["scores"], dtype=np.float64).reshape(-1)
    labels, true_labels = np.asarray(case["labels"]).reshape(-1), np.asarray(case["true_labels"]).reshape(-1)
    width = next((b.shape[1] for b in (boxes, true_boxes) if b.ndim == 2 and b.shape[1]), 4)
    boxes, true_boxes = boxes.reshape(-1, width), true_boxes.reshape(-1, width)
    if not len(boxes) == len(scores) == len(labels) or len(true_boxes) != len(true_labels):
        raise ValueError("boxes, scores and labels of a case must be equally many, and so must its true ones")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    order = np.argsort(-scores, kind="stable")
    return CheckedCase(boxes[order], scores[order], labels[order], true_boxes, true_labels)


def overlap(boxes: Array, others: Array) -> Array:
    """Intersection over union (N, M) of boxes (N, 2d) with others (M, 2d); empty boxes overlap nothing."""
    d = boxes.shape[1] // 2
    low = np.maximum(boxes[:, None, :d], others[None, :, :d])
    high = np.minimum(boxes[:, None, d:], others[None, :, d:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    size = np.clip(boxes[:, d:] - boxes[:, :d], 0, None).prod(axis=1)
    other = np.clip(others[:, d:] - others[:, :d], 0, None).prod(axis=1)
    union = size[:, None] + other[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
