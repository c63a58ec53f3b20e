"""Rotation and scaling about the centre, one interpolation for both (nnU-Net, Isensee 2021, for the ranges)."""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _spatial

CARD = {
    "about": "rotates and scales about the centre (linear; labels nearest), nnU-Net's ranges by default",
    "spatial": True,
    "factors": ["scale"],
    "options": {"degrees": 30.0, "scale": [0.7, 1.4], "axes": [0, 1, 2], "probability": 0.2},
}


def sample(
    rng: np.random.Generator, dims: int, degrees: float, scale: list[float], axes: list[int], probability: float
) -> dict[str, Any]:
    """The inverse map (d, d): output voxel offset from the centre -> input offset. Axes not named stay as they are."""
    rotate, rescale = rng.random() < probability, rng.random() < probability
    used = [a for a in range(dims) if a in axes]
    matrix = np.eye(dims)
    if rotate:
        angles = rng.uniform(-degrees, degrees, size=len(used) * (len(used) - 1) // 2).tolist()
        matrix = _spatial.turn(dims, angles, used)
    if rescale:
        # below and above one equally often, so that sizes are not pushed one way
        low, high = scale
        if low <= 1 <= high:
            low, high = (low, 1) if rng.random() < 0.5 else (1, high)
        factor = rng.uniform(low, high)
        matrix = matrix @ np.diag([1 / factor if a in used else 1.0 for a in range(dims)])
    return {"matrix": matrix.tolist() if rotate or rescale else None}


def pull(params: dict[str, Any], places: _spatial.Places, shape: tuple[int, ...]) -> _spatial.Places:
    """Where the voxels at `places` come from."""
    if params["matrix"] is None:
        return places
    matrix, centre = np.array(params["matrix"]), (np.array(shape) - 1) / 2
    return _spatial.affine(places, matrix, centre - matrix @ centre)


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """(C, *space) -> same shape; images linear with edges repeated, labels nearest with 0 outside."""
    if params["matrix"] is None:
        return array
    shape = array.shape[1:]
    return _spatial.pulled(array, pull(params, _spatial.grid(shape), shape), kind)


def points(params: dict[str, Any], coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Continuous voxel-edge coordinates (N, d) moved with the image of `shape`."""
    if params["matrix"] is None:
        return coordinates
    centre = np.array(shape) / 2
    return (coordinates - centre) @ np.linalg.inv(np.array(params["matrix"])).T + centre
