"""Gibbs ringing: high spatial frequencies cut off sharply, as a small acquisition matrix does (Gibbs 1899)."""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _grey

CARD = {
    "about": "MR: keeps the lowest `keep` of the frequencies along one of `axes`, which rings beside edges",
    "spatial": False,
    "factors": ["keep"],
    "options": {"keep": [0.4, 0.8], "axes": [0, 1, 2], "probability": 0.05},
}


def sample(
    rng: np.random.Generator, dims: int, keep: list[float], axes: list[int], probability: float
) -> dict[str, Any]:
    """The share kept (1: off) and the axis."""
    used = [a for a in range(dims) if a in axes]
    on = rng.random() < probability and bool(used)
    return {"keep": float(rng.uniform(keep[0], keep[1])) if on else 1.0, "axis": _grey.axis(rng, used)}


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
