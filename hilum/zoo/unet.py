"""U-Net (Ronneberger et al., 2015): an encoder, a decoder, and skips that bring back where things are.

What is special: each decoder level reads the encoder's map of the same resolution beside what comes from below.

x: (B, C, H, W) -> (B, K, *size), logits. What `size` is, `padding` says (below, 4 poolings):
- "same": convolutions padded by zeros, as most networks called U-Net today; H, W divisible by 16; size = (H, W).
- "valid": the paper's, nothing is padded and skips are cut to the middle; 572 x 572 -> 388 x 388. A side has to be
  16 n - 4, at least 188, and the output lacks 92 pixels at each side of it.
- "mirror": the same network on the image continued by its mirror image, as the paper has it for the border of an
  image; any H, W; size = (H, W).

Differs from the paper: `padding` is "same" unless told otherwise: the task segment compares output and labels of one
size, and refuses "valid". `norm="batch"` adds batch norm; the paper has none. The paper has dropout at the end of
the contracting path; that it is one layer at the bottom and its rate of 0.5 are choices made here. Transposed
convolutions start from the paper's N(0, 2 / N) too, N the number of channels. The paper's loss is `weight_map`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import levels, require_levels
from hilum.zoo._blocks.he_normal import he_normal
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only
from hilum.zoo._blocks.two_convs import two_convs

CARD = {
    "paper": "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    "authors": "Ronneberger, Fischer, Brox",
    "year": 2015,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2},
            "parameters": 31030658,
            "evidence": "calc; padding adds no weights",
            "shape": [1, 1, 576, 576],
            # the paper's 572, made divisible by 16
        },
        {
            "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "padding": "valid"},
            "parameters": 31030658,
            "evidence": "calc",
            "shape": [1, 1, 572, 572],
        },
        {
            "kwargs": {"in_channels": 1, "out_channels": 1, "spatial_dims": 2},
            "parameters": 31030593,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2},
            "parameters": 31031745,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2, "norm": "batch"},
            "parameters": 31043521,
            "evidence": "calc",
        },
        {
            "kwargs": {
                "in_channels": 3,
                "out_channels": 1,
                "spatial_dims": 2,
                "widths": [32, 64, 128, 256, 512],
            },
            "parameters": 7760097,
            "evidence": "calc",
        },
        {
            "kwargs": {
                "in_channels": 1,
                "out_channels": 1,
                "spatial_dims": 2,
                "widths": [32, 64, 128, 256, 512],
            },
            "parameters": 7759521,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "widths": [8, 16, 32],
            "dropout": 0.0,
        },
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


def middle(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *space) -> (B, C, *size), as much cut off before as behind."""
    for axis, wanted in enumerate(size, 2):
        x = x.narrow(axis, (x.shape[axis] - wanted) // 2, wanted)
    return x


def mirrored(x: Tensor, before: int, behind: Sequence[int]) -> Tensor:
    """Space continued by its mirror image, the edge not repeated; a small image is mirrored again and again."""
    for axis, more in enumerate(behind, 2):
        turn = 2 * x.shape[axis] - 2
        at = torch.arange(-before, x.shape[axis] + more, device=x.device).remainder(max(turn, 1))
        x = x.index_select(axis, torch.minimum(at, turn - at))
    return x


class Net(nn.Module):
    """widths: channels of each level, full resolution first. padding: "same", "valid" or "mirror".

    norm: "none" or "batch". dropout: rate at the bottom.
    """

    ORDER = (("encoder.*",), ("up.*", "decoder.*"), ("head",))
    # From the input to the output, for learning rates by depth; decoder levels are defined after all the `up`.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        padding: str = "same",
        norm: str = "none",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        kit = only(spatial_dims, 2)
        if padding not in ("same", "valid", "mirror"):
            raise HilumError("HIL-ZOO-03", f"padding is {padding!r}", 'Use "same", "valid" or "mirror"')
        if norm not in ("none", "batch"):
            raise HilumError("HIL-ZOO-03", f"norm is {norm!r}", 'Use "none" or "batch"')
        wide, pad, batch = levels(widths), int(padding == "same"), norm == "batch"
        sizes = [in_channels, *wide]
        up = range(len(wide) - 2, -1, -1)
        self.encoder = nn.ModuleList(
            two_convs(kit, sizes[i], width, padding=pad, batch_norm=batch) for i, width in enumerate(wide)
        )
        self.pool = kit.max_pool(2)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.ModuleList(kit.transposed(wide[i + 1], wide[i], 2, stride=2) for i in up)
        self.decoder = nn.ModuleList(two_convs(kit, 2 * wide[i], wide[i], padding=pad, batch_norm=batch) for i in up)
        self.head = make_head(lambda k: kit.conv(wide[0], k, 1), out_channels)
        he_normal(self)
        self.padding, self.batch_norm = padding, batch
        self.step = 2 ** (len(wide) - 1)
        self.divisor = (self.step if padding == "same" else 1,) * spatial_dims
        # pixels that valid convolutions take off each side: two by each 3x3 on the way down and up
        self.margin = 0 if padding == "same" else 6 * self.step - 4

    def tile(self, size: int) -> int:
        """The smallest side, `size` or more, that valid convolutions can take: even before each pooling."""
        return self.step * max(12, -(-(size + 4) // self.step)) - 4

    def _fitted(self, x: Tensor) -> Tensor:
        """x, continued by its mirror image where asked for; a size that the network can not take is refused."""
        require_levels(x, self.divisor, self.training and self.batch_norm)
        if self.padding == "mirror":
            behind = [self.tile(side + 2 * self.margin) - side - self.margin for side in x.shape[2:]]
            return mirrored(x, self.margin, behind)
        tiles = tuple(self.tile(side) for side in x.shape[2:])
        if self.padding == "valid" and tiles != tuple(x.shape[2:]):
            seen = f"The input's size {tuple(x.shape[2:])} does not suit valid convolutions"
            raise HilumError("HIL-ZOO-02", seen, f"Pad to {tiles}, or use padding=mirror")
        return x

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, widths[0], *size): what the last 1x1 convolution reads."""
        height, width = x.shape[2:]
        x, skips = self._fitted(x), list[Tensor]()
        for block in self.encoder:
            x = block(self.pool(x) if skips else x)
            skips.append(x)
        skips.pop()
        x = self.dropout(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = up(x)
            x = block(cat([x, middle(skips.pop(), x.shape[2:])], dim=1))
        return x[..., :height, :width] if self.padding == "mirror" else x

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
