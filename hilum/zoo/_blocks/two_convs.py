"""The two 3x3 convolutions of every level of a U-Net (Ronneberger et al., 2015)."""

from torch import nn

from hilum.zoo._blocks.dims import Layers


def two_convs(kit: Layers, inputs: int, outputs: int, *, padding: int = 1, batch_norm: bool = False) -> nn.Sequential:
    """Twice: 3x3 convolution with bias, batch norm where asked for, ReLU. Each takes 2 - 2 * padding off every side."""
    block = nn.Sequential()
    for width in (inputs, outputs):
        block.append(kit.conv(width, outputs, 3, padding=padding))
        if batch_norm:
            block.append(kit.batch_norm(outputs))
        block.append(nn.ReLU(inplace=True))
    return block
