"""What the volume formats share: voxels read into place and scaled, volumes checked before and after writing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io import _buffer, _itk
from hilum.io._guard import same, smallest
from hilum.io._volume.stream import SLACK, STEP, Stream

BLOCK = 1 << 17
# Voxels converted at a time; few, so that peak memory stays near that of the result.
PLAIN_KINDS = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"}


def fill(
    stream: Stream, shape: tuple[int, ...], kind: np.dtype[Any], slope: float = 1.0, inter: float = 0.0
) -> tuple[Array, list[str]]:
    """Voxels (*shape) in native byte order, first axis fastest as stored, and warnings; scaled by slope and inter.

    The stream stands at the first voxel. Refused: the data end too early (HIL-N01), their checksum is wrong (HIL-N02),
    they claim what the file can not hold (HIL-N03), or more than padding follows the last voxel (HIL-N02).
    """
    count = int(np.prod(shape, dtype=object))
    stream.check(count * kind.itemsize)
    out = scaled_kind(kind, slope, inter)
    array = _buffer.empty(tuple(reversed(shape)), out)
    flat = array.reshape(-1)
    if out == kind.newbyteorder("=") and (slope, inter) == (1.0, 0.0):
        stream.into(flat.view(np.uint8).data)
        if not kind.isnative:
            flat.byteswap(inplace=True)
    else:
        scratch = np.empty(min(BLOCK, count), kind)
        for start in range(0, count, BLOCK):
            part = scratch[: min(BLOCK, count - start)]
            stream.into(part.view(np.uint8).data)
            exact = np.int64 if out.kind == "i" else np.float64
            # a product beyond float32 becomes infinite, and is counted and named below
            with np.errstate(over="ignore", invalid="ignore"):
                flat[start : start + len(part)] = part.astype(exact) * exact(slope) + exact(inter)
    left = stream.rest()
    if left > SLACK:
        raise HilumError("HIL-N02", f"{stream.path} has much data after its last voxel", "Copy or convert it again")
    warnings = [f"HIL-N02: {left} bytes after the last voxel were left out"] if left else []
    if out.kind == "f":
        warnings += counted(not_finite(flat))
    return array.transpose(), warnings


def scaled_kind(kind: np.dtype[Any], slope: float, inter: float) -> np.dtype[Any]:
    """The kind that holds slope * voxel + inter: integers where exact (CT offsets), else float32, or float64."""
    if (slope, inter) == (1.0, 0.0):
        return kind.newbyteorder("=")
    if kind.kind in "iu" and kind.itemsize <= 4 and slope == round(slope) and inter == round(inter):
        ends = [int(slope) * int(end) + int(inter) for end in (np.iinfo(kind).min, np.iinfo(kind).max)]
        for whole in (np.int32, np.int64):
            if np.iinfo(whole).min <= min(ends) and max(ends) <= np.iinfo(whole).max:
                return np.dtype(whole)
    # float32 holds 16-bit numbers with room; wider ones, and scales near its end, do not fit
    far = max(abs(slope), abs(inter)) > 1e30
    wide = far or kind.itemsize > 4 or (kind.kind in "iu" and kind.itemsize > 2)
    return np.dtype(np.float64 if wide else np.float32)


def not_finite(flat: Array) -> int:
    """How many values of a flat array are NaN or infinite, counted in blocks to save memory."""
    blocks = (flat[start : start + BLOCK] for start in range(0, len(flat), BLOCK))
    return sum(len(block) - int(np.count_nonzero(np.isfinite(block))) for block in blocks)


def counted(odd: int) -> list[str]:
    """The warning of an image with so many NaN or infinite values, if there are any."""
    return [f"HIL-N09: {odd} voxels are NaN or infinite; they are kept"] if odd else []


def three_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(i, j, k): trailing axes of one voxel dropped or added; a series or several values a voxel refused (HIL-N10)."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        series = len(shape) == 4
        what = "A series of volumes" if series else "Several values for each voxel (vectors, tensors or contrasts)"
        raise HilumError(
            "HIL-N10", f"{what}, shape {shape}",
            "Pick one volume and save it by itself, or, where they are channels, all as NAME_0000, NAME_0001, ...",
        )  # fmt: skip
    return shape + (1,) * (3 - len(shape))


def plain(path: Path, thing: Image | Mask) -> tuple[Array, Array]:
    """(i, j, k) array and affine of what may be written as a volume, in the smallest kind that holds it."""
    array = thing.array
    if isinstance(thing, Mask) and thing.stacked:
        raise HilumError("HIL-IO-04", f"{path.name}: overlapping classes do not fit one label map", "Write each class")
    if isinstance(thing, Image):
        if array.shape[0] != 1:
            raise HilumError("HIL-IO-04", f"{path.name}: {array.shape[0]} channels", "Write one file for each channel")
        array = array[0]
    if thing.affine is None or array.ndim != 3:
        raise HilumError("HIL-IO-04", f"{path.name}: a picture without a place in the patient", "Write .png or .tif")
    if isinstance(thing, Mask) and array.dtype.kind not in "iub":
        raise HilumError("HIL-N15", f"{path.name}: a mask of {array.dtype} values", "Give whole numbers")
    if array.dtype.kind not in "iubf" or array.dtype.itemsize > 8:
        raise HilumError("HIL-N10", f"{path.name}: {array.dtype} values", "Write magnitude and phase apart, as float64")
    kept = smallest(array)
    return kept.astype(kept.dtype.newbyteorder("="), copy=False), np.asarray(thing.affine)


def blocks(array: Array) -> Iterator[bytes]:
    """The bytes of an (i, j, k) array as files hold them, first axis fastest, some slices at a time."""
    step = max(1, 4 * STEP // array[..., 0].nbytes)
    for k in range(0, array.shape[2], step):
        yield array[:, :, k : k + step].tobytes(order="F")


def second(path: Path, part: Path, array: Array, affine: Array, zeroed: bool = False, placed: bool = True) -> None:
    """Read `part` with SimpleITK and compare with what was meant; a difference is refused (HIL-IO-05).

    zeroed: SimpleITK's reader of this format puts 0 where a voxel is NaN or infinite, so there 0 is what it must say.
    placed: whether the file says where it lies; of one that does not every reader has a guess of its own, and only the
    steps are compared.
    """
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    with _itk.named(part) as text:
        seen = SimpleITK.ReadImage(text)
    # a view, compared some slices at a time: neither side is copied whole
    same(path, array, SimpleITK.GetArrayViewFromImage(seen).transpose(), zeroed=zeroed)
    theirs = from_itk(seen) if placed else np.diag([*seen.GetSpacing(), 1.0])
    far = geometry.corner_distance(affine, array.shape, theirs, array.shape)
    # ITK knows right angles only, so a shear within our tolerance looks like a move to it, counted from the first voxel
    allowed = geometry.corner_distance(affine, array.shape, right_angled(affine, array.shape), array.shape)
    if far > 2 * allowed + geometry.GEOMETRY_TOLERANCE_MM:
        raise HilumError(
            "HIL-IO-05", f"{path} was not written: SimpleITK reads a corner {far:.3f} mm away", "Report this as a bug"
        )


def from_itk(image: Any) -> Array:
    """RAS+ affine of a 3-D SimpleITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return geometry.flip_lps_ras(affine)


def right_angled(affine: Array, shape: tuple[int, ...]) -> Array:
    """The nearest affine with the same steps and axes at right angles; the middle of the volume stays where it is."""
    steps = np.asarray(geometry.spacing(affine))
    left, _, right = np.linalg.svd(affine[:3, :3] / steps)
    out = np.array(affine, dtype=np.float64)
    out[:3, :3] = (left @ right) * steps
    middle = (np.asarray(shape) - 1) / 2
    out[:3, 3] += (affine[:3, :3] - out[:3, :3]) @ middle
    return out
