"""Rotation and scaling about the centre, one interpolation for both."""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.core.warp import identity
from hilum.core.warp import sample as interpolate

CARD = {
    "about": "rotates and scales about the centre (linear; labels nearest), nnU-Net's ranges by default",
    "spatial": True,
    "options": {"degrees": 30.0, "scale": [0.7, 1.4], "probability": 0.2},
}


def sample(
    rng: np.random.Generator, dims: int, degrees: float, scale: list[float], probability: float
) -> dict[str, Any]:
    """The inverse map (d, d): output voxel offset from the centre -> input offset."""
    rotate, rescale = rng.random() < probability, rng.random() < probability
    matrix = np.eye(dims)
    if rotate:
        for first, second in [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]:
            angle = np.deg2rad(rng.uniform(-degrees, degrees))
            turn = np.eye(dims)
            turn[first, first] = turn[second, second] = np.cos(angle)
            turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
            matrix = matrix @ turn
    if rescale:
        # below and above one equally often, so that sizes are not pushed one way
        factor = rng.uniform(scale[0], 1) if rng.random() < 0.5 else rng.uniform(1, scale[1])
        matrix = matrix / factor
    return {"matrix": matrix.tolist() if rotate or rescale else None}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """(C, *space) -> same shape; images linear with edges repeated, labels nearest with 0 outside."""
    if params["matrix"] is None:
        return array
    import torch

    image = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    shape = tuple(array.shape[1:])
    centre = torch.tensor([(n - 1) / 2 for n in shape]).reshape(1, -1, *[1] * len(shape))
    matrix = torch.tensor(params["matrix"], dtype=torch.float32)
    grid = torch.einsum("ij,bj...->bi...", matrix, identity(shape, image) - centre) + centre
    if kind == "label":
        return interpolate(image, grid, "nearest")[0].numpy().astype(array.dtype)
    return interpolate(image, grid, "linear", padding="border")[0].numpy()


def points(params: dict[str, Any], coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Continuous voxel-edge coordinates (N, d) moved with the image of `shape`."""
    if params["matrix"] is None:
        return coordinates
    centre = np.array(shape) / 2
    return (coordinates - centre) @ np.linalg.inv(np.array(params["matrix"])).T + centre
