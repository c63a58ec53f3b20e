"""A part of an image that is looked at: around a coarse mask, by which windows, and whether it was enough."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hilum.core.image import Array, Case
from hilum.core.progress import Progress
from hilum.infer.near import REACH
from hilum.infer.windows import Tiling

MARGIN = 20.0
# mm around what the coarse model found, and EDGE voxels beyond; without a spacing, pixels.
Margin = Callable[[Sequence[float]], Sequence[float]]
# mm around along each axis, from the image's spacing, both in RAS order.
EDGE = REACH + 1
# Voxels of the network's grid between what is found and the end of the region.
BLOCK = 4
# Voxels of the image, along each axis, that are inside or outside together.


@dataclass(frozen=True)
class Region:
    """Where to look. blocks: bool (*n), each of BLOCK voxels a side. shape: of the image's grid, in RAS order."""

    blocks: Array
    shape: tuple[int, ...]

    def on(self, shape: Sequence[int]) -> Array:
        """Bool (*shape) on the network's grid, which is the image's at another spacing."""
        lines = [
            ((np.arange(n) + 0.5) * size / n).astype(np.int64) // BLOCK
            for n, size in zip(shape, self.shape, strict=True)
        ]
        found: Array = self.blocks[np.ix_(*lines)]
        return found


Hint = tuple[Region | None, str]
# A region, or None and why there is none.


class Guide(Protocol):
    """What says where to look."""

    def __call__(self, case: Case, names: Collection[str], margin: Margin, progress: Progress) -> Hint:
        """The region of a case for classes of these names."""

    def expect(self, cases: int) -> None:
        """So many cases are to come."""


def around(mask: Array, spacing: Sequence[float], margin: Sequence[float]) -> Region | None:
    """What lies within `margin` mm along each axis of a mask (*space) in RAS order; None of an empty one."""
    from scipy.ndimage import maximum_filter1d

    blocks = mask != 0
    for axis, size in enumerate(mask.shape):
        # a block holds what any of its voxels holds
        blocks = np.logical_or.reduceat(blocks, np.arange(0, size, BLOCK), axis=axis)
    if not blocks.any():
        return None
    for axis, (step, far) in enumerate(zip(spacing, margin, strict=True)):
        reach = math.ceil(far / (step * BLOCK))
        blocks = maximum_filter1d(blocks, 2 * reach + 1, axis=axis, mode="constant")
    return Region(blocks, mask.shape)


def aside(where: Array, tiles: Tiling) -> Array:
    """Which windows hold no voxel of `where` (*shape): bools, one for each window."""
    found = np.zeros([len(s) for s in tiles.starts], dtype=bool)
    for index in np.ndindex(*found.shape):
        corner = [s[i] - b for s, i, b in zip(tiles.starts, index, tiles.before, strict=True)]
        place = tuple(slice(max(0, c), max(0, c + p)) for c, p in zip(corner, tiles.patch, strict=True))
        found[index] = not where[place].any()
    return found


def too_little(labels: Array, where: Array) -> str:
    """Why a region was not enough for what was found in it, or "". labels: (*shape), 0 is background.

    Foreground so near its end that doubt would be told from voxels beyond it is too near.
    """
    from scipy.ndimage import minimum_filter1d

    if not labels.any():
        return "nothing was found there"
    inner = where.view(np.uint8)
    for axis in range(inner.ndim):
        # the end of the image is no end of the region
        inner = minimum_filter1d(inner, 2 * EDGE + 1, axis=axis, mode="nearest")
    return "what was found reaches its end" if labels[inner == 0].any() else ""
