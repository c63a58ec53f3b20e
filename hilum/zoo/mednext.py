"""MedNeXt (Roy et al., 2023): a U-Net of ConvNeXt blocks, also where it goes down and up.

What is special: a block is a depthwise convolution with a kernel that may be large, a norm per channel, a wide 1x1
convolution with GELU and a narrow one, all added to its input; the same block with a stride halves or doubles the
resolution, beside a 1x1 convolution with that stride. Skips are added, not joined.

x: (B, C, *space), divisible by 16 and one side larger -> (B, K, *space), logits; with deep supervision and in training
mode {"out": [full, next lower, ...]}, highest resolution first, one for each decoder stage.

The blocks are MONAI's `MedNeXt`, derived in part from the authors' code; MONAI has to be installed. The paper is 3-D;
the 2-D form is MONAI's. Sizes S, B, M and L are the paper's; `upkern` starts a large kernel from a trained small one.

Differs from MONAI's and the authors' code: these have an output at the bottom too; the paper says each decoder stage,
and so it is here. That output is not offered, because the bottom learns through all others. Losses weigh 1, 1/2, 1/4
and 1/8, divided by the sum (`supervision`), so that the lowest stage learns too.

Differs from the authors' code, as MONAI's does: a block that halves is as wide inside as those of the stage above it,
theirs as those of the stage below. In S all are alike; B and M have 15,456 weights less for it, L 52,512.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers, require_divisible, require_more_than_one_voxel
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.monai_parts import monai_part
from hilum.zoo._blocks.supervised import by_name

CARD = {
    "paper": "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation",
    "authors": "Roy, Koehler, Ulrich, Baumgartner, Petersen, Isensee, Jaeger, Maier-Hein",
    "year": 2023,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "package": "monai",
    "supervision": [0.5333333333333333, 0.26666666666666666, 0.13333333333333333, 0.06666666666666667],
    "golden": [
        {
            "kwargs": {"in_channels": 1, "out_channels": 14, "spatial_dims": 3, "size": "S", "kernel": 3},
            "parameters": 5557624,
            "evidence": "counted here from MONAI's blocks",
            "shape": [1, 1, 128, 128, 128],
        },
        {
            "kwargs": {"in_channels": 1, "out_channels": 14, "spatial_dims": 3, "size": "L", "kernel": 5},
            "parameters": 62947096,
            "evidence": "counted here from MONAI's blocks",
            "shape": [1, 1, 128, 128, 128],
        },
        {
            "kwargs": {"in_channels": 1, "out_channels": 14, "spatial_dims": 3, "deep_supervision": False},
            "parameters": 5551310,
            "evidence": "counted here from MONAI's blocks",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "width": 8},
        "shape": [2, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "S": ((2, 2, 2, 2, 2), (2, 2, 2, 2, 2)),
    "B": ((2, 2, 2, 2, 2), (2, 3, 4, 4, 4)),
    "M": ((3, 4, 4, 4, 4), (2, 3, 4, 4, 4)),
    "L": ((3, 4, 8, 8, 8), (3, 4, 8, 8, 8)),
}
# Blocks and expansion of the four encoder stages and the bottom; the decoder mirrors the encoder.


class Net(nn.Module):
    """size: S, B, M or L. kernel: side of the depthwise convolutions, odd. width: channels at full resolution.

    deep_supervision: a head on each decoder stage; in training mode `forward` returns them all (`Net.strides` are their
    strides to the input).
    """

    ORDER = (
        ("stem",), ("encoder.*", "down.*"), ("bottom.*",), ("up.*", "decoder.*"), ("head", "lower_heads"),
    )  # fmt: skip
    ENCODER = ("stem", "encoder", "down")

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        size: str = "S",
        kernel: int = 3,
        width: int = 32,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        if size not in SIZES:
            raise HilumError("HIL-ZOO-03", f"size is {size!r}", f"Use one of {', '.join(SIZES)}")
        if kernel % 2 == 0 or kernel < 3 or width < 1:
            raise HilumError("HIL-ZOO-03", f"kernel is {kernel} and width is {width}", "Use an odd kernel of 3 or more")
        blocks, ratios = SIZES[size]
        body = monai_part("networks.nets.mednext", "MedNeXt")(
            spatial_dims=spatial_dims,
            init_filters=width,
            in_channels=in_channels,
            out_channels=1,
            encoder_expansion_ratio=ratios[:4],
            decoder_expansion_ratio=ratios[3::-1],
            bottleneck_expansion_ratio=ratios[4],
            kernel_size=kernel,
            use_residual_connection=True,
            blocks_down=blocks[:4],
            blocks_bottleneck=blocks[4],
            blocks_up=blocks[3::-1],
        )
        self.stem, self.encoder, self.down = body.stem, body.enc_stages, body.down_blocks
        self.bottom, self.up, self.decoder = body.bottleneck, body.up_blocks, body.dec_stages
        widths = [width * 2**i for i in (3, 2, 1, 0)]
        heads = [make_head(lambda k, w=w: kit.conv(w, k, 1), out_channels) for w in widths]  # type: ignore[misc]
        self.head = heads.pop()
        self.lower_heads = nn.ModuleList(heads if deep_supervision else [])
        self.deep_supervision = deep_supervision
        self.divisor = (16,) * spatial_dims
        self.strides = [(2**i,) * spatial_dims for i in range(len(self.lower_heads) + 1)]

    def _stages(self, x: Tensor) -> list[Tensor]:
        """Every decoder stage's features, lowest resolution first."""
        require_divisible(x, self.divisor)
        require_more_than_one_voxel(x, self.divisor)
        x = self.stem(x)
        skips = []
        for stage, down in zip(self.encoder, self.down, strict=True):
            skips.append(stage(x))
            x = down(skips[-1])
        x = self.bottom(x)
        found = []
        for up, stage in zip(self.up, self.decoder, strict=True):
            x = stage(up(x) + skips.pop())
            found.append(x)
        return found

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, width, *space): what the last 1x1 convolution reads."""
        return self._stages(x)[-1]

    def forward(self, x: Tensor) -> Output:
        if not (self.training and self.deep_supervision):
            out: Output = self.head(self.features(x))
            return out
        heads = [*self.lower_heads, self.head]
        return by_name([head(stage) for head, stage in zip(heads, self._stages(x), strict=True)][::-1])


def upkern(state: Mapping[str, Tensor], kernel: int) -> dict[str, Tensor]:
    """The same weights for a larger `kernel`: depthwise kernels are stretched linearly, all else stays (UpKern)."""
    grown = {}
    for key, value in state.items():
        if key.endswith(".conv1.weight"):
            mode = "bilinear" if value.ndim == 4 else "trilinear"
            size = (kernel,) * (value.ndim - 2)
            value = functional.interpolate(value, size=size, mode=mode, align_corners=False)
        grown[key] = value
    return grown


def from_monai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state of MONAI's `MedNeXt` for `Net`; its lower heads are dropped."""
    names = {
        "stem": "stem", "enc_stages": "encoder", "down_blocks": "down", "bottleneck": "bottom", "up_blocks": "up",
        "dec_stages": "decoder", "out_0": "head",
    }  # fmt: skip
    renamed = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if first == "out_blocks":
            continue
        if first not in names:
            raise HilumError("HIL-ZOO-06", f"{key!r} is not a weight of MONAI's MedNeXt", "Load a MedNeXt")
        if first == "out_0":
            rest = rest.removeprefix("conv_out.")
            value = value.transpose(0, 1).contiguous() if value.ndim > 1 else value  # it is transposed there
        renamed[f"{names[first]}.{rest}"] = value
    return renamed
