"""What every format shares: errors that name the file, cropping to a region, and reading back what was written."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image

MOST_BYTES = 32 << 30
# A header that claims more than this is refused before anything is allocated.
COMPARED = 1 << 22
# Values compared at a time.


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a library raises into one HilumError (HIL-IO-03); every sentence names the file."""
    try:
        yield
    except HilumError as error:
        if str(path) in error.seen:
            raise
        raise HilumError(error.code, f"{path}: {error.seen}", error.remedy) from error
    except FileNotFoundError as error:
        raise HilumError("HIL-IO-02", f"There is no file or folder {path}", "Check the path") from error
    except Exception as error:
        # Codecs raise almost anything (struct.error, KeyError, zlib.error, RecursionError, ...), hence the wide net.
        words = " ".join(str(error).split())[:200] or "no reason given"
        raise HilumError(
            "HIL-IO-03", f"{path} can not be read ({type(error).__name__}: {words})", "Copy or export it again"
        ) from error


def full_only(path: Path, level: int) -> None:
    """Refuse a pyramid level where the format has none."""
    if level != 0:
        raise HilumError("HIL-IO-07", f"{path} has one resolution, level {level} was asked for", "Use level 0")


def cropped(image: Image, region: tuple[slice, ...] | None) -> Image:
    """The image inside `region` (spatial slices, steps of 1), its affine moved along; None gives it whole."""
    if region is None:
        return image
    if len(region) != image.dims or any(part.step not in (None, 1) for part in region):
        raise HilumError(
            "HIL-IO-07",
            f"The region {region} does not fit an image of {image.dims} axes",
            "Give a plain slice for each axis",
        )
    array = image.array[(slice(None), *region)]
    affine = image.affine
    if affine is not None:
        start = [part.indices(size)[0] for part, size in zip(region, image.shape, strict=True)]
        affine = affine.copy()
        affine[:-1, -1] += affine[:-1, : len(start)] @ start
    return replace(image, array=array, affine=affine)


def whole_numbers(array: Array) -> Array:
    """Label values exactly as int32; refused when not finite (HIL-N09), not whole or too large (HIL-N15)."""
    if array.dtype.kind == "b":
        return array.astype(np.int32)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise HilumError(
                "HIL-N09", f"The label has {int((~np.isfinite(array)).sum())} NaN or infinite voxels", "Mend it"
            )
        odd = np.unique(array[array != np.round(array)])
        if odd.size:
            shown = ", ".join(f"{float(v):g}" for v in odd[:5])
            raise HilumError(
                "HIL-N15", f"The label holds {odd.size} values that are not whole numbers: {shown}",
                "Write labels as integers, never interpolate them linearly",
            )  # fmt: skip
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if low < -(2**31) or high >= 2**31:
        raise HilumError("HIL-N15", f"Label values reach from {low} to {high}", "Renumber them below 2147483648")
    return array.astype(np.int32)


def labels_of(image: Image) -> Image:
    """An image read from a label file, as int32 labels."""
    return image.like(whole_numbers(image.array))


def smallest(array: Array) -> Array:
    """Integers in the smallest of uint8, uint16, int16, int32 that holds them all; float16 as float32."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind not in "iu":
        return array
    low, high = int(array.min()), int(array.max())
    for kind in (np.uint8, np.uint16, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind, copy=False)
    raise HilumError("HIL-N15", f"Values reach from {low} to {high}", "Keep them within 32 bits")


def _slabs(a: Array, b: Array) -> Iterator[tuple[Array, Array]]:
    """Two arrays of one shape, side by side; large ones some slices at a time."""
    if a.size <= COMPARED:
        yield a, b
        return
    axis = int(np.argmax(np.abs(a.strides)))
    step = max(1, COMPARED * a.shape[axis] // a.size)
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    for start in range(0, len(a), step):
        yield a[start : start + step], b[start : start + step]


def _differing(wanted: Array, seen: Array, zeroed: bool) -> int:
    """Values of two arrays of one shape that are not the same, NaN being like NaN. zeroed: as of `same`."""
    broken, count = wanted.dtype.kind == "f", 0
    for x, y in _slabs(wanted, seen):
        x = np.nan_to_num(x, nan=0, posinf=0, neginf=0) if zeroed and broken else x
        off = x != y
        if broken and off.any():
            off &= ~(np.isnan(x) & np.isnan(y))
        count += int(np.count_nonzero(off))
    return count


def same(
    path: Path, wanted: Array, seen: Array, wanted_affine: Any = None, seen_affine: Any = None, zeroed: bool = False
) -> None:
    """Compare what was decoded again with what should have been written; a difference is refused (HIL-IO-05).

    zeroed: 0 is what must be seen where the wanted value is NaN or infinite.
    """
    fault = ""
    if wanted.shape != seen.shape:
        fault = f"shape {seen.shape} instead of {wanted.shape}"
    elif count := _differing(wanted, seen, zeroed):
        fault = f"{count} values differ"
    elif wanted_affine is not None:
        space = wanted.shape[-3:]
        far = geometry.corner_distance(wanted_affine, space, seen_affine, space)
        if far > geometry.GEOMETRY_TOLERANCE_MM:
            fault = f"a corner moved by {far:.3f} mm"
    if fault:
        raise HilumError("HIL-IO-05", f"{path} was not written: read back, {fault}", "Report this as a bug in Hilum")
