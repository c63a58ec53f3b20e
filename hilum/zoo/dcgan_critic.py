"""DCGAN critic (Radford et al., 2015; Gulrajani et al., 2017): strided convolutions that score an image.

What is special: the discriminator of DCGAN made fit for WGAN-GP: the critic drops batch norm, because the gradient
penalty is one image's own gradient, and batch norm would mix the images of a batch; no sigmoid, because a critic's
score is not a probability.

x: (B, C, *image_size) -> (B, 1), a score without bounds.

Differs from the paper: no batch norm and no sigmoid, as said; any size of 4 * 2^n on the shortest side; 3-D.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers, per_axis
from hilum.zoo._blocks.doublings import doublings
from hilum.zoo._blocks.heads import Output, make_head

CARD = {
    "paper": "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
    "authors": "Radford, Metz, Chintala",
    "year": 2015,
    "tasks": ["critic"],
    "role": "critic",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 1,
    "image_size": True,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 1, "spatial_dims": 2, "image_size": [64, 64]},
            "parameters": 2764737,
            "evidence": "counted here, not in another implementation",
        },
    ],
    "tiny": {
        "kwargs": {"in_channels": 1, "out_channels": 1, "spatial_dims": 2, "image_size": [16, 16], "width": 8},
        "shape": [4, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class Net(nn.Module):
    """image_size: pixels, one number or one per axis. width: channels after the first convolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        image_size: int | Sequence[int],
        width: int = 64,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        self.image_size = per_axis(image_size, spatial_dims, "image_size")
        count, base = doublings(self.image_size)
        sizes = [in_channels] + [width * 2**step for step in range(count)]
        parts: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            parts += [kit.conv(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        self.body = nn.Sequential(*parts)
        self.head = make_head(lambda k: nn.Linear(sizes[-1] * math.prod(base), k), out_channels)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
                nn.init.normal_(module.weight, std=0.02)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *image_size) -> (B, F): the 4-pixel map, flattened."""
        if tuple(x.shape[2:]) != self.image_size:
            seen = f"The input's size is {tuple(x.shape[2:])}, the critic was built for {self.image_size}"
            raise HilumError("HIL-ZOO-04", seen, "Resample the image, or build the critic with its image_size")
        out: Tensor = self.body(x).flatten(1)
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
