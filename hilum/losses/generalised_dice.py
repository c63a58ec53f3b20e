"""Generalised Dice (Sudre et al., 2017): one overlap of all classes, a class of volume v weighted by 1 / v^2.

    1 - (2 sum_c w_c sum(p g) + s) / (sum_c w_c (sum(p) + sum(g)) + s),   w_c = (v_min / v_c)^2

v_min is the volume of the smallest class that is there. It cancels, but for s, which so stays small beside one voxel
however large the classes are; beside bare 1 / v^2 an s of 1e-5 hides errors in classes of some 100,000 voxels (MONAI).
The formula gives no weight to a class that is not there: it gets the largest one, 1 (as in MONAI), and where no
class is there all of them get it, so that what is wrongly found still costs (in MONAI it costs nothing).
"""

import math

from torch import Tensor

from hilum.losses._classes import per_class, total

CARD = {
    "about": "generalised Dice: small classes weigh as much as large ones",
    "tasks": ["segment"],
    "options": {"background": True, "batch": True, "smooth": 1e-5},
}


def generalised_dice(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    background: bool = True,
    batch: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """A scalar in [0, 1]. Shapes and options as `dice`, but the background is one of the classes."""
    probability, truth = per_class(logits, target, ignore, background)
    volume = total(truth, batch)
    weight = _weights(volume)
    overlap = (weight * total(probability * truth, batch)).sum(-1)
    size = (weight * (total(probability, batch) + volume)).sum(-1)
    return 1 - ((2 * overlap + smooth) / (size + smooth).clamp_min(1e-8)).mean()


def _weights(volume: Tensor) -> Tensor:
    """(smallest / volume)^2 over the last axis, in (0, 1]; 1 for a class without voxels."""
    there = volume > 0
    smallest = volume.where(there, math.inf).amin(-1, keepdim=True)
    return (smallest / volume).square().where(there, 1.0)
