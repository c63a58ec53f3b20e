"""Mirror along array axes."""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "mirrors along the chosen axes, each with probability one half",
    "spatial": True,
    "options": {"axes": [0, 1, 2]},
}


def sample(rng: np.random.Generator, dims: int, axes: list[int]) -> dict[str, Any]:
    """Which axes to mirror."""
    return {"axes": [a for a in axes if a < dims and rng.random() < 0.5]}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """(C, *space) mirrored; labels alike."""
    return np.flip(array, tuple(a + 1 for a in params["axes"])) if params["axes"] else array


def points(params: dict[str, Any], coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Continuous voxel-edge coordinates (N, d) moved with the image of `shape`."""
    out = coordinates.copy()
    for axis in params["axes"]:
        out[:, axis] = shape[axis] - out[:, axis]
    return out
