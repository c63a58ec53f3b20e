"""The sharp block (Zunair and Ben Hamza, 2021): a fixed filter on every channel of a skip."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError

KERNELS = {
    "laplacian8": [[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]],
    "sharpen5": [[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]],
}
# laplacian8 sums to 0 and leaves edges alone, sharpen5 sums to 1 and keeps the image too.


class Sharp(nn.Module):
    """(B, channels, H, W) -> the same shape, zeros beyond the border. The kernel is saved but never learned."""

    weight: Tensor

    def __init__(self, channels: int, kernel: str) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise HilumError("HIL-ZOO-03", f"kernel is {kernel!r}", f"Use one of {sorted(KERNELS)}")
        self.register_buffer("weight", torch.tensor(KERNELS[kernel]).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, padding=1, groups=x.shape[1])
