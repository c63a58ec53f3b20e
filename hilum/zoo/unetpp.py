"""UNet++ (Zhou et al., 2018 and 2020): U-Nets of every depth in one, sharing an encoder; cut to any of them later.

What is special: the skips are nested. Node (i, j) stands at level i (0 is full resolution), j steps to the right of the
encoder: it reads all nodes (i, 0 .. j-1) of its level and the upsampled node (i+1, j-1). Each (0, j) is the output of
a U-Net with j poolings. Trained with a head on each, the net can be cut to a shallower and faster one without
training again.

x: (B, C, *space), space divisible by 2^(levels - 1), 16 by default -> (B, K, *space), logits; with deep supervision
and in training mode {"out": [(0, deepest), ..., (0, 1)]}, all at full resolution: their targets are not downsampled,
and the paper weighs all heads alike. A loss that leaves the last head out leaves that cut untrained.

Cutting: `level` is the head that answers in eval mode (the paper's fast mode), whose deeper nodes are then not
computed; `pruned(level)` is a smaller network with copies of what it needs. `average` answers with the mean of the
heads' probabilities (the accurate mode), as logits: of a softmax over the channels, or with one channel of a sigmoid.
So every channel has to be a class: with numbered objects the task segment refuses it.
A trained run becomes a faster one by: hilum import RUN/weights/net.safetensors --facts RUN/plan.json --set level=2
--out FAST. That one knows neither its training images nor its doubt: judge it on images that are new to RUN.
The answer is head(features(x)), but for a lower `level`, whose own head gives it, and for `average`, where several do.

Differs from the paper: follows the released Keras code, which has no norm and dropout 0.5 after each of the two
convolutions of a node, and transposed convolutions to go up; all weights start as He (2015) has it. Its penalty of 1e-4
on the squares of the kernels belongs to training and is left out. Unless told, the deepest head answers. 3-D replaces
each square by a cube.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import levels
from hilum.zoo._blocks.dims import Layers, layers, require_divisible
from hilum.zoo._blocks.he_normal import he_normal
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.supervised import Answer, by_name

CARD = {
    "paper": "UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
    "authors": "Zhou, Rahman Siddiquee, Tajbakhsh, Liang",
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
            "parameters": 9042276,
            "evidence": "by layer; the same layers give the count in the authors' source, the next entry",
            "shape": [1, 3, 256, 256],
            # the paper's sets have 96 to 512
        },
        {
            "kwargs": {"in_channels": 1, "out_channels": 1, "spatial_dims": 2, "deep_supervision": False},
            "parameters": 9041601,
            "evidence": "printed in the authors' source",
        },
        {
            "kwargs": {
                "in_channels": 3,
                "out_channels": 1,
                "spatial_dims": 2,
                "widths": [64, 128, 256, 512, 1024],
            },
            "parameters": 36158148,
            "evidence": "by layer",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "widths": [8, 16, 32], "dropout": 0.0},
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


def cells(level: int) -> list[tuple[int, int]]:
    """(i, j) of all nodes with i + j <= level, diagonal by diagonal: those of a lower level come first."""
    return [(diagonal - j, j) for diagonal in range(level + 1) for j in range(diagonal + 1)]


def convs(kit: Layers, inputs: int, width: int, dropout: float) -> nn.Sequential:
    """Two 3x3 convolutions, each with ReLU and dropout."""
    made: list[nn.Module] = []
    for channels in (inputs, width):
        made += [kit.conv(channels, width, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*made)


class Nested(nn.Module):
    """Node (i, j) with j > 0: earlier, the nodes of its level, and deeper, (i + 1, j - 1) -> its features."""

    def __init__(self, kit: Layers, earlier: int, width: int, deeper: int, dropout: float) -> None:
        super().__init__()
        self.up = kit.transposed(deeper, width, 2, stride=2)
        self.convs = convs(kit, width + earlier, width, dropout)

    def forward(self, earlier: list[Tensor], deeper: Tensor) -> Tensor:
        out: Tensor = self.convs(cat([self.up(deeper), *earlier], dim=1))
        return out


def averaged(answers: Sequence[Answer]) -> Answer:
    """Logits of the mean probability of several heads."""
    found = {name: _mean(parts) for name, parts in by_name(answers).items()}
    return found["out"] if isinstance(answers[0], Tensor) else found


def _mean(logits: Sequence[Tensor]) -> Tensor:
    """log of the mean softmax; with one channel the logit of the mean sigmoid. No probability is formed: none is 0."""
    stack = torch.stack(list(logits)).float()
    if stack.shape[2] > 1:
        return stack.log_softmax(2).logsumexp(0) - math.log(len(stack))
    yes, no = nn.functional.logsigmoid(stack), nn.functional.logsigmoid(-stack)
    return yes.logsumexp(0) - no.logsumexp(0)


class Net(nn.Module):
    """widths: channels of each level, full resolution first. dropout: rate after each convolution.

    deep_supervision: a head on every (0, j), not only on the last. level: the j of the head that answers in eval mode,
    None for the last; may be set on the network at any time. average: the mean of the heads from 1 to level answers.
    """

    ORDER = (("nodes.*",), ("lower_heads", "head"))
    # From the input to the output, for learning rates by depth: the heads stand side by side.
    ENCODER = tuple(f"nodes.{i * (i + 1) // 2}" for i in range(9))
    # The nodes (i, 0): the first of each diagonal.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        dropout: float = 0.5,
        deep_supervision: bool = True,
        level: int | None = None,
        average: bool = False,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        wide = levels(widths)
        self.depth, self.deep_supervision, self.average, self.level = len(wide) - 1, deep_supervision, average, level
        self.divisor = (2**self.depth,) * spatial_dims
        self._chosen()
        sizes = [in_channels, *wide]
        self.pool = kit.max_pool(2)
        self.nodes = nn.ModuleList(
            Nested(kit, j * wide[i], wide[i], wide[i + 1], dropout) if j else convs(kit, sizes[i], wide[i], dropout)
            for i, j in cells(self.depth)
        )
        heads = [make_head(lambda k: kit.conv(wide[0], k, 1), out_channels) for _ in range(self.depth)]
        self.head = heads.pop()
        self.lower_heads = nn.ModuleList(heads if deep_supervision else [])
        he_normal(self)

    def _chosen(self) -> int:
        """The level that answers, checked."""
        level = self.depth if self.level is None else self.level
        if not 1 <= level <= self.depth or (level < self.depth and not self.deep_supervision):
            able = f"1 to {self.depth}" if self.deep_supervision else f"{self.depth}, or deep_supervision"
            raise HilumError("HIL-ZOO-03", f"level is {level}", f"Use {able}")
        if self.average and not self.deep_supervision:
            raise HilumError("HIL-ZOO-03", "There is one head and nothing to average", "Use deep_supervision")
        return level

    @property
    def plain(self) -> bool:
        """Whether it answers with head(features(x)): not where the answer is an average or a lower level's."""
        return not self.average and self._chosen() == self.depth

    def _heads(self) -> list[nn.Module]:
        """The head of each level from 1 on; without deep supervision only the last level has one."""
        return [*self.lower_heads, self.head]

    def _tops(self, x: Tensor, level: int) -> list[Tensor]:
        """The features of (0, 1) .. (0, level); nodes with i + j > level are not computed."""
        require_divisible(x, self.divisor)
        grid: dict[tuple[int, int], Tensor] = {}
        for (i, j), node in zip(cells(level), self.nodes, strict=False):
            if j:
                grid[i, j] = node([grid[i, k] for k in range(j)], grid[i + 1, j - 1])
            else:
                grid[i, j] = node(self.pool(grid[i - 1, 0]) if i else x)
        return [grid[0, j] for j in range(1, level + 1)]

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, widths[0], *space): node (0, level), which that level's head reads."""
        return self._tops(x, self._chosen())[-1]

    def forward(self, x: Tensor) -> Output:
        heads = self._heads()
        if self.training and self.deep_supervision:
            tops = self._tops(x, self.depth)
            return by_name([head(top) for head, top in zip(heads, tops, strict=True)][::-1])
        level = self.depth if self.training else self._chosen()
        tops = self._tops(x, level)
        if self.average:
            return averaged([head(top) for head, top in zip(heads, tops, strict=False)])
        out: Output = (heads[level - 1] if self.deep_supervision else self.head)(tops[-1])
        return out

    def pruned(self, level: int) -> "Net":
        """A network of `level` poolings with copies of this one's weights, one head, the same answer as `level`."""
        made = copy.deepcopy(self)
        made.level, made.average = level, False
        made._chosen()
        made.head = made._heads()[level - 1] if self.deep_supervision else made.head
        made.nodes = made.nodes[: len(cells(level))]
        made.lower_heads = nn.ModuleList()
        made.depth, made.level, made.deep_supervision = level, None, False
        made.divisor = (2**level,) * len(self.divisor)
        return made
