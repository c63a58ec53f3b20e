"""SE U-Net (Hu et al., 2018, in a U-Net): every level weighs its own channels, or its own voxels, before passing on.

What is special: squeeze and excitation. The mean over space of every channel goes through two small linear layers and
a sigmoid, and what comes out scales the channels. The variants for segmentation (Roy et al., 2018) scale voxels
by a 1x1 convolution and a sigmoid, or do both and take the sum or the larger. Of that paper the abstract was read,
which names the variants and not how two become one.

x: (B, C, *space), space divisible by 2^(levels - 1), 16 by default -> (B, K, *space), logits.

Differs from the papers: Hu's has no U-Net. Here the gate follows the two convolutions of every level, the bottom and
the decoder too, of a padded U-Net (Ronneberger 2015) with batch norm, no dropout and weights as PyTorch draws them:
that placement is Hilum's. `reduction` is 16 for every gate; of Roy's variants 2 is said, which was not read
(`se_unet:gate=max:reduction=2`). Both linear layers have biases; many ports have none. 3-D replaces each square by a
cube. The mean is taken in float32, so that half precision does not lose large volumes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import levels, require_levels
from hilum.zoo._blocks.dims import Layers, layers
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.two_convs import two_convs

CARD = {
    "paper": "Squeeze-and-Excitation Networks",
    "authors": "Hu, Shen, Sun",
    "year": 2018,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2},
            "parameters": 31264761,
            "evidence": "by layer: a U-Net with batch norm, 31,043,521, and nine gates, 221,240",
            "shape": [1, 3, 256, 256],
            # chosen here: no size is known for a segmenting form
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2, "gate": "sum", "reduction": 2},
            "parameters": 32795786,
            "evidence": "by layer: a U-Net with batch norm, 31,043,521, and nine double gates, 1,752,265",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "widths": [16, 16, 32],
            "gate": "sum",
            "reduction": 2,
        },
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": True,
}

GATES = ("channel", "space", "sum", "max")


class ChannelGate(nn.Module):
    """x: (B, C, *space) -> (B, C, 1, ...) in (0, 1), from the means of all channels over space."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=tuple(range(2, x.ndim)), dtype=torch.float32).to(x.dtype)
        scales = self.excite(self.squeeze(means).relu()).sigmoid()
        return scales.unflatten(1, (-1,) + (1,) * (x.ndim - 2))


class Excitation(nn.Module):
    """Scales x: (B, C, *space) by what it holds. kind: one of GATES; reduction: of the channels in the middle."""

    def __init__(self, kit: Layers, channels: int, kind: str, reduction: int) -> None:
        super().__init__()
        self.kind = kind
        self.channel = None if kind == "space" else ChannelGate(channels, reduction)
        self.space = None if kind == "channel" else kit.conv(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        scaled = []
        if self.channel is not None:
            scaled.append(x * self.channel(x))
        if self.space is not None:
            scaled.append(x * self.space(x).sigmoid())
        if len(scaled) == 1:
            return scaled[0]
        return scaled[0] + scaled[1] if self.kind == "sum" else torch.maximum(scaled[0], scaled[1])


class Net(nn.Module):
    """widths: channels of each level, full resolution first. gate: "channel" (Hu), "space", or both by "sum" or "max".
    reduction: how many times fewer channels there are between the two linear layers.
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
        gate: str = "channel",
        reduction: int = 16,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        wide = levels(widths)
        if gate not in GATES:
            raise HilumError("HIL-ZOO-03", f"gate is {gate!r}", f"Use one of {', '.join(GATES)}")
        if gate != "space" and not 1 <= reduction <= min(wide):
            seen = f"reduction is {reduction}, and the narrowest level has {min(wide)} channels"
            raise HilumError("HIL-ZOO-03", seen, f"Use 1 to {min(wide)}, or wider levels")

        def level(inputs: int, width: int) -> nn.Sequential:
            return two_convs(kit, inputs, width, batch_norm=True).append(Excitation(kit, width, gate, reduction))

        sizes, up = [in_channels, *wide], range(len(wide) - 2, -1, -1)
        self.pool = kit.max_pool(2)
        self.encoder = nn.ModuleList(level(sizes[i], sizes[i + 1]) for i in range(len(wide)))
        self.up = nn.ModuleList(kit.transposed(wide[i + 1], wide[i], 2, stride=2) for i in up)
        self.decoder = nn.ModuleList(level(2 * wide[i], wide[i]) for i in up)
        self.head = make_head(lambda k: kit.conv(wide[0], k, 1), out_channels)
        self.divisor = (2 ** len(up),) * spatial_dims

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, widths[0], *space): what the last 1x1 convolution reads."""
        require_levels(x, self.divisor, self.training)
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(self.pool(x) if skips else x)
            skips.append(x)
        x = skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(cat([up(x), skips.pop()], dim=1))
        return x

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
