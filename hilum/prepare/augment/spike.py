"""MR spike: one k-space sample far too large, stripes over the whole image (herringbone; Heiland 2008)."""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "MR: a plane wave over the image, amplitude up to `strength` of each channel's standard deviation",
    "spatial": False,
    "options": {"strength": [0.1, 0.5], "probability": 0.05},
}


def sample(rng: np.random.Generator, dims: int, strength: list[float], probability: float) -> dict[str, Any]:
    """strength (0: off), cycles per voxel along each axis, phase in radians."""
    on = rng.random() < probability
    return {
        "strength": float(rng.uniform(strength[0], strength[1])) if on else 0.0,
        "frequency": rng.uniform(-0.5, 0.5, size=dims).tolist(),
        "phase": float(rng.uniform(0, 2 * np.pi)),
    }


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay."""
    if kind != "image" or params["strength"] == 0:
        return array
    image = np.asarray(array, dtype=np.float32)
    wave: Any = np.complex64(np.exp(1j * params["phase"]))
    for axis, (n, frequency) in enumerate(zip(image.shape[1:], params["frequency"], strict=True)):
        # whole cycles over the axis: a sample of k-space lies on its grid
        turns = np.exp(2j * np.pi * round(frequency * n) * np.arange(n) / n).astype(np.complex64)
        wave = wave * turns.reshape([-1 if a == axis else 1 for a in range(image.ndim - 1)])
    spread = image.std(axis=tuple(range(1, image.ndim)), keepdims=True)
    return image + np.float32(params["strength"]) * spread * wave.real
