"""Swin UNETR (Hatamizadeh et al., 2022): a Swin transformer reads the image, convolutions draw the mask.

What is special: attention within small windows, every second time shifted by half a window, on four resolutions;
each resolution goes through a residual block into the decoder of a U-Net.

x: (B, C, *space), every side divisible by 32 and one of them larger -> (B, K, *space), logits.

The attention, residual and decoder blocks are MONAI's, where the authors publish theirs; MONAI has to be installed.
They are put together here, so that the way through the network can be read and MONAI's own optional packages are not
needed. The paper is 3-D; the 2-D form is MONAI's. Weights of MONAI's `SwinUNETR` load through `from_monai`.

Where paper and released code disagree: merging joins all 2 x 2 x 2 neighbours of a token, as MONAI's `mergingv2` does.
The code first released, which was MONAI's `merging` until 2025, reads two of the eight twice and two never:
`merging="released"`. MONAI then mended it (its issue 8284) in another order than that of `mergingv2`:
`merging="mended"`. Names and shapes of the weights are the same in all three, so take the form that they were trained
with. In 2-D there is one form only. As in the released code, where a map is smaller than the window the table of
position biases is read as if it were not.
"""

import itertools
import re
from collections.abc import Mapping, Sequence

from torch import Tensor, cat, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers, per_axis, require_divisible, require_more_than_one_voxel
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.monai_parts import monai_part

CARD = {
    "paper": "Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images",
    "authors": "Hatamizadeh, Nath, Tang, Yang, Roth, Xu",
    "year": 2022,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 32,
    "image_size": False,
    "package": "monai",
    "golden": [
        {
            "kwargs": {"in_channels": 1, "out_channels": 14, "spatial_dims": 3, "width": 48},
            "parameters": 62187296,
            "evidence": "calc",
            "shape": [1, 1, 96, 96, 96],
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "width": 12,
            "depths": [2, 2, 1, 1],
            "heads": [1, 2, 2, 2],
            "window": 4,
        },
        "shape": [2, 1, 64, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}

ORDERS: dict[str, tuple[tuple[int, ...], ...]] = {
    "released": ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1)),
    "mended": ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)),
}
# The neighbours in 3-D, offsets along the axes; without a row they come as they are counted. In the released order two
# are missing, (1, 1, 0) and (0, 1, 1).


class Merge(nn.Module):
    """(B, *space, C) -> (B, *space / 2, 2C): neighbours side by side, layer norm, linear."""

    def __init__(self, dim: int, spatial_dims: int, merging: str) -> None:
        super().__init__()
        every = itertools.product((0, 1), repeat=spatial_dims)
        corners = tuple(corner if spatial_dims == 3 else corner[::-1] for corner in every)
        self.corners = ORDERS.get(merging, corners) if spatial_dims == 3 else corners
        self.norm = nn.LayerNorm(2**spatial_dims * dim)
        self.reduction = nn.Linear(2**spatial_dims * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        places = [(slice(None), *(slice(start, None, 2) for start in corner)) for corner in self.corners]
        out: Tensor = self.reduction(self.norm(cat([x[place] for place in places], dim=-1)))
        return out


class Stage(nn.Module):
    """(B, C, *space) -> (B, 2C, *space / 2): attention in windows, in shifted windows, and so on; then merging."""

    def __init__(self, dim: int, heads: int, window: tuple[int, ...], rates: Sequence[float], merging: str) -> None:
        super().__init__()
        block = monai_part("networks.nets.swin_unetr", "SwinTransformerBlock")
        self.window, self.shift = window, tuple(side // 2 for side in window)
        still = (0,) * len(window)
        self.blocks = nn.ModuleList(
            block(dim, heads, window, self.shift if i % 2 else still, drop_path=rate) for i, rate in enumerate(rates)
        )
        self.downsample = Merge(dim, len(window), merging)

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)
        mask = self._mask(x)
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.downsample(x).movedim(-1, 1)
        return out

    def _mask(self, x: Tensor) -> Tensor:
        """Minus 100 where a shifted window holds two voxels that are no neighbours, else 0."""
        compute_mask = monai_part("networks.nets.swin_unetr", "compute_mask")
        space = x.shape[1:-1]
        window = tuple(min(size, side) for size, side in zip(space, self.window, strict=True))
        shift = tuple(
            0 if size <= side else step for size, side, step in zip(space, self.window, self.shift, strict=True)
        )
        padded = [-(-size // side) * side for size, side in zip(space, window, strict=True)]
        mask: Tensor = compute_mask(padded, window, shift, x.device)
        return mask


def normed(x: Tensor) -> Tensor:
    """(B, C, *space): layer norm over the channels, without weights."""
    return functional.layer_norm(x.movedim(1, -1), [x.shape[1]]).movedim(-1, 1)


class Net(nn.Module):
    """width: channels of the first stage, divisible by the heads. depths, heads: of the four stages.

    window: sides of the attention windows. drop_path: the highest rate at which a block is skipped in training, growing
    from 0 with depth. merging: "all", "mended" or "released" (see the file's head).
    """

    ENCODER = ("embed", "stages")

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        width: int = 48,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int | Sequence[int] = 7,
        drop_path: float = 0.0,
        merging: str = "all",
    ) -> None:
        super().__init__()
        kit, sides = layers(spatial_dims), per_axis(window, spatial_dims, "window")
        _check(width, depths, heads, merging)
        rates = [drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths))]
        starts = [sum(depths[:i]) for i in range(4)]
        basic = monai_part("networks.blocks", "UnetrBasicBlock")
        rise = monai_part("networks.blocks", "UnetrUpBlock")
        rest = {"kernel_size": 3, "norm_name": "instance", "res_block": True}
        self.embed = kit.conv(in_channels, width, 2, stride=2)
        self.stages = nn.ModuleList(
            Stage(width * 2**i, heads[i], sides, rates[starts[i] : starts[i] + depths[i]], merging) for i in range(4)
        )
        sizes = [(in_channels, width), (width, width), (2 * width, 2 * width), (4 * width, 4 * width)]
        self.skips = nn.ModuleList(basic(spatial_dims, a, b, stride=1, **rest) for a, b in sizes)
        self.bottom = basic(spatial_dims, 16 * width, 16 * width, stride=1, **rest)
        steps = [(16, 8), (8, 4), (4, 2), (2, 1), (1, 1)]
        self.up = nn.ModuleList(
            rise(spatial_dims, a * width, b * width, upsample_kernel_size=2, **rest) for a, b in steps
        )
        self.head = make_head(lambda k: kit.conv(width, k, 1), out_channels)
        self.divisor = (32,) * spatial_dims

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, width, *space): what the last 1x1 convolution reads."""
        require_divisible(x, self.divisor)
        require_more_than_one_voxel(x, self.divisor)
        maps = [self.embed(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        maps = [normed(part) for part in maps]
        skips = [skip(part) for skip, part in zip(self.skips, [x, *maps[:3]], strict=True)] + [maps[3]]
        out: Tensor = self.bottom(maps[4])
        for up in self.up:
            out = up(out, skips.pop())
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out


def _check(width: int, depths: Sequence[int], heads: Sequence[int], merging: str) -> None:
    """Refuse what can not be built."""
    if len(depths) != 4 or len(heads) != 4 or min(*depths, *heads) < 1:
        seen = f"depths is {list(depths)!r} and heads is {list(heads)!r}"
        raise HilumError("HIL-ZOO-03", seen, "Give four positive numbers for each")
    if any(width * 2**i % heads[i] for i in range(4)):
        seen = f"width is {width}, and its stages do not divide into {list(heads)!r} heads"
        raise HilumError("HIL-ZOO-03", seen, "Use a width that is divisible by the number of heads")
    if merging not in ("all", *ORDERS):
        raise HilumError("HIL-ZOO-03", f"merging is {merging!r}", "Use all, mended or released")


def from_monai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state of MONAI's `SwinUNETR` (without its options beyond those of `Net`) for `Net`.

    `merging` has to be that of the state; see the head of this file.
    """
    levels = {"encoder10": "bottom"}
    levels |= {f"encoder{i + 1}": f"skips.{i}" for i in range(4)} | {f"decoder{5 - i}": f"up.{i}" for i in range(5)}
    renamed = {}
    for key, value in state.items():
        first, _, rest = re.sub(r"^module\.", "", key).partition(".")
        if first == "swinViT":
            rest = re.sub(r"^patch_embed\.proj\.", "embed.", rest)
            name = re.sub(r"^layers(\d)\.0\.", lambda found: f"stages.{int(found[1]) - 1}.", rest)
        elif first == "out":
            name = "head." + rest.rpartition(".")[2]
        elif first in levels:
            name = f"{levels[first]}.{rest}"
        else:
            raise HilumError("HIL-ZOO-06", f"{key!r} is not a weight of MONAI's SwinUNETR", "Load a SwinUNETR")
        renamed[name] = value
    return renamed
