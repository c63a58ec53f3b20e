"""Draw docs/pictures/augment/NAME.png for every augmentation: the image as it is, and three of eight draws.

    .venv/bin/python docs/draw_augmentation.py

A phantom head (T1-like), a made-up body for CT and ultrasound, a made-up stained section, and a fundus photograph that
scikit-image ships (Häggström 2014, CC0). Every augmentation is on, with its own default ranges; the draws shown are
the clearest.
"""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import catalogue
from hilum.core.atomic import writing
from hilum.core.image import Array
from hilum.core.plan import AugmentPlan
from hilum.data.phantoms._head import Head
from hilum.pictures import draw
from hilum.prepare import augment
from hilum.prepare.augment import stain

FOLDER = Path(__file__).parent / "pictures" / "augment"
SIDE = 128
DRAWS, TRIES = 3, 8
# The clearest of so many draws.
COLOURS = 48
# Enough for grey pictures, and a quarter of the bytes.
SUBJECTS = {"ct_noise": "body", "speckle": "body", "colour": "fundus", "stain": "section", "blur": "fundus"}
# Everything else: the head.


def head() -> Array:
    """(1, SIDE, SIDE), an axial slice of a phantom head, front up."""
    one = Head(np.random.default_rng(4))
    one.add_lesions(2, smallest=4.0)
    across = (np.arange(SIDE) - (SIDE - 1) / 2) * 0.575
    seen = one.sample(across[None, :, None], -across[:, None, None], np.zeros((1, 1, 1)) + 3.0)
    return np.broadcast_to(seen.intensity, (SIDE, SIDE, 1))[..., 0][None].astype(np.float32)


def body() -> Array:
    """(1, SIDE, SIDE): air, an oval of fat and soft tissue, a spine, two organs."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    out = np.zeros((SIDE, SIDE))
    for centre, radii, value in (
        ((0, 0), (0.7, 0.92), 0.45), ((0, 0), (0.62, 0.84), 0.6), ((0.42, 0), (0.14, 0.12), 1.0),
        ((-0.1, -0.42), (0.34, 0.3), 0.68), ((0.05, 0.45), (0.2, 0.22), 0.72), ((-0.15, 0.3), (0.1, 0.14), 0.5),
    ):  # fmt: skip
        out[((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1] = value
    return out[None].astype(np.float32)


def section() -> Array:
    """(3, SIDE, SIDE), 0..1: nuclei in haematoxylin on a ground of eosin, as light through dyes."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    blue, pink = np.full((SIDE, SIDE), 0.03), np.full((SIDE, SIDE), 0.22)
    pink += 0.12 * np.sin(x / 9 + 2 * np.sin(y / 21)) + 0.04 * rng.standard_normal((SIDE, SIDE))
    for row, column in rng.uniform(0, SIDE, (70, 2)):
        radii = rng.uniform(3, 6, 2)
        inside = ((y - row) / radii[0]) ** 2 + ((x - column) / radii[1]) ** 2 < 1
        blue[inside], pink[inside] = rng.uniform(0.6, 0.9), 0.15
    pink[np.hypot(y - 35, x - 95) < 26] = blue[np.hypot(y - 35, x - 95) < 26] = 0
    dyes = stain.DYES / np.linalg.norm(stain.DYES, axis=1, keepdims=True)
    density = np.tensordot(dyes[:2], np.stack([blue, pink]), axes=(0, 0))
    return (10.0**-density).astype(np.float32)


def fundus() -> Array:
    """(3, SIDE, SIDE), 0..1."""
    import skimage.data
    from skimage.transform import resize

    return resize(skimage.data.retina(), (SIDE, SIDE), anti_aliasing=True).transpose(2, 0, 1).astype(np.float32)


def with_grid(image: Array) -> Array:
    """Bright lines every 20 pixels, so that moved space is seen."""
    out = image.copy()
    out[:, 10::20] = out[:, :, 10::20] = image.max() * 0.7
    return out


def panel(image: Array, low: float, high: float) -> Array:
    """(C, SIDE, SIDE) as RGB bytes in one window for all panels."""
    shown = (np.clip((image - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)
    return draw.rgb(shown[0] if len(shown) == 1 else shown.transpose(1, 2, 0))


def row(name: str) -> Array:
    """The image, then DRAWS draws. Acts on the image as it is normalised for training."""
    card = catalogue.card("hilum.prepare.augment", name)
    image = {"head": head, "body": body, "section": section, "fundus": fundus}[SUBJECTS.get(name, "head")]()
    image = with_grid(image) if card["spatial"] else image
    mean, std = (0.0, 1.0) if name == "stain" else (image.mean(), image.std())
    options: dict[str, Any] = {"probability": 1.0} if "probability" in card["options"] else {}
    plan = [AugmentPlan(name=name, options=options)]
    low, high = float(image.min()), float(image.max())
    made = []
    for seed in range(TRIES):
        record = augment.draw(plan, np.random.default_rng(seed), 2)
        made.append(augment.apply(record, ((image - mean) / std).astype(np.float32)) * std + mean)
    # those that show: a mirror along no axis is a draw too
    clear = sorted(range(TRIES), key=lambda seed: -float(np.abs(made[seed] - image).mean()))[:DRAWS]
    panels = [panel(image, low, high), *[panel(made[seed], low, high) for seed in sorted(clear)]]
    gap = np.full((SIDE, 4, 3), 255, np.uint8)
    return np.concatenate([part for p in panels for part in (p, gap)][:-1], axis=1)


def main() -> None:
    """One picture each."""
    from PIL import Image

    for name in catalogue.cards("hilum.prepare.augment"):
        with writing(FOLDER / f"{name}.png") as part:
            colours = 128 if SUBJECTS.get(name) in ("fundus", "section") else COLOURS
            Image.fromarray(row(name)).quantize(colours).save(part, format="PNG", optimize=True)


if __name__ == "__main__":
    main()
