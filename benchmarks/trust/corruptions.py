"""Pictures brought to one form, so that nothing but what they show tells them apart; and what spoils them.

One form: the middle square, grey, SIDE pixels, 8 bits, JPEG of one quality. Spoilt by Hilum's own augmentations, with
fixed strengths, before the last rounding and compression.
"""

import io
from typing import Any

import numpy as np

from hilum.core.image import Array, Image
from hilum.core.warp import resize
from hilum.prepare import intensity
from hilum.prepare.augment import blur, contrast, motion, noise

SIDE = 160
# Below the sides of all sets, so that none is enlarged.
QUALITY = 90
LEVELS = ("weak", "middle", "strong")
STRENGTHS: dict[str, tuple[Any, Any, Any]] = {
    # standard deviation, in those of the image; sigma in pixels; factor about the mean; movement in shares of the sides
    "noise": (0.1, 0.2, 0.4),
    "blur": (0.75, 1.5, 3.0),
    "contrast": (0.75, 0.5, 0.25),
    "motion": (0.02, 0.04, 0.08),
}
# By eye: weak is hard to see, middle is seen at once, strong spoils the image.
TIMES = (0.46, 0.56)
# Shares of the scan at which the body moves: shortly before the centre of k-space is reached, and after.


def square(image: Image) -> Array:
    """(1, SIDE, SIDE) float32, 0..255: the middle square of a picture, grey."""
    array = image.array
    if array.dtype != np.uint8:
        low, high = np.percentile(array, [0.5, 99.5])
        array = np.clip((array - low) / max(float(high - low), 1e-9), 0, 1) * 255
    grey = intensity.match_channels(array, 1, image).astype(np.float32)
    side = min(grey.shape[1:])
    top, left = ((n - side) // 2 for n in grey.shape[1:])
    return resize(grey[:, top : top + side, left : left + side], (SIDE, SIDE))


def stored(array: Array) -> Image:
    """(1, SIDE, SIDE), 0..255, as it comes back from a file."""
    from PIL import Image as Picture

    stream = io.BytesIO()
    Picture.fromarray(np.round(np.clip(array[0], 0, 255)).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
    return Image(np.asarray(Picture.open(stream))[None])


def spoilt(array: Array, what: str, level: int, seed: int) -> Array:
    """(1, SIDE, SIDE) with one fault, at a level from 0 to 2."""
    mean, spread = float(array.mean()), max(float(array.std()), 1e-6)
    x, strength = (array - mean) / spread, STRENGTHS[what][level]
    if what == "noise":
        x = noise.apply({"deviation": strength, "seed": seed}, x, "image")
    elif what == "blur":
        x = blur.apply({"sigma": strength}, x, "image")
    elif what == "contrast":
        x = contrast.apply({"brightness": 1.0, "contrast": strength, "gamma": 1.0}, x, "image")
    else:
        x = motion.apply(_moved(strength, np.random.default_rng(seed)), x, "image")
    found: Array = x * spread + mean
    return found


def _moved(share: float, rng: np.random.Generator) -> dict[str, Any]:
    """Two movements in random directions, each with a turn of one degree for every hundredth."""
    poses = []
    for at in TIMES:
        way, turn = rng.uniform(0, 2 * np.pi), rng.choice([-100.0, 100.0])
        poses.append({"at": at, "degrees": [turn * share], "shares": [share * np.cos(way), share * np.sin(way)]})
    return {"axis": int(rng.integers(2)), "poses": poses}
