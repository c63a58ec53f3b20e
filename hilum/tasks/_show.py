"""Findings as pictures for the report: the slice that matters most, laid out the right way up.

Large ones are made smaller (`draw.shrink`), as a page of whole photographs would have hundreds of MB.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hilum.core.image import Array, Image


def flat(image: Image, axis: int = 0, index: int = 0, low: float | None = None, high: float | None = None) -> Array:
    """One slice as (H, W) or (H, W, 3) uint8; 2-D images whole."""
    from hilum.pictures.slices import slice_of, window

    return window(slice_of(image.array, axis, index, image.spacing, image.affine), low, high)


def _ground(image: Image, axis: int, index: int) -> Array:
    """The same, no larger than a page shows; windowed after that, which takes far more memory."""
    from hilum.pictures import draw
    from hilum.pictures.slices import slice_of, window

    return window(draw.shrink(slice_of(image.array, axis, index, image.spacing, image.affine)))


def picture(image: Image) -> Array:
    """The image, or its middle slice, sized for a page: (H, W, 3) uint8."""
    from hilum.pictures import draw
    from hilum.pictures.slices import best_slice

    axis, index = best_slice(np.zeros(image.shape, dtype=bool))
    return draw.enlarge(draw.rgb(_ground(image, axis, index)))


def masks(image: Image, truth: Array | None, found: Array, classes: dict[int, str]) -> Array:
    """The slice with most truth (else most found): image, truth and found side by side, (H, W, 3) uint8.

    classes: {value: name}; each has its colour of `draw.colours`, in this order.
    """
    from hilum.pictures import draw

    shades = draw.colours(classes)
    return _beside(image, truth, found, lambda ground, cut: draw.overlay(ground, cut, classes, shades=shades))


def objects(image: Image, truth: Array | None, found: Array, classes: dict[int, str]) -> Array:
    """The same for numbered objects, each in a colour of its own; their one class needs no name."""
    from hilum.pictures import draw

    return _beside(image, truth, found, draw.objects)


def maps(image: Image, focus: Array, drawn: dict[str, Array]) -> Array:
    """The slice with most of `focus` (*space): the image, and each map (*space) 0..1 from black to pale.

    A map's caption says what pale stands for: the highest value in the slice, where that is below 1.
    """
    from hilum.pictures import draw
    from hilum.pictures.slices import best_slice, slice_of

    axis, index = best_slice(focus > 0)
    pictures, words = [draw.enlarge(draw.rgb(_ground(image, axis, index)))], ["image"]
    for name, values in drawn.items():
        cut = slice_of(values, axis, index, image.spacing, image.affine)
        top = max(float(cut.max()), 1e-6)
        pictures.append(draw.heat(draw.shrink(cut), top))
        words.append(f"{name} (pale: {top:.2g})")
    return draw.side_by_side(pictures, words)


def patches(
    images: Array, truth: Array, found: Array, classes: dict[int, str], cases: Sequence[str]
) -> list[tuple[Array, str]]:
    """The patches of a batch, those with most truth first: images (B, C, *patch), truth and found (B, *patch)."""
    order = np.argsort(-(truth > 0).reshape(len(truth), -1).sum(axis=1), kind="stable")
    return [
        (
            masks(Image(images[n], None), truth[n].astype(np.uint8), found[n].astype(np.uint8), classes),
            named(cases, int(n), len(images)),
        )
        for n in order
    ]


def moved(images: Sequence[Image], displacement: Array) -> Array:
    """Fixed, moving before, moving after (on one grid) and the bent grid, in the middle slice; (H, W, 3) uint8."""
    from hilum.pictures import draw
    from hilum.pictures.slices import best_slice, field_on_slice

    fixed = images[0]
    axis, index = best_slice(np.zeros(fixed.shape, dtype=bool))
    pictures = [draw.enlarge(draw.rgb(_ground(image, axis, index))) for image in images]
    bent = field_on_slice(displacement, axis, index, fixed.spacing, fixed.affine)
    # it is in pixels, which are fewer in a picture that was made smaller
    small = np.stack([draw.shrink(part) for part in bent])
    small = small * (np.array(small.shape[1:]) / bent.shape[1:]).reshape(2, 1, 1)
    words = ["fixed", "moving before", "moving after", "field"]
    return draw.side_by_side([*pictures, draw.deformed_grid(small)], words)


def named(cases: Sequence[str], place: int, batch: int) -> str:
    """The case of one place of a batch, or the few it may be: a case drawn twice is named once in `cases`."""
    if place == 0 or len(cases) == batch:
        return cases[place] if place < len(cases) else ""
    return cases[0] if len(cases) == 1 else " or ".join(cases)


def _beside(image: Image, truth: Array | None, found: Array, drawn: Callable[[Array, Array], Array]) -> Array:
    """Image, truth and found, each label map drawn by `drawn(picture, label map)`."""
    from hilum.pictures import draw
    from hilum.pictures.slices import best_slice, slice_of

    axis, index = best_slice((found if truth is None else truth) > 0)
    ground = _ground(image, axis, index)
    pictures, words = [draw.enlarge(draw.rgb(ground))], ["image"]
    for name, values in (("truth", truth), ("found", found)):
        if values is not None:
            cut = slice_of(values, axis, index, image.spacing, image.affine, labels=True)
            pictures.append(drawn(ground, draw.shrink(cut, labels=True)))
            words.append(name)
    return draw.side_by_side(pictures, words)
