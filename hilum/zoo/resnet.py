"""ResNet (He et al., 2016), version 1.5: each block learns what to add to its input.

What is special: the identity path lets gradients through a hundred layers.

x: (B, C, *space) -> (B, K), logits (mean over space before the last layer).

Differs from the paper: in the bottleneck the stride is on the 3x3 convolution ("v1.5"), not on the first 1x1; 3-D
replaces each kernel by its cube (MONAI's 3-D ResNet also has biases on its shortcuts); stem "small" (3x3, no pooling)
for images below about 64 pixels.
"""

from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, layers
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.several_values import require_several_values

CARD = {
    "paper": "Deep Residual Learning for Image Recognition",
    "authors": "He, Zhang, Ren, Sun",
    "year": 2016,
    "tasks": ["classify"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 1,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 1000, "spatial_dims": 2, "depth": 18},
            "parameters": 11689512,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1000, "spatial_dims": 2, "depth": 34},
            "parameters": 21797672,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1000, "spatial_dims": 2, "depth": 50},
            "parameters": 25557032,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1000, "spatial_dims": 2, "depth": 101},
            "parameters": 44549160,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 3, "spatial_dims": 2, "depth": 18, "width": 8, "stem": "small"},
        "shape": [4, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Blocks of each stage; from depth 50 on they are bottlenecks.


def conv_norm(kit: Layers, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, then batch norm."""
    conv = kit.conv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, kit.batch_norm(outputs))


class Residual(nn.Module):
    """relu(path(x) + shortcut(x)); basic: two 3x3; bottleneck: 1x1, 3x3 (stride), 1x1 to four times the width."""

    def __init__(self, kit: Layers, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.outputs = width * 4 if bottleneck else width
        if bottleneck:
            first = conv_norm(kit, inputs, width, 1)
            parts = [first, nn.ReLU(inplace=True), conv_norm(kit, width, width, 3, stride)]
        else:
            parts = [conv_norm(kit, inputs, width, 3, stride)]
        last = conv_norm(kit, width, self.outputs, 1 if bottleneck else 3)
        self.path = nn.Sequential(*parts, nn.ReLU(inplace=True), last)
        same = stride == 1 and inputs == self.outputs
        self.shortcut = nn.Identity() if same else conv_norm(kit, inputs, self.outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.path(x) + self.shortcut(x)).relu()
        return out


def make_stem(kit: Layers, inputs: int, width: int, kind: str) -> nn.Sequential:
    """ "imagenet": 7x7 stride 2, then max pool stride 2; "small": 3x3, no stride."""
    if kind not in ("imagenet", "small"):
        raise HilumError("HIL-ZOO-03", f"stem is {kind!r}", 'Use "imagenet" or "small"')
    if kind == "small":
        return conv_norm(kit, inputs, width, 3).append(nn.ReLU(inplace=True))
    stem = conv_norm(kit, inputs, width, 7, 2).append(nn.ReLU(inplace=True))
    return stem.append(kit.max_pool(3, stride=2, padding=1))


def make_stages(kit: Layers, width: int, depth: int) -> tuple[nn.Sequential, int]:
    """The four stages and the channels that come out; all but the first begin with stride 2."""
    stages, channels = nn.Sequential(), width
    for level, count in enumerate(BLOCKS[depth]):
        stage = nn.Sequential()
        for index in range(count):
            stride = 2 if level > 0 and index == 0 else 1
            block = Residual(kit, channels, width * 2**level, stride, bottleneck=depth >= 50)
            stage.append(block)
            channels = block.outputs
        stages.append(stage)
    return stages, channels


class Net(nn.Module):
    """depth: 18, 34, 50 or 101. stem: "imagenet" (7x7 stride 2, max pool) or "small" (3x3). width: first stage's.

    dropout: rate before the last layer; the paper has none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        depth: int = 18,
        stem: str = "imagenet",
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        if depth not in BLOCKS:
            raise HilumError("HIL-ZOO-03", f"depth is {depth!r}", f"Use one of {sorted(BLOCKS)}")
        self.stem = make_stem(kit, in_channels, width, stem)
        self.stages, channels = make_stages(kit, width, depth)
        # the largest side that leaves one: halved by every stage but the first, and twice by the stem of large images
        self.one_voxel = 2 ** (len(self.stages) - 1 + (2 if stem == "imagenet" else 0))
        self.mean = kit.mean(1)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.head = make_head(lambda k: nn.Linear(channels, k), out_channels)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, F): the mean over space of the last stage."""
        require_several_values(x, self.one_voxel, self.stages[-1].training)
        out: Tensor = self.mean(self.stages(self.stem(x))).flatten(1)
        return out

    def forward(self, x: Tensor) -> Output:
        features = self.features(x)
        out: Output = self.head(features if self.dropout is None else self.dropout(features))
        return out
