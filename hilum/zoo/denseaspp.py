"""DenseASPP (Yang et al., 2018): dilated convolutions in a row, each of which reads all before it.

What is special: the rates 3, 6, 12, 18, 24 stand in a dense chain, so that every sum of rates is a scale that is seen,
up to 127 points of the map; side by side, as in ASPP, the largest would see 49.

x: (B, C, H, W), divisible by 8 -> (B, K, H, W), logits. Backbone: DenseNet with stride 8; transitions 2 and 3 keep the
resolution, blocks 3 and 4 dilate by 2 and 4, a last transition halves the channels.

Differs from the paper: the norms of the chain move their running mean with PyTorch's momentum of 0.1. The released code
has 0.0003, which suits a long training from ImageNet weights: after a short one the network would be tested with a mean
and variance that it has not reached; `momentum` sets it. Batch norm of one device. All of the chain and the head read
the backbone's map itself; in the released code the first link's ReLU works in place, and the others read its positive
part: `in_place` is that form. The DenseNet starts random unless `encoder_weights` names one of torchvision of that
depth, as a safetensors file (`from_densenet`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import require_levels
from hilum.zoo._blocks.dims import Layers
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only

CARD = {
    "paper": "DenseASPP for Semantic Segmentation in Street Scenes",
    "authors": "Yang, Yu, Zhang, Li, Yang",
    "year": 2018,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 8,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 19, "spatial_dims": 2, "depth": 121},
            "parameters": 8280851,
            "evidence": "calc; the form of the published scores has depth=161",
            "shape": [1, 3, 512, 512],
            # the crop in training, as recalled, not read again in the paper
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 19, "spatial_dims": 2, "depth": 161},
            "parameters": 35395427,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 19, "spatial_dims": 2, "depth": 169},
            "parameters": 18420675,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 19, "spatial_dims": 2, "depth": 201},
            "parameters": 28639987,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "blocks": [2, 2, 2, 2],
            "growth": 8,
            "init_features": 8,
            "chain": [16, 8],
        },
        "shape": [2, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class Size(NamedTuple):
    """A DenseNet, and the widths of the chain's 1x1 and dilated convolutions."""

    blocks: Sequence[int]
    growth: int
    init_features: int
    chain: Sequence[int]


SIZES = {
    121: Size((6, 12, 24, 16), 32, 64, (128, 64)),
    161: Size((6, 12, 36, 24), 48, 96, (512, 128)),
    169: Size((6, 12, 32, 32), 32, 64, (336, 168)),
    201: Size((6, 12, 48, 32), 32, 64, (480, 240)),
}


def norm_act_conv(kit: Layers, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Batch norm, ReLU, convolution without bias."""
    padding = dilation * (kernel // 2)
    conv = kit.conv(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(kit.batch_norm(inputs), nn.ReLU(inplace=True), conv)


class DenseLayer(nn.Module):
    """1x1 to four times the growth, 3x3 to the growth, put behind the input."""

    def __init__(self, kit: Layers, inputs: int, growth: int, dilation: int) -> None:
        super().__init__()
        first, last = norm_act_conv(kit, inputs, 4 * growth, 1), norm_act_conv(kit, 4 * growth, growth, 3, dilation)
        self.path = nn.Sequential(first, last)

    def forward(self, x: Tensor) -> Tensor:
        return cat([x, self.path(x)], dim=1)


def make_backbone(kit: Layers, inputs: int, size: Size) -> tuple[nn.Sequential, int]:
    """(B, C, H, W) -> (B, channels, H / 8, W / 8), and the channels; the first transition alone pools."""
    channels = size.init_features
    backbone = nn.Sequential(
        kit.conv(inputs, channels, 7, stride=2, padding=3, bias=False),
        kit.batch_norm(channels),
        nn.ReLU(inplace=True),
        kit.max_pool(3, stride=2, padding=1),
    )
    for index, (count, dilation) in enumerate(zip(size.blocks, (1, 1, 2, 4), strict=True)):
        made = (DenseLayer(kit, channels + i * size.growth, size.growth, dilation) for i in range(count))
        backbone.append(nn.Sequential(*made))
        channels += count * size.growth
        transition = norm_act_conv(kit, channels, channels // 2, 1)
        backbone.append(transition.append(kit.avg_pool(2)) if index == 0 else transition)
        channels //= 2
    return backbone.append(kit.batch_norm(channels)), channels


class Link(nn.Module):
    """One dilated convolution of the chain, put in front of what it read: (B, C, ...) -> (B, C + widths[1], ...).

    first: without the leading norm, because the backbone ends with one. positive: the positive part of its input is
    handed on, and not the input.
    """

    def __init__(
        self,
        kit: Layers,
        inputs: int,
        widths: Sequence[int],
        rate: int,
        first: bool,
        momentum: float,
        dropout: float,
        positive: bool = False,
    ) -> None:
        super().__init__()
        squeeze, growth = widths
        self.positive = positive
        self.path = nn.Sequential(
            nn.Identity() if first else kit.batch_norm(inputs, momentum=momentum),
            nn.ReLU(),  # not in place: the chain reads its input again
            kit.conv(inputs, squeeze, 1),
            kit.batch_norm(squeeze, momentum=momentum),
            nn.ReLU(inplace=True),
            kit.conv(squeeze, growth, 3, padding=rate, dilation=rate),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return cat([self.path(x), x.relu() if self.positive else x], dim=1)


class Net(nn.Module):
    """depth: 121, 161, 169 or 201, which sets the next four where they are not given. blocks: layers of each block.

    growth: channels that a layer adds. init_features: channels before the first block. chain: widths of its 1x1 and its
    dilated convolutions. rates: of the chain. momentum: of the chain's norms. dropout: of whole channels after each
    link and before the head. in_place: what follows the chain's first link reads the backbone's positive part alone.
    """

    ORDER = (("backbone.*",), ("chain.*",), ("head",))
    ENCODER = ("backbone",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        depth: int = 121,
        blocks: Sequence[int] | None = None,
        growth: int | None = None,
        init_features: int | None = None,
        chain: Sequence[int] | None = None,
        rates: Sequence[int] = (3, 6, 12, 18, 24),
        momentum: float = 0.1,
        dropout: float = 0.1,
        in_place: bool = False,
    ) -> None:
        super().__init__()
        kit = only(spatial_dims, 2)
        if depth not in SIZES:
            raise HilumError("HIL-ZOO-03", f"depth is {depth!r}", f"Use one of {sorted(SIZES)}")
        usual = SIZES[depth]
        size = Size(
            blocks or usual.blocks, growth or usual.growth, init_features or usual.init_features, chain or usual.chain
        )
        if len(size.blocks) != 4 or len(size.chain) != 2 or not rates:
            seen = f"There are {len(size.blocks)} blocks, {len(size.chain)} chain widths and {len(rates)} rates"
            raise HilumError("HIL-ZOO-03", seen, "Give four blocks, two widths and one rate or more")
        self.divisor = (8,) * spatial_dims
        self.backbone, channels = make_backbone(kit, in_channels, size)
        self.chain = nn.Sequential()
        for rate in rates:
            first = len(self.chain) == 0
            self.chain.append(Link(kit, channels, size.chain, rate, first, momentum, dropout, first and in_place))
            channels += size.chain[1]
        self.dropout = nn.Dropout2d(dropout)
        self.head = make_head(
            lambda k: nn.Sequential(kit.conv(channels, k, 1), nn.Upsample(scale_factor=8, mode="bilinear")),
            out_channels,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, backbone + one growth per rate, H / 8, W / 8): what the head's 1x1 convolution reads."""
        require_levels(x, self.divisor, self.training)
        out: Tensor = self.dropout(self.chain(self.backbone(x)))
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out


def from_densenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state of torchvision's DenseNet (its older names and MONAI's too) for the backbone of `Net`.

    norm5, which follows the last block there, fills the norm of the transition that follows it here. The transition's
    convolution, the last norm and the chain start fresh, and the classifier is dropped. Another maker's names are
    refused (HIL-ZOO-06).
    """
    found = {}
    for key, value in state.items():
        if key.startswith(("classifier.", "class_layers.")):
            continue
        plain = key.removeprefix("features.").replace(".layers.", ".")
        if match := re.fullmatch(r"(conv|norm)0\.(\w+)", plain):
            name = f"{int(match[1] == 'norm')}.{match[2]}"
        elif match := re.fullmatch(r"denseblock([1-4])\.denselayer(\d+)\.(conv|norm)\.?([12])\.(\w+)", plain):
            place = f"{int(match[4]) - 1}.{2 * int(match[3] == 'conv')}"
            name = f"{2 + 2 * int(match[1])}.{int(match[2]) - 1}.path.{place}.{match[5]}"
        elif match := re.fullmatch(r"transition([1-3])\.(conv|norm)\.(\w+)", plain):
            name = f"{3 + 2 * int(match[1])}.{2 * int(match[2] == 'conv')}.{match[3]}"
        elif match := re.fullmatch(r"norm5\.(\w+)", plain):
            name = f"11.0.{match[1]}"
        else:
            raise HilumError("HIL-ZOO-06", f"{key!r} is not a weight of torchvision's DenseNet", "Load a DenseNet")
        found[f"backbone.{name}"] = value
    return found
