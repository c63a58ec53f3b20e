"""FCN (Long et al., 2015): a classifier (VGG-16) whose dense layers become convolutions, so that it answers everywhere.

What is special: the answer at stride 32 is sharpened by adding answers read from earlier maps (strides 16 and 8), and
enlarged by fixed bilinear kernels. `stride` 32, 16 or 8 is the paper's FCN-32s, 16s or 8s.

x: (B, C, H, W), any size -> (B, K, H, W), logits. The first convolution pads by 100, so that even a small image leaves
something for the 7x7 kernel of fc6, and poolings round up; scores are cut back to the image by the offsets below.

Differs from the paper: follows the authors' later code, where kernels for enlarging are fixed and bilinear. The
paper starts from ImageNet weights (`from_vgg16` renames them) and trains 32s, then 16s, then 8s; without such weights
the convolutions start as He et al. (2015) advise. `at_once` is the authors' way to train all streams together.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, require_divisible
from hilum.zoo._blocks.he_normal import he_normal
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only

CARD = {
    "paper": "Fully Convolutional Networks for Semantic Segmentation",
    "authors": "Long, Shelhamer, Darrell",
    "year": 2015,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 1,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 21, "spatial_dims": 2, "stride": 8},
            "parameters": 134362751,
            "evidence": "calc",
            "shape": [1, 3, 500, 500],
            # VOC's images are at most 500 a side
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 21, "spatial_dims": 2, "stride": 16},
            "parameters": 134357354,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 21, "spatial_dims": 2, "stride": 32},
            "parameters": 134346581,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2, "stride": 8},
            "parameters": 134270278,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "width": 4,
            "hidden": 32,
            "dropout": 0.0,
            "zero_scores": False,
        },
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
    "head": "score layers at up to three strides, their sum enlarged by fixed kernels after the last of them",
}

CONVS = (2, 2, 3, 3, 3)
# 3x3 convolutions before each pooling of VGG-16.
WIDTHS = (1, 2, 4, 8, 8)
# Their channels, in widths.
SKIPS = ((3, 5, 0.01), (2, 9, 0.0001))
# Of strides 16 and 8: number of the pooled map, rows cut off before the sum, and its factor with `at_once`.
CUT = {32: 19, 16: 27, 8: 31}
# Rows of the enlarged scores that lie before the image. Pixel i of a score map at stride 32 looks at pixel 32 i + 12.5
# of the image: 15.5 by five poolings, less 99 of padding, plus 3 * 32 of fc6. Enlarged, it lies at 32 i + 31.5, or
# through one (two) doublings at 32 i + 39.5 (43.5); the difference is cut off. So it is with the finer maps.


class Bilinear(nn.Module):
    """(B, C, H, W) -> (B, C, s H + s, s W + s), s the stride: transposed convolution by a fixed bilinear kernel."""

    kernel: Tensor

    def __init__(self, stride: int) -> None:
        super().__init__()
        ramp = 1 - (torch.arange(2 * stride) - (stride - 0.5)).abs() / stride
        self.register_buffer("kernel", ramp.outer(ramp)[None, None], persistent=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], -1, -1, -1)
        return functional.conv_transpose2d(x, kernel, stride=self.stride, groups=x.shape[1])


def vgg(kit: Layers, inputs: int, width: int) -> nn.ModuleList:
    """The convolutions before each pooling; the first pads by 100."""
    stages = nn.ModuleList()
    for count, times in zip(CONVS, WIDTHS, strict=True):
        stage = nn.Sequential()
        for _ in range(count):
            padding = 1 if stages or len(stage) else 100
            stage.extend([kit.conv(inputs, width * times, 3, padding=padding), nn.ReLU(inplace=True)])
            inputs = width * times
        stages.append(stage)
    return stages


def cut(x: Tensor, before: int, height: int, width: int) -> Tensor:
    """(B, C, *space) -> (B, C, height, width), `before` rows and columns cut off first."""
    return x[..., before : before + height, before : before + width]


class Net(nn.Module):
    """stride: 32, 16 or 8, of the finest map that is scored. at_once: the two finer maps are made small before scoring.

    width: channels of the first convolutions. hidden: of fc6 and fc7. dropout: rate after each of these. zero_scores:
    score layers start at 0, so that the first step moves them alone and all classes are equally likely before.
    """

    ORDER = (("stages.*",), ("fc.*",), ("head", "score16", "score8"))
    # From the input to the output, for learning rates by depth: the score layers stand side by side.
    ENCODER = ("stages", "fc")
    # All of VGG-16 but its last layer.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        stride: int = 8,
        at_once: bool = False,
        width: int = 64,
        hidden: int = 4096,
        dropout: float = 0.5,
        zero_scores: bool = True,
    ) -> None:
        super().__init__()
        kit = only(spatial_dims, 2)
        if stride not in CUT:
            raise HilumError("HIL-ZOO-03", f"stride is {stride!r}", f"Use one of {sorted(CUT)}")
        self.stages = vgg(kit, in_channels, width)
        self.pool = kit.max_pool(2, ceil_mode=True)
        self.fc = nn.Sequential(
            *(kit.conv(8 * width, hidden, 7), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            *(kit.conv(hidden, hidden, 1), nn.ReLU(inplace=True), nn.Dropout(dropout)),
        )

        def score(channels: int) -> nn.Module:
            return make_head(lambda k: kit.conv(channels, k, 1), out_channels)

        self.head = score(hidden)
        self.score16 = score(8 * width) if stride <= 16 else None
        self.score8 = score(4 * width) if stride <= 8 else None
        self.twice, self.enlarge = Bilinear(2), Bilinear(stride)
        self.stride, self.at_once = stride, at_once
        self.divisor = (1,) * spatial_dims
        he_normal(self)
        if zero_scores:
            for layer in (self.head, self.score16, self.score8):
                for parameter in [] if layer is None else layer.parameters():
                    nn.init.zeros_(parameter)

    def _scores(self, x: Tensor) -> list[Any]:
        """Scores at stride 32, then at 16 and 8 where they are read."""
        require_divisible(x, self.divisor)
        maps = []
        for stage in self.stages:
            x = self.pool(stage(x))
            maps.append(x)
        found: list[Any] = [self.head(self.fc(x))]
        for score, (number, _, factor) in zip((self.score16, self.score8), SKIPS, strict=True):
            if score is not None:
                found.append(score(maps[number] * factor if self.at_once else maps[number]))
        return found

    def _fused(self, scores: list[Tensor], height: int, width: int) -> Tensor:
        """Doubled and added, coarsest first, then enlarged to the image."""
        x = scores[0]
        for score, (_, before, _) in zip(scores[1:], SKIPS, strict=False):
            x = self.twice(x)
            x = x + cut(score, before, *x.shape[2:])
        return cut(self.enlarge(x), CUT[self.stride], height, width)

    def forward(self, x: Tensor) -> Output:
        scores, (height, width) = self._scores(x), x.shape[2:]
        if isinstance(scores[0], dict):
            return {name: self._fused([s[name] for s in scores], height, width) for name in scores[0]}
        return self._fused(scores, height, width)


def from_vgg16(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state of torchvision's VGG-16 (no batch norm) for `Net` at full width; its last layer is dropped.

    Dense weights become kernels. Images have to be scaled as those weights want them.
    """
    first, names = 0, {"classifier.0": "fc.0", "classifier.3": "fc.3"}
    for stage, count in enumerate(CONVS):
        names |= {f"features.{first + 2 * i}": f"stages.{stage}.{2 * i}" for i in range(count)}
        first += 2 * count + 1
    renamed = {}
    for old, new in names.items():
        if f"{old}.weight" not in state or f"{old}.bias" not in state:
            raise HilumError("HIL-ZOO-06", f"{old!r} is not among the weights", "Load a VGG-16 without batch norm")
        weight = state[f"{old}.weight"]
        sides = {"fc.0": (7, 7), "fc.3": (1, 1)}.get(new)
        renamed[f"{new}.weight"] = weight if sides is None else weight.reshape(len(weight), -1, *sides)
        renamed[f"{new}.bias"] = state[f"{old}.bias"]
    return renamed
