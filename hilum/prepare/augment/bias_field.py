"""MR bias field: a smooth factor from uneven coils.

The logarithm of the factor is a polynomial of low order (Van Leemput 1999); the factor acts on the signal, so that
image times field, as Sled 1998 (N3) writes it.
"""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _grey

CARD = {
    "about": "MR: multiplies the signal by exp(polynomial), at most exp(`strength`) up and down; mean and spread stay",
    "spatial": False,
    "options": {"strength": 0.5, "order": 3, "probability": 0.15},
}


def sample(rng: np.random.Generator, dims: int, strength: float, order: int, probability: float) -> dict[str, Any]:
    """strength: largest |log factor| (0: off); coefficients of x^i y^j z^k, nested lists (order + 1) each way."""
    on = rng.random() < probability
    drawn = float(rng.uniform(0, strength)) if on else 0.0
    coefficients = rng.uniform(-1, 1, size=[order + 1] * dims)
    total = sum(np.ogrid[tuple(slice(0, order + 1) for _ in range(dims))])
    coefficients[(total > order) | (total == 0)] = 0
    return {"strength": drawn, "coefficients": coefficients.tolist()}


def field(params: dict[str, Any], shape: tuple[int, ...]) -> Array:
    """The factor, float32 of `shape`; its logarithm lies within plus and minus strength and has mean 0."""
    log = np.array(params["coefficients"])
    for axis, n in enumerate(shape):
        # a single slice lies in the middle
        powers = np.vander(np.linspace(-1, 1, n) if n > 1 else np.zeros(1), log.shape[axis], increasing=True)
        letters = "abc"[: log.ndim]
        log = np.einsum(f"n{letters[axis]},{letters}->{letters.replace(letters[axis], 'n')}", powers, log)
    log = log - log.mean()
    made: Array = np.exp(log * (params["strength"] / max(float(np.abs(log).max()), 1e-8))).astype(np.float32)
    return made


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only, one field for all channels; labels stay."""
    if kind != "image" or params["strength"] == 0:
        return array
    signal, _ = _grey.signal(array)
    return _grey.kept(signal * field(params, array.shape[1:]), array)
