"""DA-TransUNet (Sun et al., 2024): TransUNet with dual attention before its Transformer and on its skips.

What is special: a block that lets every position look at every other, and every channel at every other, in a
sixteenth of the channels.

x: (B, C, *image_size), sides divisible by 16 -> (B, K, *image_size), logits.

Paper and released code disagree. `wiring="paper"`, the default, has four blocks: before the patch embedding and on
each of the three skips. `wiring="code"` is what was released: after the patch embedding and on the two lower skips (the
third is never reached), and 1,513,816 parameters that no gradient reaches: all three blocks in each of the four
decoder stages, two more 1x1 convolutions in every block. They are built, so that the published count (107,950,840 with
two classes, of which 106,437,024 learn) is met; they are kept in `idle` and never run.

Filled in: batch norms of the blocks have the momentum 0.95 in the released code, which in PyTorch forgets all but the
last batch; with `wiring="paper"` it is 0.05, what 0.95 means elsewhere. The released queries of 64 channels have no
channel (4 // 8); with `wiring="paper"` they have one. Everything else is TransUNet's; see there.

The positions of the 1/2 skip attend to each other: (H W / 4)^2 pairs. They are never all in memory where PyTorch has
a fused attention for the device, but they take time.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.hybrid_names import of_google, of_timm
from hilum.zoo._blocks.transunet import STRIDE, Decoder, Encoder, checked

CARD = {
    "paper": "DA-TransUNet: integrating spatial and channel dual attention with transformer U-net for medical image "
    "segmentation",
    "authors": "Sun et al.",
    "year": 2024,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": True,
    "golden": [
        {
            "plan": "as the paper draws it, eight organs and background, 224 x 224",
            "kwargs": {"in_channels": 1, "out_channels": 9, "spatial_dims": 2, "image_size": [224, 224]},
            "parameters": 107022987,
            "evidence": "calc",
            "shape": [1, 1, 224, 224],
        },
        {
            "plan": "as released, eight organs and background, 224 x 224",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 9,
                "spatial_dims": 2,
                "image_size": [224, 224],
                "wiring": "code",
            },
            "parameters": 107951855,
            "evidence": "calc",
        },
        {
            "plan": "as released, one class and background, 224 x 224",
            "kwargs": {
                "in_channels": 3,
                "out_channels": 2,
                "spatial_dims": 2,
                "image_size": [224, 224],
                "wiring": "code",
            },
            "parameters": 107950840,
            "evidence": "published",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "image_size": [32, 32],
            "width": 8,
            "units": [1, 1, 1],
            "dim": 16,
            "depth": 1,
            "heads": 2,
            "dropout": 0.0,
            "decoder": [16, 16, 8, 8, 8],
            "gamma": 0.5,
        },
        "shape": [2, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": True,
}


class PositionAttention(nn.Module):
    """x + gamma * (the mean of all positions' values, weighted by how query and key agree).

    reduced: channels of query and key; 0 weighs all positions alike.
    """

    def __init__(self, channels: int, reduced: int, gamma: float) -> None:
        super().__init__()
        self.query_key = nn.Conv2d(channels, 2 * reduced, 1) if reduced else None
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.tensor([float(gamma)]))

    def forward(self, x: Tensor) -> Tensor:
        value = self.value(x)
        if self.query_key is None:
            return x + self.gamma * value.mean((2, 3), keepdim=True)
        query, key = self.query_key(x).chunk(2, dim=1)
        # zeros do not change the product; with equal widths a fused attention runs, which never holds all pairs
        missing = value.shape[1] - query.shape[1]
        q, k, v = (
            functional.pad(part.flatten(2).transpose(1, 2), (0, more)).unsqueeze(1).contiguous()  # b 1 n c
            for part, more in ((query, missing), (key, missing), (value, 0))
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        return x + self.gamma * mixed.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:])


class ChannelAttention(nn.Module):
    """x + gamma * (the mean of all channels, weighted by how unlike they are)."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor([float(gamma)]))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2)
        energy = rows @ rows.transpose(1, 2)
        weights = (energy.amax(-1, keepdim=True) - energy).softmax(-1)
        return x + self.gamma * (weights @ rows).unflatten(2, x.shape[2:])


class DualAttention(nn.Module):
    """Two branches of a sixteenth of the channels, attention over positions and over channels, their sum back to all.

    There is no path around the block. released: with the released code's momentum and its two idle convolutions.
    """

    def __init__(self, channels: int, gamma: float, released: bool) -> None:
        super().__init__()
        inner = max(1, channels // 16)
        reduced = inner // 8 if released else max(1, inner // 8)

        def conv(inputs: int) -> nn.Sequential:
            norm = nn.BatchNorm2d(inner, eps=1e-3, momentum=0.95 if released else 0.05)
            return nn.Sequential(nn.Conv2d(inputs, inner, 3, padding=1, bias=False), norm, nn.ReLU(inplace=True))

        self.position = nn.Sequential(conv(channels), PositionAttention(inner, reduced, gamma), conv(inner))
        self.channel = nn.Sequential(conv(channels), ChannelAttention(gamma), conv(inner))
        self.out = nn.Sequential(nn.Dropout2d(0.05), nn.Conv2d(inner, channels, 1), nn.ReLU(inplace=True))
        self.idle = nn.ModuleList(nn.Conv2d(inner, channels, 1) for _ in range(2 if released else 0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.position(x) + self.channel(x))
        return out


class Net(nn.Module):
    """wiring: "paper" or "code", see above. gamma: what the attentions' shares start from; the paper's is 0.

    The others are TransUNet's. image_size: pixels, one number or one per axis. width: channels of the stem. units: of
    the three stages. dim, depth, heads, mlp_ratio: of the Transformer; heads divides dim. dropout: rate on the tokens
    and in the MLPs. decoder: channels of its first convolution and its four blocks.
    """

    ORDER = (
        ("encoder.stem",),
        ("encoder.stages.*",),
        ("encoder.before", "encoder.embed", "encoder.after", "encoder.position"),
        ("encoder.layers.*",),
        ("encoder.norm",),
        ("attend",),
        ("decoder.first",),
        ("decoder.blocks.*",),
        ("head",),
    )
    # From the input to the output, for learning rates by depth; the skips' attentions run before the decoder.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        image_size: int | Sequence[int],
        wiring: str = "paper",
        width: int = 64,
        units: Sequence[int] = (3, 4, 9),
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: int = 4,
        dropout: float = 0.1,
        decoder: Sequence[int] = (512, 256, 128, 64, 16),
        gamma: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_size = checked(spatial_dims, image_size, dim, heads, (units, decoder))
        if wiring not in ("paper", "code"):
            raise HilumError("HIL-ZOO-03", f"wiring is {wiring!r}", 'Use "paper" or "code"')
        self.divisor = (STRIDE, STRIDE)
        released = wiring == "code"
        self.encoder = Encoder(
            in_channels, self.image_size, width=width, units=units, dim=dim, depth=depth, heads=heads,
            mlp_ratio=mlp_ratio, dropout=dropout,
        )  # fmt: skip
        if released:
            self.encoder.after = DualAttention(dim, gamma, released)
        else:
            self.encoder.before = DualAttention(16 * width, gamma, released)
        skips = [8 * width, 4 * width, width]
        used = skips[:2] if released else skips
        self.attend = nn.ModuleList(DualAttention(channels, gamma, released) for channels in used)
        spare = [*skips[2:], *skips * 3] if released else []
        self.idle = nn.ModuleList(DualAttention(channels, gamma, released) for channels in spare)
        self.decoder = Decoder(dim, skips, decoder)
        self.head = make_head(lambda k: nn.Conv2d(decoder[-1], k, 3, padding=1), out_channels)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *image_size) -> (B, decoder[-1], *image_size): what the last convolution reads."""
        image, skips = self.encoder(x)
        skips = [block(skip) for block, skip in zip(self.attend, skips, strict=False)] + skips[len(self.attend) :]
        out: Tensor = self.decoder(image, skips)
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out


def from_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """Rename the arrays of the published R50+ViT npz file for the encoder of `Net`."""
    return of_google(state)


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """Rename a state of timm's `vit_base_r50_s16_...` for the encoder of `Net`."""
    return of_timm(state)
