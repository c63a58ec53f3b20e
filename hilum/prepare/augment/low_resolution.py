"""Loss of resolution: every n-th voxel is kept, and what lies between is interpolated (nnU-Net, Isensee 2021)."""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "goes down to `zoom` of the resolution by nearest and back up linearly, along all of `axes`",
    "spatial": False,
    "factors": ["zoom"],
    "options": {"zoom": [0.5, 1.0], "axes": [0, 1, 2], "probability": 0.125},
}
# nnU-Net: 0.25, and then each channel with one half.


def sample(
    rng: np.random.Generator, dims: int, zoom: list[float], axes: list[int], probability: float
) -> dict[str, Any]:
    """zoom (1: off) and the axes."""
    on = rng.random() < probability
    return {"zoom": float(rng.uniform(zoom[0], zoom[1])) if on else 1.0, "axes": [a for a in axes if a < dims]}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay."""
    if kind != "image" or params["zoom"] == 1:
        return array
    out = np.asarray(array, dtype=np.float32)
    for axis in (a + 1 for a in params["axes"]):
        n = out.shape[axis]
        few = max(1, round(n * params["zoom"]))
        if few == n:
            continue
        # voxel edges stay: coarse voxel j covers j .. j + 1 of `few`, and takes the fine voxel at its centre
        source = np.minimum(((np.arange(few) + 0.5) * n / few).astype(np.int64), n - 1)
        place = np.clip((np.arange(n) + 0.5) * few / n - 0.5, 0, few - 1)
        low = np.minimum(place.astype(np.int64), max(few - 2, 0))
        share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(out.ndim)])
        left = np.take(out, source[low], axis=axis)
        out = left + share * (np.take(out, source[np.minimum(low + 1, few - 1)], axis=axis) - left)
    return out
