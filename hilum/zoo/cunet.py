"""CU-Net (Zhang et al., 2024): a U-Net for brain tumours on four MRI contrasts, "Columbia-University-Net".

What is special: nothing that could be read. The abstract names a symmetric U of convolutions, max-pooling and
upsampling; that it has skips, reads several contrasts and gives one binary mask is from a digest of the text. The four
contrasts are those of BraTS: FLAIR, T1, contrast-enhanced T1, T2.

x: (B, C, H, W), divisible by 16 -> (B, K, H, W), logits (the sigmoid belongs to the loss). The 240 x 240 slices of
BraTS are cut or padded to 256.

A reconstruction: no widths, norms, optimiser or split were found, and no code. Filled in: the widths 64 to 1024 and two
padded 3x3 convolutions per level of the U-Net (Ronneberger et al., 2015), batch norm (`norm`), 2x2 transposed
convolutions, skips joined by concatenation. What this file gives is therefore no measurement of the published network.
Not the cascaded CU-Net of 2019.
"""

from collections.abc import Sequence

from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import levels, require_levels
from hilum.zoo._blocks.he_normal import he_normal
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only
from hilum.zoo._blocks.two_convs import two_convs

CARD = {
    "paper": "CU-Net: a U-Net architecture for efficient brain-tumor segmentation on BraTS 2019 dataset",
    "authors": "Zhang, Qi, Zheng, Shen",
    "year": 2024,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 4, "out_channels": 1, "spatial_dims": 2},
            "parameters": 31044097,
            "evidence": "counted here; the published size is not known",
            "shape": [1, 4, 256, 256],
            # BraTS slices of 240, padded; the paper names no size
        },
        {
            "kwargs": {"in_channels": 4, "out_channels": 1, "spatial_dims": 2, "norm": "none"},
            "parameters": 31032321,
            "evidence": "calc: a U-Net's 31030593 and 1728 of three more channels; the published size is not known",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 4, "out_channels": 1, "spatial_dims": 2, "widths": [8, 16, 32]},
        "shape": [2, 4, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": True,
}


class Net(nn.Module):
    """widths: channels of each level, full resolution first. norm: "batch" or "none"."""

    ORDER = (("encoder.*",), ("up.*", "decoder.*"), ("head",))
    # From the input to the output, for learning rates by depth; decoder levels are defined after all the `up`.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        norm: str = "batch",
    ) -> None:
        super().__init__()
        kit = only(spatial_dims, 2)
        if norm not in ("batch", "none"):
            raise HilumError("HIL-ZOO-03", f"norm is {norm!r}", 'Use "batch" or "none"')
        wide, batch = levels(widths), norm == "batch"
        sizes = [in_channels, *wide]
        up = range(len(wide) - 2, -1, -1)
        self.encoder = nn.ModuleList(two_convs(kit, sizes[i], wide[i], batch_norm=batch) for i in range(len(wide)))
        self.pool = kit.max_pool(2)
        self.up = nn.ModuleList(kit.transposed(wide[i + 1], wide[i], 2, stride=2) for i in up)
        self.decoder = nn.ModuleList(two_convs(kit, 2 * wide[i], wide[i], batch_norm=batch) for i in up)
        self.head = make_head(lambda k: kit.conv(wide[0], k, 1), out_channels)
        self.divisor, self.batch_norm = (2 ** (len(wide) - 1),) * spatial_dims, batch
        he_normal(self)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, widths[0], H, W): what the last 1x1 convolution reads."""
        require_levels(x, self.divisor, self.training and self.batch_norm)
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(self.pool(x) if skips else x)
            skips.append(x)
        skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(cat([skips.pop(), up(x)], dim=1))
        return x

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
