"""UNet 3+ (Huang et al., 2020): each decoder level reads every level of the encoder and of the decoder below it.

What is special: full-scale skips. The maps of all levels are pooled or upsampled to one size, each brought to 64
channels, and concatenated; every decoder level is as wide as 64 times the number of levels. A classification-guided
module asks whether the organ is there at all and silences the masks where it is not.

x: (B, C, *space), space divisible by 2^(levels - 1), 16 by default -> (B, K, *space), logits; in training mode with
deep supervision {"out": [level 1, 2, ..., the bottom]}, all brought to full resolution: their targets are not
downsampled. With `guidance` training mode adds "presence": [(B, 2)], logits of (absent, present): the module learns
from a loss of its own and from nothing else. In the task segment that is `presence`, the paper's binary cross-entropy.

With `guidance="presence"` an absent organ means that the foreground's logits lie 10,000 below the background's (channel
0), or with one channel at -10,000: probability 0. It is done in eval mode only, since a wrong "absent" would end
learning. Of an image in windows every window is asked for itself, and an "absent" outvotes what its neighbours see
where they overlap: images of one patch, without mirrored views, are what it is for. `guidance="released"` is what the
authors' code does, in training too: logits times 0 or 1, so that "absent" gives a probability of 0.5 with one channel,
and with more of 1 / K each.

Differs from the paper: follows the authors' code in the rest; linear upsampling does not align corners. 3-D replaces
each square by a cube. Weights start as PyTorch draws them, not by He et al. (2015). With named heads all of them are
silenced together.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, cat, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import conv_act, levels, require_levels, upsampled
from hilum.zoo._blocks.dims import Layers, layers
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.supervised import Answer, by_name, each
from hilum.zoo._blocks.two_convs import two_convs

CARD = {
    "paper": "UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation",
    "authors": "Huang, Lin, Tong, Hu, Zhang, Iwamoto, Han, Chen, Wu",
    "year": 2020,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2},
            "parameters": 26989637,
            "evidence": "counted in the authors' code (deep supervision) and by layer",
            "shape": [1, 3, 320, 320],
            # as recalled, not read again in the paper
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2, "deep_supervision": False},
            "parameters": 26971777,
            "evidence": "counted in the authors' code (ZJUGiveLab/UNet-Version) and by layer",
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2, "guidance": "presence"},
            "parameters": 26991687,
            "evidence": "counted in the authors' code (deep supervision and guidance) and by layer",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "widths": [8, 16, 32], "branch": 8},
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}

GUIDANCE = ("none", "presence", "released")
SILENT = 1e4
# How far below the background's an absent organ's logits lie; half precision still holds it.


class FullScale(nn.Module):
    """One decoder level: maps of all levels at this level's size, each to `branch` channels, concatenated, fused."""

    def __init__(self, kit: Layers, inputs: Sequence[int], branch: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_act(kit, channels, branch) for channels in inputs)
        self.fuse = conv_act(kit, len(inputs) * branch, len(inputs) * branch)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        out: Tensor = self.fuse(cat([branch(x) for branch, x in zip(self.branches, maps, strict=True)], dim=1))
        return out


class Presence(nn.Module):
    """(B, C, *space) -> (B, 2), logits of (absent, present): dropout, 1x1 convolution, the largest over space."""

    def __init__(self, kit: Layers, channels: int) -> None:
        super().__init__()
        self.conv = kit.conv(channels, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        # no module of its own, which doubt by dropout would take for one that the masks depend on
        out: Tensor = self.conv(functional.dropout(x, 0.5, self.training)).flatten(2).amax(2)
        return out


def silenced(logits: Tensor, present: Tensor, released: bool) -> Tensor:
    """logits: (B, K, *space), present: (B,) bool -> the logits, all background where the organ is not present."""
    present = present.view(-1, *(1,) * (logits.ndim - 1))
    if released:
        return logits * present
    if logits.shape[1] == 1:
        return torch.where(present, logits, -SILENT)
    ground = logits[:, :1]
    return cat([ground, torch.where(present, logits[:, 1:], ground - SILENT)], dim=1)


class Net(nn.Module):
    """widths: channels of each encoder level, full resolution first. branch: channels each map is brought to.

    deep_supervision: a head on every level. guidance: "none"; "presence", the classification-guided module; "released",
    the same as its authors released it.
    """

    ORDER = (("encoder.*",), ("decoder.*",), ("presence", "lower_heads", "head"))
    # From the input to the output, for learning rates by depth: the heads stand side by side.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        branch: int = 64,
        deep_supervision: bool = True,
        guidance: str = "none",
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        wide = levels(widths)
        if guidance not in GUIDANCE:
            raise HilumError("HIL-ZOO-03", f"guidance is {guidance!r}", f"Use one of {', '.join(GUIDANCE)}")
        if guidance != "none" and not isinstance(out_channels, int) and "presence" in out_channels:
            raise HilumError("HIL-ZOO-05", 'A head is named "presence", as the guidance is', "Use another name")
        bottom, full = len(wide) - 1, len(wide) * branch
        sizes = [in_channels, *wide]
        self.pools = nn.ModuleList(kit.max_pool(2**i, ceil_mode=True) for i in range(1, max(bottom, 2)))
        self.encoder = nn.ModuleList(two_convs(kit, sizes[i], sizes[i + 1], batch_norm=True) for i in range(len(wide)))
        self.decoder = nn.ModuleList(
            FullScale(kit, [*wide[: i + 1], *[full] * (bottom - 1 - i), wide[-1]], branch)
            for i in range(bottom - 1, -1, -1)
        )
        below = [wide[-1], *[full] * (bottom - 1)] if deep_supervision else []
        self.lower_heads = nn.ModuleList(
            make_head(lambda k, w=w: kit.conv(w, k, 3, padding=1), out_channels)  # type: ignore[misc]
            for w in below
        )
        self.presence = None if guidance == "none" else Presence(kit, wide[-1])
        self.head = make_head(lambda k: kit.conv(full, k, 3, padding=1), out_channels)
        self.deep_supervision, self.guidance = deep_supervision, guidance
        self.divisor = (2**bottom,) * spatial_dims

    @property
    def plain(self) -> bool:
        """Whether it answers with head(features(x)): not where guidance silences that."""
        return self.presence is None

    def _maps(self, x: Tensor) -> list[Tensor]:
        """The bottom, then every decoder level, lowest resolution first."""
        require_levels(x, self.divisor, self.training)
        seen: list[Tensor] = []
        for block in self.encoder:
            x = block(self.pools[0](seen[-1]) if seen else x)
            seen.append(x)
        found = [x]
        for level, node in zip(range(len(seen) - 2, -1, -1), self.decoder, strict=True):
            above = [self.pools[level - i - 1](seen[i]) for i in range(level)]
            below = [upsampled(deep, 2**steps) for steps, deep in enumerate(reversed(found), 1)]
            found.append(node([*above, seen[level], *below]))
        return found

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, levels * branch, *space): what the last 3x3 convolution reads."""
        return self._maps(x)[-1]

    def forward(self, x: Tensor) -> Output:
        """Without guidance and in eval mode head(features(x)); guidance silences that."""
        maps = self._maps(x)
        answers: list[Answer] = [self.head(maps[-1])]
        if self.training and self.deep_supervision:
            lower = [head(deep) for head, deep in zip(self.lower_heads, maps[:-1], strict=True)][::-1]
            answers += [each(answer, partial(upsampled, factor=2**i)) for i, answer in enumerate(lower, 1)]
        scores = None if self.presence is None else self.presence(maps[0])
        if scores is not None and (not self.training or self.guidance == "released"):
            quiet = partial(silenced, present=scores[:, 1] > scores[:, 0], released=self.guidance == "released")
            answers = [each(answer, quiet) for answer in answers]
        if not self.training or (scores is None and not self.deep_supervision):
            return answers[0]
        return by_name(answers) | ({} if scores is None else {"presence": [scores]})
