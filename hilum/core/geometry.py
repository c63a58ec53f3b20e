"""Where voxels lie in the patient: affines, spacing, orientation, and the only place that knows LPS from RAS.

An affine is a (d+1, d+1) float64 matrix that maps voxel indices (i, j, k) to millimetres. Inside Hilum it is always
RAS+ (x grows to the patient's right, y to anterior, z to superior), as in NIfTI; DICOM and ITK speak LPS+.
"""

from typing import Any

import numpy as np

from hilum.core.errors import HilumError

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

SHEAR_TOLERANCE = 1e-3
# Largest |cosine| between two axes of an affine that still counts as a right angle (0.06 degrees).
GEOMETRY_TOLERANCE_MM = 1e-2
# Two grids are the same when no corner lies farther apart than this.


def flip_lps_ras(affine: FloatArray) -> FloatArray:
    """LPS+ affine (4, 4) to RAS+ or back: the first two world axes change sign."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(affine, dtype=np.float64)


def spacing(affine: FloatArray) -> tuple[float, ...]:
    """Distance between neighbouring voxel centres along each array axis, in mm."""
    square = np.asarray(affine)[:-1, :-1]
    return tuple(float(v) for v in np.sqrt((square**2).sum(axis=0)))


def check_affine(affine: FloatArray) -> FloatArray:
    """The affine as float64; refused when not finite (HIL-N06), singular or sheared."""
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape not in ((4, 4), (3, 3)) or not np.isfinite(affine).all():
        raise HilumError("HIL-N06", f"The affine is not a finite 4x4 matrix: {affine.tolist()}", "Mend the header")
    square = affine[:-1, :-1]
    steps = np.sqrt((square**2).sum(axis=0))
    if (steps <= 1e-9).any() or abs(np.linalg.det(square / np.maximum(steps, 1e-30))) < 1e-6:
        raise HilumError("HIL-N06", f"The affine is singular: steps {steps.tolist()} mm", "Mend the header")
    cosines = (square / steps).T @ (square / steps) - np.eye(len(steps))
    if np.abs(cosines).max() > SHEAR_TOLERANCE:
        raise HilumError(
            "HIL-N06",
            f"The voxel axes are not at right angles (largest cosine {np.abs(cosines).max():.4f})",
            "Resample the sheared or tilted volume to a right-angled grid first",
        )
    return affine


def orientation(affine: FloatArray) -> str:
    """The direction in which each array axis grows: 'RAS', 'LPS', 'ASR', ..."""
    square = np.asarray(affine)[:3, :3]
    letters, left = [""] * 3, {0, 1, 2}
    for column in np.argsort(-np.abs(square / spacing(affine)).max(axis=0), kind="stable"):
        row = max(left, key=lambda r: abs(square[r, column]))
        left.remove(row)
        letters[column] = ("RL", "AP", "SI")[row][0 if square[row, column] > 0 else 1]
    return "".join(letters)


def axes_to_ras(affine: FloatArray) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """How to reorder array axes to nearest RAS: (permutation, flips after it). Exact: no resampling."""
    word = orientation(affine)
    order = tuple(next(i for i, c in enumerate(word) if c in pair) for pair in ("RL", "AP", "SI"))
    return order, tuple(word[i] in "LPI" for i in order)


def reorder(affine: FloatArray, shape: tuple[int, ...], order: tuple[int, ...], flips: tuple[bool, ...]) -> FloatArray:
    """The affine after axes were permuted by `order` and then flipped; `shape` is that of the permuted array."""
    n = len(order)
    move = np.zeros((n + 1, n + 1))
    move[n, n] = 1
    for new, old in enumerate(order):
        move[old, new] = -1.0 if flips[new] else 1.0
        move[old, n] = shape[new] - 1 if flips[new] else 0.0
    return np.asarray(affine, dtype=np.float64) @ move


def corner_distance(
    affine_a: FloatArray, shape_a: tuple[int, ...], affine_b: FloatArray, shape_b: tuple[int, ...]
) -> float:
    """Largest distance in mm between the corresponding corner voxels of two grids."""
    far = 0.0
    n = len(shape_a)
    for corner in np.ndindex(*([2] * n)):
        index_a = [c * (s - 1) for c, s in zip(corner, shape_a, strict=True)] + [1]
        index_b = [c * (s - 1) for c, s in zip(corner, shape_b, strict=True)] + [1]
        far = max(far, float(np.linalg.norm((affine_a @ index_a - affine_b @ index_b)[:n])))
    return far


def rescaled(affine: FloatArray, old: tuple[int, ...], new: tuple[int, ...]) -> FloatArray:
    """The affine after resampling shape `old` to `new` over the same field of view (voxel edges kept)."""
    factor = np.array(old, dtype=np.float64) / np.array(new, dtype=np.float64)
    out = np.array(affine, dtype=np.float64)
    out[:-1, :-1] = affine[:-1, :-1] * factor
    # voxel edges coincide, so centres shift by half the change of the step
    out[:-1, -1] = affine[:-1, -1] + affine[:-1, :-1] @ ((factor - 1) / 2)
    return out
