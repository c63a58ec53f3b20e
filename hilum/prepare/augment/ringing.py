"""Gibbs ringing: high spatial frequencies cut off sharply, as a small acquisition matrix does (Gibbs 1899)."""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "MR: keeps the lowest `keep` of the frequencies along one axis, which rings beside edges",
    "spatial": False,
    "factors": ["keep"],
    "options": {"keep": [0.4, 0.8], "probability": 0.05},
}


def sample(rng: np.random.Generator, dims: int, keep: list[float], probability: float) -> dict[str, Any]:
    """The share kept (1: off) and the axis."""
    on = rng.random() < probability
    return {"keep": float(rng.uniform(keep[0], keep[1])) if on else 1.0, "axis": int(rng.integers(dims))}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay. The mean stays: frequency 0 is kept."""
    if kind != "image" or params["keep"] == 1:
        return array
    from scipy import fft

    axis = params["axis"] + 1
    n = array.shape[axis]
    space = fft.rfft(np.asarray(array, dtype=np.float32), axis=axis)
    space[(*[slice(None)] * axis, slice(max(1, round(params["keep"] * space.shape[axis])), None))] = 0
    made: Array = fft.irfft(space, n=n, axis=axis)
    return made
