"""UNETR (Hatamizadeh et al., 2022): a Vision Transformer as the encoder of a U-Net.

What is special: every layer of the encoder sees the whole patch; its tokens after a quarter, a half, three quarters
and all of the layers are put back into space and brought to the resolutions that a U-Net's decoder wants.

x: (B, C, *image_size), each side divisible by 16 -> (B, K, *image_size), logits.

Differs from the paper: 2-D too. Paper and released code disagree: the paper takes its skips after layers 3, 6 and 9
(the default), the code after 4, 7 and 10 (`taps`). The released counts of parameters hold norms that no forward pass
reads; they are not here. The position embedding is learned for one image size. Weights of MONAI's `UNETR` load
through `from_monai`. Written from the description, not from its source.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, layers, per_axis, require_size
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.transformer import Block

CARD = {
    "paper": "UNETR: Transformers for 3D Medical Image Segmentation",
    "authors": "Hatamizadeh et al.",
    "year": 2022,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": True,
    "golden": [
        {
            "kwargs": {"in_channels": 1, "out_channels": 14, "spatial_dims": 3, "image_size": [96, 96, 96]},
            "parameters": 92784046,
            "evidence": "calc: MONAI 1.6's 92802478 less the 18432 of its twelve unused norms",
            "shape": [1, 1, 96, 96, 96],
        },
        {
            "kwargs": {
                "in_channels": 1,
                "out_channels": 14,
                "spatial_dims": 3,
                "image_size": [96, 96, 96],
                "width": 32,
            },
            "parameters": 101787214,
            "evidence": "calc: MONAI 1.6's 101805646 less the 18432 of its twelve unused norms",
        },
        {
            "kwargs": {"in_channels": 4, "out_channels": 3, "spatial_dims": 3, "image_size": [128, 128, 128]},
            "parameters": 102449715,
            "evidence": "calc: MONAI 1.6's 102468147 less the 18432 of its twelve unused norms",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "image_size": [32, 32],
            "width": 4,
            "dim": 24,
            "depth": 4,
            "heads": 3,
        },
        "shape": [2, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}

PATCH = 16
# The side of a token in pixels: the decoder doubles four times.


class Residual(nn.Module):
    """act(path(x) + shortcut(x)): two 3x3 convolutions with instance norm (no weights), LeakyReLU 0.01."""

    def __init__(self, kit: Layers, inputs: int, outputs: int) -> None:
        super().__init__()
        self.act = nn.LeakyReLU(0.01)
        self.path = nn.Sequential(
            kit.conv(inputs, outputs, 3, padding=1, bias=False),
            kit.instance_norm(outputs),
            nn.LeakyReLU(0.01),
            kit.conv(outputs, outputs, 3, padding=1, bias=False),
            kit.instance_norm(outputs),
        )
        project = [kit.conv(inputs, outputs, 1, bias=False), kit.instance_norm(outputs)]
        self.shortcut = nn.Identity() if inputs == outputs else nn.Sequential(*project)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.path(x) + self.shortcut(x))
        return out


def doubled(kit: Layers, inputs: int, outputs: int) -> nn.Module:
    """Twice the size: 2x2 transposed convolution with stride 2."""
    return kit.transposed(inputs, outputs, 2, stride=2, bias=False)


def make_tap(kit: Layers, dim: int, outputs: int, times: int) -> nn.Sequential:
    """Tokens in space to a skip: doubled `times` times, each time but the first followed by a residual block."""
    made = nn.Sequential(doubled(kit, dim, outputs))
    for _ in range(times - 1):
        made.append(nn.Sequential(doubled(kit, outputs, outputs), Residual(kit, outputs, outputs)))
    return made


class Up(nn.Module):
    """Twice the size, join the skip, residual block."""

    def __init__(self, kit: Layers, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = doubled(kit, inputs, outputs)
        self.block = Residual(kit, 2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.block(torch.cat([self.up(x), skip], dim=1))
        return out


class Net(nn.Module):
    """image_size: pixels, one number or one per axis. width: channels at full resolution. dim: token width. depth:
    layers. heads: divides dim. mlp_ratio: width of the MLPs over dim. taps: after how many layers the three skips are
    taken, counted from 1, None for a quarter, a half and three quarters of them."""

    ORDER = (("embed",), ("blocks.*",), ("norm", "taps", "image"), ("up.*",), ("head",))
    # From the input to the output, for learning rates by depth: the image's own block is a skip.
    ENCODER = ("embed", "position", "blocks", "norm")

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        image_size: int | Sequence[int],
        width: int = 16,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: int = 4,
        taps: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        self.image_size = per_axis(image_size, spatial_dims, "image_size")
        self.divisor = (PATCH,) * spatial_dims
        self.after = tuple(round(depth * part / 4) for part in (1, 2, 3)) if taps is None else tuple(taps)
        self._check(dim, depth, heads)
        self.embed = kit.conv(in_channels, dim, PATCH, stride=PATCH)
        self.position = nn.Parameter(torch.zeros(1, math.prod(size // PATCH for size in self.image_size), dim))
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio, qkv_bias=False, eps=1e-5) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        widths = [8 * width, 4 * width, 2 * width, width]  # at 1/8, 1/4, 1/2 and full resolution
        self.image = Residual(kit, in_channels, width)
        self.taps = nn.ModuleList(make_tap(kit, dim, widths[2 - i], 3 - i) for i in range(3))
        self.up = nn.ModuleList(Up(kit, low, high) for low, high in pairwise([dim, *widths]))
        self.head = make_head(lambda k: kit.conv(width, k, 1), out_channels)
        self._initialise()

    def _check(self, dim: int, depth: int, heads: int) -> None:
        if any(size % PATCH for size in self.image_size):
            seen = f"image_size is {self.image_size}"
            raise HilumError("HIL-ZOO-03", seen, f"Make its sides divisible by {PATCH}")
        if dim % heads:
            raise HilumError("HIL-ZOO-03", f"dim {dim} is not divisible by {heads} heads", "Change one of them")
        if len(self.after) != 3 or list(self.after) != sorted(set(self.after)) or self.after[0] < 1:
            raise HilumError("HIL-ZOO-03", f"taps is {self.after}", "Give three rising layers, counted from 1")
        if self.after[-1] >= depth:
            seen = f"The last skip is taken after layer {self.after[-1]} of {depth}"
            raise HilumError("HIL-ZOO-03", seen, "Take it before the last layer, or use a greater depth")

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.position, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _encode(self, x: Tensor) -> list[Tensor]:
        """(B, dim, *space / 16) after each tap and after the last norm."""
        grid = self.embed(x)
        tokens, found = grid.flatten(2).transpose(1, 2) + self.position, []
        for count, block in enumerate(self.blocks, 1):
            tokens = block(tokens)
            if count in self.after:
                found.append(tokens)
        return [part.transpose(1, 2).reshape(grid.shape) for part in [*found, self.norm(tokens)]]

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *image_size) -> (B, width, *image_size): what the last 1x1 convolution reads."""
        require_size(x, self.image_size)
        *taken, deep = self._encode(x)
        skips = [self.image(x), *(tap(part) for tap, part in zip(self.taps, taken, strict=True))]
        for up in self.up:
            deep = up(deep, skips.pop())
        return deep

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out


RULES = (
    (r"^vit\.patch_embedding\.patch_embeddings\.", "embed."),
    (r"^vit\.patch_embedding\.position_embeddings$", "position"),
    (r"^vit\.blocks\.(\d+)\.attn\.qkv\.", r"blocks.\1.attention.qkv."),
    (r"^vit\.blocks\.(\d+)\.attn\.out_proj\.", r"blocks.\1.attention.out."),
    (r"^vit\.blocks\.(\d+)\.mlp\.linear1\.", r"blocks.\1.mlp.0."),
    (r"^vit\.blocks\.(\d+)\.mlp\.linear2\.", r"blocks.\1.mlp.2."),
    (r"^vit\.blocks\.(\d+)\.(norm[12])\.", r"blocks.\1.\2."),
    (r"^vit\.norm\.", "norm."),
    (r"^encoder1\.layer\.", "image."),
    (r"^encoder2\.", "taps.0."),
    (r"^encoder3\.", "taps.1."),
    (r"^encoder4\.", "taps.2."),
    (r"^decoder5\.", "up.0."),
    (r"^decoder4\.", "up.1."),
    (r"^decoder3\.", "up.2."),
    (r"^decoder2\.", "up.3."),
    (r"^out\.conv\.conv\.", "head."),
)
PARTS = (
    (r"\.transp_conv_init\.conv\.", ".0."),
    (r"\.transp_conv\.conv\.", ".up."),
    (r"\.conv_block\.", ".block."),
    (r"\.conv1\.conv\.", ".path.0."),
    (r"\.conv2\.conv\.", ".path.3."),
    (r"\.conv3\.conv\.", ".shortcut.0."),
)
# MONAI's names of whole parts, then of the layers in them.


def from_monai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state of MONAI's `UNETR` (convolution as patch embedding) for `Net(..., taps=(4, 7, 10))`."""
    renamed = {}
    for key, value in state.items():
        if ".norm_cross_attn." in key:  # no forward pass reads it
            continue
        name = next((re.sub(old, new, key) for old, new in RULES if re.match(old, key)), None)
        if name is None:
            raise HilumError("HIL-ZOO-06", f"{key!r} is not a weight of MONAI's UNETR", "Load a UNETR of MONAI")
        for old, new in PARTS:
            name = re.sub(old, new, name)
        block = re.match(r"^taps\.(\d)\.blocks\.(\d)\.(\d)\.(conv\.)?(.*)", name)
        if block:
            name = f"taps.{block[1]}.{int(block[2]) + 1}.{block[3]}.{block[5]}"
        renamed[name] = value
    return renamed
