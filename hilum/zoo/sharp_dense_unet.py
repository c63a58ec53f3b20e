"""Sharp Dense U-Net (Senapati et al., 2024), reconstructed: dense blocks, and a fixed sharpening filter on each skip.

What is special: inside a block every convolution reads all that came before it; skips carry edges, as in `sharp_unet`.

x: (B, C, H, W), divisible by 2^(levels - 1), 16 by default -> (B, K, H, W), logits.

A reconstruction: no code, no layer table and no text (doi 10.1007/s13042-023-02017-y) were found. Others describe it as
a dense U-Net for nuclei in histopathology with sharpening filters on its skips. Chosen here, after U-Nets of that time:
widths 32 to 512; three 3x3 convolutions in a block, each with batch norm, ReLU and half the level's width as outputs;
a 1x1 convolution with batch norm and ReLU to the level's width; max pooling; 2x2 transposed convolutions; the kernel of
`sharp_unet`. So its count of parameters is ours, not the paper's.
"""

from collections.abc import Sequence

from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import levels, require_levels
from hilum.zoo._blocks.dims import Layers
from hilum.zoo._blocks.he_normal import he_normal
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only
from hilum.zoo._blocks.resnet_encoder import conv_norm
from hilum.zoo._blocks.sharp import Sharp

CARD = {
    "paper": "Sharp Dense U-Net (International Journal of Machine Learning and Cybernetics 15(6), 2079-2094)",
    "authors": "Senapati, Basu, Deb, Dhal",
    "year": 2024,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2},
            "parameters": 9352753,
            "evidence": "counted here, not in another implementation; the paper's is not known",
            "shape": [1, 3, 256, 256],
            # chosen here: the paper's size is not known
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "widths": [8, 16, 32], "layers": 2},
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": True,
}


def conv_norm_act(kit: Layers, inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution without bias (same size), batch norm, ReLU."""
    return conv_norm(kit, inputs, outputs, kernel).append(nn.ReLU(inplace=True))


class DenseBlock(nn.Module):
    """(B, inputs, *space) -> (B, outputs, *space): `layers` 3x3 convolutions of `outputs` / 2 channels, then 1x1."""

    def __init__(self, kit: Layers, inputs: int, outputs: int, layers: int) -> None:
        super().__init__()
        growth = outputs // 2
        self.layers = nn.ModuleList(conv_norm_act(kit, inputs + n * growth, growth, 3) for n in range(layers))
        self.transition = conv_norm_act(kit, inputs + layers * growth, outputs, 1)

    def gathered(self, x: Tensor) -> Tensor:
        """(B, inputs, *space) -> (B, inputs + layers * growth, *space): x and what every layer adds."""
        for layer in self.layers:
            x = cat([x, layer(x)], dim=1)
        return x

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.transition(self.gathered(x))
        return out


class Net(nn.Module):
    """widths: channels of each level, even, full resolution first. layers: 3x3 convolutions of each block.

    kernel: "laplacian8" or "sharpen5", of the skips.
    """

    ORDER = (("encoder.*",), ("up.*", "decoder.*"), ("head",))
    # From the input to the output, for learning rates by depth; decoder levels are defined after all the `up`.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        layers: int = 3,
        kernel: str = "laplacian8",
    ) -> None:
        super().__init__()
        kit, wide = only(spatial_dims, 2), levels(widths)
        if layers < 1 or any(width % 2 for width in wide):
            seen = f"layers is {layers} and widths {list(wide)}"
            raise HilumError("HIL-ZOO-03", seen, "Use one layer or more and even widths, half of which a layer adds")
        sizes, up = [in_channels, *wide], range(len(wide) - 2, -1, -1)
        self.encoder = nn.ModuleList(DenseBlock(kit, sizes[i], width, layers) for i, width in enumerate(wide))
        self.pool = kit.max_pool(2)
        self.sharp = nn.ModuleList(Sharp(width, kernel) for width in wide[:-1])
        self.up = nn.ModuleList(kit.transposed(wide[i + 1], wide[i], 2, stride=2) for i in up)
        self.decoder = nn.ModuleList(DenseBlock(kit, 2 * wide[i], wide[i], layers) for i in up)
        self.head = make_head(lambda k: kit.conv(wide[0], k, 1), out_channels)
        self.divisor = (2 ** (len(wide) - 1),) * spatial_dims
        he_normal(self)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, widths[0], H, W): what the last 1x1 convolution reads."""
        require_levels(x, self.divisor, self.training)
        skips: list[Tensor] = []
        for block, sharp in zip(self.encoder, self.sharp, strict=False):
            x = block(x)
            skips.append(sharp(x))
            x = self.pool(x)
        x = self.encoder[-1](x)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(cat([up(x), skips.pop()], dim=1))
        return x

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
