"""Which columns of k-space are sampled: fastMRI's random and equispaced masks.

The centre block of round(W * centre) columns starting at (W - n + 1) // 2 is always kept. Usual pairs (centre,
acceleration): (0.08, 4), (0.04, 8). Masks are (W,) float32, 1 where sampled, centred like the k-space.
"""

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array


def _centre(width: int, centre: float, acceleration: float) -> tuple[Array, int]:
    count = round(width * centre)
    if not 0 <= centre < 1 or acceleration < 1 or (acceleration > 1 and count * acceleration >= width):
        raise HilumError(
            "HIL-PHYS-02", f"A centre of {count} columns does not fit {width} columns at acceleration {acceleration}",
            "Lower the centre or the acceleration",
        )  # fmt: skip
    mask = np.zeros(width, dtype=np.float32)
    start = (width - count + 1) // 2
    mask[start : start + count] = 1
    return mask, count


def random_columns(width: int, acceleration: float, centre: float, rng: np.random.Generator) -> Array:
    """Each column outside the centre kept with p = (W/R - n) / (W - n), so that W/R are expected in all."""
    mask, count = _centre(width, centre, acceleration)
    if acceleration == 1:
        return np.ones(width, dtype=np.float32)
    chance = (width / acceleration - count) / (width - count)
    mask[rng.random(width) < chance] = 1
    return mask


def equispaced_fraction(width: int, acceleration: float, centre: float, rng: np.random.Generator) -> Array:
    """Every so many columns from a random offset, beside the centre: n columns.

    The step R (n - W) / (n R - W) makes the true acceleration R (steps are rounded).
    """
    mask, count = _centre(width, centre, acceleration)
    if acceleration == 1:
        return np.ones(width, dtype=np.float32)
    step = acceleration * (count - width) / (count * acceleration - width)
    offset = int(rng.integers(0, max(1, round(step))))
    columns = np.around(np.arange(offset, width - 1, step)).astype(int)
    mask[columns] = 1
    return mask
