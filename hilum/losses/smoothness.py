"""Smoothness of a displacement field: the diffusion penalty of VoxelMorph (Balakrishnan et al., 2019)."""

import torch
from torch import Tensor

from hilum.losses._wide import wide

CARD = {
    "about": "how rough a deformation is, for the task register",
    "tasks": [],
    "options": {},
}


def smoothness(field: Tensor) -> Tensor:
    """Mean over axes of mean(|u(p + 1) - u(p)|^2), a scalar. field: (B, dims, *space), voxels.

    The mean over axes, not their sum (MONAI sums). An axis of one voxel has no difference and is left out.
    """
    field = wide(field)
    steps = [field.diff(dim=axis).square().mean() for axis in range(2, field.ndim) if field.shape[axis] > 1]
    return torch.stack(steps).mean() if steps else field.sum() * 0
