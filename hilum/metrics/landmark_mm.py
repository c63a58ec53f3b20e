"""Landmark error (TRE): the mean distance in mm between where the deformation puts landmarks and where they are.

The field pulls (`core.findings.Field`): the moved image at fixed voxel p shows moving(p + u(p)). So a fixed landmark p
should land on its moving twin. u is interpolated linearly at p, and held beyond the border.

For Python: no layout of data holds landmarks, so no task measures it.
"""

from typing import Any

import numpy as np

CARD = {
    "better": "lower",
    "unit": "mm",
    "range": [0, None],
    "level": "case",
    "takes": "field",
    "aggregate": "mean over cases",
    "missing": "it has no worst value: left out, counted under missing",
    "empty": "no landmarks: undefined",
    "source": "target registration error (Fitzpatrick and West 2001)",
}

Array = np.ndarray[Any, np.dtype[Any]]


def measure(displacement: Array, grid: Any, fixed_points: Array, moving_points: Array) -> float | None:
    """Mean distance in mm.

    displacement: (d, *space) in voxels of the fixed grid. grid: mm per voxel along each axis (d,), or the fixed grid's
    affine (d+1, d+1). fixed_points, moving_points: (n, d) pairs in voxel indices of the fixed grid.
    """
    from scipy import ndimage

    displacement = np.asarray(displacement, dtype=np.float64)
    d = displacement.shape[0]
    fixed = np.asarray(fixed_points, dtype=np.float64).reshape(-1, d)
    moving = np.asarray(moving_points, dtype=np.float64).reshape(-1, d)
    if fixed.shape != moving.shape:
        raise ValueError(f"{len(fixed)} fixed but {len(moving)} moving landmarks")
    if not len(fixed):
        return None
    to_mm = np.asarray(grid, dtype=np.float64)
    to_mm = np.diag(to_mm) if to_mm.ndim == 1 else to_mm[:d, :d]
    shift = np.stack([ndimage.map_coordinates(u, fixed.T, order=1, mode="nearest") for u in displacement], axis=1)
    return float(np.linalg.norm((fixed + shift - moving) @ to_mm.T, axis=1).mean())
