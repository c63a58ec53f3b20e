"""Gamma: bends the grey curve, each channel's mean and spread kept (nnU-Net, Isensee 2021)."""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _grey

CARD = {
    "about": "bends the grey curve by a power, from the dark or (share `inverted`) from the bright end; "
    "mean and spread stay",
    "spatial": False,
    "factors": ["gamma"],
    "options": {"gamma": [0.7, 1.5], "inverted": 0.0, "probability": 0.3},
}


def sample(
    rng: np.random.Generator, dims: int, gamma: list[float], inverted: float, probability: float
) -> dict[str, Any]:
    """gamma (1: off), below and above 1 equally often where the range holds both; inverted: from the bright end."""
    on, low_side, turned = rng.random() < probability, rng.random() < 0.5, bool(rng.random() < inverted)
    low, high = gamma
    if low < 1 < high:
        low, high = (low, 1.0) if low_side else (1.0, high)
    drawn = float(rng.uniform(low, high))
    return {"gamma": drawn if on else 1.0, "inverted": turned}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay."""
    if kind != "image" or params["gamma"] == 1:
        return array
    shifted, low = _grey.signal(-array if params["inverted"] else array)
    span = np.maximum(shifted.max(axis=tuple(range(1, array.ndim)), keepdims=True), np.float32(1e-7))
    bent = np.power(shifted / span, np.float32(params["gamma"])) * span + low
    return _grey.kept(-bent if params["inverted"] else bent, array)
