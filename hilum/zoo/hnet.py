"""H-Net (authors of zxg3017/H-Net, about 2022): two encoders and two decoders, each reads the other side.

What is special: the left encoder is shallow and sees the image at four sizes, the right one is a ResNet-34. Both
decoders start from the right bottom; the left decoder takes its skips from the right encoder, the right decoder from
the left encoder, so that the wiring has the form of an H. The answer is the mean of both logits.

x: (B, C, H, W), divisible by 32 -> (B, K, H, W), logits; with deep supervision and in training mode {"out": [left,
right]}, both at full size. They weigh 0.6 and 0.4 (`supervision`), as in the authors' training, where the left one has
Dice and the right one cross-entropy; here both have the loss of the plan. Without deep supervision the mean learns.

A reconstruction. Several networks bear this name, and the article was not at hand: this one is written from notes on
the wiring and on the sizes of an early public version (`variant`); the class that its training script names is not
public, "137" is its nearest relative. Modules that were built there and never used are left out. Filled in: batch norm,
and ReLU last, in the right decoder; group norm in the left one; ReLU where the left decoder joins the two bottoms and
behind each convolution of the inception context. Windows of the pool pyramid are no larger than its map.
Images need not be square. The ResNet starts random, unless `encoder_weights` names a ResNet-34 of torchvision, as a
safetensors file (`from_resnet`).

`variant` "134", "137", "139": dilated context, third dilation 4, 7, 9, on both sides. "v1": dilated (third 5) on the
right, inception on the left. "v2": inception on both. "plain": as "v2" without the pool pyramid.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, cat, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import require_levels
from hilum.zoo._blocks.dims import Layers
from hilum.zoo._blocks.heads import Heads, Output, make_head
from hilum.zoo._blocks.only import only
from hilum.zoo._blocks.resnet_encoder import Encoder, renamed

CARD = {
    "paper": "H-Net: A H-shape Crossed Fully Convolutional Neural Network for Automated Biomedical Image Segmentation",
    "authors": "the authors of github.com/zxg3017/H-Net",
    "year": 2022,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 32,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2},
            "parameters": 35568184,
            "evidence": "calc: the public version's 47564862 less the 11996678 that it never uses",
            "shape": [1, 3, 224, 224],
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2, "variant": "v1"},
            "parameters": 36026680,
            "evidence": "calc: the public version's 49857854 less the 13831174 that it never uses",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2, "variant": "v2"},
            "parameters": 37861176,
            "evidence": "calc: the public version's 49857854 less the 11996678 that it never uses",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2, "variant": "plain"},
            "parameters": 37852964,
            "evidence": "calc: the public version's 49850155 less 11996678, and 513 of the pyramid that it passes by",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "width": 8},
        "shape": [2, 1, 32, 64],
    },
    "supervision": [0.6, 0.4],
    "licence": "Apache-2.0",
    "reconstruction": True,
    "branches": "two branches run one after the other",
}


class Variant(NamedTuple):
    """Context of the right and the left bottom, the dilated one's third dilation, whether there is a pool pyramid."""

    right: str
    left: str
    third: int
    pyramid: bool


VARIANTS = {
    "134": Variant("dilated", "dilated", 4, True),
    "137": Variant("dilated", "dilated", 7, True),
    "139": Variant("dilated", "dilated", 9, True),
    "v1": Variant("dilated", "inception", 5, True),
    "v2": Variant("inception", "inception", 5, True),
    "plain": Variant("inception", "inception", 5, False),
}


class Dilated(nn.Module):
    """x plus four branches of one, two or three dilated convolutions, which share their weights."""

    def __init__(self, kit: Layers, channels: int, third: int) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            kit.conv(channels, channels, 3, padding=rate, dilation=rate) for rate in (1, 3, third)
        )
        self.mix = kit.conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.first(x)
        twice = self.second(once)
        branches = [once, self.mix(self.second(x)), self.mix(twice), self.mix(self.third(twice))]
        for branch in branches:
            x = x + branch.relu()
        return x


class Inception(nn.Module):
    """Sum of four branches: 1x1; 3x3 and 5x5 after the same 1x1; maximum over 3x3."""

    def __init__(self, kit: Layers, channels: int) -> None:
        super().__init__()
        self.one, self.three, self.five = (kit.conv(channels, channels, k, padding=k // 2) for k in (1, 3, 5))
        self.pool = kit.max_pool(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.one(x)
        out: Tensor = mixed.relu() + self.three(mixed).relu() + self.five(mixed).relu() + self.pool(x)
        return out


class PoolPyramid(nn.Module):
    """(B, C, H, W) -> (B, 4 + C, H, W): in front one channel for each window, pooled, mixed by one 1x1, spread."""

    WINDOWS = (2, 3, 5, 6)

    def __init__(self, kit: Layers, channels: int) -> None:
        super().__init__()
        self.mix = kit.conv(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        size, found = x.shape[2:], []
        for window in self.WINDOWS:
            kernel = [min(window, side) for side in size]
            pooled = self.mix(functional.max_pool2d(x, kernel, kernel))
            found.append(functional.interpolate(pooled, size=size, mode="bilinear", align_corners=False))
        return cat([*found, x], dim=1)


def group_convs(kit: Layers, inputs: int, outputs: int, count: int) -> nn.Sequential:
    """`count` times: 3x3 convolution without bias, group norm of at most 32 groups, ReLU."""
    block = nn.Sequential()
    for index in range(count):
        block.append(kit.conv(outputs if index else inputs, outputs, 3, padding=1, bias=False))
        block.append(nn.GroupNorm(math.gcd(outputs, 32), outputs, eps=1e-4))
        block.append(nn.ReLU(inplace=True))
    return block


class LeftEncoder(nn.Module):
    """The image -> four pooled levels at strides 2 to 16; the image at that size, convolved, is in front of the first
    three. `channels`: of each."""

    def __init__(self, kit: Layers, inputs: int, width: int) -> None:
        super().__init__()
        widths, sides = [width // 2 * 2**i for i in range(4)], [width * 2**i for i in range(3)]
        self.channels = [wide + side for wide, side in zip(widths, [*sides, 0], strict=True)]
        before = [inputs, *self.channels]
        self.stages = nn.ModuleList(group_convs(kit, before[i], widths[i], 2) for i in range(4))
        self.sides = nn.ModuleList(
            nn.Sequential(kit.conv(inputs, side, 3, padding=1), nn.ReLU(inplace=True)) for side in sides
        )
        self.pool = kit.max_pool(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        found, level = [], x
        for index, stage in enumerate(self.stages):
            level = self.pool(stage(level))
            if index < len(self.sides):
                small = functional.interpolate(x, size=level.shape[2:], mode="bilinear", align_corners=False)
                level = cat([self.sides[index](small), level], dim=1)
            found.append(level)
        return found


class LeftDecoder(nn.Module):
    """Right bottom, left context and the right encoder's levels (finest first) -> (B, width / 2, H, W)."""

    def __init__(self, kit: Layers, bottom: int, width: int) -> None:
        super().__init__()
        self.lift = kit.transposed(bottom, 4 * width, 2, stride=2)
        self.join = kit.conv(4 * width, 4 * width, 3, padding=1)
        # channels that come in with the skip, after the transposed convolution, after the convolutions
        sizes = [(8, 4, 2), (4, 2, 1), (2, 1, 1), (2, 0.5, 0.5)]
        steps = [[int(width * share) for share in size] for size in sizes]
        self.up = nn.ModuleList(kit.transposed(before, inner, 2, stride=2) for before, inner, _ in steps)
        self.convs = nn.ModuleList(group_convs(kit, inner, after, 3) for _, inner, after in steps)

    def forward(self, bottom: Tensor, context: Tensor, skips: list[Tensor]) -> Tensor:
        x = self.join(self.lift(bottom) + context).relu()
        for up, convs, skip in zip(self.up, self.convs, reversed(skips), strict=True):
            x = convs(up(cat([x, skip], dim=1)))
        return x


def doubled(kit: Layers, inputs: int, outputs: int) -> nn.Sequential:
    """1x1 to a quarter, transposed 3x3 with stride 2, 1x1; batch norm and ReLU behind each."""
    inner = inputs // 4
    block = nn.Sequential()
    for conv, channels in (
        (kit.conv(inputs, inner, 1), inner),
        (kit.transposed(inner, inner, 3, stride=2, padding=1, output_padding=1), inner),
        (kit.conv(inner, outputs, 1), outputs),
    ):
        block.extend([conv, kit.batch_norm(channels), nn.ReLU(inplace=True)])
    return block


class RightDecoder(nn.Module):
    """Right bottom and the left encoder's levels (finest first) -> (B, width / 2, H, W); skips are added."""

    def __init__(self, kit: Layers, bottom: int, lefts: list[int], width: int) -> None:
        super().__init__()
        sizes = [bottom, 4 * width, 2 * width, width, width]
        self.up = nn.ModuleList(doubled(kit, sizes[i], sizes[i + 1]) for i in range(4))
        self.fit = nn.ModuleList(
            nn.Identity() if lefts[-1 - i] == sizes[i + 1] else kit.conv(lefts[-1 - i], sizes[i + 1], 1)
            for i in range(4)
        )
        self.last = nn.Sequential(
            kit.transposed(width, width // 2, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            kit.conv(width // 2, width // 2, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, bottom: Tensor, lefts: list[Tensor]) -> Tensor:
        x = bottom
        for up, fit, left in zip(self.up, self.fit, reversed(lefts), strict=True):
            x = up(x) + fit(left)
        out: Tensor = self.last(x)
        return out


class Crossed(nn.Module):
    """Both decoders' features, left in front (B, 2 F, H, W) -> the mean of their logits."""

    def __init__(self, kit: Layers, width: int, outputs: int) -> None:
        super().__init__()
        self.left, self.right = kit.conv(width, outputs, 1), kit.conv(width, outputs, 3, padding=1)

    def both(self, x: Tensor) -> list[Tensor]:
        """The logits of the left and of the right decoder."""
        left, right = x.chunk(2, dim=1)
        return [self.left(left), self.right(right)]

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.both(x)
        return (left + right) / 2


class Net(nn.Module):
    """variant: see the head of this file. width: of the ResNet's first stage, divisible by 4. deep_supervision: in
    training mode `forward` returns the logits of both decoders instead of their mean.
    """

    ORDER = (
        ("left.stages.*", "left.sides.*", "right.stem", "right.stages.*"),
        ("right_context", "left_context", "pyramid"),
        ("left_decoder", "right_decoder"),
        ("head",),
    )
    # From the input to the output, for learning rates by depth: left and right stand side by side.
    ENCODER = ("left", "right")

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        variant: str = "137",
        width: int = 64,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        kit = only(spatial_dims, 2)
        if variant not in VARIANTS:
            raise HilumError("HIL-ZOO-03", f"variant is {variant!r}", f"Use one of {list(VARIANTS)}")
        if width < 4 or width % 4:
            raise HilumError("HIL-ZOO-03", f"width is {width}", "Use 4, 8, 12, ...")
        chosen = VARIANTS[variant]
        self.divisor = (32,) * spatial_dims
        self.deep_supervision = deep_supervision
        self.left = LeftEncoder(kit, in_channels, width)
        self.right = Encoder(kit, in_channels, depth=34, width=width)
        bottom, side = self.right.channels[-1], self.left.channels[-1]
        self.right_context, self.left_context = (
            Dilated(kit, channels, chosen.third) if kind == "dilated" else Inception(kit, channels)
            for kind, channels in ((chosen.right, bottom), (chosen.left, side))
        )
        self.pyramid = PoolPyramid(kit, bottom) if chosen.pyramid else nn.Identity()
        bottom += len(PoolPyramid.WINDOWS) * chosen.pyramid
        self.left_decoder = LeftDecoder(kit, bottom, width)
        self.right_decoder = RightDecoder(kit, bottom, self.left.channels, width)
        self.head = make_head(lambda k: Crossed(kit, width // 2, k), out_channels)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H, W): the left decoder's half, then the right one's."""
        require_levels(x, self.divisor, self.training)
        lefts, (*rights, bottom) = self.left(x), self.right(x)
        bottom = self.pyramid(self.right_context(bottom))
        left = self.left_decoder(bottom, self.left_context(lefts[-1]), rights)
        return cat([left, self.right_decoder(bottom, lefts)], dim=1)

    def forward(self, x: Tensor) -> Output:
        features = self.features(x)
        if not (self.training and self.deep_supervision):
            out: Output = self.head(features)
            return out
        heads = self.head.items() if isinstance(self.head, Heads) else [("out", self.head)]
        return {name: head.both(features) for name, head in heads}  # type: ignore[operator]


def from_resnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state of torchvision's ResNet-34 for the right encoder of `Net`."""
    return renamed(state, "right")
