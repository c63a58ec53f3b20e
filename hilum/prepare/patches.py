"""Patches: cut with padding, and where to cut."""

from collections.abc import Sequence

import numpy as np

from hilum.core.image import Array


def cut(array: Array, start: Sequence[int], size: Sequence[int], fill: float | None = None) -> Array:
    """(C, *space) cut at `start` (may be negative) with `size`; outside is `fill`, or the nearest edge when None."""
    inside, pad, beside = [slice(None)], [(0, 0)], False
    for n, s, want in zip(array.shape[1:], start, size, strict=True):
        low, high = min(max(s, 0), n - 1), max(min(s + want, n), 1)
        inside.append(slice(low, high))
        before = min(max(low - s, 0), want - (high - low))
        pad.append((before, want - (high - low) - before))
        beside |= s >= n or s + want <= 0
    if beside and fill is not None:
        return np.full((len(array), *size), fill, dtype=array.dtype)
    piece = array[tuple(inside)]
    if not any(a or b for a, b in pad):
        return piece
    if fill is None:
        return np.pad(piece, pad, mode="edge")
    return np.pad(piece, pad, constant_values=fill)


def random_start(shape: Sequence[int], size: Sequence[int], rng: np.random.Generator) -> list[int]:
    """A uniform start; an axis shorter than the patch is centred."""
    return [
        int(rng.integers(0, n - want + 1)) if n > want else -((want - n) // 2)
        for n, want in zip(shape, size, strict=True)
    ]


def start_around(
    point: Sequence[int], shape: Sequence[int], size: Sequence[int], rng: np.random.Generator
) -> list[int]:
    """A start so that `point` lies somewhere in the patch, and the patch in the image where it fits."""
    start = []
    for p, n, want in zip(point, shape, size, strict=True):
        if n <= want:
            start.append(-((want - n) // 2))
        else:
            low, high = max(0, p - want + 1), min(p, n - want)
            start.append(int(rng.integers(low, high + 1)))
    return start


def window_starts(n: int, want: int, step: float = 0.5) -> list[int]:
    """Starts of windows along one axis, evenly spread (nnU-Net): 110, 64, .5 -> 0, 23, 46."""
    if n <= want:
        return [0]
    count = int(np.ceil((n - want) / (want * step))) + 1
    return [round(i * (n - want) / (count - 1)) for i in range(count)]
