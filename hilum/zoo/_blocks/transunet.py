"""TransUNet's encoder and decoder (Chen et al., 2021), which DA-TransUNet keeps and puts its attention between.

Encoder: a ResNet-50 whose third stage has nine units and whose fourth is missing, then a Vision Transformer on its
pixels. Its convolutions are weight-standardised, its norms group norms.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import per_axis, require_size
from hilum.zoo._blocks.only import only
from hilum.zoo._blocks.vit_layer import ViTLayer, initialise

STRIDE = 16
# Of the encoder: pixels of the image to one token, along each axis.


class StandardisedConv(nn.Conv2d):
    """Every filter is used with mean 0 and variance 1 (Qiao et al., 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        return self._conv_forward(x, (self.weight - mean) / (variance + 1e-5).sqrt(), self.bias)


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Weight-standardised convolution without bias, then group norm (32 groups, fewer where they do not divide)."""
    conv = StandardisedConv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(math.gcd(32, outputs), outputs, eps=1e-6))


class Bottleneck(nn.Module):
    """relu(path(x) + shortcut(x)): 1x1, 3x3 (stride), 1x1 to four times the width; ReLU between.

    The norm of a projecting shortcut has a group for each channel.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        first, middle, last = conv_norm(inputs, width, 1), conv_norm(width, width, 3, stride), width * 4
        self.path = nn.Sequential(
            first, nn.ReLU(inplace=True), middle, nn.ReLU(inplace=True), conv_norm(width, last, 1)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != last:
            project = StandardisedConv(inputs, last, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.GroupNorm(last, last))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.path(x) + self.shortcut(x)).relu()
        return out


def make_stages(width: int, units: Sequence[int]) -> nn.ModuleList:
    """Three stages of bottlenecks with 4, 8 and 16 times the width; the first unit of the later two has stride 2."""
    stages, inputs = nn.ModuleList(), width
    for level, count in enumerate(units):
        stage = nn.Sequential()
        for index in range(count):
            stage.append(Bottleneck(inputs, width * 2**level, 2 if level and not index else 1))
            inputs = 4 * width * 2**level
        stages.append(stage)
    return stages


class Encoder(nn.Module):
    """(B, C, H, W) -> (B, dim, H/16, W/16) and the skips, lowest resolution first: 1/8, 1/4, 1/2.

    A grey image enters three times, as weights of colour pictures want it. before, after: what DA-TransUNet puts
    around the 1x1 patch embedding.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, ...],
        *,
        width: int,
        units: Sequence[int],
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.grey = in_channels == 1
        self.stem = conv_norm(3 if self.grey else in_channels, width, 7, 2).append(nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, stride=2)
        self.stages = make_stages(width, units)
        self.before: nn.Module = nn.Identity()
        self.embed = nn.Conv2d(16 * width, dim, 1)
        self.after: nn.Module = nn.Identity()
        tokens = math.prod(size // STRIDE for size in image_size)
        self.position = nn.Parameter(torch.zeros(1, tokens, dim))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(ViTLayer(dim, heads, mlp_ratio, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        nn.init.trunc_normal_(self.position, std=0.02)
        initialise(self.layers)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        require_size(x, self.image_size)
        half = self.stem(x.expand(-1, 3, -1, -1) if self.grey else x)
        quarter = self.stages[0](self.pool(half))
        eighth = self.stages[1](quarter)
        image = self.after(self.embed(self.before(self.stages[2](eighth))))
        tokens = self.dropout(image.flatten(2).transpose(1, 2) + self.position)
        out = self.norm(self.layers(tokens)).transpose(1, 2).unflatten(2, image.shape[2:])
        # the pooling without padding leaves one row and one column less than a quarter
        missing = [half.shape[axis] // 2 - quarter.shape[axis] for axis in (3, 2)]
        return out, [eighth, functional.pad(quarter, (0, missing[0], 0, missing[1])), half]


def conv_act(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 convolution without bias, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Decoder(nn.Module):
    """The cascaded upsampler: a convolution, then four times: twice the size, join the skip, two convolutions.

    skips: channels of the skips that are used, lowest resolution first. channels: of the first convolution and of
    the four blocks.
    """

    def __init__(self, inputs: int, skips: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        self.first = conv_act(inputs, channels[0])
        self.blocks = nn.ModuleList()
        for level, outputs in enumerate(channels[1:]):
            joined = channels[level] + (skips[level] if level < len(skips) else 0)
            self.blocks.append(nn.Sequential(conv_act(joined, outputs), conv_act(outputs, outputs)))

    def forward(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        x = self.first(x)
        for level, block in enumerate(self.blocks):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([x, skips[level]], dim=1) if level < len(skips) else x)
        return x


def checked(
    spatial_dims: int, image_size: int | Sequence[int], dim: int, heads: int, counts: Sequence[Sequence[int]]
) -> tuple[int, ...]:
    """The image size per axis; refuse options that can not be built. counts: units of the stages, decoder channels."""
    only(spatial_dims, 2)
    sizes = per_axis(image_size, 2, "image_size")
    if any(size % STRIDE for size in sizes) or math.prod(sizes) == STRIDE**2:
        seen = f"image_size is {sizes}"
        raise HilumError("HIL-ZOO-03", seen, f"Make both sides divisible by {STRIDE}, one of them {2 * STRIDE} or more")
    if dim % heads:
        raise HilumError("HIL-ZOO-03", f"dim {dim} is not divisible by {heads} heads", "Change one of them")
    for name, found, count in zip(("units", "decoder"), counts, (3, 5), strict=True):
        if len(found) != count or min(found) < 1:
            raise HilumError("HIL-ZOO-03", f"{name} is {tuple(found)}", f"Give {count} positive numbers")
    return sizes
