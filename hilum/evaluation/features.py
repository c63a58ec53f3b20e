"""Features to compare sets of images by: principal components of the training images (no network, none downloaded)."""

from typing import Any

import numpy as np

from hilum.core.image import Array

COMPONENTS = 64
# At most; with n training images at most n - 1.
KEPT = 512
# Training vectors kept, for the reference row "real training images against real test images".


def fit(vectors: Array) -> dict[str, Array]:
    """vectors (n, d) -> mean (d,), axes (k, d) float32, and features of at most KEPT training vectors.

    Features are scaled so that a training vector's squared length is k on average: KID's kernel depends on it.
    """
    centred = vectors - vectors.mean(axis=0)
    k = int(max(1, min(COMPONENTS, len(vectors) - 1)))
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    power = float((values[:k] ** 2).sum() / len(vectors))
    axes = axes[:k] * np.sqrt(k / max(power, 1e-12))
    known = {"mean": vectors.mean(axis=0), "axes": axes, "train": (centred @ axes.T)[:KEPT]}
    return {name: np.ascontiguousarray(a.astype(np.float32)) for name, a in known.items()}


def project(vectors: Array, basis: dict[str, Any]) -> Array:
    """(n, d) -> features (n, k)."""
    features: Array = (vectors - np.asarray(basis["mean"])) @ np.asarray(basis["axes"]).T
    return features
