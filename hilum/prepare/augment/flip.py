"""Mirror along array axes; exact, no interpolation by itself."""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _spatial

CARD = {
    "about": "mirrors along the chosen axes, each with probability one half",
    "spatial": True,
    "exact": True,
    "options": {"axes": [0, 1, 2]},
}


def sample(rng: np.random.Generator, dims: int, axes: list[int]) -> dict[str, Any]:
    """Which axes to mirror."""
    return {"axes": [a for a in axes if a < dims and rng.random() < 0.5]}


def pull(params: dict[str, Any], places: _spatial.Places, shape: tuple[int, ...]) -> _spatial.Places:
    """Where the voxels at `places` come from."""
    if not params["axes"]:
        return places
    return [
        np.float32(n - 1) - p if a in params["axes"] else p for a, (p, n) in enumerate(zip(places, shape, strict=True))
    ]


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """(C, *space) mirrored; labels alike."""
    return np.flip(array, tuple(a + 1 for a in params["axes"])) if params["axes"] else array


def points(params: dict[str, Any], coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Continuous voxel-edge coordinates (N, d) moved with the image of `shape`."""
    out = coordinates.copy()
    for axis in params["axes"]:
        out[:, axis] = shape[axis] - out[:, axis]
    return out
