"""Ultrasound speckle: noise that multiplies the signal and has grains of a few pixels (Wagner 1983)."""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _grey

CARD = {
    "about": "ultrasound: the signal times 1 + noise of `grain` voxels and standard deviation up to `deviation`",
    "spatial": False,
    "options": {"deviation": 0.2, "grain": [0.5, 1.5], "probability": 0.15},
}


def sample(
    rng: np.random.Generator, dims: int, deviation: float, grain: list[float], probability: float
) -> dict[str, Any]:
    """deviation (0: off), grain: sigma of the noise in voxels; seed."""
    on = rng.random() < probability
    return {
        "deviation": float(rng.uniform(0, deviation)) if on else 0.0,
        "grain": float(rng.uniform(grain[0], grain[1])),
        "seed": int(rng.integers(2**31)),
    }


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only, one grain for all channels; labels stay."""
    if kind != "image" or params["deviation"] == 0:
        return array
    from scipy.ndimage import gaussian_filter

    signal, low = _grey.signal(array)
    white = np.random.default_rng(params["seed"]).standard_normal(signal.shape[1:], dtype=np.float32)
    grains = gaussian_filter(white, params["grain"], truncate=3.0, mode="wrap")
    grains *= np.float32(params["deviation"] / max(float(grains.std()), 1e-8))
    made: Array = signal * np.maximum(1 + grains, 0) + low
    return made
