"""nnU-Net (Isensee et al., 2021; code version 2): the U-Net whose depth, strides and kernels a plan decides.

What is special: nothing in the network, everything in the fit of its topology to the data; per-axis strides and
kernels let thick slices be pooled later than thin ones.

x: (B, C, *space), space divisible by the product of the strides (`Net.divisor`, per axis)
-> (B, K, *space), logits; with deep supervision and in training mode {"out": [full, next lower, ...]}, highest
resolution first, one for each decoder stage (`Net.strides` are their strides to the input).

Two forms. Plain: two convolutions a stage. Residual encoder ("ResEnc", Isensee et al., 2024): `blocks` counts residual
blocks of the encoder's stages, `convs=1` is its decoder; the presets have blocks 1, 3, 4, 6, 6, 6, ... It is an option
and no file of its own because decoder, heads, sizes and refusals are the same: only the encoder stages differ.

Differs from the paper: follows the networks of nnU-Net version 2 (strided convolutions, not pooling). The lower
heads exist only with `deep_supervision`; nnU-Net always builds them. Convolutions start as PyTorch draws them; nnU-Net
draws larger ones (He et al., 2015), which instance norms mostly undo, and no biases. Weights of its `PlainConvUNet` and
`ResidualEncoderUNet` load through `from_nnunet`. Written from the description, not from its source; a residual block as
below gives the published counts, and the output of the package with the same weights.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers, per_axis, require_divisible, require_more_than_one_voxel
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.supervised import by_name

CARD = {
    "paper": "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
    "authors": "Isensee, Jaeger, Kohl, Petersen, Maier-Hein",
    "year": 2021,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 4,
    "image_size": False,
    "golden": [
        {
            "plan": "isotropic 1 mm, patch 128 x 128 x 128",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 14,
                "spatial_dims": 3,
                "features": [32, 64, 128, 256, 320, 320],
                "strides": [1, 2, 2, 2, 2, 2],
                "deep_supervision": True,
            },
            "parameters": 31205254,
            "evidence": "calc",
            "shape": [1, 1, 128, 128, 128],
        },
        {
            "plan": "3.0 x 0.76 x 0.76 mm, patch 48 x 192 x 192",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 14,
                "spatial_dims": 3,
                "features": [32, 64, 128, 256, 320, 320],
                "strides": [1, [1, 2, 2], 2, 2, 2, [1, 2, 2]],
                "kernels": [[1, 3, 3], 3, 3, 3, 3, 3],
                "deep_supervision": True,
            },
            "parameters": 30713158,
            "evidence": "calc",
        },
        {
            "plan": "isotropic 1 mm, patch 40 x 56 x 40",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 14,
                "spatial_dims": 3,
                "features": [32, 64, 128, 256],
                "strides": [1, 2, 2, 2],
                "deep_supervision": True,
            },
            "parameters": 5605674,
            "evidence": "calc",
        },
        {
            "plan": "2-D, patch 512 x 512",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 14,
                "spatial_dims": 2,
                "features": [32, 64, 128, 256, 512, 512, 512, 512],
                "strides": [1, 2, 2, 2, 2, 2, 2, 2],
                "deep_supervision": True,
            },
            "parameters": 46348834,
            "evidence": "calc",
        },
        {
            "plan": "residual encoder, isotropic 1 mm, patch 128 x 128 x 128",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 14,
                "spatial_dims": 3,
                "features": [32, 64, 128, 256, 320, 320],
                "strides": [1, 2, 2, 2, 2, 2],
                "blocks": [1, 3, 4, 6, 6, 6],
                "convs": 1,
                "deep_supervision": True,
            },
            "parameters": 102359430,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "features": [8, 16, 32],
            "strides": [1, 2, 2],
        },
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class ConvNormAct(nn.Module):
    """Convolution, instance norm (affine), LeakyReLU 0.01 (without it where `act` is False)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        spatial_dims: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        *,
        bias: bool = True,
        act: bool = True,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        pad = tuple((size - 1) // 2 for size in kernel)
        self.conv = kit.conv(inputs, outputs, kernel, stride=stride, padding=pad, bias=bias)
        self.norm = kit.instance_norm(outputs, eps=1e-5, affine=True)
        self.act = nn.LeakyReLU(0.01, inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class ResidualBlock(nn.Module):
    """act(conv-norm(conv-norm-act(x)) + skip(x)); the skip averages over the stride, then a 1x1 convolution widens."""

    def __init__(
        self, inputs: int, outputs: int, spatial_dims: int, kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        still = (1,) * spatial_dims
        self.conv1 = ConvNormAct(inputs, outputs, spatial_dims, kernel, stride)
        self.conv2 = ConvNormAct(outputs, outputs, spatial_dims, kernel, still, act=False)
        skip: list[nn.Module] = [layers(spatial_dims).avg_pool(stride, stride)] if math.prod(stride) > 1 else []
        if inputs != outputs:
            skip.append(ConvNormAct(inputs, outputs, spatial_dims, still, still, bias=False, act=False))
        self.skip = nn.Sequential(*skip)
        self.act = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.conv2(self.conv1(x)) + self.skip(x))
        return out


def stage(
    inputs: int, outputs: int, spatial_dims: int, kernel: tuple[int, ...], stride: tuple[int, ...], convs: int
) -> nn.Sequential:
    """`convs` blocks at one resolution; the first one carries the stride."""
    first = ConvNormAct(inputs, outputs, spatial_dims, kernel, stride)
    still = (1,) * spatial_dims
    return nn.Sequential(first, *(ConvNormAct(outputs, outputs, spatial_dims, kernel, still) for _ in range(convs - 1)))


def residual_encoder(
    widths: Sequence[int], step: list[tuple[int, ...]], size: list[tuple[int, ...]], blocks: Sequence[int]
) -> nn.ModuleList:
    """Stages of residual blocks, the first behind a stem; widths: of the input, then of every stage."""
    dims, made = len(step[0]), nn.ModuleList()
    if len(blocks) != len(step) or min(blocks) < 1:
        seen = f"blocks is {list(blocks)!r} for {len(step)} stages"
        raise HilumError("HIL-ZOO-03", seen, "Give one positive number for every stage")
    for i, count in enumerate(blocks):
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        inputs, outputs = widths[i], widths[i + 1]
        if i == 0:
            parts["stem"], inputs = ConvNormAct(inputs, outputs, dims, size[0], (1,) * dims), outputs
        for n in range(count):
            stride = step[i] if n == 0 else (1,) * dims
            parts[str(n)] = ResidualBlock(inputs if n == 0 else outputs, outputs, dims, size[i], stride)
        made.append(nn.Sequential(parts))
    return made


def topology(
    spatial_dims: int,
    stages: int,
    strides: Sequence[int | Sequence[int]],
    kernels: Sequence[int | Sequence[int]] | None,
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Strides and kernels of every stage, one number per axis; contradictions are refused."""
    kernels = [3] * stages if kernels is None else kernels
    if stages < 2 or len(strides) != stages or len(kernels) != stages:
        seen = f"There are {stages} features, {len(strides)} strides and {len(kernels)} kernels"
        raise HilumError("HIL-ZOO-03", seen, "Give one of each for every stage, and two stages or more")
    step = [per_axis(stride, spatial_dims, "strides") for stride in strides]
    size = [per_axis(kernel, spatial_dims, "kernels") for kernel in kernels]
    if any(side % 2 == 0 for kernel in size for side in kernel):
        raise HilumError("HIL-ZOO-03", f"kernels are {list(kernels)!r}", "Use odd kernels")
    return step, size


class Net(nn.Module):
    """Encoder and decoder with skips.

    features: channels of each stage, full resolution first. strides: one number or one per axis for each stage, the
    first usually 1. kernels: the same for the convolutions, odd, None for 3. convs: convolutions of each stage. blocks:
    residual blocks of each encoder stage, None for the plain encoder; `convs` then counts those of the decoder alone.
    deep_supervision: a head on each decoder stage; in training mode `forward` returns them all. dropout: rate at the
    end of the encoder, where the U-Net (Ronneberger 2015) has it; nnU-Net has none. turned: axes (from 0) along which
    the network sees its input the other way round, and its output is turned back; for weights that were learned from
    images that lay so. Turned kernels would not do: a strided convolution looks at every second voxel from the first.
    """

    ORDER = (("encoder.*",), ("up.*", "decoder.*"), ("head", "lower_heads"))
    # From the input to the output, for learning rates by depth; decoder stages are defined after all the `up`.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        features: Sequence[int] = (32, 64, 128, 256, 320, 320),
        strides: Sequence[int | Sequence[int]] = (1, 2, 2, 2, 2, 2),
        kernels: Sequence[int | Sequence[int]] | None = None,
        convs: int = 2,
        blocks: Sequence[int] | None = None,
        deep_supervision: bool = False,
        dropout: float = 0.0,
        turned: Sequence[int] = (),
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        if any(axis not in range(spatial_dims) for axis in turned):
            raise HilumError("HIL-ZOO-03", f"turned is {list(turned)!r}", f"Use axes from 0 to {spatial_dims - 1}")
        if convs < 1:
            raise HilumError("HIL-ZOO-03", f"convs is {convs}", "Use 1 or more")
        self.turned = [2 + axis for axis in turned]
        step, size = topology(spatial_dims, len(features), strides, kernels)
        down = range(len(features))
        up = range(len(features) - 2, -1, -1)
        widths = [in_channels, *features]
        still = (1,) * spatial_dims
        self.encoder = (
            nn.ModuleList(stage(widths[i], features[i], spatial_dims, size[i], step[i], convs) for i in down)
            if blocks is None
            else residual_encoder(widths, step, size, blocks)
        )
        self.up = nn.ModuleList(
            kit.transposed(features[i + 1], features[i], step[i + 1], stride=step[i + 1]) for i in up
        )
        self.decoder = nn.ModuleList(
            stage(2 * features[i], features[i], spatial_dims, size[i], still, convs) for i in up
        )
        heads = [make_head(lambda k, w=features[i]: kit.conv(w, k, 1), out_channels) for i in up]  # type: ignore[misc]
        self.head = heads.pop()
        self.lower_heads = nn.ModuleList(heads if deep_supervision else [])
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.deep_supervision = deep_supervision
        totals = [tuple(math.prod(axis) for axis in zip(*step[: i + 1], strict=True)) for i in down]
        self.divisor = totals[-1]
        self.strides = totals[: len(self.lower_heads) + 1]

    def _stages(self, x: Tensor) -> list[Tensor]:
        """Every decoder stage's features, lowest resolution first."""
        require_divisible(x, self.divisor)
        require_more_than_one_voxel(x, self.divisor)
        x = x.flip(self.turned) if self.turned else x
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        x = x if self.dropout is None else self.dropout(x)
        found = []
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(cat([up(x), skips.pop()], dim=1))
            found.append(x)
        return [stage.flip(self.turned) for stage in found] if self.turned else found

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, features[0], *space): what the last 1x1 convolution reads."""
        return self._stages(x)[-1]

    def forward(self, x: Tensor) -> Output:
        if not (self.training and self.deep_supervision):
            out: Output = self.head(self.features(x))
            return out
        heads = [*self.lower_heads, self.head]
        return by_name([head(stage) for head, stage in zip(heads, self._stages(x), strict=True)][::-1])


def from_nnunet(state: Mapping[str, Tensor], *, deep_supervision: bool = True) -> dict[str, Tensor]:
    """Rename a state of nnU-Net's `PlainConvUNet` or `ResidualEncoderUNet` for `Net`; its duplicates are dropped.

    deep_supervision: as given to `Net`; without it the lower heads are dropped too.
    """
    state = {re.sub(r"^(module\.|_orig_mod\.)+", "", key): value for key, value in state.items()}
    heads = [int(key.split(".")[2]) for key in state if key.startswith("decoder.seg_layers.")]
    rules = [
        (r"^encoder\.stages\.(\d+)\.0\.convs\.", r"encoder.\1."),
        (r"^encoder\.stem\.convs\.0\.", "encoder.0.stem."),
        (r"^encoder\.stages\.(\d+)\.blocks\.", r"encoder.\1."),
        (r"^decoder\.stages\.(\d+)\.convs\.", r"decoder.\1."),
        (r"^decoder\.transpconvs\.", "up."),
        (rf"^decoder\.seg_layers\.{max(heads, default=0)}\.", "head."),
        (r"^decoder\.seg_layers\.", "lower_heads."),
    ]
    renamed = {}
    for key, value in state.items():
        if key.startswith("decoder.encoder.") or ".all_modules." in key:
            continue
        name = next((re.sub(old, new, key) for old, new in rules if re.match(old, key)), None)
        if name is None:
            remedy = "Load a PlainConvUNet or a ResidualEncoderUNet"
            raise HilumError("HIL-ZOO-06", f"{key!r} is not a weight of nnU-Net's U-Nets", remedy)
        if deep_supervision or not name.startswith("lower_heads."):
            renamed[name] = value
    return renamed
