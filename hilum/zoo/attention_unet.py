"""Attention U-Net (Oktay et al., 2018): a coarse feature says where a skip of a U-Net is worth reading.

What is special: additive gates on the skips. Each voxel of a skip is weighed by one number alpha in (0, 1), computed
from the skip and from the coarser features below it; the logits of all decoder levels are fused into the output.

x: (B, C, *space), space divisible by 2^(levels - 1), 16 by default -> (B, K, *space), logits.

Differs from the paper: follows the authors' code. The full-resolution skip has no gate, and the logits of every decoder
level are upsampled, concatenated and fused by a 1x1 convolution (with named heads each of them reads the logits of
all). That linear upsampling does not align corners is a choice made here. Weights start as PyTorch draws them, not by
He et al. (2015). 2-D replaces each cube by a square. Many 2-D
networks of this name gate with features of the skip's own resolution and have batch norm inside the gate: another
network, with other counts.
"""

from collections.abc import Sequence

from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import conv_act, levels, require_levels, upsampled
from hilum.zoo._blocks.dims import Layers, layers
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.two_convs import two_convs

CARD = {
    "paper": "Attention U-Net: Learning Where to Look for the Pancreas",
    "authors": "Oktay, Schlemper, Le Folgoc, Lee, Heinrich, Misawa, Mori, McDonagh, Hammerla, Kainz, Glocker, Rueckert",
    "year": 2018,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 1, "out_channels": 4, "spatial_dims": 3},
            "parameters": 6214151,
            "evidence": "counted in the authors' code (single gates) and by layer",
            "shape": [1, 1, 160, 160, 96],
            # the patch of the authors' configuration for CT
        },
        {
            "kwargs": {"in_channels": 1, "out_channels": 4, "spatial_dims": 3, "gates": 2},
            "parameters": 6473322,
            "evidence": "counted in the authors' code (multi gates) and by layer",
        },
        {
            "kwargs": {"in_channels": 1, "out_channels": 4, "spatial_dims": 3, "gates": 0},
            "parameters": 5888004,
            "evidence": "counted in the authors' code (U-Net with deep supervision) and by layer",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "widths": [4, 8, 16, 16]},
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
    "branches": "the gates of all levels read the deep features, between the stages of the decoder",
}


class Gate(nn.Module):
    """Weighs a skip by what lies below it.

    x: (B, C, *space), the skip. g: (B, G, *space / 2), the gating features. -> (B, C, *space): alpha * x, a 1x1
    convolution, batch norm.
    """

    def __init__(self, kit: Layers, channels: int, gating: int) -> None:
        super().__init__()
        self.theta = kit.conv(channels, channels, 2, stride=2, bias=False)
        self.phi = kit.conv(gating, channels, 1)
        self.psi = kit.conv(channels, 1, 1)
        self.out = nn.Sequential(kit.conv(channels, channels, 1), kit.batch_norm(channels))

    def alpha(self, x: Tensor, g: Tensor) -> Tensor:
        """(B, 1, *space) in (0, 1): how much of each voxel of x passes."""
        return upsampled(self.psi((self.theta(x) + self.phi(g)).relu()).sigmoid(), 2)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        out: Tensor = self.out(self.alpha(x, g) * x)
        return out


class GatedSkip(nn.Module):
    """One gate or several side by side, brought to the skip's channels by a 1x1 convolution, batch norm and ReLU."""

    def __init__(self, kit: Layers, channels: int, gating: int, gates: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(Gate(kit, channels, gating) for _ in range(gates))
        self.combine = conv_act(kit, gates * channels, channels, 1)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        out: Tensor = self.combine(cat([gate(x, g) for gate in self.gates], dim=1))
        return out


class Net(nn.Module):
    """widths: channels of each level, full resolution first. gates: on each skip but the first; 0 is a plain U-Net."""

    ORDER = (("encoder.*",), ("gating",), ("skips.*", "decoder.*"), ("sides",), ("head",))
    # From the input to the output, for learning rates by depth; a skip and its decoder level stand side by side.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        gates: int = 1,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        wide = levels(widths, 3)
        if gates < 0:
            raise HilumError("HIL-ZOO-03", f"gates is {gates}", "Use 0 or more; published are 1 and 2")
        sizes, up = [in_channels, *wide], range(len(wide) - 2, -1, -1)
        logits = out_channels if isinstance(out_channels, int) else sum(out_channels.values())
        self.pool = kit.max_pool(2)
        self.encoder = nn.ModuleList(two_convs(kit, sizes[i], sizes[i + 1], batch_norm=True) for i in range(len(wide)))
        self.gating = conv_act(kit, wide[-1], wide[-1], 1) if gates else None
        self.skips = nn.ModuleList(GatedSkip(kit, wide[i], wide[i + 1], gates) for i in up if i and gates)
        self.decoder = nn.ModuleList(two_convs(kit, wide[i] + wide[i + 1], wide[i], batch_norm=True) for i in up)
        self.sides = nn.ModuleList(kit.conv(wide[i], logits, 1) for i in up)
        self.head = make_head(lambda k: kit.conv(len(up) * logits, k, 1), out_channels)
        self.divisor = (2 ** len(up),) * spatial_dims

    def _encode(self, x: Tensor) -> list[Tensor]:
        """Every encoder level's features, full resolution first."""
        found = []
        for number, block in enumerate(self.encoder):
            x = block(self.pool(x) if number else x)
            found.append(x)
        return found

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, (levels - 1) * logits, *space): every decoder level's logits at full size."""
        require_levels(x, self.divisor, self.training)
        *skips, x = self._encode(x)
        gating = x if self.gating is None else self.gating(x)
        sides = []
        for number, (skip, block) in enumerate(zip(reversed(skips), self.decoder, strict=True)):
            if number < len(self.skips):
                skip = self.skips[number](skip, gating)
            x = gating = block(cat([skip, upsampled(x, 2)], dim=1))
            sides.append(upsampled(self.sides[number](x), 2 ** (len(skips) - 1 - number)))
        return cat(sides, dim=1)

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
