"""Masks of which only the largest piece is kept: what a body has one of, found twice, is wrong once."""

from collections.abc import Sequence

import numpy as np

from hilum.core.image import Array


def largest(labels: Array, channels: Sequence[int]) -> Array:
    """Labels (*space) in which each of the channels keeps its largest piece; what else there is of it becomes 0.

    Pieces touch by faces, edges or corners; of equals the first is kept. The labels given are left alone.
    """
    from scipy import ndimage

    kept = labels
    boxes = ndimage.find_objects(labels, max_label=max(channels, default=0)) if len(channels) else []
    for channel in channels:
        box = boxes[channel - 1]
        if box is None:
            continue
        pieces, count = ndimage.label(labels[box] == channel, structure=np.ones([3] * labels.ndim))
        if count > 1:
            kept = kept.copy() if kept is labels else kept
            best = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
            kept[box][(pieces > 0) & (pieces != best)] = 0
    return kept
