"""DenseNet (Huang et al., 2017): each layer reads all layers before it in its block.

What is special: features are concatenated, never added, so that few channels per layer (the growth) suffice.

x: (B, C, *space), every side at least 32 -> (B, K), logits (mean over space before the last layer).

Differs from the paper: 3-D replaces each kernel by its cube. Compression 0.5 and bottleneck 4 are fixed ("BC" form).
"""

from collections.abc import Sequence

from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, layers
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.several_values import require_several_values

CARD = {
    "paper": "Densely Connected Convolutional Networks",
    "authors": "Huang, Liu, van der Maaten, Weinberger",
    "year": 2017,
    "tasks": ["classify"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 1,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 1000, "spatial_dims": 2, "depth": 121},
            "parameters": 7978856,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1000, "spatial_dims": 2, "depth": 169},
            "parameters": 14149480,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 7, "spatial_dims": 2, "depth": 121},
            "parameters": 6961031,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 3, "depth": 121},
            "parameters": 11244674,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 3,
            "spatial_dims": 2,
            "blocks": [2, 2, 2, 2],
            "growth": 8,
            "init_features": 8,
        },
        "shape": [4, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}

BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32)}
# Layers of each dense block, by the name of the network.


def norm_act_conv(kit: Layers, inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Batch norm, ReLU, convolution without bias."""
    conv = kit.conv(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(kit.batch_norm(inputs), nn.ReLU(inplace=True), conv)


class DenseLayer(nn.Module):
    """1x1 to four times the growth, 3x3 to the growth, put behind the input: (B, C, ...) -> (B, C + growth, ...)."""

    def __init__(self, kit: Layers, inputs: int, growth: int) -> None:
        super().__init__()
        self.path = nn.Sequential(norm_act_conv(kit, inputs, 4 * growth, 1), norm_act_conv(kit, 4 * growth, growth, 3))

    def forward(self, x: Tensor) -> Tensor:
        return cat([x, self.path(x)], dim=1)


class Net(nn.Module):
    """depth: 121 or 169; blocks: layers of each block, instead of depth. growth, init_features: channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        depth: int = 121,
        blocks: Sequence[int] | None = None,
        growth: int = 32,
        init_features: int = 64,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        if blocks is None and depth not in BLOCKS:
            raise HilumError("HIL-ZOO-03", f"depth is {depth!r}", f"Use one of {sorted(BLOCKS)}, or give blocks")
        counts = BLOCKS[depth] if blocks is None else tuple(blocks)
        channels = init_features
        parts: list[nn.Module] = [
            kit.conv(in_channels, channels, 7, stride=2, padding=3, bias=False),
            kit.batch_norm(channels),
            nn.ReLU(inplace=True),
            kit.max_pool(3, stride=2, padding=1),
        ]
        for index, count in enumerate(counts):
            parts.append(nn.Sequential(*(DenseLayer(kit, channels + i * growth, growth) for i in range(count))))
            channels += count * growth
            if index < len(counts) - 1:
                transition = norm_act_conv(kit, channels, channels // 2, 1)
                parts.append(transition.append(kit.avg_pool(2)))
                channels //= 2
        self.body = nn.Sequential(*parts, kit.batch_norm(channels), nn.ReLU(inplace=True), kit.mean(1))
        self.smallest = 2 ** (len(counts) + 1)
        self.head = make_head(lambda k: nn.Linear(channels, k), out_channels)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, F): the mean over space of the last block."""
        if min(x.shape[2:]) < self.smallest:
            seen = f"The input's size {tuple(x.shape[2:])} has a side below {self.smallest}"
            raise HilumError("HIL-ZOO-02", seen, f"Pad or resample to at least {self.smallest}")
        # the stem rounds a quarter of a side up, and every transition a half of it down
        require_several_values(x, 2 * self.smallest - 4, self.body[-3].training)
        out: Tensor = self.body(x).flatten(1)
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
