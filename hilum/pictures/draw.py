"""Findings drawn on images. Every function returns RGB uint8 (H, W, 3) unless it says otherwise.

Images are (H, W) or (H, W, 3); anything but uint8 is windowed by its own percentiles first. Small pictures are enlarged
by a whole factor, pixels staying square and sharp; what is to be seen on a page is made smaller by `shrink` first.
Which slice to show and which way up: `hilum.pictures.slices`, whose functions can be used from here too.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hilum.pictures.slices import best_slice, boxes_on_slice, field_on_slice, slice_of, window

__all__ = [
    "best_slice", "boxes_on_slice", "colour", "colours", "contours", "deformed_grid", "enlarge", "error_map",
    "field_on_slice", "heat", "objects", "overlay", "png", "rgb", "sheet", "shrink", "side_by_side", "slice_of",
    "window", "with_boxes",
]  # fmt: skip

Array = np.ndarray[Any, np.dtype[Any]]
Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
# Okabe and Ito 2008, told apart with every common kind of colour blindness. Black is left out: images are dark.
RINGS = ((1.0, 0), (0.5, 255), (0.55, 0))
# How much of the palette the first seven classes have, the next seven and those after, and the grey mixed with it.
TRUTH: Colour = (86, 180, 233)
FOUND: Colour = (230, 159, 0)
# One pair of colours for "what is so" and "what was found", everywhere.
GROUND: Colour = (18, 19, 22)
LETTERS: Colour = (226, 228, 232)
SMALLEST = 256
# Pictures whose longer side is below this are enlarged.
LARGEST = 1024
# Most pixels along the longer side of a picture on a page: whole photographs make a page of hundreds of MB.

_RAMP = np.array(
    [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97],
     [254, 194, 135], [252, 253, 191]], dtype=np.float64,
)  # fmt: skip
# Nine steps of "magma" (van der Walt and Smith, CC0): brightness rises evenly with the value.


def colour(value: int) -> Colour:
    """The colour of a class value, the same in every picture: 1 is the first of PALETTE, 8 the same lighter, 15 darker.

    It repeats after 21.
    """
    ring, place = divmod((int(value) - 1) % (len(RINGS) * len(PALETTE)), len(PALETTE))
    share, ground = RINGS[ring]
    red, green, blue = (round(share * v + (1 - share) * ground) for v in PALETTE[place])
    return red, green, blue


def colours(values: Iterable[int]) -> dict[int, Colour]:
    """{class value: colour} by the place among the classes, so that 21 differ, whatever their values."""
    return {int(value): colour(place) for place, value in enumerate(values, 1)}


def rgb(image: Array) -> Array:
    """(H, W) or (H, W, 3) of any type as RGB uint8."""
    image = np.asarray(image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"expected (H, W) or (H, W, 3), got {image.shape}")
    if image.dtype != np.uint8:
        image = window(image)
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()


def factor_for(shape: tuple[int, ...]) -> int:
    """The whole number that brings the longer side to at least SMALLEST pixels."""
    return max(1, math.ceil(SMALLEST / max(shape[:2])))


def enlarge(image: Array, factor: int | None = None) -> Array:
    """Each pixel repeated factor x factor times, (H * factor, W * factor, ...); `factor_for` when not given."""
    factor = factor_for(image.shape) if factor is None else factor
    return np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)


def shrink(image: Array, labels: bool = False) -> Array:
    """(H, W[, 3]) with at most LARGEST pixels along its longer side; smaller pictures as they are.

    A pixel becomes the mean of those it stands for; in label maps the one in their middle, as values never mix.
    """
    longest, out = max(image.shape[:2]), image
    if longest <= LARGEST:
        return image
    for axis, old in enumerate(image.shape[:2]):
        new = max(1, round(old * LARGEST / longest))
        if labels:
            out = np.take(out, (2 * np.arange(new) + 1) * old // (2 * new), axis=axis)
            continue
        starts = np.arange(new) * old // new
        counts = np.diff(starts, append=old).reshape(-1, *[1] * (image.ndim - 1 - axis))
        out = np.add.reduceat(out, starts, axis=axis, dtype=np.float64) / counts
    return np.rint(out).astype(image.dtype) if image.dtype == np.uint8 else out


def _outline(mask: Array, width: int) -> Array:
    """The innermost `width` pixels of a mask; the picture's own edge is no outline."""
    from scipy import ndimage

    edge: Array = mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=1)
    return edge


def _check_fits(image: Array, *others: Array) -> None:
    for other in others:
        if other.shape[:2] != image.shape[:2]:
            raise ValueError(f"the image is {image.shape[:2]}, what to draw on it {other.shape[:2]}")


def overlay(
    image: Array,
    mask: Array,
    classes: Mapping[int, str] | None = None,
    opacity: float = 0.35,
    shades: Mapping[int, Colour] | None = None,
) -> Array:
    """Classes of a label map as translucent colours with outlines.

    image: (H, W[, 3]). mask: (H, W) integers, or bool for one class. classes: {value: name}; only these are drawn, 0
    never (all values when not given). shades: {value: colour}, as `colours` gives them; else `colour`.
    """
    picture, mask = rgb(image), np.asarray(mask)
    _check_fits(picture, mask)
    factor = factor_for(picture.shape)
    out, labels = enlarge(picture, factor).astype(np.float64), enlarge(mask.astype(np.int64), factor)
    present = set(np.unique(mask.astype(np.int64)).tolist()) - {0}
    for value in sorted(present if classes is None else present & {int(v) for v in classes}):
        here = labels == value
        shade = (shades or {}).get(value, colour(value))
        out[here] = (1 - opacity) * out[here] + opacity * np.array(shade)
        out[_outline(here, 2)] = shade
    return (out + 0.5).astype(np.uint8)


def objects(image: Array, numbered: Array, opacity: float = 0.25) -> Array:
    """Numbered objects, each outlined in one of the palette's colours; touching ones are told apart by their outlines.

    image: (H, W[, 3]). numbered: (H, W) whole numbers, 0 nothing.
    """
    picture, numbered = rgb(image), np.asarray(numbered)
    _check_fits(picture, numbered)
    factor = factor_for(picture.shape)
    out, labels = enlarge(picture, factor).astype(np.float64), enlarge(numbered, factor)
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        # a pixel whose neighbour is of another object; the picture's own edge is no outline
        change = np.diff(labels, axis=axis) != 0
        ahead, behind = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        ahead[axis], behind[axis] = (0, 1), (1, 0)
        edge |= np.pad(change, ahead) | np.pad(change, behind)
    colours = np.array(PALETTE, dtype=np.float64)[(labels - 1) % len(PALETTE)]
    share = np.where(edge, 1.0, opacity) * (labels != 0)
    return ((1 - share[..., None]) * out + share[..., None] * colours + 0.5).astype(np.uint8)


def contours(image: Array, truth: Array, prediction: Array) -> Array:
    """Outlines of two bool masks (H, W) on one image: truth (blue) as a line, prediction (orange) dashed over it."""
    picture = rgb(image)
    truth, prediction = np.asarray(truth).astype(bool), np.asarray(prediction).astype(bool)
    _check_fits(picture, truth, prediction)
    out, factor = enlarge(picture), factor_for(picture.shape)
    out[_outline(enlarge(truth, factor), 2)] = TRUTH
    line = _outline(enlarge(prediction, factor), 2)
    rows, columns = np.nonzero(line)
    on = (rows + columns) % 12 < 8  # dashes along either direction, so that a shared outline shows both colours
    on |= (rows - columns) % 12 < 4
    out[rows[on], columns[on]] = FOUND
    return out


def with_boxes(image: Array, boxes: Array, scores: Array | None = None, truth_boxes: Array | None = None) -> Array:
    """Boxes (N, 4) in pixels of the image, (row, column) low then high (exclusive): found orange, true ones blue.

    scores: (N,) 0..1, written beside their boxes. A large image is made smaller, and its boxes with it.
    """
    from PIL import Image, ImageDraw

    whole = rgb(image)
    picture = shrink(whole)
    factor = factor_for(picture.shape) * np.tile(np.array(picture.shape[:2]) / whole.shape[:2], 2)
    canvas = Image.fromarray(enlarge(picture))
    pen = ImageDraw.Draw(canvas)
    for box in np.asarray([] if truth_boxes is None else truth_boxes, dtype=np.float64).reshape(-1, 4):
        _rectangle(pen, box * factor, TRUTH, 3)
    for row, box in enumerate(np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * factor):
        _rectangle(pen, box, FOUND, 2)
        if scores is not None:
            _tag(pen, (box[1], box[0]), f"{float(scores[row]):.2f}", canvas.size)
    return np.asarray(canvas).copy()


def _rectangle(pen: Any, box: Array, line: Colour, width: int) -> None:
    top, left, bottom, right = (round(float(v)) for v in box)
    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=line, width=width)


def _tag(pen: Any, corner: tuple[float, float], words: str, size: tuple[int, int]) -> None:
    """Small dark letters on orange, above the corner (x, y) where there is room, never outside the picture."""
    font = _font(12)
    wide = math.ceil(pen.textlength(words, font=font)) + 6
    x = min(max(0, round(corner[0])), max(0, size[0] - wide))
    y = round(corner[1]) - 16
    y = min(max(0, y), size[1] - 16)
    pen.rectangle((x, y, x + wide, y + 15), fill=FOUND)
    pen.text((x + 3, y + 1), words, fill=GROUND, font=font)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def deformed_grid(displacement: Array, step: float | None = None) -> Array:
    """A regular grid as the deformation moves it, on a dark ground; folded places are vermilion.

    displacement: (2, H, W) in pixels (row, column), pulling: the picture shows at p the grid at p + u(p). step: pixels
    between lines, about 16 lines on the longer side when not given.
    """
    displacement = np.asarray(displacement, dtype=np.float64)
    if displacement.ndim != 3 or displacement.shape[0] != 2:
        raise ValueError(f"expected (2, H, W), got {displacement.shape}")
    from scipy import ndimage

    shape = displacement.shape[1:]
    step = max(2.0, max(shape) / 16) if step is None else step
    factor = factor_for(shape)
    fine = np.meshgrid(*[(np.arange(n * factor) + 0.5) / factor - 0.5 for n in shape], indexing="ij")
    where = [
        p + ndimage.map_coordinates(u, fine, order=1, mode="nearest") for p, u in zip(fine, displacement, strict=True)
    ]
    slopes = [np.gradient(w) for w in where]
    ink = np.zeros(where[0].shape)
    for place, slope in zip(where, slopes, strict=True):
        # distance to the nearest line in drawn pixels: what is left of the phase over how fast it changes
        phase = np.abs(place / step - np.round(place / step)) * step
        ink = np.maximum(ink, np.clip(1.5 - phase / np.maximum(np.hypot(*slope), 1e-9), 0, 1))
    out = np.array(GROUND) + ink[..., None] * (np.array(LETTERS) - np.array(GROUND))
    folded = slopes[0][0] * slopes[1][1] - slopes[0][1] * slopes[1][0] <= 0
    out[folded] = 0.35 * out[folded] + 0.65 * np.array((213, 94, 0))
    return (out + 0.5).astype(np.uint8)


def error_map(a: Array, b: Array, top: float | None = None) -> Array:
    """|a - b| of two images (H, W) in one unit: black is no error, pale is `top` or more.

    top: 99.5th percentile of the difference when not given. Give it where several maps are to be compared.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _check_fits(a, b)
    gap = np.abs(a - b)
    gap = gap.mean(axis=2) if gap.ndim == 3 else gap
    gap = np.where(np.isfinite(gap), gap, np.inf)
    finite = gap[np.isfinite(gap)]
    return heat(gap, (float(np.percentile(finite, 99.5)) if finite.size else 0.0) if top is None else top)


def heat(values: Array, top: float = 1.0) -> Array:
    """Values (H, W) from 0 (black) to `top` or more (pale)."""
    share = np.clip(values / top, 0, 1) if top > 0 else (values > 0).astype(np.float64)
    levels = np.linspace(0, 1, len(_RAMP))
    picture = np.stack([np.interp(share, levels, _RAMP[:, c]) for c in range(3)], axis=-1)
    return enlarge((picture + 0.5).astype(np.uint8))


def _padded(picture: Array, height: int, width: int) -> Array:
    """Centred on the ground colour."""
    out = np.full((height, width, 3), GROUND, np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    out[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return out


def _captioned(picture: Array, caption: str) -> Array:
    """The picture with a line of words below, widened when the words are."""
    from PIL import Image, ImageDraw

    if not caption:
        return picture
    font = _font(14)
    wide = max(picture.shape[1], math.ceil(font.getlength(caption)) + 8)
    strip = Image.new("RGB", (wide, 24), GROUND)
    ImageDraw.Draw(strip).text((wide // 2, 12), caption, fill=LETTERS, font=font, anchor="mm")
    return np.concatenate([_padded(picture, picture.shape[0], wide), np.asarray(strip)])


def side_by_side(pictures: Sequence[Array], captions: Sequence[str] = (), gap: int = 6) -> Array:
    """Pictures in one row, each with its caption below; smaller ones are centred."""
    return sheet(pictures, len(pictures), captions, gap)


def sheet(pictures: Sequence[Array], columns: int, captions: Sequence[str] = (), gap: int = 6) -> Array:
    """Pictures in rows of `columns`, all cells as large as the largest."""
    if not pictures or columns < 1:
        raise ValueError("a sheet needs at least one picture and one column")
    if captions and len(captions) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures but {len(captions)} captions")
    drawn = [enlarge(rgb(p)) for p in pictures]
    high, wide = max(p.shape[0] for p in drawn), max(p.shape[1] for p in drawn)
    cells = [_captioned(_padded(p, high, wide), c) for p, c in zip(drawn, captions or [""] * len(drawn), strict=True)]
    high, wide = max(c.shape[0] for c in cells), max(c.shape[1] for c in cells)
    rows = math.ceil(len(cells) / columns)
    out = np.full((rows * (high + gap) - gap, columns * (wide + gap) - gap, 3), GROUND, np.uint8)
    for place, cell in enumerate(cells):
        top, left = (place // columns) * (high + gap), (place % columns) * (wide + gap)
        out[top : top + high, left : left + wide] = _padded(cell, high, wide)
    return out


def png(picture: Array) -> bytes:
    """The picture as PNG; the same bytes for the same pixels. Accepts whatever `rgb` does."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgb(picture)).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
