"""Slices of heads with none to four round or elliptic lesions, for detection.

`images/*.png` and boxes.csv: case, class, low0, low1, high0, high1 in pixels, axis 0 down the rows, high exclusive.
A picture without lesions has no row.
"""

from pathlib import Path

import numpy as np

from hilum.core.atomic import write_text
from hilum.core.image import Array, Image
from hilum.data.phantoms._head import Head
from hilum.data.phantoms.slices import grey, grid
from hilum.io import raster
from hilum.physics.noise import rician

CARD = {
    "tasks": ["detect"],
    "about": "112-pixel slices of heads with none to four lesions and their boxes",
}
LEAST_PIXELS = 12
# A lesion of fewer pixels is not drawn at all, so that every visible one has a box.


def make(folder: Path, cases: int, seed: int = 0, size: int = 112, noise: float = 0.03, lesions: int = 4) -> None:
    """Write `cases` pictures with 0 to `lesions` boxes each. size: pixels a side; noise: Rician."""
    folder = Path(folder)
    rows = ["case,class,low0,low1,high0,high1"]
    for case in range(cases):
        picture, boxes = draw(np.random.default_rng((seed, case)), size, noise, lesions)
        name = f"spots_{case:03d}"
        raster.write(folder / "images" / f"{name}.png", Image(picture))
        rows += [f"{name},lesion,{','.join(str(int(v)) for v in box)}" for box in boxes]
    write_text(folder / "boxes.csv", "\n".join(rows) + "\n")


def draw(rng: np.random.Generator, size: int, noise: float, lesions: int) -> tuple[Array, Array]:
    """A picture (1, size, size) uint8 and its boxes (N, 4) as low0, low1, high0, high1."""
    head = Head(rng)
    z = float(rng.uniform(-5, 9))
    head.add_lesions(int(rng.integers(0, lesions + 1)), smallest=2.2, z=z)
    x, y = grid(size, rng)
    while True:
        seen = head.sample(x, y, np.full((size, size), z))
        counts = [int((seen.lesion == number).sum()) for number in range(1, len(head.lesions) + 1)]
        if min(counts, default=LEAST_PIXELS) >= LEAST_PIXELS:
            break
        head.lesions = [one for one, count in zip(head.lesions, counts, strict=True) if count >= LEAST_PIXELS]
    boxes = []
    for number in range(1, len(head.lesions) + 1):
        where = np.argwhere(seen.lesion == number)
        boxes.append([*where.min(axis=0), *(where.max(axis=0) + 1)])
    return grey(rician(seen.intensity, noise, rng)), np.array(boxes, dtype=np.int64).reshape(-1, 4)
