"""Receive coils and phase of a simulated MR scan."""

import numpy as np

from hilum.core.image import Array


def birdcage(coils: int, shape: tuple[int, int], radius: float = 1.5, turn: float = 0.0) -> Array:
    """Coil maps (coil, H, W) complex64 with root-sum-of-squares 1 everywhere.

    Coil c sits at angle 2 pi c / coils + turn on a circle of `radius` half fields of view; magnitude 1 / distance,
    phase the azimuth of the pixel as seen from the coil plus the coil's angle (in sigpy's birdcage less it: a constant
    of each coil, of which what they give together does not know).
    """
    rows, columns = np.meshgrid(*[(np.arange(n) - n / 2) / (n / 2) for n in shape], indexing="ij")
    angles = 2 * np.pi * np.arange(coils)[:, None, None] / coils + turn
    x = columns - radius * np.cos(angles)
    y = rows - radius * np.sin(angles)
    maps = np.exp(1j * (np.arctan2(x, -y) + angles)) / np.sqrt(x**2 + y**2)
    return (maps / root_sum_of_squares(maps)).astype(np.complex64)


def root_sum_of_squares(coils: Array) -> Array:
    """(..., coil, H, W) to (..., H, W) magnitude: the target of fastMRI's multi-coil data."""
    return np.sqrt((np.abs(coils) ** 2).sum(axis=-3, keepdims=False))


def smooth_phase(shape: tuple[int, int], rng: np.random.Generator, radians: float = 1.5) -> Array:
    """A phase map (H, W) in radians: random quadratic, within +-`radians` of its mean, as from field inhomogeneity."""
    rows, columns = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    terms = np.stack([rows, columns, rows * columns, rows**2 - 1 / 3, columns**2 - 1 / 3])
    phase = np.tensordot(rng.normal(size=5), terms, axes=1)
    return phase * (radians / max(float(np.abs(phase).max()), 1e-12)) + rng.uniform(-np.pi, np.pi)
