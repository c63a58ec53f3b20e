"""FROC score (CPM): the mean share of lesions found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan.

Hit rule. A candidate finds a lesion of its own label when their boxes overlap with IoU >= 0.1 in 3-D (nnDetection,
MONAI) and IoU >= 0.2 in 2-D. FROC asks whether a lesion was found, not how tightly it was drawn (ap50 asks that). The
2-D value allows the same error per axis as the 3-D one: concentric cubes with IoU 0.1 have sides in the ratio
0.1 ** (1/3) = 0.46, and squares with that ratio have IoU 0.22. A further candidate on a lesion already found is neither
a true nor a false positive (LUNA16). The curve pools all labels. Between its points it is interpolated linearly; beyond
its last point it is held, never extrapolated. Scans without lesions count as scans.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hilum.metrics._boxes import Array, check_case, overlap

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "boxes",
    "aggregate": "all scans together, all labels pooled",
    "missing": "no box found: all its lesions are missed; without any it is left out",
    "empty": "no lesion in any scan: undefined; a scan without candidates finds nothing",
    "source": "LUNA16 (Setio et al. 2017), seven rates; hit: IoU >= 0.1 in 3-D, >= 0.2 in 2-D, same label",
}

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# False positives per scan (LUNA16).
HIT_IOU = {2: 0.2, 3: 0.1}


class Hits(NamedTuple):
    """One scan after matching: scores of hits (one per lesion found), of false positives, and the lesion count."""

    true_scores: Array
    false_scores: Array
    lesions: int


def prepare(case: Mapping[str, Any]) -> Hits:
    """Match one scan's candidates with its lesions: done once, so that resampling scans is cheap."""
    c = check_case(case)
    iou = overlap(c.boxes, c.true_boxes)
    hit = (iou >= HIT_IOU[c.boxes.shape[1] // 2]) & (c.labels[:, None] == c.true_labels[None, :])
    free = np.ones(len(c.true_boxes), dtype=bool)
    true_scores, false_scores = [], []
    for row, score in enumerate(c.scores):
        if not hit[row].any():
            false_scores.append(score)
        elif (hit[row] & free).any():
            free[int(np.argmax(np.where(hit[row] & free, iou[row], -1.0)))] = False
            true_scores.append(score)
    return Hits(np.array(true_scores), np.array(false_scores), len(c.true_boxes))


def curve(
    true_scores: Sequence[float] | Array, false_scores: Sequence[float] | Array, lesions: int, scans: int
) -> tuple[Array, Array]:
    """The FROC curve: false positives per scan (rising) and sensitivity at every threshold, from (0, 0)."""
    scores = np.concatenate([np.asarray(true_scores, dtype=np.float64), np.asarray(false_scores, dtype=np.float64)])
    is_true = np.arange(scores.size) < len(true_scores)
    order = np.argsort(-scores, kind="stable")
    found, false = np.cumsum(is_true[order]), np.cumsum(~is_true[order])
    # candidates of one score enter together: keep the last of each run of equal scores
    last = np.append(np.diff(scores[order]) != 0, True)[: scores.size]
    return np.append(0.0, false[last] / scans), np.append(0.0, found[last] / lesions)


def cpm(
    true_scores: Sequence[float] | Array, false_scores: Sequence[float] | Array, lesions: int, scans: int
) -> float | None:
    """Mean sensitivity at RATES when hits are given: one score per lesion found, one per false positive."""
    if lesions == 0 or scans == 0:
        return None
    x, y = curve(true_scores, false_scores, lesions, scans)
    # where the curve rises straight up, its top counts (side="right")
    here = np.searchsorted(x, RATES, side="right") - 1
    after = np.minimum(here + 1, x.size - 1)
    span = x[after] - x[here]
    share = np.divide(np.array(RATES) - x[here], span, out=np.zeros(len(RATES)), where=span > 0)
    return float(np.mean(y[here] + share * (y[after] - y[here])))


def summarise(records: Iterable[Hits]) -> float | None:
    """The score of scans that were matched by `prepare`."""
    records = list(records)
    if not records:
        return None
    true_scores = np.concatenate([r.true_scores for r in records])
    false_scores = np.concatenate([r.false_scores for r in records])
    return cpm(true_scores, false_scores, sum(r.lesions for r in records), len(records))


def measure(cases: Iterable[Mapping[str, Any]]) -> float | None:
    """cases: dicts of boxes (N, 2d), scores (N,), labels (N,), true_boxes (M, 2d), true_labels (M,). Returns 0..1."""
    return summarise([prepare(case) for case in cases])
