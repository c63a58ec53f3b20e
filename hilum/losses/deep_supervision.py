"""Deep supervision: the lower resolutions of a decoder are trained too (weights of nnU-Net, Isensee et al., 2021)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hilum.core.errors import HilumError


def weights(n: int) -> tuple[float, ...]:
    """1, 1/2, 1/4, ... for n heads, highest resolution first, the lowest head 0, divided by their sum.

    One head: (1,). Two heads: (2/3, 1/3), because without the lower one nothing would be deep about it.
    """
    if n < 1:
        raise HilumError("HIL-LOSSES-02", f"There are {n} heads", "Give at least one")
    raw = [0.5**i for i in range(n)]
    if n > 2:
        raw[-1] = 0.0
    return tuple(value / sum(raw) for value in raw)


def deep_supervised(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Sequence[Tensor], targets: Sequence[Tensor]
) -> Tensor:
    """Weighted sum of loss(output, target) over the heads, highest resolution first.

    A head of weight 0 is not computed, so its parameters get no gradient.
    """
    if len(outputs) != len(targets):
        seen = f"There are {len(outputs)} outputs and {len(targets)} targets"
        raise HilumError("HIL-LOSSES-02", seen, "Give one target per output, each at its output's resolution")
    parts = zip(weights(len(outputs)), outputs, targets, strict=True)
    return torch.stack([weight * loss(output, target) for weight, output, target in parts if weight]).sum()
