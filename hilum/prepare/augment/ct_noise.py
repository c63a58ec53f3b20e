"""CT noise: correlated as filtered back-projection leaves it, and stronger where rays pass through more body.

Noise power of filtered back-projection is a ramp times the square of the apodisation (Riederer 1978; Kijewski and Judy
1987); here a Hann window. Quantum noise rises with what the rays pass through, so the deviation follows the image
averaged over a quarter of each axis. Works on normalised intensity; slices (the last axis) are independent.
"""

from typing import Any

import numpy as np

from hilum.core.image import Array

CARD = {
    "about": "CT: noise with a ramp-like spectrum in the plane of axes 0 and 1, stronger in the body; standard "
    "deviation up to `deviation` of normalised intensity",
    "spatial": False,
    "options": {"deviation": 0.2, "dependence": 0.3, "probability": 0.15},
}


def sample(
    rng: np.random.Generator, dims: int, deviation: float, dependence: float, probability: float
) -> dict[str, Any]:
    """deviation (0: off), dependence: its log rises by so much per unit of averaged intensity; seed."""
    on = rng.random() < probability
    return {
        "deviation": float(rng.uniform(0, deviation)) if on else 0.0,
        "dependence": float(dependence),
        "seed": int(rng.integers(2**31)),
    }


def spectrum(shape: tuple[int, ...]) -> Array:
    """Amplitude (n0, n1 // 2 + 1) of the noise at the frequencies of a real transform, mean power 1 over all."""
    across, along = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    distance = np.hypot(across, along)
    amplitude = np.sqrt(distance) * np.where(distance < 0.5, 0.5 + 0.5 * np.cos(2 * np.pi * distance), 0)
    # a real transform holds half of the frequencies: those that stand for two count twice
    twice = np.where((along == 0) | (along == 0.5), 1, 2)
    power = (amplitude**2 * twice).sum() / (shape[0] * shape[1])
    return (amplitude / np.sqrt(max(power, 1e-12))).astype(np.float32)


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay."""
    if kind != "image" or params["deviation"] == 0:
        return array
    from scipy import fft
    from scipy.ndimage import uniform_filter

    image = np.asarray(array, dtype=np.float32)
    white = np.random.default_rng(params["seed"]).standard_normal(image.shape, dtype=np.float32)
    flat = fft.rfft2(white, axes=(1, 2))
    filtered = spectrum(image.shape[1:3]).reshape([1, *flat.shape[1:3], *[1] * (image.ndim - 3)])
    noise = fft.irfft2(flat * filtered, s=image.shape[1:3], axes=(1, 2))
    around = np.stack([uniform_filter(c, [max(1, n // 4) for n in c.shape], mode="nearest") for c in image])
    around -= around.mean()
    # bounded, so that a metal tooth does not drown the rest
    deviation = np.exp(np.clip(np.float32(params["dependence"]) * around, -1, 1)) * np.float32(params["deviation"])
    made: Array = image + deviation * noise
    return made
