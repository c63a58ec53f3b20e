"""The stages of a ResNet (He et al., 2016, v1.5) as an encoder: every resolution comes out, strides may dilate instead.

A stage that dilates keeps its resolution and sees as far as if it had a stride, so that weights of the strided network
still fit.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Blocks of each stage; from depth 50 on they are bottlenecks.


def conv_norm(kit: Layers, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, then batch norm."""
    padding = dilation * (kernel // 2)
    conv = kit.conv(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, kit.batch_norm(outputs))


class Residual(nn.Module):
    """relu(path(x) + shortcut(x)); basic: two 3x3; bottleneck: 1x1, 3x3 (stride), 1x1 to four times the width."""

    def __init__(self, kit: Layers, inputs: int, width: int, stride: int, dilation: int, bottleneck: bool) -> None:
        super().__init__()
        self.outputs = width * 4 if bottleneck else width
        if bottleneck:
            first, middle = conv_norm(kit, inputs, width, 1), conv_norm(kit, width, width, 3, stride, dilation)
            parts = [
                first,
                nn.ReLU(inplace=True),
                middle,
                nn.ReLU(inplace=True),
                conv_norm(kit, width, self.outputs, 1),
            ]
        else:
            first, last = (
                conv_norm(kit, inputs, width, 3, stride, dilation),
                conv_norm(kit, width, width, 3, 1, dilation),
            )
            parts = [first, nn.ReLU(inplace=True), last]
        self.path = nn.Sequential(*parts)
        same = stride == 1 and inputs == self.outputs
        self.shortcut = nn.Identity() if same else conv_norm(kit, inputs, self.outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.path(x) + self.shortcut(x)).relu()
        return out


def make_stem(kit: Layers, inputs: int, width: int, kind: str) -> tuple[nn.Sequential, int]:
    """ "plain": 7x7 with stride 2 to `width`; "deep": three 3x3, the first with stride 2, to width, width, 2 width."""
    sizes = [(width, 7)] if kind == "plain" else [(width, 3), (width, 3), (2 * width, 3)]
    stem, channels = nn.Sequential(), inputs
    for index, (outputs, kernel) in enumerate(sizes):
        stem.extend([*conv_norm(kit, channels, outputs, kernel, 2 if index == 0 else 1), nn.ReLU(inplace=True)])
        channels = outputs
    return stem, channels


class Encoder(nn.Module):
    """x: (B, C, *space) -> [stem at stride 2, stage 1 at stride 4, stage 2, stage 3, stage 4], finest first.

    depth: 18, 34, 50 or 101. width: first stage's. stem: "plain", or "deep", whose pooling rounds sizes up.
    output_stride: 8, 16 or 32; a stage that would go beyond it dilates. `channels`: of each output.
    """

    def __init__(
        self, kit: Layers, inputs: int, *, depth: int, width: int = 64, stem: str = "plain", output_stride: int = 32
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise HilumError("HIL-ZOO-03", f"depth is {depth!r}", f"Use one of {sorted(BLOCKS)}")
        self.stem, channels = make_stem(kit, inputs, width, stem)
        self.pool = kit.max_pool(3, stride=2, padding=1, ceil_mode=stem == "deep")
        self.stages, self.channels = nn.ModuleList(), [channels]
        reached, dilation = 4, 1
        for level, count in enumerate(BLOCKS[depth]):
            stride = 1 if level == 0 else 2
            if reached * stride > output_stride:
                stride, dilation = 1, 2 * dilation
            reached *= stride
            stage = nn.Sequential()
            for index in range(count):
                first = stride if index == 0 else 1
                block = Residual(kit, channels, width * 2**level, first, dilation, bottleneck=depth >= 50)
                stage.append(block)
                channels = block.outputs
            self.stages.append(stage)
            self.channels.append(channels)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.stem(x)]
        x = self.pool(found[0])
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def renamed(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """A state of torchvision's ResNet for an `Encoder` with the plain stem that lies in `part`; `fc` is dropped.

    Another maker's names are refused (HIL-ZOO-06). Images have to be scaled as those weights want them.
    """
    found = {}
    for key, value in state.items():
        if key.startswith("fc."):
            continue
        if match := re.fullmatch(r"(conv|bn)1\.(\w+)", key):
            name = f"stem.{int(match[1] == 'bn')}.{match[2]}"
        elif match := re.fullmatch(r"layer([1-4])\.(\d+)\.(conv|bn)([1-3])\.(\w+)", key):
            place = f"{2 * (int(match[4]) - 1)}.{int(match[3] == 'bn')}"
            name = f"stages.{int(match[1]) - 1}.{match[2]}.path.{place}.{match[5]}"
        elif match := re.fullmatch(r"layer([1-4])\.(\d+)\.downsample\.([01])\.(\w+)", key):
            name = f"stages.{int(match[1]) - 1}.{match[2]}.shortcut.{match[3]}.{match[4]}"
        else:
            raise HilumError("HIL-ZOO-06", f"{key!r} is not a weight of torchvision's ResNet", "Load a ResNet")
        found[f"{part}.{name}"] = value
    return found
