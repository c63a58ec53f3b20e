"""Gaussian blur, the loss of sharpness of detectors, motion and thick slices (nnU-Net's range of sigma)."""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "smooths with a Gaussian of sigma in voxels",
    "spatial": False,
    "options": {"sigma": [0.5, 1.0], "probability": 0.15},
}


def sample(rng: np.random.Generator, dims: int, sigma: list[float], probability: float) -> dict[str, Any]:
    """sigma in voxels, 0 when off."""
    return {"sigma": float(rng.uniform(sigma[0], sigma[1])) if rng.random() < probability else 0.0}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay."""
    if kind != "image" or params["sigma"] == 0:
        return array
    from scipy.ndimage import gaussian_filter

    image = np.asarray(array, dtype=np.float32)
    return np.stack([gaussian_filter(channel, params["sigma"], truncate=3.0) for channel in image])
