"""Boundary loss (Kervadec et al., 2019): how far from the true boundary the probability lies, beside an overlap.

    alpha * generalised Dice + (1 - alpha) * mean of p phi,   phi the signed distance to the boundary of the truth

phi is above 0 outside of a class and at most 0 inside, so the second term is lowest, and below 0, for the truth itself.
It is 0 for a class that is not there (or is everywhere) and then says nothing: never use it without an overlap.
The released code changes alpha by epoch ("rebalance": from 1 down by 0.01); here it stays, by default at 0.99. A
schedule is not offered, because a loss here knows neither step nor epoch. That code also makes phi once for a whole
image; in training here phi is made anew for every patch, of what the patch shows: a boundary beyond its edge is not
seen, and the time goes into every step.

phi inside is one voxel less deep than the distance to the outside, as in the released code, so that it is 0 along the
edge. With `spacing`, which the task segment gives from the plan, distances are in its unit, and one voxel is its
smallest entry: taking 1 off millimetres, as that code does, turns the sign of voxels below 1 mm.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hilum.core.errors import HilumError
from hilum.losses._classes import per_class
from hilum.losses._together import summed
from hilum.losses.generalised_dice import generalised_dice

CARD = {
    "about": "generalised Dice and, by 1 - alpha, the distance to the true boundary",
    "tasks": ["segment"],
    "options": {"alpha": 0.99, "background": False, "batch": True},
    "spacing": "mm",
}


def signed_distance(
    target: Tensor,
    classes: int,
    ignore: int | None = None,
    *,
    background: bool = False,
    spacing: Sequence[float] | None = None,
) -> Tensor:
    """phi of every class, (B, K, *space), without background (B, K - 1, *space), float32; slow, so make it once.

    target: (B, *space), integers below K = classes, or `ignore`: 0 there, and no boundary of a class against it.
    """
    from scipy.ndimage import distance_transform_edt

    labels, first = target.detach().cpu().numpy(), 0 if background else 1
    out = np.zeros((len(labels), classes - first, *labels.shape[1:]), np.float32)
    voxel = 1.0 if spacing is None else min(spacing)
    for image, one in enumerate(labels):
        known = np.full(one.shape, True) if ignore is None else one != ignore
        for number in range(first, classes):
            inside = one == number
            outside = ~inside & known
            if inside.any() and outside.any():
                away = distance_transform_edt(~inside, sampling=spacing)
                deep = distance_transform_edt(~outside, sampling=spacing)
                out[image, number - first] = np.where(inside, voxel - deep, away) * known
    return torch.from_numpy(out).to(target.device)


def boundary_term(
    logits: Tensor, target: Tensor, distance: Tensor, ignore: int | None = None, *, background: bool = False
) -> Tensor:
    """Mean of p phi over classes and the voxels that are not `ignore`, a scalar of any sign.

    distance: made by `signed_distance`.
    """
    probability, _ = per_class(logits, target, ignore, background)
    if probability.shape != distance.shape:
        seen = f"The distances have the shape {tuple(distance.shape)}, not {tuple(probability.shape)}"
        raise HilumError("HIL-LOSSES-06", seen, "Make them with signed_distance and the same `background`")
    known = target == target if ignore is None else target != ignore
    count = summed(known.sum().to(probability.dtype)).clamp_min(1) * probability.shape[1]
    return summed((probability * distance).sum()) / count


def boundary(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    alpha: float = 0.99,
    background: bool = False,
    batch: bool = False,
    spacing: Sequence[float] | None = None,
    distance: Tensor | None = None,
) -> Tensor:
    """Both terms, a scalar. Shapes as `dice`.

    background: class 0 has a boundary too (it always takes part in the overlap). batch: of the overlap. distance: made
    before by `signed_distance`; None: made here.
    """
    if not 0 <= alpha <= 1:
        raise HilumError("HIL-LOSSES-06", f"alpha is {alpha}", "Give a share between 0 and 1")
    if distance is None:
        distance = signed_distance(target, logits.shape[1], ignore, background=background, spacing=spacing)
    overlap = generalised_dice(logits, target, ignore, batch=batch)
    return alpha * overlap + (1 - alpha) * boundary_term(logits, target, distance, ignore, background=background)
