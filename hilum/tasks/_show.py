"""Findings as pictures for the report: the slice that matters most, laid out the right way up."""

import numpy as np

from hilum.core.image import Array, Image


def flat(image: Image, axis: int = 0, index: int = 0, low: float | None = None, high: float | None = None) -> Array:
    """One slice as (H, W) or (H, W, 3) uint8; 2-D images whole."""
    from hilum.pictures.slices import slice_of, window

    return window(slice_of(image.array, axis, index, image.spacing, image.affine), low, high)


def picture(image: Image) -> Array:
    """The image, or its middle slice, enlarged: (H, W, 3) uint8."""
    from hilum.pictures import draw
    from hilum.pictures.slices import best_slice

    axis, index = best_slice(np.zeros(image.shape, dtype=bool))
    return draw.enlarge(draw.rgb(flat(image, axis, index)))


def masks(image: Image, truth: Array | None, found: Array, classes: dict[int, str]) -> Array:
    """The slice with most truth (else most found): image, truth and found side by side, (H, W, 3) uint8."""
    from hilum.pictures import draw
    from hilum.pictures.slices import best_slice, slice_of

    axis, index = best_slice((found if truth is None else truth) > 0)
    ground = flat(image, axis, index)
    pictures, words = [draw.enlarge(draw.rgb(ground))], ["image"]
    for name, values in (("truth", truth), ("found", found)):
        if values is not None:
            cut = slice_of(values, axis, index, image.spacing, image.affine, labels=True)
            pictures.append(draw.overlay(ground, cut, classes))
            words.append(name)
    return draw.side_by_side(pictures, words)
