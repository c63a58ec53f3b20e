"""Decoded rows go to their place once: turned as EXIF says, channels first, without a second copy of the picture."""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.io import _buffer

BACK = {6: 8, 8: 6}
# Turns whose way back is another turn; all the others undo themselves.
ROWS = 256


def turned(pixels: Array, orientation: int) -> Array:
    """A view of (..., row, column) as EXIF orientation 1 to 8 says it should be looked at."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, -2, -1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[..., ::-1, :]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[..., ::-1]
    return pixels


def place(channels: int, height: int, width: int, dtype: Any, orientation: int) -> tuple[Array, Array]:
    """An empty (C, row, column) as it will be seen, and the same memory as it is stored."""
    seen = (height, width) if orientation < 5 else (width, height)
    out = _buffer.empty((channels, *seen), dtype)
    return out, turned(out, BACK.get(orientation, orientation))


def filled(picture: Any, orientation: int, dtype: Any = np.uint8) -> Array:
    """A Pillow picture as (C, row, column), copied in bands of rows."""
    out, stored = place(len(picture.getbands()), picture.height, picture.width, dtype, orientation)
    for top in range(0, picture.height, ROWS):
        bottom = min(top + ROWS, picture.height)
        band = np.asarray(picture.crop((0, top, picture.width, bottom)))
        stored[:, top:bottom] = band[None] if band.ndim == 2 else np.moveaxis(band, -1, 0)
    return out
