"""Sheared volumes: a tiny shear is rounded away, a larger one is resampled to an upright grid; both are stated."""

import itertools
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._volume.voxels import right_angled

TINY_SHEAR = 1e-2
# Largest |cosine| between axes that counts as rounding in a header, if also no corner moves half a voxel.
MOST_GROWTH = 8
# An upright grid may have so many times the voxels; a cube tilted by 30 degrees needs 1.6 times as many.
SLAB = 1 << 21
# Voxels resampled at a time.


def shear(affine: Array) -> float:
    """Largest |cosine| between two axes; 0 where it can not be told (the affine is refused elsewhere)."""
    square = np.asarray(affine, dtype=np.float64)[:3, :3]
    if not np.isfinite(square).all() or min(geometry.spacing(affine)) <= 1e-9:
        return 0.0
    steps = square / geometry.spacing(affine)
    if abs(np.linalg.det(steps)) < 1e-6:
        return 0.0
    return float(np.abs(steps.T @ steps - np.eye(3)).max())


def upright(array: Array, affine: Array, labels: bool = False) -> tuple[Array, Array, list[str], dict[str, Any]]:
    """A volume (i, j, k) whose axes are at right angles: array, affine, warnings and what to add to `meta`.

    Right angles (cosines up to geometry.SHEAR_TOLERANCE) pass as they are. Up to TINY_SHEAR, with no corner moved by
    half a voxel, only the affine is mended. Beyond, the values are resampled: linear, or nearest for labels. Refused:
    axes so near to one line that an upright grid would be many times larger (HIL-N06).
    """
    most = shear(affine)
    if most <= geometry.SHEAR_TOLERANCE:
        return array, affine, [], {}
    mended = right_angled(affine, array.shape)
    moved = geometry.corner_distance(affine, array.shape, mended, array.shape)
    why = f"the voxel axes are not at right angles (largest cosine {most:.4f})"
    if most <= TINY_SHEAR and moved <= min(geometry.spacing(affine)) / 2:
        return array, mended, [f"HIL-N06: {why}; they were set at right angles, corners moved up to {moved:.2f} mm"], {}
    target, shape = grid(affine, array.shape)
    if np.prod(shape, dtype=object) > MOST_GROWTH * array.size + SLAB:
        raise HilumError(
            "HIL-N06", f"{why[0].upper()}{why[1:]}; an upright grid that covers the volume would be {shape}",
            "Mend the header: no scan is tilted so far",
        )  # fmt: skip
    steps = " x ".join(f"{step:.3g}" for step in geometry.spacing(target))
    how = "nearest voxel" if labels else "linear"
    warning = f"HIL-N06: {why}; resampled ({how}) to an upright grid {shape} of {steps} mm that covers the volume"
    record = {"resampled": {"from": np.asarray(affine).tolist(), "why": why}}
    return resampled(array, affine, target, shape, labels), target, [warning], record


def grid(affine: Array, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """Affine and shape of the upright grid that covers a sheared volume.

    The two axes nearest to a right angle keep their plane, so tilted slices stay slices: they only slide within
    themselves. The third axis goes straight through them, its step is their true distance.
    """
    steps = affine[:3, :3] / geometry.spacing(affine)
    cosine = np.abs(steps.T @ steps)
    first, second = min(itertools.combinations(range(3), 2), key=lambda pair: cosine[pair])
    order = [first, second, 3 - first - second]
    q, r = np.linalg.qr(affine[:3, order])
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    columns = q * signs * np.abs(np.diag(r))
    target = np.eye(4)
    target[:3, order] = columns
    target[:3, 3] = affine[:3, 3]
    corners = np.array([[c * (n - 1) for c, n in zip(corner, shape, strict=True)] for corner in np.ndindex(2, 2, 2)])
    seen = corners @ np.linalg.solve(target[:3, :3], affine[:3, :3]).T
    low = np.floor(seen.min(axis=0) + 1e-3)
    high = np.ceil(seen.max(axis=0) - 1e-3)
    target[:3, 3] += target[:3, :3] @ low
    return target, tuple(int(n) for n in high - low + 1)


def resampled(array: Array, affine: Array, target: Array, shape: tuple[int, ...], labels: bool) -> Array:
    """The volume on the target grid; outside of it lies its smallest value (0 for labels). Integers stay integers."""
    import torch

    from hilum.core.warp import sample
    from hilum.io import _buffer

    # float32 counts to 2**24 only, label numbers may go beyond
    exact = np.float64 if labels or array.dtype.itemsize > 2 else np.float32
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    floor = 0.0 if labels or not finite.size else float(finite.min())
    raised = np.subtract(array, floor, dtype=exact, order="C")
    image = torch.from_numpy(raised)[None, None]
    back = np.linalg.solve(affine, target)
    out = _buffer.empty(shape, array.dtype)
    step = max(1, SLAB // max(1, shape[1] * shape[2]))
    rest = [torch.arange(n, dtype=torch.float64) for n in shape[1:]]
    for start in range(0, shape[0], step):
        rows = torch.arange(start, min(shape[0], start + step), dtype=torch.float64)
        index = torch.stack(torch.meshgrid(rows, *rest, indexing="ij"))
        turn = torch.from_numpy(back[:3, :3])
        points = torch.einsum("rc,c...->r...", turn, index) + torch.from_numpy(back[:3, 3]).reshape(3, 1, 1, 1)
        part = sample(image, points[None], "nearest" if labels else "linear")[0, 0].numpy() + floor
        out[start : start + step] = np.rint(part) if out.dtype.kind in "iu" else part
    return out
