"""What a round of validation counts of boxes: right and wrong ones by their score, so that rounds can be added up."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.metrics import ap50

BINS = 50
# Steps of the score between 0 and 1; average precision from them differs little from that of single scores.
FEW = 10
# Boxes below which equal scores say nothing.


def one_of(outputs: Mapping[str, Sequence[Any]], place: int) -> dict[str, list[Any]]:
    """The outputs of one image of a batch, still as a batch of one, in memory and in single precision."""
    return {name: [level[place : place + 1].float().cpu() for level in levels] for name, levels in outputs.items()}


def boxes(images: Iterable[Mapping[str, Array]], kinds: int) -> Array:
    """(K, BINS + 1, 2): right and wrong boxes at IoU 0.5 by class and score; the last row holds the true boxes, 0.

    images: each with boxes (N, 4), scores (N,), labels (N,), true_boxes (M, 4) and true_labels (M,), labels from 0.
    """
    counts = np.zeros((kinds, BINS + 1, 2), dtype=np.int64)
    for image in images:
        for label, (scores, hit, real) in ap50.prepare(image).items():
            place = np.clip((scores * BINS).astype(int), 0, BINS - 1)
            np.add.at(counts[int(label)], (place, np.where(hit, 0, 1)), 1)
            counts[int(label), BINS, 0] += real
    return counts


def precision(counts: Array) -> dict[str, float]:
    """Average precision at IoU 0.5 (mean of the classes that occur) and the recall of all boxes together."""
    real = counts[:, BINS, 0]
    if not real.any():
        return {"ap50": float("nan")}
    values = [_ap(rows[:BINS], int(rows[BINS, 0])) for rows in counts if rows[BINS, 0]]
    return {"ap50": float(np.mean(values)), "recall": float(counts[:, :BINS, 0].sum() / real.sum())}


def _ap(rows: Array, real: int) -> float:
    """rows (BINS, 2) of right and wrong boxes -> average precision."""
    scores = np.repeat(np.tile(np.arange(BINS), 2), rows.T.ravel())
    hit = np.repeat([True, False], rows.sum(axis=0))
    return ap50.average_precision(scores.astype(np.float64), hit, real) if len(scores) else 0.0


def blind(counts: Array, score: float) -> str | None:
    """A sentence when no box is found although there are some, or when all get one score and most are wrong."""
    found, real = counts[:, :BINS], int(counts[:, BINS, 0].sum())
    if not real:
        return None
    if not found.any():
        return f"the network finds no box with a score of {score:g} or more, while there are {real}"
    right, wrong = found.sum(axis=(0, 1))
    used = np.flatnonzero(found.sum(axis=(0, 2)))
    if len(used) == 1 and right + wrong >= FEW and right < wrong:
        return f"the network gives {right + wrong} boxes one score ({used[0] / BINS:.2f}), of which {right} are right"
    return None
