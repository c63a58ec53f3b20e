"""Folding: the percentage of voxels where a deformation turns space inside out.

The raw Jacobian determinant of p + u(p), by central differences (`np.gradient`, one-sided at the border, border
included, as in VoxelMorph and TransMorph), is zero or negative. No offset, no clipping: the Learn2Reg script
counts after adding 3 and so always reports 0.
"""

from typing import Any

import numpy as np

CARD = {
    "better": "lower",
    "unit": "%",
    "range": [0, 100],
    "level": "case",
    "takes": "field",
    "aggregate": "mean over cases",
    "missing": "100",
    "empty": "never undefined",
    "source": "share of Jacobian determinants <= 0, border included (Balakrishnan et al. 2019)",
}

Array = np.ndarray[Any, np.dtype[Any]]


def determinant(displacement: Array) -> Array:
    """det(I + grad u) at every voxel, (*space) float64. displacement: (d, *space) in voxels, d = 2 or 3."""
    displacement = np.asarray(displacement, dtype=np.float64)
    d = displacement.shape[0]
    if d not in (2, 3) or displacement.ndim != d + 1:
        raise ValueError(f"expected (2, H, W) or (3, I, J, K), got {displacement.shape}")
    j = [[_slope(displacement[row], axis) + (row == axis) for axis in range(d)] for row in range(d)]
    if d == 2:
        flat: Array = j[0][0] * j[1][1] - j[0][1] * j[1][0]
        return flat
    det: Array = (
        j[0][0] * (j[1][1] * j[2][2] - j[1][2] * j[2][1])
        - j[0][1] * (j[1][0] * j[2][2] - j[1][2] * j[2][0])
        + j[0][2] * (j[1][0] * j[2][1] - j[1][1] * j[2][0])
    )
    return det


def _slope(component: Array, axis: int) -> Array:
    """Derivative along an axis; an axis of one voxel has none."""
    return np.gradient(component, axis=axis) if component.shape[axis] > 1 else np.zeros_like(component)


def measure(displacement: Array) -> float:
    """displacement: (d, *space) in voxels. Returns 0..100; a value that is not a number counts as folded."""
    return float(100.0 * np.mean(~(determinant(displacement) > 0)))
