"""Tversky loss (Salehi et al., 2017): Dice in which false positives and false negatives cost differently.

    index = (TP + s) / (TP + alpha FP + beta FN + s)

alpha = beta = 0.5 is Dice, alpha = beta = 1 the overlap of Jaccard (IoU). Default: 0.3 and 0.7, which favours finding
too much. alpha is the weight of false positives here, as in MONAI; papers and libraries swap the two letters.
"""

from torch import Tensor

from hilum.core.errors import HilumError
from hilum.losses._classes import per_class, total

CARD = {
    "about": "Tversky: alpha weighs false positives, beta false negatives",
    "tasks": ["segment"],
    "options": {"alpha": 0.3, "beta": 0.7, "background": False, "batch": True, "smooth": 1e-5},
}


def tversky_index(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    background: bool = False,
    batch: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """The index of every class, in [0, 1]: (B, K - 1), with `batch` (K - 1,), with `background` K. Shapes as `dice`."""
    if min(alpha, beta) < 0 or alpha + beta <= 0:
        seen = f"alpha is {alpha} and beta {beta}"
        raise HilumError("HIL-LOSSES-06", seen, "Give weights of 0 or more, not both 0")
    probability, truth = per_class(logits, target, ignore, background)
    right = total(probability * truth, batch)
    excess = (total(probability, batch) - right).clamp_min(0)
    missed = (total(truth, batch) - right).clamp_min(0)
    return (right + smooth) / (right + alpha * excess + beta * missed + smooth).clamp_min(1e-8)


def tversky(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    background: bool = False,
    batch: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """1 - the mean index, a scalar in [0, 1]. Shapes and options as `dice`."""
    given = {"alpha": alpha, "beta": beta, "smooth": smooth}
    return 1 - tversky_index(logits, target, ignore, background=background, batch=batch, **given).mean()
