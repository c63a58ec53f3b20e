"""FCOS (Tian et al., 2019): every place of a feature map says what it lies in and how far the four sides are.

What is special: no anchors; "centre-ness" weighs down boxes seen from their rim.

x: (B, C, *space), space divisible by the last stride -> one list per head, one tensor per level (`Net.strides`):
"class" (B, K, *s), logits; "box" (B, 2 * dims, *s), distances >= 0 in pixels of the input, to the low sides of all
axes, then to the high sides; "centre" (B, 1, *s), logits. *s is *space divided by the level's stride. Place i of an
axis stands for pixel (i + 0.5) * stride.

Differs from the paper: a small residual backbone with group norm (not ResNet-50), by default three levels; centre-ness
comes from the box tower (the authors' later choice); distances are stride * softplus(scale * x), not exp; 3-D too.
"""

import math

from torch import Tensor, nn, ones
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, layers, require_divisible, require_more_than_one_voxel

CARD = {
    "paper": "FCOS: Fully Convolutional One-Stage Object Detection",
    "authors": "Tian, Shen, Chen, He",
    "year": 2019,
    "tasks": ["detect"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2},
            "parameters": 3220362,
            "evidence": "counted here, not in another implementation",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "width": 8, "depth": 1},
        "shape": [2, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
    "branches": "class and box towers run one after the other",
    "head": "three convolutions shared by all levels: class on one tower, box and centre on the other",
    "onnx": "a head is called class, which torch writes into Python code when it exports",
}

PRIOR = 0.01
# The probability of an object that the class head starts with, so that the many empty places do not swamp the loss.


def group_norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups, of one channel up to a width of 32; the batch of a detector is too small for batch norm."""
    return nn.GroupNorm(math.gcd(channels, 32), channels)


def conv_norm(kit: Layers, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, then group norm."""
    conv = kit.conv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, group_norm(outputs))


class Residual(nn.Module):
    """relu(two 3x3 convolutions of x + shortcut(x))."""

    def __init__(self, kit: Layers, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first, last = conv_norm(kit, inputs, outputs, 3, stride), conv_norm(kit, outputs, outputs)
        self.path = nn.Sequential(first, nn.ReLU(inplace=True), last)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(kit, inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.path(x) + self.shortcut(x)).relu()
        return out


class Pyramid(nn.Module):
    """Backbone and feature pyramid: (B, C, *space) -> one (B, width, *space / stride) per level, finest first."""

    def __init__(self, kit: Layers, inputs: int, width: int, levels: int) -> None:
        super().__init__()
        self.stem = conv_norm(kit, inputs, width, 7, 2).append(nn.ReLU(inplace=True))
        sizes = [width] + [min(width * 2**level, 8 * width) for level in range(levels)]
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(kit, sizes[i], sizes[i + 1], 2), Residual(kit, sizes[i + 1], sizes[i + 1], 1))
            for i in range(levels)
        )
        self.lateral = nn.ModuleList(kit.conv(size, width, 1) for size in sizes[1:])
        self.smooth = nn.ModuleList(kit.conv(width, width, 3, padding=1) for _ in range(levels))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, found = self.stem(x), []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            found.append(lateral(x))
        for level in range(len(found) - 1, 0, -1):
            found[level - 1] = found[level - 1] + functional.interpolate(found[level], scale_factor=2, mode="nearest")
        return [smooth(level) for smooth, level in zip(self.smooth, found, strict=True)]


class Net(nn.Module):
    """out_channels: number of classes, or {"class": K, "box": 2 * dims, "centre": 1}. width: channels of pyramid and
    towers. depth: convolutions of each tower. levels: of the pyramid, at strides 4, 8, 16 and so on."""

    ORDER = (
        ("pyramid.stem",),
        ("pyramid.stages.*",),
        ("pyramid.lateral",),
        ("pyramid.smooth",),
        ("class_tower.*", "box_tower.*"),
        ("head", "scale"),
    )
    # From the input to the output, for learning rates by depth: the towers stand side by side.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        width: int = 64,
        depth: int = 4,
        levels: int = 3,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        sides = {"box": 2 * spatial_dims, "centre": 1}
        heads = {"class": out_channels, **sides} if isinstance(out_channels, int) else out_channels
        if set(heads) != {"class", "box", "centre"} or any(heads[name] != size for name, size in sides.items()):
            raise HilumError(
                "HIL-ZOO-05", f"out_channels is {out_channels!r}", f"Give the number of classes, or {sides}"
            )
        self.strides = [4 * 2**level for level in range(levels)]
        self.divisor = (self.strides[-1],) * spatial_dims
        self.pyramid = Pyramid(kit, in_channels, width, levels)
        self.class_tower, self.box_tower = (
            nn.Sequential(*(conv_norm(kit, width, width).append(nn.ReLU(inplace=True)) for _ in range(depth)))
            for _ in range(2)
        )
        self.head = nn.ModuleDict({name: kit.conv(width, size, 3, padding=1) for name, size in heads.items()})
        self.scale = nn.Parameter(ones(levels))
        self._initialise()

    def _initialise(self) -> None:
        for part in (self.class_tower, self.box_tower, self.head):
            for module in part.modules():
                if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                    nn.init.normal_(module.weight, std=0.01)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        nn.init.constant_(self.head["class"].bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        require_divisible(x, self.divisor)
        require_more_than_one_voxel(x, self.divisor)
        found: dict[str, list[Tensor]] = {"class": [], "box": [], "centre": []}
        for level, scale, stride in zip(self.pyramid(x), self.scale, self.strides, strict=True):
            box = self.box_tower(level)
            found["class"].append(self.head["class"](self.class_tower(level)))
            found["box"].append(stride * functional.softplus(scale * self.head["box"](box)))
            found["centre"].append(self.head["centre"](box))
        return found
