"""Soft Dice (Milletari et al., 2016, with squares; without them as in nnU-Net, Isensee et al., 2021).

    dice = mean over classes of (2 sum(p g) + s) / (sum(p^k) + sum(g^k) + s),   k = 1, or 2 with `squared`

`dice` is 1 - that, in [0, 1] for smooth > 0: nnU-Net returns -dice, which has the same gradient. V-Net's released layer
reports the Dice of the hard mask and goes back by another formula; here the gradient is that of the value. That
layer is not offered, because then nothing could check the gradient of a loss against its value.
"""

from torch import Tensor

from hilum.losses._classes import per_class, total

CARD = {
    "about": "soft Dice alone: the overlap of each class",
    "tasks": ["segment"],
    "options": {"background": False, "batch": True, "squared": False, "smooth": 1e-5},
}


def dice(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    background: bool = False,
    batch: bool = False,
    squared: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """1 - Dice of softmax(logits), a scalar.

    logits: (B, K, *space). target: (B, *space), integers below K, or `ignore`, whose voxels count nowhere.
    background: class 0 takes part. batch: sums run over the batch too, so a class missing in one image is no extreme.
    """
    probability, truth = per_class(logits, target, ignore, background)
    overlap = total(probability * truth, batch)
    size = total(probability.square() if squared else probability, batch) + total(truth, batch)
    return 1 - ((2 * overlap + smooth) / (size + smooth).clamp_min(1e-8)).mean()
