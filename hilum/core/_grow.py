"""Label maps that grow: every new voxel gets the label with the largest share of the eight old voxels around it."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

WEIGHED = 1 << 20
# Voxels at a time, by all threads, of which some dozen numbers are needed where labels differ.


def between(old: int, new: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For every new voxel: the two old ones around it, and the share of the second."""
    at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.minimum(np.floor(at).astype(np.intp), max(0, old - 2))
    return low, np.minimum(low + 1, old - 1), at - low


def grown(labels: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
    """Volumes that grow: only where the eight old voxels around a new one differ is there anything to weigh."""
    import torch

    around = [between(old, new) for old, new in zip(labels.shape, out.shape, strict=True)]
    threads = torch.get_num_threads()
    step = max(1, WEIGHED // (threads * max(1, out[0].size)))

    def part(start: int) -> None:
        rows = slice(start, min(start + step, out.shape[0]))
        low = [around[0][0][rows], around[1][0], around[2][0]]
        share = [around[0][2][rows], around[1][2], around[2][2]]
        first = int(low[0][0])
        block = labels[first : int(around[0][1][rows][-1]) + 1]
        low[0] = low[0] - first
        found, cells = (grid.take(low[1], 1).take(low[2], 2).take(low[0], 0) for grid in (block, _cells(block)))
        where = np.flatnonzero(cells >= 0)
        if len(where):
            found.reshape(-1)[where] = _weighed(_corners(block), cells.reshape(-1)[where], where, found.shape, share)
        out[rows] = found

    # numpy computes with one processor, and lets others compute beside it
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, range(0, out.shape[0], step)))


def _mixed(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(*space) bool: whether a voxel and the seven after it along the axes (as far as there are any) differ."""
    low, high = labels, labels
    for axis, size in enumerate(labels.shape):
        after = np.minimum(np.arange(size) + 1, size - 1)
        low, high = np.minimum(low, low.take(after, axis)), np.maximum(high, high.take(after, axis))
    return np.asarray(low != high)


def _cells(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(*space) int32: the mixed ones numbered from 0, in order; the others -1."""
    mixed = _mixed(labels)
    numbers = np.full(labels.shape, -1, dtype=np.int32)
    numbers[mixed] = np.arange(np.count_nonzero(mixed))
    return numbers


def _corners(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(cells, 8): the labels at the corners of the mixed cells, in their order; the last axis' step first."""
    low = np.nonzero(_mixed(labels))
    high = [np.minimum(at + 1, size - 1) for at, size in zip(low, labels.shape, strict=True)]
    corners = itertools.product((0, 1), repeat=3)
    return np.stack([labels[tuple((high if s else low)[a] for a, s in enumerate(c))] for c in corners], axis=1)


def _weighed(
    corners: np.ndarray[Any, Any],
    cells: np.ndarray[Any, Any],
    where: np.ndarray[Any, Any],
    shape: tuple[int, ...],
    share: list[np.ndarray[Any, Any]],
) -> np.ndarray[Any, Any]:
    """Of the labels (cells, 8) at a point's corners the one with the largest share; of equals the lowest.

    cells, where: (n,), of each point its cell, and its place in an array of `shape`. share: of the high side, by axis.
    """
    kinds, part = np.sort(corners, axis=1), []
    for axis, side in enumerate(share):
        line = side.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        part.append(np.broadcast_to(line, shape).reshape(-1).take(where))
    low, high = kinds[:, 0], kinds[:, -1]
    upper = corners == high[:, None]
    found = np.where(_above_half(upper, cells, part), high.take(cells), low.take(cells))
    # most cells hold two labels: what is left is few
    rest = np.flatnonzero(~(upper | (corners == low[:, None])).all(axis=1).take(cells))
    if len(rest):
        found[rest] = _of_many(kinds, corners, cells[rest], [p[rest] for p in part])
    return found


def _above_half(
    upper: np.ndarray[Any, Any], cells: np.ndarray[Any, Any], part: list[np.ndarray[Any, Any]]
) -> np.ndarray[Any, Any]:
    """Where the share of the corners marked in `upper` (cells, 8) is above a half, (n,)."""
    terms = upper.astype(np.float32).reshape(-1, 2, 2, 2)
    for axis in (1, 2, 3):
        first, second = (np.take(terms, side, axis=axis) for side in (0, 1))
        terms = np.stack([first, second - first], axis=axis)
    # of the polynomial that interpolates between the corners, by which axes they are multiplied with
    of = [column.take(cells) for column in np.ascontiguousarray(terms.reshape(-1, 8).T)]
    x, y, z = part
    near, far = (of[n] + z * of[n + 1] + y * (of[n + 2] + z * of[n + 3]) for n in (0, 4))
    # rounding must not decide between equals
    return np.asarray(near + x * far > 0.5 + 1e-6)


def _of_many(
    kinds: np.ndarray[Any, Any],
    corners: np.ndarray[Any, Any],
    cells: np.ndarray[Any, Any],
    part: list[np.ndarray[Any, Any]],
) -> np.ndarray[Any, Any]:
    """The same for any number of labels in a cell. kinds: the labels at the corners, sorted."""
    # a label's first place among the sorted ones stands for it
    slots = (kinds[:, None, :] < corners[:, :, None]).sum(axis=2, dtype=np.uint8)
    sides = [(1 - p, p) for p in part]
    base = np.arange(len(cells)) * 8
    total = np.zeros(8 * len(cells), dtype=np.float32)
    for number, (i, j, k) in enumerate(itertools.product((0, 1), repeat=3)):
        total[base + slots[cells, number]] += sides[0][i] * sides[1][j] * sides[2][k]
    # rounding must not decide between equals
    best = (total.reshape(-1, 8) - 1e-6 * np.arange(8, dtype=np.float32)).argmax(axis=1)
    return np.asarray(kinds[cells, best])
