"""Colour of RGB photographs: saturation, hue and balance of channels, one 3 x 3 matrix.

Everything is linear in the normalised channels, so it needs no 0..1: saturation mixes with their grey (luma, ITU-R
BT.601), hue turns about the grey axis, balance scales the channels (another lamp or camera).
"""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "RGB: changes saturation, turns hue and scales each channel; images without 3 channels stay",
    "spatial": False,
    "options": {"saturation": [0.7, 1.3], "hue": 10.0, "balance": 0.1, "probability": 0.3},
}
LUMA = (0.299, 0.587, 0.114)


def sample(
    rng: np.random.Generator, dims: int, saturation: list[float], hue: float, balance: float, probability: float
) -> dict[str, Any]:
    """The matrix (3, 3) from RGB to RGB, None when off. hue in degrees."""
    on = rng.random() < probability
    factor, turn = rng.uniform(saturation[0], saturation[1]), np.deg2rad(rng.uniform(-hue, hue))
    gains = rng.uniform(1 - balance, 1 + balance, size=3)
    grey = np.tile(LUMA, (3, 1))
    # Rodrigues' rotation about (1, 1, 1) / sqrt(3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    rotation = np.cos(turn) * np.eye(3) + np.sin(turn) * across + (1 - np.cos(turn)) / 3
    matrix = np.diag(gains) @ (grey + factor * (np.eye(3) - grey)) @ rotation
    return {"matrix": matrix.tolist() if on else None}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images (3, *space) only; labels stay."""
    if kind != "image" or params["matrix"] is None or len(array) != 3:
        return array
    flat = np.asarray(array, dtype=np.float32).reshape(3, -1)
    # einsum wakes no threads of a library of linear algebra beside a training step
    return np.einsum("ij,jn->in", np.array(params["matrix"], dtype=np.float32), flat).reshape(array.shape)
