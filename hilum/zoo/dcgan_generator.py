"""DCGAN generator (Radford et al., 2015): noise grows into an image by transposed convolutions.

What is special: an all-convolutional recipe (batch norm, ReLU, strides instead of pooling) that made GANs trainable.

latent: (B, latent channels), usually normal -> (B, out_channels, *image_size), in [-1, 1].

Differs from the paper: any size of 4 * 2^n on the shortest side, 3-D, and the width: the paper's 64 x 64 network has
width 128, the default here is 64. Group norm or none instead of batch norm is an option for small batches.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, layers, per_axis
from hilum.zoo._blocks.doublings import doublings
from hilum.zoo._blocks.heads import Output, make_head

CARD = {
    "paper": "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
    "authors": "Radford, Metz, Chintala",
    "year": 2015,
    "tasks": ["generate"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["latent"],
    "divisor": 1,
    "image_size": True,
    "golden": [
        {
            "kwargs": {"in_channels": 100, "out_channels": 3, "spatial_dims": 2, "image_size": [64, 64]},
            "parameters": 3576707,
            "evidence": "counted here, not in another implementation",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 8, "out_channels": 1, "spatial_dims": 2, "image_size": [16, 16], "width": 8},
        "shape": [4, 8],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
    "head": "forward = head(features(latent)), but the head is a transposed convolution followed by tanh",
}


def _norm(kit: Layers, kind: str, channels: int) -> nn.Module:
    """ "batch", "group" (at most 8 groups) or "none"."""
    kinds = {
        "batch": lambda: kit.batch_norm(channels),
        "group": lambda: nn.GroupNorm(math.gcd(channels, 8), channels),
        "none": nn.Identity,
    }
    if kind not in kinds:
        raise HilumError("HIL-ZOO-03", f"norm is {kind!r}", f"Use one of {sorted(kinds)}")
    return kinds[kind]()


class Net(nn.Module):
    """in_channels: of the latent. image_size: pixels, one number or one per axis. width: channels before the head.

    norm: "batch", "group" or "none".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        image_size: int | Sequence[int],
        width: int = 64,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        self.image_size = per_axis(image_size, spatial_dims, "image_size")
        count, self.base = doublings(self.image_size)
        sizes = [width * 2**step for step in range(count - 1, -1, -1)]
        self.project = nn.Linear(in_channels, sizes[0] * math.prod(self.base), bias=norm == "none")
        parts: list[nn.Module] = [_norm(kit, norm, sizes[0]), nn.ReLU(inplace=True)]
        for inputs, outputs in pairwise(sizes):
            up = kit.transposed(inputs, outputs, 4, stride=2, padding=1, bias=norm == "none")
            parts += [up, _norm(kit, norm, outputs), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*parts)
        self.head = make_head(
            lambda k: nn.Sequential(kit.transposed(width, k, 4, stride=2, padding=1), nn.Tanh()), out_channels
        )
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.ConvTranspose2d, nn.ConvTranspose3d)):
                nn.init.normal_(module.weight, std=0.02)

    def features(self, latent: Tensor) -> Tensor:
        """(B, latent channels) -> (B, width, *image_size / 2)."""
        out: Tensor = self.body(self.project(latent).unflatten(1, (-1, *self.base)))
        return out

    def forward(self, latent: Tensor) -> Output:
        out: Output = self.head(self.features(latent))
        return out
