"""Whole slides and pyramidal TIFF: a region at a level, (3, row, column) uint8 in pixel space.

Plain tiled TIFF, Aperio SVS and OME-TIFF are read tile by tile, with the same pixels whether OpenSlide is installed or
not; all other makers' slides need OpenSlide. Level 0 is full resolution. What a slide leaves out is white.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.extras import install
from hilum.core.image import Array, Image
from hilum.io import _buffer
from hilum.io._guard import labels_of, reading
from hilum.io._slide import others
from hilum.io._slide.tiff import TiffSlide

CARD = {
    "extensions": [".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".bif", ".tif", ".tiff"],
    "reads": "image",
    "writes": [],
    "magic": [[0, b"II*\x00"], [0, b"MM\x00*"], [0, b"II+\x00"], [0, b"MM\x00+"]],
    "order": 40,
    "recognises": True,
    "about": "whole slides and pyramidal TIFF, by region and level",
}
MOST_PIXELS = 1 << 27
# One region or level; a larger one is refused before anything is read.
LARGE = 1 << 22
# Pixels from which on a slide without smaller levels is slow to look at.
WIDEST_STEP = 4.5
# Makers step by 2 or 4 from level to level; a wider step is a missing level.
FOREIGN = (".mrxs", ".ndpi", ".vms", ".scn", ".bif")
# Names of slides that only OpenSlide reads.


def recognises(path: Path) -> bool:
    """A slide by its name; of TIFFs only pyramids, 8-bit colour in tiles, and those too large for a plain picture."""
    path = Path(path)
    if path.suffix.lower() in (".svs", *FOREIGN):
        return True
    try:
        with TiffSlide(path) as slide:
            large = slide.shapes[0][0] * slide.shapes[0][1] > MOST_PIXELS
            if large or len(slide.shapes) > 1:
                return True
            # a picture that is to be turned is turned by those who read pictures
            return slide.tiled and slide.channels == 3 and slide.plain and slide.orientation == 1
    except Exception:
        return False


def levels(path: Path) -> list[dict[str, Any]]:
    """[{"shape": [rows, columns], "downsample": how much coarser than level 0}], full resolution first."""
    with reading(Path(path)), _opened(Path(path)) as slide:
        return _steps(slide.shapes)


def read(path: Path, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
    """The pixels of a region (slices of rows and columns at that level) or of a whole level; grey becomes RGB.

    meta: "levels" as `levels` gives them, "mpp" [row, column] micrometres per pixel at this level or None,
    "downsample", "region" [[top, bottom], [left, right]], "empty" share of pixels that the slide leaves out (white).
    Refused: more than 2**27 pixels (HIL-I05), no such level or region (HIL-IO-07), missing or damaged tiles and slides
    that need OpenSlide (HIL-I09), not 8-bit grey or RGB (HIL-I02), several planes (HIL-I04), not upright (HIL-I01).
    """
    path = Path(path)
    with reading(path), _opened(path) as slide:
        rows, columns = _bounds(path, slide.shapes, region, level)
        array = _buffer.empty((3, rows[1] - rows[0], columns[1] - columns[0]), np.uint8)
        empty = slide.fill(level, rows[0], columns[0], array)
        return _image(path, slide, array, level, [list(rows), list(columns)], empty)


def read_labels(path: Path) -> Image:
    """Label values (1, row, column) int32 of a tiled grey TIFF at full resolution; colours and JPEG: HIL-I08."""
    path = Path(path)
    with reading(path), TiffSlide(path) as slide:
        slide.check()
        _check_upright(slide)
        if slide.channels != 1 or slide.lossy or slide.exotic:
            raise HilumError("HIL-I08", f"{path} is a slide of colours or JPEG, not of label values", "Save values")
        rows, columns = _bounds(path, slide.shapes, None, 0)
        array = _buffer.empty((1, rows[1], columns[1]), np.uint8)
        slide.fill(0, 0, 0, array)
        return labels_of(Image(array, meta={"path": str(path), "format": "slide"}))


def thumbnail(path: Path, most: int = 512) -> Image:
    """The whole slide with its longer side `most` pixels or less, from the smallest level that is not smaller."""
    from PIL import Image as Pillow

    path = Path(path)
    with reading(path), _opened(path) as slide:
        level = max((i for i, shape in enumerate(slide.shapes) if max(shape) >= most), default=0)
        rows, columns = _bounds(path, slide.shapes, None, level)
        array = np.empty((3, rows[1], columns[1]), np.uint8)
        empty = slide.fill(level, 0, 0, array)
        image = _image(path, slide, array, level, [list(rows), list(columns)], empty)
    shrink = max(1.0, max(image.shape) / most)
    size = tuple(max(1, round(side / shrink)) for side in image.shape)
    if size == image.shape:
        return image
    small = Pillow.fromarray(np.moveaxis(array, 0, -1)).resize((size[1], size[0]), Pillow.Resampling.BOX)
    steps = [old / new for old, new in zip(image.shape, size, strict=True)]
    mpp = image.meta["mpp"]
    meta = {
        **image.meta,
        "mpp": mpp and [m * step for m, step in zip(mpp, steps, strict=True)],
        "downsample": image.meta["downsample"] * shrink,
    }
    return Image(np.ascontiguousarray(np.moveaxis(np.asarray(small), -1, 0)), None, image.warnings, meta)


def _opened(path: Path) -> Any:
    """The slide, by our own reader where its tiles simply lie side by side, else by OpenSlide."""
    maker = others.vendor(path) if others.available() else None
    if path.suffix.lower() not in FOREIGN and maker in (None, *others.SOLID):
        slide = TiffSlide(path)
        try:
            _check_upright(slide)
        except HilumError:
            slide.close()
            raise
        try:
            if not slide.exotic:
                slide.check()
                return slide
        except HilumError:
            if maker is None:
                slide.close()
                raise
        slide.close()
    if maker is not None:
        return others.OpenSlide(path)
    if others.available():
        raise HilumError("HIL-I07", f"{path} is no slide that OpenSlide knows", "Export it as tiled TIFF")
    raise HilumError("HIL-I09", f"{path} is a slide of a kind that needs OpenSlide", install("slides"))


def _check_upright(slide: TiffSlide) -> None:
    """Refuse (HIL-I01) a slide that says it is to be turned: regions of it would lie elsewhere than they say."""
    if slide.orientation != 1:
        seen = f"{slide.path} says that it is to be turned (orientation {slide.orientation}), which slides are not"
        raise HilumError("HIL-I01", seen, "Save it upright, with orientation 1")


def _steps(shapes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    rows, columns = shapes[0]
    return [{"shape": list(shape), "downsample": (rows / shape[0] + columns / shape[1]) / 2} for shape in shapes]


def _bounds(
    path: Path, shapes: Sequence[tuple[int, int]], region: tuple[slice, ...] | None, level: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(top, bottom) and (left, right) at that level, not empty and not too large."""
    if not 0 <= level < len(shapes):
        raise HilumError("HIL-IO-07", f"{path} has levels 0 to {len(shapes) - 1}, not {level}", "Choose one of them")
    shape = shapes[level]
    asked = (slice(None), slice(None)) if region is None else region
    if len(asked) != 2 or any(part.step not in (None, 1) for part in asked):
        raise HilumError("HIL-IO-07", f"The region {region} is not two plain slices", "Give rows and columns")
    rows, columns = (part.indices(size)[:2] for part, size in zip(asked, shape, strict=True))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        raise HilumError(
            "HIL-IO-07", f"{path}: the region {region} has no pixels at level {level} {shape}", "Move it inside"
        )
    pixels = (rows[1] - rows[0]) * (columns[1] - columns[0])
    if pixels > MOST_PIXELS:
        fits = next((i for i, size in enumerate(shapes) if size[0] * size[1] <= MOST_PIXELS), None)
        smaller = "Use a region" if fits is None or fits <= level else f"Use level {fits} or a region"
        raise HilumError(
            "HIL-I05",
            f"{path}: {rows[1] - rows[0]} x {columns[1] - columns[0]} pixels at level {level}",
            f"{smaller} of at most {MOST_PIXELS} pixels",
        )
    return rows, columns


def _image(path: Path, slide: Any, array: Array, level: int, region: list[list[int]], empty: int) -> Image:
    steps = _steps(slide.shapes)
    base, shape = slide.shapes[0], slide.shapes[level]
    mpp = slide.mpp and [float(m * (full / part)) for m, full, part in zip(slide.mpp, base, shape, strict=True)]
    meta = {
        "path": str(path), "format": "slide", "backend": slide.backend, "maker": slide.vendor, "level": level,
        "levels": steps, "downsample": steps[level]["downsample"], "mpp": mpp, "region": region,
        "empty": empty / (array.shape[1] * array.shape[2]),
    }  # fmt: skip
    return Image(array, None, tuple(_warnings(slide, steps)), meta)


def _warnings(slide: Any, steps: list[dict[str, Any]]) -> list[str]:
    found = []
    if slide.mpp is None:
        found.append("HIL-I09: the slide states no credible resolution, its pixel size is not known")
    rows, columns = slide.shapes[0]
    if len(steps) == 1 and rows * columns > LARGE:
        found.append(f"HIL-I09: the slide of {rows} x {columns} pixels has no smaller levels")
    for number, (fine, coarse) in enumerate(pairwise(steps)):
        ratio = coarse["downsample"] / fine["downsample"]
        if ratio > WIDEST_STEP:
            found.append(f"HIL-I09: a level is missing, {number} and {number + 1} differ {ratio:.0f}-fold")
    return found
