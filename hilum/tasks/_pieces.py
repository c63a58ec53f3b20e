"""Pieces of masks, and masks of which only the largest is kept: what a body has one of, found twice, is wrong once."""

from collections.abc import Iterator, Sequence

import numpy as np

from hilum.core.image import Array

BLOCK = 1 << 20
# Voxels that are looked at at a time: numpy counts numbers in copies of 8 bytes a voxel.


def connected(mask: Array) -> tuple[Array, int]:
    """Pieces of a mask (*space) numbered from 1 on, and how many; what touches by faces, edges or corners is one."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask, np.ones([3] * mask.ndim))
    return pieces, int(count)


def largest(labels: Array, channels: Sequence[int]) -> Array:
    """Labels (*space) in which each of the channels keeps its largest piece; what else there is of it becomes 0.

    Pieces touch by faces, edges or corners; of equals the first is kept. The labels given are left alone. Held besides:
    a copy of the labels, and 5 bytes a voxel of the box around a channel (`infer.promise` counts that).
    """
    if not len(channels):
        return labels
    from scipy import ndimage

    kept, boxes = labels, ndimage.find_objects(labels, max_label=max(channels))
    for channel in channels:
        box = boxes[channel - 1]
        if box is None:
            continue
        pieces, count = connected(labels[box] == channel)
        if count > 1:
            kept = kept.copy() if kept is labels else kept
            best = 1 + int(_sizes(pieces, count)[1:].argmax())
            for some in _slabs(pieces):
                kept[box][some][(pieces[some] > 0) & (pieces[some] != best)] = 0
    return kept


def _sizes(pieces: Array, count: int) -> Array:
    """(1 + count,) voxels of each number from 0 on."""
    found = np.zeros(1 + count, dtype=np.int64)
    for some in _slabs(pieces):
        here = np.bincount(pieces[some].ravel())
        found[: len(here)] += here
    return found


def _slabs(array: Array) -> Iterator[slice]:
    """Parts of the first axis, of about BLOCK voxels each."""
    step = max(1, BLOCK * len(array) // array.size)
    return (slice(start, start + step) for start in range(0, len(array), step))
