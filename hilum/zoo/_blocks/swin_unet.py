"""Swin-Unet's U (Cao et al., 2021), which SSTrans-Net keeps and changes the blocks of: no convolution but at the ends.

Inside, images are (B, H, W, C), channels last.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import require_divisible
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only

PATCH = 4
# The side of a token in pixels.

MakeBlock = Callable[[int, int, int, bool, float], nn.Module]
"""(level, channels, heads, shifted, drop path) -> a block; level 0 has the highest resolution."""


class Merge(nn.Module):
    """Half the size, twice the channels: 2x2 places side by side, norm, linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.linear = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        places = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.linear(self.norm(torch.cat(places, dim=-1)))
        return out


class Expand(nn.Module):
    """`times` the size: a linear layer whose outputs are laid out as times x times places, then norm."""

    def __init__(self, inputs: int, outputs: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.linear = nn.Linear(inputs, times**2 * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x).unflatten(-1, (self.times, self.times, -1))  # b Y X y x c
        out: Tensor = self.norm(x.transpose(2, 3).flatten(3, 4).flatten(1, 2))
        return out


def check(dim: int, depths: Sequence[int], heads: Sequence[int]) -> None:
    """Refuse options that can not be built."""
    if len(depths) < 2 or len(heads) != len(depths) or min(depths) < 1:
        seen = f"There are {len(depths)} depths and {len(heads)} heads"
        raise HilumError("HIL-ZOO-03", seen, "Give one of each for every level, two levels or more, no depth of 0")
    for level, count in enumerate(heads):
        if dim * 2**level % count:
            seen = f"The {dim * 2**level} channels of level {level} are not divisible by {count} heads"
            raise HilumError("HIL-ZOO-03", seen, "Change dim or heads")


class SwinUnet(nn.Module):
    """The network, but for its blocks: `make_block` makes them, every second one shifted.

    Each level of the decoder drops its blocks as the encoder's level of that resolution does.
    """

    ORDER = (
        ("embed", "embed_norm"),
        ("encoder.*", "merge.*"),
        ("norm",),
        ("expand.*", "fuse.*", "decoder.*"),
        ("last_norm", "last"),
        ("head",),
    )
    ENCODER = ("embed", "embed_norm", "encoder", "merge", "norm", "decoder")
    # The blocks of the decoder begin as those of the encoder, where both begin from a Swin Transformer.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        drop_path: float,
        make_block: MakeBlock,
    ) -> None:
        super().__init__()
        kit = only(spatial_dims, 2)
        check(dim, depths, heads)
        down, up = range(len(depths)), range(len(depths) - 2, -1, -1)
        self.divisor = (PATCH * 2 ** down[-1] * window,) * 2
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").split(list(depths))
        self.embed = kit.conv(in_channels, dim, PATCH, stride=PATCH)
        self.embed_norm = nn.LayerNorm(dim)
        widths = [dim * 2**level for level in down]

        def stage(level: int) -> nn.Sequential:
            drops = rates[level].tolist()
            return nn.Sequential(
                *(make_block(level, widths[level], heads[level], i % 2 == 1, drop) for i, drop in enumerate(drops))
            )

        self.encoder = nn.ModuleList(stage(level) for level in down)
        self.merge = nn.ModuleList(Merge(width) for width in widths[:-1])
        self.norm = nn.LayerNorm(widths[-1])
        self.expand = nn.ModuleList(Expand(low, high, 2) for low, high in pairwise(reversed(widths)))
        self.fuse = nn.ModuleList(nn.Linear(2 * widths[level], widths[level]) for level in up)
        self.decoder = nn.ModuleList(stage(level) for level in up)
        self.last_norm = nn.LayerNorm(dim)
        self.last = Expand(dim, dim, PATCH)
        self.head = make_head(lambda k: kit.conv(dim, k, 1, bias=False), out_channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, dim, H, W): what the last 1x1 convolution reads."""
        require_divisible(x, self.divisor)
        x, skips = self.embed_norm(self.embed(x).permute(0, 2, 3, 1)), []
        for level, stage in enumerate(self.encoder):
            x = self.merge[level - 1](x) if level else x
            skips.append(x)
            x = stage(x)
        x = self.norm(x)
        skips.pop()
        for expand, fuse, stage in zip(self.expand, self.fuse, self.decoder, strict=True):
            x = stage(fuse(torch.cat([expand(x), skips.pop()], dim=-1)))
        out: Tensor = self.last(self.last_norm(x)).permute(0, 3, 1, 2)
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
