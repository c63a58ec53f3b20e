"""Noise of the acquisition."""

import numpy as np

from hilum.core.image import Array


def add_complex(kspace: Array, sigma: float, rng: np.random.Generator, mask: Array | None = None) -> Array:
    """k-space (..., H, W) plus complex Gaussian noise with E|n|^2 = sigma^2, on sampled points only.

    mask: (W,) or (H, W), 1 where sampled; None: everywhere. Each of real and imaginary part has std sigma / sqrt(2).
    """
    noise = rng.normal(size=(2, *kspace.shape)) * (sigma / np.sqrt(2))
    added = noise[0] + 1j * noise[1]
    return (kspace + (added if mask is None else added * mask)).astype(kspace.dtype)


def rician(image: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Magnitude image with Gaussian noise of std sigma in real and imaginary part, float32."""
    noise = rng.normal(scale=sigma, size=(2, *image.shape)) if sigma > 0 else np.zeros((2, *image.shape))
    return np.hypot(image + noise[0], noise[1]).astype(np.float32)
