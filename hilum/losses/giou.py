"""Overlap of boxes (generalised IoU: Rezatofighi et al., 2019), in any number of dimensions.

A box is (..., 2 * dims): the low sides of all axes, then the high sides (end exclusive). Shapes broadcast: all pairs
of a (N, 2d) and b (M, 2d) are `iou(a[:, None], b[None])`. A box whose high side is below its low side is empty.
"""

from torch import Tensor, maximum, minimum

from hilum.core.errors import HilumError
from hilum.losses._wide import wide

CARD = {
    "about": "overlap of boxes, for the task detect",
    "tasks": [],
    "options": {},
}

TINY = 1e-7
# Keeps empty boxes from dividing by zero; small beside one pixel.


def _parts(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Volumes of the intersection, the union and the smallest box around both, each (...)."""
    if a.shape[-1] != b.shape[-1] or a.shape[-1] % 2:
        seen = f"The boxes have {a.shape[-1]} and {b.shape[-1]} numbers"
        raise HilumError("HIL-LOSSES-04", seen, "Give the low sides of all axes, then the high sides")
    (low_a, high_a), (low_b, high_b) = wide(a).chunk(2, -1), wide(b).chunk(2, -1)

    def volume(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp_min(0).prod(-1)

    inside = volume(maximum(low_a, low_b), minimum(high_a, high_b))
    union = volume(low_a, high_a) + volume(low_b, high_b) - inside
    return inside, union, volume(minimum(low_a, low_b), maximum(high_a, high_b))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, (...), in [0, 1]; 0 for two empty boxes."""
    inside, union, _ = _parts(a, b)
    return inside / union.clamp_min(TINY)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """IoU - (hull - union) / hull, (...), in [-1, 1]: falls on with the distance of boxes that do not meet."""
    inside, union, hull = _parts(a, b)
    return inside / union.clamp_min(TINY) - (hull - union) / hull.clamp_min(TINY)


def giou_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - GIoU, (...), in [0, 2]; weigh and sum it where it is used."""
    return 1 - giou(a, b)
