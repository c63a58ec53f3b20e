"""Logits and labels, class by class, for the losses that compare masks."""

from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses._together import summed
from hilum.losses._wide import wide


def per_class(
    logits: Tensor, target: Tensor, ignore: int | None = None, background: bool = False
) -> tuple[Tensor, Tensor]:
    """Probability and truth of every class, (B, K, *space) or without background (B, K - 1, *space), 0 where ignored.

    logits: (B, K, *space). target: (B, *space), integers below K, or `ignore`.
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
    return (probability, truth) if background else (probability[:, 1:], truth[:, 1:])


def total(x: Tensor, batch: bool) -> Tensor:
    """Sum over space: (B, K, *space) -> (B, K). With `batch` over images and processes too: (K,)."""
    axes = ([0] if batch else []) + list(range(2, x.ndim))
    return summed(x.sum(axes)) if batch else x.sum(axes)
