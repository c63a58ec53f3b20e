"""Brightness, contrast and gamma."""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "scales brightness and contrast, and bends the grey curve by gamma keeping mean and spread",
    "spatial": False,
    "options": {"factor": [0.75, 1.25], "gamma": [0.7, 1.5], "probability": 0.15},
}


def sample(
    rng: np.random.Generator, dims: int, factor: list[float], gamma: list[float], probability: float
) -> dict[str, Any]:
    """brightness, contrast and gamma, each 1 when off."""

    def draw(low: float, high: float) -> float:
        return float(rng.uniform(low, high)) if rng.random() < probability else 1.0

    return {"brightness": draw(*factor), "contrast": draw(*factor), "gamma": draw(*gamma)}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay."""
    if kind != "image" or params == {"brightness": 1.0, "contrast": 1.0, "gamma": 1.0}:
        return array
    out = np.asarray(array, dtype=np.float32) * np.float32(params["brightness"])
    if params["contrast"] != 1:
        mean, low, high = out.mean(), out.min(), out.max()
        out = np.clip((out - mean) * np.float32(params["contrast"]) + mean, low, high)
    if params["gamma"] != 1:
        mean, std, low = out.mean(), out.std(), out.min()
        span = max(float(out.max() - low), 1e-7)
        out = np.power((out - low) / span, np.float32(params["gamma"])) * span + low
        out = (out - out.mean()) / max(float(out.std()), 1e-8) * std + mean
    return out
