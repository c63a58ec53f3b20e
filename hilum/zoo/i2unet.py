"""I2U-Net (Dai et al., 2024): a U-Net on a ResNet-34 that carries a thin history along with the image.

What is special: a few channels, the history h, run beside the image x through all blocks, as in a recurrent network;
each block reads both and adds to h what it has found. Skips are added, on both paths. In the middle, attention of every
place to the whole map: to tokens pooled at several scales, and to the map after dilated convolutions.

x: (B, C, H, W), both sides divisible by 32; at least 192 for size "L", 128 for "M" and "S" -> (B, K, H, W), logits.

Sizes: L has a 3x3 convolution on the history and a wider middle through which no history passes; M has neither and
carries the history through; S is M with half the channels.

A reconstruction where the description leaves gaps: ReLU after each dilated convolution, which of the decoder's four
channel attentions has the wider kernel (the first here). Returns logits; the released code ends in a sigmoid and then
trains with a cross-entropy that takes logits. Layers of the released code that do nothing are not here: its classifier,
a norm of the history behind the encoder and, in L, what only sees or makes a history that is not read; but for weights
that read zeros and so never learn, as in the released code: of the first block (18,432; 4,608 in S), as the history
begins at 0, and 4,096 of L's first decoder block, where its middle leaves none. The middle lets in no attention at
first. Written from the description, not from its source.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import require_divisible
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only

CARD = {
    "paper": "I2U-Net: A dual-path U-Net with rich information interaction for medical image segmentation",
    "authors": "Dai, Dong, Yan, Sun, Zhang, Li, Xu",
    "year": 2024,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 32,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2, "size": "L"},
            "parameters": 29096942,
            "evidence": "calc: the released code's 29651318 less 545000 (classifier) and 9376 (histories not read)",
            "shape": [1, 3, 224, 224],
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2, "size": "M"},
            "parameters": 26949358,
            "evidence": "calc: the released code's 27494422 less 545000 (classifier) and 64 (a norm of the history)",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2, "size": "S"},
            "parameters": 6758814,
            "evidence": "calc: the released code's 7031846 less 273000 (classifier) and 32 (a norm of the history)",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "size": "M",
            "widths": [8, 8, 16, 16],
            "blocks": [1, 1, 1, 1],
            "history": 4,
            "dropout": 0.0,
            "closed": False,
        },
        "shape": [2, 1, 128, 128],
    },
    "own_dropout": True,
    "licence": "Apache-2.0",
    "reconstruction": True,
}


class Size(NamedTuple):
    """What the letter of a size stands for; `least` is the smallest side of the middle's map."""

    widths: tuple[int, ...]
    history: int
    recurrent: bool
    least: int


SIZES = {
    "L": Size((64, 128, 256, 512), 32, True, 6),
    "M": Size((64, 128, 256, 512), 32, False, 4),
    "S": Size((32, 64, 128, 256), 16, False, 4),
}
KERNELS = (5, 5, 5, 7)
# Of the channel attention in each stage of the encoder; the decoder's four have them in reverse.
LAST = 32
# Channels before the head.
DROPPED = 2
# The side of the squares that are dropped in the middle.


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """Convolution that keeps the size, but for the stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)


def conv_act(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 convolution with bias, batch norm, ReLU."""
    return nn.Sequential(conv(inputs, outputs, 1, bias=True), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def dilated(channels: int, dilation: int) -> nn.Conv2d:
    """3x3 convolution with holes."""
    return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)


def doubled(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Twice the size: 3x3 transposed convolution with stride 2."""
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)


class ChannelAttention(nn.Module):
    """ECA (Wang et al., 2020): each channel times a number that its mean and its neighbours' means decide."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid()  # b 1 c
        return x * weight.transpose(1, 2).unsqueeze(-1)


class DropBlock(nn.Module):
    """DropBlock (Ghiasi et al., 2018): in training squares of all channels are set to 0, the other places make up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"a share of {rate:g} can not be dropped")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.rate):
            return x
        corner = (torch.rand_like(x[:, :1]) < self.rate / DROPPED**2).to(x.dtype)
        gone = functional.max_pool2d(corner, DROPPED, stride=1, padding=DROPPED // 2)
        keep = 1 - gone[..., : x.shape[2], : x.shape[3]]
        return x * keep / keep.mean().clamp(min=1 / keep.numel())


class Encode(nn.Module):
    """x, h -> x, h, y: y is what the block has found, x = relu(y + shortcut(x)); h keeps up with the stride."""

    def __init__(self, inputs: int, outputs: int, history: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            conv(inputs + history, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            conv(outputs, outputs, 3),
            nn.BatchNorm2d(outputs),
            ChannelAttention(kernel),
        )
        project = [] if stride == 1 and inputs == outputs else [conv(inputs, outputs, 1, stride)]
        self.shortcut = nn.Sequential(*project, *(nn.BatchNorm2d(outputs) for _ in project))
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.path(torch.cat([x, h], dim=1))
        return (y + self.shortcut(x)).relu(), self.pool(h), y


class Stage(nn.Module):
    """x, h -> x, h. Its blocks share the layers that lead to the history; each has a norm of its own.

    read: whether anything reads the history that comes out; if not, the last block leaves it alone.
    """

    def __init__(
        self, inputs: int, outputs: int, history: int, level: int, count: int, *, recurrent: bool, read: bool
    ) -> None:
        super().__init__()
        stride = 2 if level else 1
        self.blocks = nn.ModuleList(
            Encode(outputs if i else inputs, outputs, history, 1 if i else stride, KERNELS[level]) for i in range(count)
        )
        self.to_history = conv(outputs, history, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(history) for _ in range(count if read else count - 1))
        self.recurrent = conv(history, history, 3) if recurrent else nn.Identity()

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        for index, block in enumerate(self.blocks):
            x, h, y = block(x, h)
            if index < len(self.norms):
                h = self.recurrent(self.norms[index](h + self.to_history(y)).tanh())
        return x, h


class Decode(nn.Module):
    """x, h -> x, h at twice the size. first: no history comes in, so there is nothing to carry on."""

    def __init__(
        self, inputs: int, outputs: int, history: int, kernel: int, *, recurrent: bool, first: bool = False
    ) -> None:
        super().__init__()
        middle = inputs // 4
        self.path = nn.Sequential(
            conv_act(inputs + history, middle),
            doubled(middle, middle),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            conv(middle, outputs, 1, bias=True),
            nn.BatchNorm2d(outputs),
            ChannelAttention(kernel),
        )
        self.shortcut = doubled(inputs, outputs)
        self.carry = None if first else doubled(history, history)
        self.to_history = conv(outputs, history, 1)
        self.norm = nn.BatchNorm2d(history)
        self.recurrent = conv(history, history, 3) if recurrent else nn.Identity()

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y = self.path(torch.cat([x, h], dim=1))
        found = self.to_history(y) if self.carry is None else self.carry(h) + self.to_history(y)
        return (y + self.shortcut(x)).relu(), self.recurrent(self.norm(found).tanh())


class Chains(nn.Module):
    """Four chains of dilated convolutions that share them, summed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.three, self.five = (dilated(channels, dilation) for dilation in (1, 3, 5))
        self.point = conv(channels, channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        three = self.three(one)
        chains = [one, *(self.point(part) for part in (self.three(x), three, self.five(three)))]
        return torch.stack([chain.relu() for chain in chains]).sum(0)


class Branches(nn.Module):
    """A 1x1 convolution and three dilated ones side by side, summed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv(channels, channels, 1, bias=True), *(dilated(channels, d) for d in (1, 2, 3))]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([branch(x).relu() for branch in self.branches]).sum(0)


def tokens(x: Tensor, dilate: nn.Module, pools: Sequence[tuple[int, int]]) -> Tensor:
    """(B, C, H, W) -> (B, T, C): the map's maxima at several scales, then the map after `dilate`, place by place.

    pools: kernel and stride of each scale.
    """
    pooled = [functional.max_pool2d(x, kernel, stride) for kernel, stride in pools]
    return torch.cat([part.flatten(2) for part in [*pooled, dilate(x)]], dim=2).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, C, H, W), twice (B, T, C) -> (B, C, H, W)."""
    # one head: the ONNX exporter knows four axes
    asked = query.flatten(2).transpose(1, 2)[:, None]
    out = functional.scaled_dot_product_attention(asked, key[:, None], value[:, None])[:, 0]
    return out.transpose(1, 2).unflatten(2, query.shape[2:])


class WideMiddle(nn.Module):
    """Size L. Query and key share their projection; the context is joined to x; the history is left behind."""

    POOLS = ((2, 2), (3, 3), (5, 5), (6, 6))

    def __init__(self, channels: int, rate: float) -> None:
        super().__init__()
        inner = channels // 2
        self.project = conv_act(channels, inner)
        self.value = conv(channels, inner, 1, bias=True)
        self.key_chains, self.value_chains = Chains(inner), Chains(inner)
        self.context = conv(inner, channels, 1, bias=True)
        self.fuse = conv_act(2 * channels, channels)
        self.drop = DropBlock(rate)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        query = self.project(x)
        key = tokens(query, self.key_chains, self.POOLS)
        value = tokens(self.value(x), self.value_chains, self.POOLS)
        context = self.context(attend(query, key, value))
        return self.drop(self.fuse(torch.cat([context, x], dim=1))), torch.zeros_like(h)


class Middle(nn.Module):
    """Sizes M and S. Keys are the values; the context is added to image and history, which both pass through."""

    POOLS = ((1, 2), (2, 2), (3, 3), (4, 4))

    def __init__(self, channels: int, rate: float) -> None:
        super().__init__()
        inner = channels // 2
        self.query, self.key = conv_act(channels, inner), conv_act(channels, inner)
        self.branches = Branches(inner)
        self.context = conv(inner, channels, 1, bias=True)
        self.drop = DropBlock(rate)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([x, h], dim=1)
        key = tokens(self.key(both), self.branches, self.POOLS)
        both = self.drop(both + self.context(attend(self.query(both), key, key)))
        image, history = both.split([x.shape[1], h.shape[1]], dim=1)
        return image, history


class Net(nn.Module):
    """size: "L", "M" or "S". widths: channels of the four stages; history: channels of the history; None for the
    size's. blocks: of each stage. dropout: rate of dropped squares behind the middle. closed: the middle's last
    convolution starts at 0, so that the attention is let in step by step."""

    ORDER = (("stem",), ("encoder.*",), ("middle",), ("decoder.*",), ("last.*",), ("head",))
    ENCODER = ("stem", "encoder")

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        size: str = "L",
        widths: Sequence[int] | None = None,
        blocks: Sequence[int] = (3, 4, 6, 3),
        history: int | None = None,
        dropout: float = 0.2,
        closed: bool = True,
    ) -> None:
        super().__init__()
        only(spatial_dims, 2)
        if size not in SIZES:
            raise HilumError("HIL-ZOO-03", f"size is {size!r}", f"Use one of {list(SIZES)}")
        usual = SIZES[size]
        widths = list(usual.widths if widths is None else widths)
        thin = usual.history if history is None else history
        wide = usual.recurrent
        if len(widths) != 4 or len(blocks) != 4 or min(blocks) < 1 or blocks[-1] < 1 + wide or min(widths) < 4:
            seen = f"widths is {widths}, blocks {list(blocks)}"
            remedy = "Give four of each: widths of 4 or more, blocks of 1 or more (size L: 2 in the last stage)"
            raise HilumError("HIL-ZOO-03", seen, remedy)
        self.divisor, self.least, self.history = (32, 32), 32 * usual.least, thin
        stem = [conv(in_channels, widths[0], 7, 2), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, stride=2, padding=1))
        self.encoder = nn.ModuleList(
            Stage(low, high, thin, level, blocks[level], recurrent=wide, read=level < 3 or not wide)
            for level, (low, high) in enumerate(pairwise([widths[0], *widths]))
        )
        self.middle = WideMiddle(widths[-1], dropout) if wide else Middle(widths[-1] + thin, dropout)
        steps = enumerate(pairwise([*reversed(widths), widths[0]]))
        self.decoder = nn.ModuleList(
            Decode(low, high, thin, KERNELS[3 - step], recurrent=wide, first=wide and step == 0)
            for step, (low, high) in steps
        )
        up = nn.ConvTranspose2d(widths[0] + thin, LAST, 4, stride=2, padding=1)
        self.last = nn.Sequential(up, nn.ReLU(inplace=True))
        if wide:
            self.last.extend([conv(LAST, LAST, 3, bias=True), nn.ReLU(inplace=True)])
        self.head = make_head(lambda k: conv(LAST, k, 3, bias=True), out_channels)
        if closed:
            nn.init.zeros_(self.middle.context.weight)
            nn.init.zeros_(self.middle.context.bias)  # type: ignore[arg-type]

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 32, H, W): what the last 3x3 convolution reads."""
        require_divisible(x, self.divisor)
        if min(x.shape[2:]) < self.least:
            seen = f"The input's size is {tuple(x.shape[2:])}, the least side that the middle can pool {self.least}"
            raise HilumError(
                "HIL-ZOO-02", seen, f"Use a patch of {self.least} or more; sizes M and S need the least, 128"
            )
        x, skips = self.stem(x), []
        h = x.new_zeros(len(x), self.history, *x.shape[2:])
        for stage in self.encoder:
            x, h = stage(x, h)
            skips.append((x, h))
        skips.pop()
        x, h = self.middle(x, h)
        for block in self.decoder:
            x, h = block(x, h)
            if skips:
                image, history = skips.pop()
                x, h = x + image, h + history
        out: Tensor = self.last(torch.cat([x, h], dim=1))
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
