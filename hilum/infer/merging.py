"""Label maps of several networks become one: a voxel that two of them claim goes to the one that is surer of it."""

from collections.abc import Collection, Iterable

import numpy as np

from hilum.core.image import Array

Points = tuple[Array, ...]
# Indices along every axis, as np.nonzero gives them.


def empty(values: Iterable[int], like: Array) -> Array:
    """A label map of 0, of the smallest integers that hold every class value, as `like` lies in memory."""
    values = [0, *values]
    kinds = (k for k in (np.uint8, np.uint16, np.int32) if np.iinfo(k).min <= min(values))
    return np.zeros_like(like, dtype=next(k for k in kinds if max(values) <= np.iinfo(k).max))


class Merging:
    """Writes into `array`, (*space) and 0 at first, what one network after the other has found.

    contested: voxels that a network claimed and another one had. lost: class values that had to give voxels away.
    """

    def __init__(self, array: Array) -> None:
        self.array = array
        self.contested, self.lost = 0, set[int]()
        self._before: list[tuple[list[int], Array | None]] = []

    def add(self, labels: Array, values: Collection[int], odds: Array | None = None) -> None:
        """labels: (*space) class values of one network, 0 for none. values: those that it may give.

        odds: how sure it is that there is foreground at all, higher is surer, on any grid over the same space; taken
        linearly between its voxels; None where it does not say. Of two networks that claim a voxel the surer one has
        it. Where they are equally sure, or one of them does not say, the earlier one keeps it.
        """
        claimed = labels != 0
        points = np.nonzero(claimed & (self.array != 0))
        if len(points[0]):
            stronger = self._stronger(points, odds)
            self.contested += len(stronger)
            self.lost |= set(np.unique(self.array[points][stronger]).tolist())
            self.lost |= set(np.unique(labels[points][~stronger]).tolist())
            claimed[tuple(axis[~stronger] for axis in points)] = False
        np.copyto(self.array, labels, where=claimed)
        self._before.append((list(values), odds))

    def _stronger(self, points: Points, odds: Array | None) -> Array:
        """(n,) bool: whether the new network is surer than those that have these voxels."""
        stronger = np.zeros(len(points[0]), dtype=bool)
        if odds is None:
            return stronger
        held = self.array[points]
        for values, known in self._before:
            mine = np.isin(held, values)
            if known is not None and mine.any():
                here = tuple(axis[mine] for axis in points)
                stronger[mine] = self._at(odds, here) > self._at(known, here)
        return stronger

    def _at(self, odds: Array, points: Points) -> Array:
        """(n,) of a map that covers the same space in more or fewer voxels: linear, the edge repeated."""
        from scipy import ndimage

        places = [
            (axis + 0.5) * (old / new) - 0.5
            for axis, old, new in zip(points, odds.shape, self.array.shape, strict=True)
        ]
        found: Array = ndimage.map_coordinates(odds.astype(np.float32), places, order=1, mode="nearest")
        return found
