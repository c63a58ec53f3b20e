"""Stain of histology: amounts of haematoxylin, eosin and DAB, scaled and shifted in optical density.

Optical density is linear in the amount of dye (Beer and Lambert); Ruifrok and Johnston 2001 give the dyes' colours,
Tellez 2018 (IEEE TMI) the augmentation: amount -> amount * (1 + a) + b, a and b drawn for each dye.
"""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "histology, RGB: changes the amount of each dye in optical density; images without 3 channels stay",
    "spatial": False,
    "options": {"scale": 0.2, "shift": 0.05, "probability": 0.5},
}
DYES = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
# Rows: haematoxylin, eosin, DAB; optical density in red, green, blue (Ruifrok and Johnston 2001).
DARK = 0.01
# Least transmittance: two decades of density, about what 8 bits hold.


def sample(rng: np.random.Generator, dims: int, scale: float, shift: float, probability: float) -> dict[str, Any]:
    """factors and shifts (decades of density) of the three dyes; factors None when off."""
    on = rng.random() < probability
    factors = (1 + rng.uniform(-scale, scale, size=3)).tolist()
    return {"factors": factors if on else None, "shifts": rng.uniform(-shift, shift, size=3).tolist()}


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images (3, *space) only; labels stay.

    Values within 0..1 are taken as transmittance; otherwise (z-scores) each channel's darkest and brightest value
    stand for 0 and 1, and the result has their scale.
    """
    if kind != "image" or params["factors"] is None or len(array) != 3:
        return array
    image = np.asarray(array, dtype=np.float32).reshape(3, -1)
    low, high = image.min(axis=1, keepdims=True), image.max(axis=1, keepdims=True)
    if low.min() >= 0 and high.max() <= 1:
        low, high = np.zeros_like(low), np.ones_like(high)
    span = np.maximum(high - low, np.float32(1e-6))
    dyes = DYES / np.linalg.norm(DYES, axis=1, keepdims=True)
    # amounts = density @ inverse, changed, back: one affine map of the three densities
    change = (np.linalg.inv(dyes) @ np.diag(params["factors"]) @ dyes).T.astype(np.float32)
    offset = (np.array(params["shifts"]) @ dyes).astype(np.float32)[:, None]
    light = np.maximum((image - low) / span, np.float32(DARK))
    # einsum wakes no threads of a library of linear algebra beside a training step
    density = np.einsum("ij,jn->in", change, np.log(light)) - offset * np.float32(np.log(10))
    made: Array = np.minimum(np.exp(density), 1) * span + low
    # what is darker than DARK keeps its distance, so that no change at all is no change there either
    made += np.minimum(image - low - DARK * span, 0)
    return made.reshape(array.shape)
