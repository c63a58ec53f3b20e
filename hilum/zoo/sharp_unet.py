"""Sharp U-Net (Zunair and Ben Hamza, 2021): a U-Net whose skips pass through a fixed filter.

What is special: the filter brings out edges before a skip meets what comes from below, and has nothing to learn.

x: (B, C, H, W), divisible by 2^(levels - 1), 16 by default -> (B, K, H, W), logits.

Paper and code differ: the text speaks of sharpening, but the kernel that the authors' code calls the paper's sums to 0
and leaves edges only; the image itself is not added back, so where a feature is constant its skip is 0. That kernel,
"laplacian8", is the default; "sharpen5", the authors' other one, sums to 1 and keeps the image too. Beyond the border
there are zeros, which to the filter are an edge.

Differs from the paper: logits go out, no sigmoid. The weights start as He et al. (2015) advise, as in the U-Net.
"""

from collections.abc import Sequence

from torch import Tensor, cat, nn

from hilum.zoo._blocks.batch_unet import levels
from hilum.zoo._blocks.dims import require_divisible
from hilum.zoo._blocks.he_normal import he_normal
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only
from hilum.zoo._blocks.sharp import Sharp
from hilum.zoo._blocks.two_convs import two_convs

CARD = {
    "paper": "Sharp U-Net: Depthwise convolutional network for biomedical image segmentation",
    "authors": "Zunair, Ben Hamza",
    "year": 2021,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2},
            "parameters": 7760097,
            "evidence": "counted in the authors' code (what it trains; the 4,320 fixed values are apart)",
            "shape": [1, 3, 192, 256],
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "widths": [8, 16, 32]},
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class Net(nn.Module):
    """widths: channels of each level, full resolution first. kernel: "laplacian8" or "sharpen5", of the skips."""

    ORDER = (("encoder.*",), ("up.*", "decoder.*"), ("head",))
    # From the input to the output, for learning rates by depth; decoder levels are defined after all the `up`.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        kernel: str = "laplacian8",
    ) -> None:
        super().__init__()
        kit, wide = only(spatial_dims, 2), levels(widths)
        sizes, up = [in_channels, *wide], range(len(wide) - 2, -1, -1)
        self.encoder = nn.ModuleList(two_convs(kit, sizes[i], width) for i, width in enumerate(wide))
        self.pool = kit.max_pool(2)
        self.sharp = nn.ModuleList(Sharp(width, kernel) for width in wide[:-1])
        self.up = nn.ModuleList(kit.transposed(wide[i + 1], wide[i], 2, stride=2) for i in up)
        self.decoder = nn.ModuleList(two_convs(kit, 2 * wide[i], wide[i]) for i in up)
        self.head = make_head(lambda k: kit.conv(wide[0], k, 1), out_channels)
        self.divisor = (2 ** (len(wide) - 1),) * spatial_dims
        he_normal(self)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, widths[0], H, W): what the last 1x1 convolution reads."""
        require_divisible(x, self.divisor)
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
