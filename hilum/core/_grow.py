"""Label maps that grow: every new voxel gets the label with the largest share of the eight old voxels around it."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
HALF = 0.5 + 1e-6
# A share that wins over the rest; rounding must not decide between equals.


def between(old: int, new: int) -> tuple[Array, Array, Array]:
    """For every new voxel: the two old ones around it, and the share of the second."""
    at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.minimum(np.floor(at).astype(np.intp), max(0, old - 2))
    return low, np.minimum(low + 1, old - 1), at - low


def grown(labels: Array, out: Array) -> None:
    """Volumes (*space) that grow to the shape of `out`, which is written plane by plane along its first axis."""
    import torch

    low, _, share = between(labels.shape[0], out.shape[0])
    inner = [between(old, new) for old, new in zip(labels.shape[1:], out.shape[1:], strict=True)]

    def part(first: int) -> None:
        new = np.flatnonzero(low == first)
        if len(new):
            pair = labels[first], labels[min(first + 1, len(labels) - 1)]
            _between(pair, share[new], inner, out[new[0] : new[-1] + 1])

    # numpy computes with one processor, and lets others compute beside it
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(part, range(len(labels))))


def _between(pair: tuple[Array, Array], share: Array, inner: list[tuple[Array, Array, Array]], out: Array) -> None:
    """New planes (n, y, z) between a pair of old ones (j, k), of which the second has `share` (n,).

    Where a cell of eight old voxels has one label there is nothing to weigh. Where it has two, the share of one of them
    is a polynomial in the place: each axis is put in once for all new voxels that have it in common.
    """
    (rows, _, y), (columns, _, z) = inner
    # of every cell its corners, the step along the last axis the fastest
    whole = [plane.take(side, 0) for plane in pair for side in _steps(pair[0].shape[0])]
    corners = np.stack([plane.take(side, 1) for plane in whole for side in _steps(pair[0].shape[1])])
    low, high = corners.min(axis=0), corners.max(axis=0)
    lowest, highest = (kind.take(rows, 0).take(columns, 1) for kind in (low, high))
    if not (low != high).any():
        out[...] = lowest
        return
    upper = corners == high
    near, far = upper.astype(np.float32).reshape(2, 2, 2, *low.shape)
    many = ~(upper | (corners == low)).all(axis=0)
    y, z = y.astype(np.float32)[:, None], z.astype(np.float32)
    for plane, x in zip(out, share.astype(np.float32), strict=True):
        here = near + x * (far - near)
        lines = here[0].take(rows, 1) + y * (here[1] - here[0]).take(rows, 1)
        reach = (lines[1] - lines[0]).take(columns, 1)
        reach *= z
        reach += lines[0].take(columns, 1)
        plane[...] = np.where(reach > HALF, highest, lowest)
    if many.any():
        _several(corners, many, share, inner, out)


def _several(corners: Array, many: Array, share: Array, inner: list[tuple[Array, Array, Array]], out: Array) -> None:
    """The same in the cells (j, k) marked as `many`, where more than two labels meet. corners: (8, j, k)."""
    (rows, _, y), (columns, _, z) = inner
    there = np.divmod(np.flatnonzero(many.take(rows, 0).take(columns, 1)), len(columns))
    numbers = np.cumsum(many).reshape(many.shape) - 1
    cells, own = numbers[rows[there[0]], columns[there[1]]], corners[:, many].T
    # a label's first place among the sorted ones stands for it
    kinds = np.sort(own, axis=1)
    slots = (kinds[:, None, :] < own[:, :, None]).sum(axis=2, dtype=np.uint8)[cells]
    y, z = y.astype(np.float32)[there[0]], z.astype(np.float32)[there[1]]
    for plane, x in zip(out, share.astype(np.float32), strict=True):
        plane[there] = _strongest(kinds, slots, cells, (x, y, z))


def _strongest(kinds: Array, slots: Array, cells: Array, part: tuple[Any, Array, Array]) -> Array:
    """Of the labels `kinds` (cells, 8) that with the largest share, (n,); of equals the lowest.

    slots: (n, 8), which of them lies at each corner of a new voxel's cell. part: of the high side, by axis.
    """
    sides = [(1 - p, p) for p in part]
    base = np.arange(len(cells)) * 8
    total = np.zeros(8 * len(cells), dtype=np.float32)
    for number, (i, j, k) in enumerate(itertools.product((0, 1), repeat=3)):
        total[base + slots[:, number]] += sides[0][i] * sides[1][j] * sides[2][k]
    # rounding must not decide between equals
    best = (total.reshape(-1, 8) - 1e-6 * np.arange(8, dtype=np.float32)).argmax(axis=1)
    return np.asarray(kinds[cells, best])


def _steps(size: int) -> tuple[Array, Array]:
    """The places along an axis, and those after them as far as there are any."""
    here = np.arange(size)
    return here, np.minimum(here + 1, size - 1)
