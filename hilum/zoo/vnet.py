"""V-Net (Milletari et al., 2016): a volumetric encoder and decoder that adds the input of each stage to its output.

What is special: every stage learns what to add to what it was given; 5x5x5 kernels; strided convolutions, not pooling;
no normalisation anywhere.

x: (B, C, D, H, W), space divisible by 2^(stages - 1), 16 by default -> (B, K, D, H, W), logits.

Differs from the paper: `convs` and `up_convs` are those of the authors' released network, whose layer list is known
exactly; the paper's figure is said to show more convolutions in the second and third stage (not checked here). A common
PyTorch port of this name has convs=[1, 1, 2, 3, 2], up_convs=[2, 2, 1, 1]; MONAI's has batch norm, ELU and dropout
too. The first stage adds the one input channel to each of its outputs; several input channels are added in turn
(1 2 3 1 2 ...). The released Dice layer reports the Dice of the hard mask but passes back another gradient; here losses
are apart from networks, and the paper's is `dice` with `squared`. Weights start as He et al. (2015) draw them, since no
norm makes up for others; the released network's variance lies between that of its inputs and that of its outputs.
"""

from collections.abc import Sequence

from torch import Tensor, arange, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, require_divisible
from hilum.zoo._blocks.he_normal import he_normal
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only

CARD = {
    "paper": "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation",
    "authors": "Milletari, Navab, Ahmadi",
    "year": 2016,
    "tasks": ["segment"],
    "role": "net",
    "dims": [3],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 3},
            "parameters": 61982682,
            "evidence": "calc, from the layer list of the authors' release",
            "shape": [1, 1, 128, 128, 64],
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 3,
            "width": 4,
            "convs": [1, 1, 2],
            "up_convs": [2, 1],
        },
        "shape": [2, 1, 8, 8, 8],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class Stage(nn.Module):
    """`convs` times a 5x5x5 convolution and a PReLU; before the last PReLU the stage's input is added."""

    def __init__(self, kit: Layers, inputs: int, width: int, convs: int) -> None:
        super().__init__()
        sizes = [inputs] + [width] * convs
        self.convs = nn.ModuleList(kit.conv(sizes[i], width, 5, padding=2) for i in range(convs))
        self.acts = nn.ModuleList(nn.PReLU(width) for _ in range(convs))

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        """x: (B, inputs, *space). given: (B, width, *space), what is added."""
        for number, (conv, act) in enumerate(zip(self.convs, self.acts, strict=True), 1):
            x = conv(x)
            x = act(x + given if number == len(self.convs) else x)
        return x


def resized(layer: nn.Module, width: int) -> nn.Sequential:
    """A convolution that halves or doubles the resolution, and a PReLU."""
    return nn.Sequential(layer, nn.PReLU(width))


class Net(nn.Module):
    """width: channels of the first stage, doubled at each one. convs: of each encoder stage, full resolution first.

    up_convs: of each decoder stage, lowest resolution first.
    """

    ORDER = (("encoder.*", "down.*"), ("up.*", "decoder.*"), ("tail",), ("head",))
    # From the input to the output, for learning rates by depth; a stage and the step after (before) it are one.
    ENCODER = ("encoder", "down")

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        width: int = 16,
        convs: Sequence[int] = (1, 1, 2, 3, 3),
        up_convs: Sequence[int] = (3, 2, 1, 1),
    ) -> None:
        super().__init__()
        kit = only(spatial_dims, 3)
        if len(convs) < 2 or len(up_convs) != len(convs) - 1 or min(*convs, *up_convs) < 1:
            seen = f"convs is {list(convs)!r} and up_convs {list(up_convs)!r}"
            raise HilumError("HIL-ZOO-03", seen, "Give a positive number per stage, up_convs one stage fewer")
        wide = [width * 2**level for level in range(len(convs))]
        up = range(len(convs) - 2, -1, -1)
        logits = out_channels if isinstance(out_channels, int) else sum(out_channels.values())
        self.encoder = nn.ModuleList(
            Stage(kit, wide[i] if i else in_channels, wide[i], count) for i, count in enumerate(convs)
        )
        self.down = nn.ModuleList(resized(kit.conv(w, 2 * w, 2, stride=2), 2 * w) for w in wide[:-1])
        # a decoder stage is as wide as the encoder stage below: half comes from there, half from the skip
        lower = [wide[-1], *(wide[i + 1] for i in up)]
        self.up = nn.ModuleList(
            resized(kit.transposed(lower[n], wide[i], 2, stride=2), wide[i]) for n, i in enumerate(up)
        )
        self.decoder = nn.ModuleList(
            Stage(kit, 2 * wide[i], 2 * wide[i], count) for i, count in zip(up, up_convs, strict=True)
        )
        self.tail = resized(kit.conv(2 * width, logits, 5, padding=2), logits)
        self.head = make_head(lambda k: kit.conv(logits, k, 1), out_channels)
        self.divisor = (2 ** (len(convs) - 1),) * spatial_dims
        self.width = width
        he_normal(self)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, K, D, H, W): what the last 1x1x1 convolution reads."""
        require_divisible(x, self.divisor)
        given = x.index_select(1, arange(self.width, device=x.device) % x.shape[1])
        x, skips = self.encoder[0](x, given), []
        for down, stage in zip(self.down, list(self.encoder)[1:], strict=True):
            skips.append(x)
            x = down(x)
            x = stage(x, x)
        for up, stage in zip(self.up, self.decoder, strict=True):
            x = cat([up(x), skips.pop()], dim=1)
            x = stage(x, x)
        out: Tensor = self.tail(x)
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
