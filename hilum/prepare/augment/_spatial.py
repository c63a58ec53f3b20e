"""Moving space: where each output voxel is pulled from, and the one interpolation at the end.

Places are voxel coordinates, one float array per axis, that broadcast against each other to the output's shape: an
unrotated grid stays three short axes. A spatial augmentation maps places to places (`pull`), so that several of them
cost one interpolation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.core.image import Array

Places = list[Array]


def grid(shape: Sequence[int]) -> Places:
    """The voxel coordinates of `shape` as open axes."""
    return [
        np.arange(n, dtype=np.float32).reshape([-1 if b == a else 1 for b in range(len(shape))])
        for a, n in enumerate(shape)
    ]


def affine(places: Places, matrix: Array, offset: Array) -> Places:
    """matrix (d, d) @ places + offset (d,); axes that are not mixed stay open."""
    out = []
    for row, add in zip(matrix, offset, strict=True):
        parts = [p * np.float32(w) for p, w in zip(places, row, strict=True) if w != 0]
        out.append(sum(parts[1:], parts[0]) + np.float32(add) if parts else places[0] * 0 + np.float32(add))
    return out


def turn(dims: int, degrees: Sequence[float], axes: Sequence[int]) -> Array:
    """Rotation (dims, dims): one angle for each pair of `axes`, in order."""
    matrix = np.eye(dims)
    pairs = [(a, b) for i, a in enumerate(axes) for b in axes[i + 1 :]]
    for (first, second), angle in zip(pairs, np.deg2rad(degrees), strict=True):
        one = np.eye(dims)
        one[first, first] = one[second, second] = np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ one
    return matrix


def pulled(array: Array, places: Places, kind: str, fill: float | None = 0) -> Array:
    """array (C, *space) at places -> (C, *out).

    Images float32: linear, edges repeated. Labels: nearest, `fill` outside (None: edges repeated), type kept.
    """
    return _nearest(array, places, fill) if kind == "label" else _linear(array, places)


def _window(place: Array, n: int) -> slice:
    """The part of an axis of n voxels that places between them touch."""
    low = int(np.clip(np.floor(place.min()), 0, n - 1))
    return slice(low, int(np.clip(np.ceil(place.max()), low, n - 1)) + 1)


def _linear(array: Array, places: Places) -> Array:
    import torch

    from hilum.core.warp import sample

    # only the part that is looked at is read and made float32
    box = [_window(place, n) for place, n in zip(places, array.shape[1:], strict=True)]
    points = np.empty((1, len(places), *np.broadcast_shapes(*[p.shape for p in places])), dtype=np.float32)
    for axis, place in enumerate(places):
        points[0, axis] = place - box[axis].start
    image = torch.from_numpy(np.array(array[(slice(None), *box)], dtype=np.float32, order="C"))[None]
    made: Array = sample(image, torch.from_numpy(points), "linear", padding="border")[0].numpy()
    return made


def _nearest(array: Array, places: Places, fill: float | None) -> Array:
    flat: Any = 0
    outside: Any = False
    box = [_window(place, n) for place, n in zip(places, array.shape[1:], strict=True)]
    part = array[(slice(None), *box)]
    for place, n, window, length in zip(places, array.shape[1:], box, part.shape[1:], strict=True):
        index = np.rint(place).astype(np.int64)
        outside = outside | (index < 0) | (index >= n)
        flat = flat * length + np.clip(index - window.start, 0, length - 1)
    out: Array = np.take(part.reshape(len(part), -1), flat, axis=1)
    if fill is not None:
        out[:, outside] = fill
    return out
