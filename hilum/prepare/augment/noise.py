"""Gaussian noise (nnU-Net, Isensee 2021)."""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "adds Gaussian noise, standard deviation up to `deviation` of normalised intensity",
    "spatial": False,
    "options": {"deviation": 0.3, "probability": 0.1},
}


def sample(rng: np.random.Generator, dims: int, deviation: float, probability: float) -> dict[str, Any]:
    """The deviation (0: none) and the seed of the noise."""
    on = rng.random() < probability
    return {"deviation": float(rng.uniform(0, deviation)) if on else 0.0, "seed": int(rng.integers(2**31))}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay."""
    if kind != "image" or params["deviation"] == 0:
        return array
    noise: Array = np.asarray(np.random.default_rng(params["seed"]).standard_normal(array.shape, dtype=np.float32))
    noise *= np.float32(params["deviation"])
    noise += array
    return noise
