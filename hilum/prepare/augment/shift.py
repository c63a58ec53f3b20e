"""Translation by a share of each axis."""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _spatial

CARD = {
    "about": "moves the content along every axis, by at most `share` of its length (linear; labels nearest)",
    "spatial": True,
    "options": {"share": 0.1, "probability": 0.5},
}


def sample(rng: np.random.Generator, dims: int, share: float, probability: float) -> dict[str, Any]:
    """Shares of the axes by which content moves towards larger indices; None when off."""
    drawn = rng.uniform(-share, share, size=dims).tolist()
    return {"shares": drawn if rng.random() < probability else None}


def pull(params: dict[str, Any], places: _spatial.Places, shape: tuple[int, ...]) -> _spatial.Places:
    """Where the voxels at `places` come from."""
    if params["shares"] is None:
        return places
    return [p - np.float32(s * n) for p, s, n in zip(places, params["shares"], shape, strict=True)]


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """(C, *space) -> same shape; images linear with edges repeated, labels nearest with 0 outside."""
    if params["shares"] is None:
        return array
    shape = array.shape[1:]
    return _spatial.pulled(array, pull(params, _spatial.grid(shape), shape), kind)


def points(params: dict[str, Any], coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Continuous voxel-edge coordinates (N, d) moved with the image of `shape`."""
    return coordinates if params["shares"] is None else coordinates + np.array(params["shares"]) * shape
