"""Local normalised cross-correlation (as in VoxelMorph, Balakrishnan et al., 2019), for images of one modality.

    cc = (sum_w (I - mean I)(J - mean J))^2 / (sum_w (I - mean I)^2 sum_w (J - mean J)^2 + eps),   loss = -mean cc

Differs from VoxelMorph: at the border the window is cut, not filled with zeros, so that a gain and an offset of one
image change nothing there either.
"""

import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses._wide import wide

CARD = {
    "about": "local correlation of two images, for the task register",
    "tasks": [],
    "options": {},
}


def _window_sum(x: Tensor, window: int) -> Tensor:
    """Sum over a cube of side `window` around each voxel, zeros outside; axis by axis. (B, C, *space) both."""
    half = window // 2
    for axis in range(2, x.ndim):
        padding = [0, 0] * (x.ndim - 1 - axis) + [half, half]
        x = functional.pad(x, padding).unfold(axis, window, 1).sum(-1)
    return x


def ncc(image: Tensor, reference: Tensor, *, window: int = 9, eps: float = 1e-5) -> Tensor:
    """Minus the mean squared local correlation, a scalar in [-1, 0]; flat windows count 0.

    image, reference: (B, C, *space), any number of axes; intensities about [0, 1], because eps has their fourth power.
    window: odd, voxels.
    """
    if window < 1 or window % 2 == 0:
        raise HilumError("HIL-LOSSES-05", f"window is {window}", "Use an odd number")
    if image.shape != reference.shape:
        seen = f"The images have the shapes {tuple(image.shape)} and {tuple(reference.shape)}"
        raise HilumError("HIL-LOSSES-05", seen, "Bring both onto one grid")
    axes = list(range(2, image.ndim))
    # Taking the mean away changes no correlation and saves digits in the differences below.
    i, j = (wide(x) - wide(x).mean(axes, keepdim=True).detach() for x in (image, reference))
    count = _window_sum(torch.ones_like(i[:1, :1]), window)
    sum_i, sum_j = _window_sum(i, window), _window_sum(j, window)
    cross = _window_sum(i * j, window) - sum_i * sum_j / count
    spread_i = (_window_sum(i * i, window) - sum_i.square() / count).clamp_min(0)
    spread_j = (_window_sum(j * j, window) - sum_j.square() / count).clamp_min(0)
    return -(cross.square() / (spread_i * spread_j + eps)).mean()
