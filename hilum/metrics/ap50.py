"""Average precision at IoU 0.5: the area under precision over recall, averaged over the classes that occur.

Per class and case a candidate, best score first, takes the free true box it overlaps most, if IoU >= 0.5; every other
candidate is a false positive, duplicates included (COCO). All-point interpolation (PASCAL VOC since 2010).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hilum.metrics._boxes import Array, check_case, overlap

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "boxes",
    "aggregate": "all cases together for each class, then the mean over classes",
    "missing": "no box found: all its true boxes are missed; without any it is left out",
    "empty": "a class without true boxes is left out of the mean; no true box at all: undefined",
    "source": "Everingham et al. 2010 (all-point), matching as in COCO at IoU 0.5",
}

IOU = 0.5

Matched = dict[Any, tuple[Array, Array, int]]
# {class: (scores (n,), hit (n,) bool, number of true boxes)}


def prepare(case: Mapping[str, Any]) -> Matched:
    """Match one case's candidates with its true boxes, class by class."""
    return match(case, (IOU,))[0]


def match(case: Mapping[str, Any], thresholds: Sequence[float]) -> list[Matched]:
    """What `prepare` does, at each of these overlaps anew: one entry per threshold."""
    c = check_case(case)
    out: list[Matched] = [{} for _ in thresholds]
    for label in np.unique(np.concatenate([c.labels, c.true_labels])):
        mine, real = c.labels == label, c.true_labels == label
        iou, scores = overlap(c.boxes[mine], c.true_boxes[real]), c.scores[mine]
        for matched, threshold in zip(out, thresholds, strict=True):
            matched[label.item()] = (scores, _hits(iou.copy(), threshold), int(real.sum()))
    return out


def _hits(iou: Array, threshold: float) -> Array:
    """Which candidates (rows, by falling score) take a true box (column); (N,) bool. Taken columns are spoilt."""
    hit = np.zeros(len(iou), dtype=bool)
    for row in range(len(iou) if iou.shape[1] else 0):
        best = int(np.argmax(iou[row]))
        if iou[row, best] >= threshold:
            hit[row] = True
            iou[:, best] = -1.0
    return hit


def average_precision(scores: Array, hit: Array, real: int) -> float:
    """Area under the precision envelope. scores, hit: (n,); real: number of true boxes, at least 1."""
    order = np.argsort(-scores, kind="stable")
    found, seen = np.cumsum(hit[order]), np.arange(1, scores.size + 1)
    # equal scores are one threshold, so that the order of cases can not matter
    last = np.append(np.diff(scores[order]) != 0, True)[: scores.size]
    precision, recall = (found / seen)[last], (found / real)[last]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def summarise(records: Iterable[Matched]) -> float | None:
    """The mean over classes for cases that were matched by `prepare`."""
    records = list(records)
    values = []
    for label in sorted({label for record in records for label in record}, key=str):
        parts = [record[label] for record in records if label in record]
        real = sum(part[2] for part in parts)
        if real:
            values.append(
                average_precision(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), real)
            )
    return float(np.mean(values)) if values else None


def measure(cases: Iterable[Mapping[str, Any]]) -> float | None:
    """cases: dicts of boxes (N, 2d), scores (N,), labels (N,), true_boxes (M, 2d), true_labels (M,). Returns 0..1."""
    return summarise([prepare(case) for case in cases])
