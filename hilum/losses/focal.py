"""Focal loss (Lin et al., 2017): -a (1 - p)^gamma log p, p the probability given to the truth; easy places count less.

gamma = 0 is cross-entropy.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses._together import summed
from hilum.losses._wide import wide

CARD = {
    "about": "focal loss: voxels that are found easily count less",
    "tasks": ["segment"],
    "options": {"gamma": 2.0},
}

TINY = 1e-12
# A power below 1 has no slope at 0, where the answer is sure and right.


def sigmoid_focal(
    logits: Tensor, target: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = "mean"
) -> Tensor:
    """Every channel by itself. logits, target: the same shape, target in [0, 1].

    alpha: weight of the ones, 1 - alpha of the zeros; None for no weights. reduction: "mean" (over all elements),
    "sum" (detectors divide by the number of objects) or "none" (the shape of logits).
    """
    logits, target = wide(logits), wide(target)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    loss = _power(probability * (1 - target) + (1 - probability) * target, gamma) * entropy
    if alpha is not None:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return _reduce(loss, reduction)


def focal(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    alpha: Sequence[float] | None = None,
    gamma: float = 2.0,
    reduction: str = "mean",
) -> Tensor:
    """One class per place. logits: (B, K, *space). target: (B, *space), integers below K, or `ignore` (counts 0).

    alpha: one weight per class. reduction: "mean" (over places that are not ignored), "sum" or "none" (B, *space).
    MONAI's mean also runs over the K channels and so is K times smaller.
    """
    valid = target == target if ignore is None else target != ignore
    labels = target.long().where(valid, 0)
    log_probability = wide(logits).log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    loss = -_power(1 - log_probability.exp(), gamma) * log_probability * valid
    if alpha is not None:
        loss = loss * loss.new_tensor(alpha)[labels]
    if reduction == "mean":
        return summed(loss.sum()) / summed(valid.sum().to(loss.dtype)).clamp_min(1)
    return _reduce(loss, reduction)


def _power(wrong: Tensor, gamma: float) -> Tensor:
    """wrong^gamma, `wrong` being the probability not given to the truth."""
    if gamma < 0:
        raise HilumError("HIL-LOSSES-06", f"gamma is {gamma}", "Give 0 or more; 2 is usual")
    return wrong.clamp_min(TINY) ** gamma


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise HilumError("HIL-LOSSES-03", f"reduction is {reduction!r}", "Use mean, sum or none")
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()
