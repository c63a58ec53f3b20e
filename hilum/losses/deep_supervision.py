"""Deep supervision: the other outputs of a decoder are trained too.

Heads of falling resolution weigh 1, 1/2, 1/4, ..., the lowest one 0, divided by their sum (nnU-Net, Isensee et al.,
2021); of two heads the lower one keeps its half. Heads that all have the same resolution weigh the same (UNet++, Zhou
et al., 2018; UNet 3+, Huang et al., 2020). A network whose paper has weights of its own says so in its CARD,
`supervision`; those are not divided by their sum. MONAI's weights stop falling at 1/16, keep the lowest head and are
not divided, so its loss grows with the heads.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hilum.core.errors import HilumError

CARD = {
    "about": "weighted sum of a loss over the heads of a decoder; networks bring it with them",
    "tasks": [],
    "options": {},
}


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
    loss: Callable[[Tensor, Tensor], Tensor],
    outputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    shares: Sequence[float] | None = None,
) -> Tensor:
    """Weighted sum of loss(output, target) over the heads, highest resolution first; equal resolutions weigh the same.

    shares: weights of the outputs instead of those. A head of weight 0 is not computed, so its parameters get no
    gradient.
    """
    if len(outputs) != len(targets):
        seen = f"There are {len(outputs)} outputs and {len(targets)} targets"
        raise HilumError("HIL-LOSSES-02", seen, "Give one target per output, each at its output's resolution")
    if shares is not None and len(shares) != len(outputs):
        seen = f"There are {len(outputs)} outputs and {len(shares)} weights"
        raise HilumError("HIL-LOSSES-02", seen, "Give one weight per output, in their order")
    if shares is None:
        alike = len({tuple(output.shape[2:]) for output in outputs}) == 1
        shares = (1 / len(outputs),) * len(outputs) if alike else weights(len(outputs))
    parts = zip(shares, outputs, targets, strict=True)
    return torch.stack([weight * loss(output, target) for weight, output, target in parts if weight]).sum()
