"""What intensity augmentations share: the level of no signal, a channel's mean and spread, an axis that is drawn."""

from collections.abc import Sequence

import numpy as np

from hilum.core.image import Array


def signal(array: Array) -> tuple[Array, Array]:
    """(C, *space) as float32 above each channel's minimum, and that minimum (C, 1, ...).

    Images arrive normalised, often with mean 0. What the physics multiplies is signal, so the darkest voxel of a
    channel is taken as none.
    """
    image = np.asarray(array, dtype=np.float32)
    low = image.min(axis=_space(image), keepdims=True)
    return image - low, low


def kept(out: Array, before: Array) -> Array:
    """`out` with the mean and standard deviation that each channel of `before` has.

    A real image with the artefact is normalised after it was taken; this stands for that.
    """
    axes = _space(before)
    before = np.asarray(before, dtype=np.float32)
    spread = before.std(axis=axes, keepdims=True) / np.maximum(out.std(axis=axes, keepdims=True), np.float32(1e-8))
    # a constant channel has no spread to bring back
    spread = np.where(before.std(axis=axes, keepdims=True) > 1e-7, spread, np.float32(1))
    done: Array = (out - out.mean(axis=axes, keepdims=True)) * spread + before.mean(axis=axes, keepdims=True)
    return done


def axis(rng: np.random.Generator, used: Sequence[int]) -> int:
    """One of these axes, 0 where there is none."""
    return used[int(rng.integers(len(used)))] if used else 0


def _space(array: Array) -> tuple[int, ...]:
    return tuple(range(1, array.ndim))
