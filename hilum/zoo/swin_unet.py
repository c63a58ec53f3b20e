"""Swin-Unet (Cao et al., 2021): a U-Net of Swin Transformer blocks alone.

What is special: no convolution but the patch embedding and the head; attention within windows that shift in every
second block, patches merge on the way down and are laid out again (not interpolated) on the way up. Each skip is what
enters a level of the encoder, joined to the decoder by a linear layer.

x: (B, C, H, W), both sides divisible by 32 times the window, so 224, 448, ..., with `window=8` 256, 512, ...
(`Net.divisor`) -> (B, K, H, W), logits.

Differs from the paper: any number of channels (a grey image is not repeated), and any size that the windows divide;
no weight depends on the size. The released configuration names the decoder's depths, but its code never reads them;
here they are the encoder's, too. Weights of a Swin-T trained on ImageNet load through `from_swin`, into the decoder
as well. Written from the description, not from its source.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from hilum.core.errors import HilumError
from hilum.zoo._blocks.swin import SwinBlock
from hilum.zoo._blocks.swin_unet import SwinUnet

CARD = {
    "paper": "Swin-Unet: Unet-like Pure Transformer for Medical Image Segmentation",
    "authors": "Cao, Wang, Chen, Jiang, Zhang, Tian, Wang",
    "year": 2021,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 224,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 9, "spatial_dims": 2},
            "parameters": 27168900,
            "evidence": "calc, and counted in the released code",
            "shape": [1, 3, 224, 224],
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "dim": 8,
            "depths": [2, 2],
            "heads": [2, 4],
            "window": 4,
            "drop_path": 0.0,
        },
        "shape": [2, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class Net(SwinUnet):
    """dim: channels at a quarter of the resolution, doubled at each level. depths, heads: blocks and heads of each
    level, highest resolution first. window: its side, in tokens of 4x4 pixels. drop_path: rate of the encoder's last
    block, rising linearly from 0."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__(
            in_channels, out_channels, spatial_dims, dim=dim, depths=depths, heads=heads, window=window,
            drop_path=drop_path,
            make_block=lambda level, width, count, shifted, drop: SwinBlock(
                width, count, window, shifted=shifted, drop_path=drop
            ),
        )  # fmt: skip


RULES = (
    (r"^patch_embed\.proj\.", "embed."),
    (r"^patch_embed\.norm\.", "embed_norm."),
    (r"^layers\.(\d+)\.downsample\.norm\.", r"merge.\1.norm."),
    (r"^layers\.(\d+)\.downsample\.reduction\.", r"merge.\1.linear."),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.attn\.qkv\.", r"encoder.\1.\2.attention.qkv."),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.attn\.proj\.", r"encoder.\1.\2.attention.out."),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table$", r"encoder.\1.\2.attention.bias"),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc1\.", r"encoder.\1.\2.mlp.0."),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc2\.", r"encoder.\1.\2.mlp.2."),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.(norm[12])\.", r"encoder.\1.\2.\3."),
    (r"^norm\.", "norm."),
)


def _merging_last(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state with each merging at the end of its level, as in the original; timm, from 0.9 on, begins the next level
    with it."""
    there = [any(key.startswith(f"layers.{level}.downsample.") for key in state) for level in (0, 1)]
    if there != [False, True]:
        return state
    late = re.compile(r"^layers\.(\d+)\.downsample\.")
    return {late.sub(lambda m: f"layers.{int(m[1]) - 1}.downsample.", key): value for key, value in state.items()}


def from_swin(state: Mapping[str, Tensor], depths: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Rename a state of the Swin Transformer's own code, or timm's; each level's blocks go to the decoder's level, too.

    depths: as given to `Net`; blocks beyond them are dropped, None keeps all. The classifier and what is no weight are
    dropped. Some layers of the decoder are not among them, so load with strict=False.
    """
    found = [int(match[1]) for key in state if (match := re.match(r"^layers\.(\d+)\.", key))]
    last = max(found, default=0) if depths is None else len(depths) - 1
    if max(found, default=0) > last:
        seen = f"The weights have {max(found) + 1} levels, the network {last + 1}"
        raise HilumError("HIL-ZOO-06", seen, "Give the network one depth for each level")
    renamed = {}
    for key, value in _merging_last(state).items():
        if re.match(r"^head\.", key) or key.endswith(("attn_mask", "relative_position_index")):
            continue
        name = next((re.sub(old, new, key) for old, new in RULES if re.match(old, key)), None)
        if name is None:
            raise HilumError("HIL-ZOO-06", f"{key!r} is not a weight of a Swin Transformer", "Load a Swin-T")
        block = re.match(r"^encoder\.(\d+)\.(\d+)\.(.*)", name)
        level, index = (int(block[1]), int(block[2])) if block else (0, -1)
        if depths is not None and index >= depths[level]:
            continue
        renamed[name] = value
        if block and level < last:
            renamed[f"decoder.{last - 1 - level}.{index}.{block[3]}"] = value
    return renamed
