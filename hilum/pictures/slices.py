"""From a volume to a picture that can be looked at: which slice, which way up, square pixels.

Orientation of every slice: axial seen from the feet with anterior on top, coronal from the front and sagittal with
anterior on the left, both with superior on top; the patient's right is on the viewer's left (radiological). It follows
from the affine; without one the array axes are taken as R, A, S. 2-D images keep their rows and columns.
"""

from typing import Any

import numpy as np

from hilum.core import geometry

Array = np.ndarray[Any, np.dtype[Any]]
View = tuple[int, bool, int, bool]
# (array axis of the rows, reversed?, array axis of the columns, reversed?)


def window(image: Array, low: float | None = None, high: float | None = None) -> Array:
    """Grey values as uint8 of the same shape: `low` becomes 0, `high` 255 (else the 1st and 99th percentile).

    NaN and -inf are black, inf is white; a constant image is black.
    """
    image = np.asarray(image, dtype=np.float64)
    finite = image[np.isfinite(image)]
    if not finite.size:
        return np.zeros(image.shape, np.uint8)
    bottom = float(np.percentile(finite, 1)) if low is None else low
    top = float(np.percentile(finite, 99)) if high is None else high
    if top <= bottom and low is None and high is None:  # a small bright thing on a plain ground
        bottom, top = float(finite.min()), float(finite.max())
    if top <= bottom:
        return np.zeros(image.shape, np.uint8)
    scaled = np.clip((np.nan_to_num(image, nan=bottom, posinf=top, neginf=bottom) - bottom) / (top - bottom), 0, 1)
    return (scaled * 255 + 0.5).astype(np.uint8)


def best_slice(mask: Array) -> tuple[int, int]:
    """(axis, index) of the slice with most of the mask, middle slice of the last axis if the mask is empty.

    mask: (*space), anything not zero counts. Of 3 axes the one with the fullest slice wins, later axes on a tie. 2-D
    masks give (0, 0), which `slice_of` ignores.
    """
    mask = np.asarray(mask) != 0
    if mask.ndim < 3:
        return 0, 0
    if not mask.any():
        return mask.ndim - 1, mask.shape[-1] // 2
    best = (mask.ndim - 1, 0, -1)
    for axis in reversed(range(mask.ndim)):
        counts = mask.sum(axis=tuple(a for a in range(mask.ndim) if a != axis))
        if counts.max() > best[2]:
            best = (axis, int(counts.argmax()), int(counts.max()))
    return best[0], best[1]


def view(axis: int, affine: Array | None = None) -> View:
    """How a slice across array axis `axis` of a volume is laid out on the page."""
    order, flips = ((0, 1, 2), (False,) * 3) if affine is None else geometry.axes_to_ras(affine)
    across = order.index(axis % 3)
    # a picture's first row is the superior (or anterior) end, its first column the right (or anterior) end
    down, along = {0: (2, 1), 1: (2, 0), 2: (1, 0)}[across]
    return order[down], not flips[down], order[along], not flips[along]


def _square(shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[int, int]:
    """Rows and columns after resampling to square pixels of the finer spacing."""
    step = min(spacing)
    return max(1, round(shape[0] * spacing[0] / step)), max(1, round(shape[1] * spacing[1] / step))


def _stretch(picture: Array, axis: int, size: int, nearest: bool) -> Array:
    """Resample one axis to `size` samples over the same field of view."""
    n = picture.shape[axis]
    if size == n:
        return picture
    place = (np.arange(size) + 0.5) * n / size - 0.5
    if nearest:
        return np.take(picture, np.clip(np.floor(place + 0.5).astype(int), 0, n - 1), axis=axis)
    place = np.clip(place, 0, n - 1)
    low = np.floor(place).astype(int)
    shape = [1] * picture.ndim
    shape[axis] = size
    share = (place - low).reshape(shape)
    high = np.minimum(low + 1, n - 1)
    out: Array = np.take(picture, low, axis=axis) * (1 - share) + np.take(picture, high, axis=axis) * share
    return out


def _lay_out(array: Array, index: int, axis: int, affine: Array | None) -> tuple[Array, View]:
    """One slice of a volume as (rows, columns), turned upright."""
    rows, flip_rows, columns, flip_columns = layout = view(axis, affine)
    picture = np.take(array, index, axis=axis)
    if rows > columns:
        picture = picture.T
    return picture[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1], layout


def slice_of(
    array: Array,
    axis: int,
    index: int,
    spacing: tuple[float, ...],
    affine: Array | None = None,
    labels: bool = False,
) -> Array:
    """One slice, upright and with square pixels: (H, W), or (H, W, 3) for pictures of three channels.

    array: (*space) or (C, *space); `spacing` (mm per voxel) tells which, by its length. Of other channel counts, and of
    volumes whose three channels are no colours (not uint8: T1, T2 and FLAIR, say), the first is shown. axis, index:
    which slice of a volume; ignored in 2-D. labels: never mix values (masks and label maps); bool arrays are treated so
    anyway.
    """
    array, dims = np.asarray(array), len(spacing)
    if array.ndim not in (dims, dims + 1):
        raise ValueError(f"{len(spacing)} spacings do not fit an array of shape {array.shape}")
    if array.ndim == dims + 1 and array.shape[0] == 3 and (dims == 2 or array.dtype == np.uint8):
        kind = array.dtype
        channels = [slice_of(c, axis, index, spacing, affine, labels) for c in array]
        stacked = np.stack(channels, axis=-1)
        return np.rint(stacked).astype(kind) if kind == np.uint8 else stacked
    picture = array[0] if array.ndim == dims + 1 else array
    step = (float(spacing[0]), float(spacing[1]))
    if dims == 3:
        picture, (rows, _, columns, _) = _lay_out(picture, index, axis, affine)
        step = (float(spacing[rows]), float(spacing[columns]))
    nearest = labels or picture.dtype == bool
    size = _square((picture.shape[0], picture.shape[1]), step)
    return _stretch(_stretch(picture, 0, size[0], nearest), 1, size[1], nearest)


def field_on_slice(
    displacement: Array, axis: int, index: int, spacing: tuple[float, ...], affine: Array | None = None
) -> Array:
    """The in-plane part of a displacement, in pixels of the picture that `slice_of` gives: (2, H, W), (row, column).

    displacement: (d, *space) in voxels along the array axes.
    """
    if len(spacing) == 2:
        parts, factors = displacement[:2], [float(spacing[0]), float(spacing[1])]
    else:
        rows, flip_rows, columns, flip_columns = view(axis, affine)
        parts = displacement[[rows, columns]]
        factors = [
            float(spacing[rows]) * (-1 if flip_rows else 1),
            float(spacing[columns]) * (-1 if flip_columns else 1),
        ]
    step = min(abs(f) for f in factors)
    turned = [slice_of(p, axis, index, spacing, affine) * (f / step) for p, f in zip(parts, factors, strict=True)]
    return np.stack(turned)


def boxes_on_slice(
    boxes: Array,
    shape: tuple[int, ...],
    axis: int,
    index: int,
    spacing: tuple[float, ...],
    affine: Array | None = None,
) -> tuple[Array, Array]:
    """Boxes (N, 2*d) as they lie on the picture that `slice_of` gives: ((n, 4) row and column ends, (n,) which of N).

    shape: (*space) of the image the boxes are in. Boxes of a volume that the slice does not cut are left out.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 2 * len(shape))
    d = len(shape)
    rows, flip_rows, columns, flip_columns = view(axis, affine) if d == 3 else (0, False, 1, False)
    cut = np.arange(len(boxes))
    if d == 3:
        cut = np.flatnonzero((boxes[:, axis % 3] <= index) & (index < boxes[:, axis % 3 + d]))
    size = _square((shape[rows], shape[columns]), (float(spacing[rows]), float(spacing[columns])))
    ends = []
    for which, flip, pixels in ((rows, flip_rows, size[0]), (columns, flip_columns, size[1])):
        low, high = boxes[cut, which], boxes[cut, which + d]
        if flip:
            low, high = shape[which] - high, shape[which] - low
        ends.append((low * pixels / shape[which], high * pixels / shape[which]))
    return np.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], axis=1), cut
