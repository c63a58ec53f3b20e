"""Pictures of one slice through a head, for classification and generation.

Class folders `healthy/` and `lesion/` with 8-bit grey PNG; one picture is one person, so no two share a group.
"""

from pathlib import Path

import numpy as np

from hilum.core.image import Array, Image
from hilum.data.phantoms._head import LESION, Head
from hilum.io import raster
from hilum.physics.noise import rician

CARD = {
    "tasks": ["classify", "generate"],
    "about": "64-pixel slices of heads in class folders healthy and lesion; one picture is one person",
}
FIELD_MM = 74.0
# Side of the picture.
BRIGHTEST = 1.35
# Intensity that becomes grey value 255; higher ones are cut.
LEAST_PIXELS = 12
# A picture called "lesion" shows at least so many pixels of it.


def make(folder: Path, cases: int, seed: int = 0, size: int = 64, noise: float = 0.03) -> None:
    """Write `cases` pictures, every second one with one or two lesions. size: pixels a side; noise: Rician."""
    folder = Path(folder)
    for case in range(cases):
        name = "lesion" if case % 2 else "healthy"
        picture = draw(np.random.default_rng((seed, case)), size, noise, ill=name == "lesion")
        raster.write(folder / name / f"slice_{case:03d}.png", Image(picture))


def draw(rng: np.random.Generator, size: int, noise: float, ill: bool) -> Array:
    """One picture (1, size, size) uint8 of a new person, seen from below, the nose up."""
    while True:
        head = Head(rng)
        z = float(rng.uniform(-5, 9))
        if ill:
            head.add_lesions(int(rng.integers(1, 3)), smallest=3.0, z=z)
        x, y = grid(size, rng)
        seen = head.sample(x, y, np.full((size, size), z))
        if not ill or (seen.tissue == LESION).sum() * (64 / size) ** 2 >= LEAST_PIXELS:
            return grey(rician(seen.intensity, noise, rng))


def grid(size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """x (1, size) and y (size, 1) in mm of the pixels, moved and turned a little as people lie."""
    step = FIELD_MM / size
    line = (np.arange(size) - (size - 1) / 2) * step
    right, up = -line[None, :] + rng.uniform(-2, 2), -line[:, None] + rng.uniform(-2, 2)
    turn = rng.uniform(-0.12, 0.12)
    return np.cos(turn) * right - np.sin(turn) * up, np.sin(turn) * right + np.cos(turn) * up


def grey(intensity: Array) -> Array:
    """(1, H, W) uint8."""
    return np.round(np.clip(intensity / BRIGHTEST, 0, 1) * 255).astype(np.uint8)[None]
