"""Brightness and contrast: a straight change of the grey values (nnU-Net's ranges)."""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "scales brightness, and contrast about each channel's mean, each with `probability`",
    "spatial": False,
    "factors": ["gamma"],
    "options": {"factor": [0.75, 1.25], "gamma": [1.0, 1.0], "probability": 0.15},
}


def sample(
    rng: np.random.Generator, dims: int, factor: list[float], gamma: list[float], probability: float
) -> dict[str, Any]:
    """brightness, contrast and gamma, each 1 when off. gamma: for plans from before `gamma` had its own file."""

    def draw(low: float, high: float) -> float:
        return float(rng.uniform(low, high)) if rng.random() < probability else 1.0

    return {"brightness": draw(*factor), "contrast": draw(*factor), "gamma": draw(*gamma)}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay. Contrast is about each channel's mean and never leaves its range."""
    if kind != "image" or params == {"brightness": 1.0, "contrast": 1.0, "gamma": 1.0}:
        return array
    out = np.asarray(array, dtype=np.float32) * np.float32(params["brightness"])
    if params["contrast"] != 1:
        axes = tuple(range(1, out.ndim))
        mean = out.mean(axis=axes, keepdims=True)
        low, high = out.min(axis=axes, keepdims=True), out.max(axis=axes, keepdims=True)
        out = np.clip((out - mean) * np.float32(params["contrast"]) + mean, low, high)
    if params["gamma"] != 1:
        from hilum.prepare.augment import gamma

        out = gamma.apply({"gamma": params["gamma"], "inverted": False}, out, kind)
    return out
