"""VoxelMorph (Balakrishnan et al., 2019): one forward pass gives the deformation between two images.

What is special: a U-Net trained without labels, by how well the moved image fits and how smooth the field is.

moving, fixed: (B, C, *space), space divisible by 16 -> (B, dims, *space), displacement in voxels, one component per
axis in the order of the axes (ij), on the fixed grid; it pulls: warped(p) = moving(p + u(p)).

Differs from the paper: follows the authors' PyTorch network; no integration of a velocity field, so folding is
possible and should be measured.
"""

from collections.abc import Sequence

from torch import Tensor, cat, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers, require_divisible
from hilum.zoo._blocks.heads import Output, make_head

CARD = {
    "paper": "VoxelMorph: A Learning Framework for Deformable Medical Image Registration",
    "authors": "Balakrishnan, Zhao, Sabuncu, Guttag, Dalca",
    "year": 2019,
    "tasks": ["register"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["moving", "fixed"],
    "divisor": 16,
    "image_size": False,
    "fixed_channels": {"out_channels": "spatial_dims"},
    "golden": [
        {
            "kwargs": {"in_channels": 1, "out_channels": 3, "spatial_dims": 3},
            "parameters": 327331,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "encoder": [8, 8, 8, 8],
            "decoder": [8, 8, 8, 8],
            "extra": [8, 8],
        },
        "shape": {"moving": [2, 1, 32, 32], "fixed": [2, 1, 32, 32]},
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class ConvAct(nn.Module):
    """3x3 convolution, LeakyReLU 0.2; no normalisation."""

    def __init__(self, inputs: int, outputs: int, spatial_dims: int) -> None:
        super().__init__()
        self.conv = layers(spatial_dims).conv(inputs, outputs, 3, padding=1)
        self.act = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.conv(x))
        return out


class Net(nn.Module):
    """in_channels: of each image. out_channels: spatial_dims. encoder, decoder: one width per halving, the decoder
    from the bottom up. extra: widths of the convolutions at full resolution before the head."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        encoder: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 32),
        extra: Sequence[int] = (32, 16, 16),
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        sizes = [out_channels] if isinstance(out_channels, int) else list(out_channels.values())
        if sizes != [spatial_dims]:
            seen = f"out_channels is {out_channels!r}, but a displacement has {spatial_dims} components"
            raise HilumError("HIL-ZOO-05", seen, f"Use {spatial_dims}")
        if not encoder or len(encoder) != len(decoder):
            seen = f"There are {len(encoder)} encoder and {len(decoder)} decoder widths"
            raise HilumError("HIL-ZOO-03", seen, "Give as many of one as of the other, and at least one")
        down = [2 * in_channels, *encoder]
        self.encoder = nn.ModuleList(ConvAct(down[i], down[i + 1], spatial_dims) for i in range(len(encoder)))
        skips = [0, *reversed(encoder)]
        below = [encoder[-1], *decoder]
        self.decoder = nn.ModuleList(
            ConvAct(below[i] + skips[i], below[i + 1], spatial_dims) for i in range(len(decoder))
        )
        full = [decoder[-1] + encoder[0], *extra]
        self.extra = nn.Sequential(*(ConvAct(full[i], full[i + 1], spatial_dims) for i in range(len(extra))))
        self.pool = kit.max_pool(2)
        self.head = make_head(lambda k: kit.conv(full[-1], k, 3, padding=1), out_channels)
        self.divisor = (2 ** len(encoder),) * spatial_dims
        for module in self.head.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.normal_(module.weight, std=1e-5)  # registration starts at the identity
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def features(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Two (B, C, *space) -> (B, extra[-1], *space): what the flow convolution reads."""
        if moving.shape != fixed.shape:
            seen = f"The moving image is {tuple(moving.shape)}, the fixed one {tuple(fixed.shape)}"
            raise HilumError("HIL-ZOO-02", seen, "Bring both onto the fixed image's grid")
        require_divisible(fixed, self.divisor)
        x, skips = cat([moving, fixed], dim=1), []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        for block in self.decoder:
            x = functional.interpolate(block(x), scale_factor=2, mode="nearest")
            x = cat([x, skips.pop()], dim=1)
        out: Tensor = self.extra(x)
        return out

    def forward(self, moving: Tensor, fixed: Tensor) -> Output:
        out: Output = self.head(self.features(moving, fixed))
        return out
