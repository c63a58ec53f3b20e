"""What the metrics of feature vectors share."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def check_features(generated: Array, real: Array) -> tuple[Array, Array]:
    """Both as float64 (n, d) and (m, d) with one d; anything else is refused."""
    generated, real = np.asarray(generated, dtype=np.float64), np.asarray(real, dtype=np.float64)
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise ValueError(f"expected (n, d) and (m, d), got {generated.shape} and {real.shape}")
    if not (np.isfinite(generated).all() and np.isfinite(real).all()):
        raise ValueError("a feature is not finite")
    return generated, real


def squared_distances(a: Array, b: Array) -> Array:
    """Squared Euclidean distances (n, m)."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T, 0.0)
