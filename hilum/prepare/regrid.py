"""An image on another grid in the same patient: by world coordinates, block by block, so that memory stays bounded."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.core import geometry, warp
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.core.progress import Progress, quiet

BLOCK = 64
# Most voxels along a side of a block, of the new grid and of the source: with coordinates in float64 about 10 MB each.
MOST_VOXELS = 1 << 31
LONGEST = 32767
# A new grid beyond these is a mistyped spacing: refused before anything is allocated.
WHOLE = 1e-3
# Voxels: grids this close to whole steps of each other everywhere are copied; rounding in headers is 100 times less.
EDGE = 1e-6
# Voxels: the border of the source belongs to it in spite of rounding.
COARSER = 1.5
# From this ratio of steps on, what lies between the new voxels may go unseen, and that is said.

Region = tuple[slice, ...]


@dataclass(frozen=True)
class Grid:
    """Where voxels are wanted. shape: (i, j, k). affine: (4, 4) RAS+ mm."""

    shape: tuple[int, ...]
    affine: Array


def of(image: Image, called: str = "The image") -> Grid:
    """The grid of a volume; a picture (HIL-N10) and a volume whose place is not known (HIL-N05) are refused."""
    if image.dims != 3:
        raise HilumError(
            "HIL-N10", f"{called} is {image.dims}-D and has no place in the patient", "Give a volume (NIfTI, DICOM)"
        )
    vague = next((w for w in image.warnings if w.startswith("HIL-N05")), None)
    if image.affine is None or vague is not None:
        raise HilumError(
            "HIL-N05", f"{called} does not say where it lies in the patient",
            "Convert it again from DICOM; a guessed place must not move anything to another grid",
        )  # fmt: skip
    return Grid(image.shape, np.asarray(image.affine, dtype=np.float64))


def at_spacing(image: Image, spacing: tuple[float, ...], called: str = "The image") -> Grid:
    """The image's own axes and middle at exactly `spacing` (mm along its array axes); HIL-PREP-02 where none is meant.

    As many voxels as fit its field of view, rounded; what rounding leaves over is shared by both sides.
    """
    old = of(image, called)
    wanted = np.asarray(spacing, dtype=np.float64)
    if wanted.shape != (3,) or not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise HilumError(
            "HIL-PREP-02", f"The spacing {tuple(spacing)} is not three positive numbers", "Write millimetres: 1,1,1"
        )
    steps = np.array(geometry.spacing(old.affine))
    # as plain integers of any size: 1e-300 mm must be refused, not overflow
    shape = tuple(max(1, int(n)) for n in np.round(np.minimum(np.array(old.shape) * steps / wanted, 1e12)))
    check_size(shape)
    affine = old.affine.copy()
    affine[:3, :3] = old.affine[:3, :3] * (wanted / steps)
    middle = old.affine[:3, :3] @ ((np.array(old.shape) - 1) / 2) + old.affine[:3, 3]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def check_size(shape: tuple[int, ...]) -> None:
    """Refuse a grid that nobody can mean (HIL-PREP-02)."""
    if max(shape) > LONGEST or int(np.prod(shape, dtype=object)) > MOST_VOXELS:
        raise HilumError(
            "HIL-PREP-02", f"The new grid would have {' x '.join(map(str, shape))} voxels", "Give larger steps"
        )


def onto(
    image: Image, target: Grid, *, labels: bool = False, called: str = "The image", progress: Progress = quiet
) -> tuple[Image, dict[str, Any]]:
    """The image (C, *space) on `target`, and the record: method, outside (share of new voxels), step_ratio
    (source voxels between neighbours along each new axis).

    Images: linear, float32 (float64 where the source needs it). labels: for each value linearly, then the strongest
    wins; values and type stay. Where the grids differ by whole voxels and turned axes only, everything is copied
    exactly. Outside the source: its least value, or 0 for labels; the share is a warning of the new image
    (HIL-PREP-03), and so are steps much coarser than the source's (HIL-PREP-04).
    Refused: nothing in common (HIL-N14), labels with fractions (HIL-N15), pictures (HIL-N10), unknown places (HIL-N05).
    """
    source = of(image, called)
    check_size(target.shape)
    if labels:
        _check_whole(image.array, called)
    to_source = np.linalg.inv(source.affine) @ target.affine
    exact = _whole_steps(to_source, target.shape)
    kind, fill = _kind_and_fill(image.array, labels, exact is not None)
    out = np.full((len(image.array), *target.shape), fill, dtype=kind)
    # a step of an oblique grid is shared by several axes of the source: its length counts, not its parts
    ratio = [round(float(r), 4) for r in np.linalg.norm(to_source[:3, :3], axis=0)]
    # a block of coarse steps needs a larger part of the source
    inside, blocks = 0, list(_blocks(target.shape, max(4, int(BLOCK / max(1.0, *ratio)))))
    for number, block in enumerate(blocks):
        inside += _fill(image.array, out, block, to_source if exact is None else exact, labels, exact is not None)
        progress("resample", number + 1, len(blocks))
    if not inside:
        far = np.linalg.norm(_middle(source) - _middle(target))
        raise HilumError(
            "HIL-N14", f"{called} and the wanted grid have no place in common: their middles lie {far:.0f} mm apart",
            "Check that both are of one patient and one examination",
        )  # fmt: skip
    method = (
        "copied voxel by voxel" if exact is not None else "each label linear, strongest wins" if labels else "linear"
    )
    outside = 1 - inside / int(np.prod(target.shape, dtype=object))
    warnings = (*image.warnings, *_warnings(outside, fill, ratio))
    record = {"method": method, "outside": outside, "step_ratio": ratio}
    return Image(out, target.affine, warnings, image.meta), record


def _warnings(outside: float, fill: Any, ratio: list[float]) -> list[str]:
    """What the new image must carry along."""
    found = []
    if outside > 0:
        share = f"{100 * outside:.1f} %" if outside >= 0.001 else "Less than 0.1 %"
        found.append(f"HIL-PREP-03: {share} of the new voxels lie outside the source; they hold {float(fill):g}")
    if max(ratio) > COARSER:
        found.append(
            f"HIL-PREP-04: the new voxels lie up to {max(ratio):.1f} source voxels apart; "
            "values are taken at points, not averaged, and small things may be missed"
        )
    return found


def _check_whole(array: Array, called: str) -> None:
    """Labels are whole numbers."""
    if array.dtype.kind not in "iub" and not (array == np.round(array)).all():
        raise HilumError(
            "HIL-N15", f"{called} holds values that are not whole numbers", "Resample it as an image, or give labels"
        )


def _kind_and_fill(array: Array, labels: bool, exact: bool) -> tuple[np.dtype[Any], Any]:
    """Type of the result, and the value outside."""
    if labels:
        return kind_of(array, labels), 0
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        finite = array[np.isfinite(array)]
        fill = finite.min() if finite.size else 0
    else:
        fill = array.min()
    return (array.dtype if exact else kind_of(array, labels)), fill


def kind_of(array: Array, labels: bool) -> np.dtype[Any]:
    """Type of what is resampled and not copied: labels stay what they are."""
    wide = array.dtype.itemsize > 4 or (array.dtype.kind in "iu" and array.dtype.itemsize > 2)
    return array.dtype if labels else np.dtype(np.float64 if wide else np.float32)


def _whole_steps(matrix: Array, shape: tuple[int, ...]) -> Array | None:
    """The matrix in whole numbers when over this shape it only permutes, flips and shifts voxels; else None."""
    whole = np.round(matrix)
    square = np.abs(whole[:3, :3])
    turned = (square.sum(axis=0) == 1).all() and (square.sum(axis=1) == 1).all()
    off = np.abs(matrix - whole)[:3]
    return whole if turned and (off[:, :3] @ (np.array(shape) - 1) + off[:, 3]).max() < WHOLE else None


def _blocks(shape: tuple[int, ...], side: int) -> Iterator[Region]:
    """The grid in blocks of at most `side` voxels a side."""
    starts = [range(0, n, side) for n in shape]
    for corner in itertools.product(*starts):
        yield tuple(slice(a, min(a + side, n)) for a, n in zip(corner, shape, strict=True))


def _fill(array: Array, out: Array, block: Region, to_source: Array, labels: bool, exact: bool) -> int:
    """Write one block of `out` from the part of `array` it needs; returns the number of voxels inside the source."""
    points = _points(block, to_source)
    last = np.array(array.shape[1:]).reshape(3, 1, 1, 1) - 1
    inside = np.asarray(((points >= -0.5 - EDGE) & (points <= last + 0.5 + EDGE)).all(axis=0))
    if not inside.any():
        return 0
    points = np.clip(points, 0, last)
    target = out[(slice(None), *block)]
    if exact:
        index = tuple(points.astype(np.intp))
        target[:, inside] = array[(slice(None), *index)][:, inside]
        return int(inside.sum())
    used = points[:, inside]
    low, high = np.floor(used.min(axis=1)).astype(int), np.ceil(used.max(axis=1)).astype(int)
    cut = array[(slice(None), *[slice(a, b + 1) for a, b in zip(low, high, strict=True)])]
    # points outside are read at the border and then not taken
    points -= low.reshape(3, 1, 1, 1)
    values = _strongest(cut, points) if labels else _linear(cut, points)
    target[:, inside] = values[:, inside]
    return int(inside.sum())


def _points(block: Region, to_source: Array) -> Array:
    """Source voxel coordinates (3, *block) of a block of the new grid."""
    axes = np.meshgrid(*[np.arange(s.start, s.stop, dtype=np.float64) for s in block], indexing="ij", sparse=True)
    rows = [sum(to_source[row, c] * axes[c] for c in range(3)) + to_source[row, 3] for row in range(3)]
    return np.stack(np.broadcast_arrays(*rows))


def _linear(array: Array, points: Array) -> Array:
    """Values (C, *block) of (C, *space) at voxel coordinates, float64 so that places are exact to 1e-12 voxels."""
    import torch

    image = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))[None]
    return warp.sample(image, torch.from_numpy(points)[None], padding="border")[0].numpy()


def _strongest(array: Array, points: Array) -> Array:
    """Labels (C, *block): of the up to 8 around, the one with the largest linear share; ties go to the lower value.

    The share of a value is what `warp.sample` gives for its mask; counted at the corners, any number of values costs
    the same.
    """
    if array.min() == array.max():
        return np.full((len(array), *points.shape[1:]), array.min(), dtype=array.dtype)
    last = np.array(array.shape[1:]).reshape(3, 1, 1, 1) - 1
    points = np.clip(points, 0, last)
    low = np.floor(points).astype(np.intp)
    part = points - low
    corners, shares = [], []
    for corner in itertools.product((0, 1), repeat=3):
        index = [np.minimum(low[axis] + step, last[axis]) for axis, step in enumerate(corner)]
        corners.append(array[(slice(None), *index)])
        shares.append(np.prod([part[a] if step else 1 - part[a] for a, step in enumerate(corner)], axis=0))
    best, out = np.full(corners[0].shape, -1.0), corners[0].copy()
    for label in corners:
        share = np.sum([np.where(other == label, s, 0) for other, s in zip(corners, shares, strict=True)], axis=0)
        # rounding must not decide between equal shares
        win = (share > best + 1e-9) | ((share > best - 1e-9) & (label < out))
        best[win], out[win] = share[win], label[win]
    return out


def _middle(grid: Grid) -> Array:
    """The middle of a grid in mm."""
    middle: Array = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    return middle
