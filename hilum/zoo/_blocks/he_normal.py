"""Weights that start as He et al. (2015) advise for layers followed by ReLU."""

import math

from torch import nn

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def he_normal(net: nn.Module) -> None:
    """Every convolution in `net`: weights from N(0, 2 / N), N the numbers that one output is summed from; biases 0."""
    for module in net.modules():
        if not isinstance(module, CONVOLUTIONS):
            continue
        taps = math.prod(module.kernel_size)
        if module.transposed:
            # each output is reached by so many taps of the kernel only
            taps = max(1, taps // math.prod(module.stride))
        nn.init.normal_(module.weight, std=math.sqrt(2 / (taps * module.in_channels // module.groups)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
