"""Cross-entropy, and its sum with soft Dice (1:1 as in nnU-Net, Isensee et al., 2021).

Differs from nnU-Net: the task sums Dice over the batch in 3-D too. nnU-Net does so in 2-D, and in 3-D only behind a
cascade; its form without one is `dice_ce:batch=false`.
"""

from torch import Tensor
from torch.nn import functional

from hilum.losses._together import summed
from hilum.losses._wide import wide
from hilum.losses.dice import dice

CARD = {
    "about": "cross-entropy + soft Dice, 1:1, as in nnU-Net",
    "tasks": ["segment"],
    "options": {"background": False, "batch": True, "squared": False, "smooth": 1e-5},
}


def cross_entropy(logits: Tensor, target: Tensor, ignore: int | None = None) -> Tensor:
    """Mean of -log p(true class) over the voxels that are not `ignore`; 0 if there is none. Shapes as `dice`."""
    index = -100 if ignore is None else ignore
    # CUDA's own sum over voxels is not the same every time, and refused where learning.deterministic asks for it
    reduction = "none" if logits.is_cuda else "sum"
    total = functional.cross_entropy(wide(logits), target.long(), ignore_index=index, reduction=reduction).sum()
    return summed(total) / summed((target != index).sum().to(total.dtype)).clamp_min(1)


def dice_ce(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    background: bool = False,
    batch: bool = False,
    squared: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """Cross-entropy + soft Dice, 1:1, a scalar. Shapes and options as `dice`."""
    overlap = dice(logits, target, ignore, background=background, batch=batch, squared=squared, smooth=smooth)
    return cross_entropy(logits, target, ignore) + overlap
