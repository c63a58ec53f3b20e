"""R2U-Net (Alom et al., 2018): a U-Net whose convolutions are applied again and again to what they have found.

What is special: recurrent residual blocks. A layer f sees its input x and its own last answer, y <- f(x + y), a few
times with the same weights; two such layers and the identity make a block. More context, no more weights.

x: (B, C, *space), space divisible by 2^(levels - 1), 16 by default -> (B, K, *space), logits.

Differs from the paper: no PyTorch code of the authors was found, so what the text leaves open follows the port in
common use. f is a 3x3 convolution (bias), batch norm and ReLU; a 1x1 convolution brings the input to the block's
width; upsampling is nearest, then a 3x3 convolution, batch norm and ReLU; `steps` counts the times that f sees its own
answer, so it is applied once more than that. All applications of f share one batch norm and its running statistics.
The text shares the weights of f over the steps, and so does `share_weights` (the default). The sizes listed in the
paper are said to grow with the steps (not checked here); that would mean `share_weights=False`, where every
application has weights of its own. The paper is 2-D; 3-D replaces each square by a cube.
"""

from collections.abc import Sequence

from torch import Tensor, cat, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import conv_act, levels, require_levels
from hilum.zoo._blocks.dims import Layers, layers
from hilum.zoo._blocks.heads import Output, make_head

CARD = {
    "paper": "Recurrent Residual Convolutional Neural Network based on U-Net (R2U-Net) for Medical Image Segmentation",
    "authors": "Alom, Hasan, Yakopcic, Taha, Asari",
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
            "parameters": 39091393,
            "evidence": "counted in the port in common use (LeeJunHyun/Image_Segmentation) and by layer",
            "shape": [1, 3, 224, 224],
            # as the port takes them
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2, "steps": 3},
            "parameters": 39091393,
            "evidence": "as with two steps: the weights are shared",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, "widths": [4, 8, 16]},
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": True,
}


class Recurrent(nn.Module):
    """y <- f(x), then `steps` times y <- f(x + y)."""

    def __init__(self, kit: Layers, width: int, steps: int, share_weights: bool) -> None:
        super().__init__()
        self.f = nn.ModuleList(conv_act(kit, width, width) for _ in range(1 if share_weights else steps + 1))
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.f[0](x)
        for step in range(1, self.steps + 1):
            y = self.f[step % len(self.f)](x + y)
        return y


class Block(nn.Module):
    """A 1x1 convolution to the block's width, then x + two recurrent layers of x."""

    def __init__(self, kit: Layers, inputs: int, width: int, steps: int, share_weights: bool) -> None:
        super().__init__()
        self.enter = kit.conv(inputs, width, 1)
        self.path = nn.Sequential(*(Recurrent(kit, width, steps, share_weights) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        out: Tensor = x + self.path(x)
        return out


class Net(nn.Module):
    """widths: channels of each level, full resolution first. steps: times a layer sees its own answer; 0 is a residual
    U-Net. share_weights: one set of weights for all steps of a layer, or one for each.
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
        steps: int = 2,
        share_weights: bool = True,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        wide = levels(widths)
        if steps < 0:
            raise HilumError("HIL-ZOO-03", f"steps is {steps}", "Use 0 or more")
        sizes, up = [in_channels, *wide], range(len(wide) - 2, -1, -1)
        self.pool = kit.max_pool(2)
        self.larger = nn.Upsample(scale_factor=2, mode="nearest")
        self.encoder = nn.ModuleList(Block(kit, sizes[i], sizes[i + 1], steps, share_weights) for i in range(len(wide)))
        self.up = nn.ModuleList(conv_act(kit, wide[i + 1], wide[i]) for i in up)
        self.decoder = nn.ModuleList(Block(kit, 2 * wide[i], wide[i], steps, share_weights) for i in up)
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
            x = block(cat([skips.pop(), up(self.larger(x))], dim=1))
        return x

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
