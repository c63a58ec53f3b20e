"""Pictures of bright round cells that touch each other, every cell numbered in the label.

`images/*.png` 8-bit grey, `labels/*.png` 16-bit with 0 and 1..n, and a dataset.yaml that says so.
"""

from pathlib import Path

import numpy as np

from hilum.core.atomic import write_text
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.data.phantoms.slices import grey
from hilum.io import raster
from hilum.physics.noise import rician

CARD = {
    "tasks": ["segment"],
    "about": "96-pixel pictures of touching cells, each numbered, for telling objects apart",
}
LEAST_PIXELS = 20
# A cell that others cover but for fewer pixels is not drawn.


def make(folder: Path, cases: int, seed: int = 0, size: int = 96, noise: float = 0.05, cells: int = 14) -> None:
    """Write `cases` pictures of up to `cells` cells. size: pixels a side; noise: Rician."""
    folder = Path(folder)
    for case in range(cases):
        picture, label = draw(np.random.default_rng((seed, case)), size, noise, cells)
        name = f"cells_{case:03d}.png"
        raster.write(folder / "images" / name, Image(picture))
        raster.write(folder / "labels" / name, Mask(label, {1: "cell"}, instances=True))
    write_text(folder / "dataset.yaml", "labels: {cell: instances}\n")


def draw(rng: np.random.Generator, size: int, noise: float, cells: int) -> tuple[Array, Array]:
    """A picture (1, size, size) uint8 and its cells (size, size) uint16, numbered from 1 without a gap."""
    where = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float64)] * 2, indexing="ij"))
    light, label = np.zeros((size, size)), np.zeros((size, size), np.uint16)
    centre = rng.uniform(0.3, 0.7, 2) * size
    for _ in range(cells):
        radius = rng.uniform(4.5, 8.5, 2)
        turn = rng.uniform(0, np.pi)
        away = where - centre[:, None, None]
        along = np.cos(turn) * away[0] + np.sin(turn) * away[1]
        across = np.cos(turn) * away[1] - np.sin(turn) * away[0]
        far = np.hypot(along / radius[0], across / radius[1])
        own = (far < 1) & (label == 0)
        if own.sum() >= LEAST_PIXELS and own.sum() >= 0.6 * (far < 1).sum():
            label[own] = label.max() + 1
            light[own] = (rng.uniform(0.6, 1.0) * (1 - 0.6 * far**2))[own]
        # half of the next ones touch this one, the others lie anywhere
        step = rng.uniform(0, 2 * np.pi)
        beside = centre + radius.sum() * np.array([np.cos(step), np.sin(step)])
        inside = ((beside > 0) & (beside < size)).all()
        centre = beside if inside and rng.random() < 0.5 else rng.uniform(0, size, 2)
    return grey(rician(light + 0.1, noise, rng)), label
