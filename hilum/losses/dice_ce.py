"""Soft Dice and its sum with cross-entropy (Milletari et al., 2016; 1:1 as in nnU-Net, Isensee et al., 2021).

    dice = mean over classes of (2 sum(p g) + s) / (sum(p^k) + sum(g^k) + s),   k = 1, or 2 with `squared`

`soft_dice` is 1 - dice, in [0, 1] for smooth > 0: nnU-Net returns -dice, which has the same gradient.
"""

from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses._together import summed
from hilum.losses._wide import wide


def soft_dice(
    logits: Tensor,
    target: Tensor,
    *,
    background: bool = False,
    batch: bool = False,
    squared: bool = False,
    smooth: float = 1e-5,
    ignore: int | None = None,
) -> Tensor:
    """1 - Dice of softmax(logits), a scalar.

    logits: (B, K, *space). target: (B, *space), integers below K, or `ignore`, whose voxels count nowhere.
    background: class 0 takes part. batch: sums run over the batch too, so a class missing in one image is no extreme.
    """
    if not background and logits.shape[1] < 2:
        raise HilumError(
            "HIL-LOSSES-01", "There is one channel and no background", "Use two channels or background=True"
        )
    probability = wide(logits).softmax(1)
    valid = None if ignore is None else target != ignore
    labels = target.long() if valid is None else target.long().where(valid, 0)
    truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probability.dtype)
    if valid is not None:
        probability, truth = probability * valid.unsqueeze(1), truth * valid.unsqueeze(1)
    if not background:
        probability, truth = probability[:, 1:], truth[:, 1:]
    axes = ([0] if batch else []) + list(range(2, logits.ndim))
    overlap = (probability * truth).sum(axes)
    size = (probability.square() if squared else probability).sum(axes) + truth.sum(axes)
    if batch:
        overlap, size = summed(overlap), summed(size)
    return 1 - ((2 * overlap + smooth) / (size + smooth).clamp_min(1e-8)).mean()


def cross_entropy(logits: Tensor, target: Tensor, ignore: int | None = None) -> Tensor:
    """Mean of -log p(true class) over the voxels that are not `ignore`; 0 if there is none. Shapes as `soft_dice`."""
    index = -100 if ignore is None else ignore
    total = functional.cross_entropy(wide(logits), target.long(), ignore_index=index, reduction="sum")
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
    """Cross-entropy + soft Dice, 1:1, a scalar. Shapes and options as `soft_dice`."""
    dice = soft_dice(logits, target, background=background, batch=batch, squared=squared, smooth=smooth, ignore=ignore)
    return cross_entropy(logits, target, ignore) + dice
