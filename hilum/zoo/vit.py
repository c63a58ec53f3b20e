"""Vision Transformer (Dosovitskiy et al., 2021): an image as a sentence of patches.

What is special: no convolution but the patch embedding; a class token gathers the image by attention.

x: (B, C, *image_size) -> (B, K), logits read from the class token.

Differs from the paper: 3-D patches; sizes "Ti" (192, 12, 3) and "S" (384, 12, 6) are those of Touvron et al., 2021,
and Ti is the default here; "B" (768, 12, 12) is the paper's. The position embedding is learned for one image size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers, per_axis, require_size
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.transformer import Block

CARD = {
    "paper": "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
    "authors": "Dosovitskiy et al.",
    "year": 2021,
    "tasks": ["classify"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": True,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 1000, "spatial_dims": 2, "image_size": [224, 224]},
            "parameters": 5717416,
            "evidence": "calc",
        },
        {
            "kwargs": {
                "in_channels": 3,
                "out_channels": 1000,
                "spatial_dims": 2,
                "image_size": [224, 224],
                "dim": 384,
                "heads": 6,
            },
            "parameters": 22050664,
            "evidence": "calc",
        },
        {
            "kwargs": {
                "in_channels": 3,
                "out_channels": 1000,
                "spatial_dims": 2,
                "image_size": [224, 224],
                "dim": 768,
                "heads": 12,
            },
            "parameters": 86567656,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 3,
            "spatial_dims": 2,
            "image_size": [16, 16],
            "patch": 4,
            "dim": 24,
            "depth": 2,
            "heads": 3,
        },
        "shape": [4, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class Net(nn.Module):
    """image_size, patch: pixels, one number or one per axis. dim: token width. depth: blocks. heads: divides dim.

    mlp_ratio: width of the MLPs over dim.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        image_size: int | Sequence[int],
        patch: int | Sequence[int] = 16,
        dim: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        self.image_size = per_axis(image_size, spatial_dims, "image_size")
        self.divisor = per_axis(patch, spatial_dims, "patch")
        if any(size % side for size, side in zip(self.image_size, self.divisor, strict=True)):
            seen = f"image_size {self.image_size} is not divisible by the patch {self.divisor}"
            raise HilumError("HIL-ZOO-03", seen, "Change one of them")
        if dim % heads:
            raise HilumError("HIL-ZOO-03", f"dim {dim} is not divisible by {heads} heads", "Change one of them")
        tokens = 1
        for size, side in zip(self.image_size, self.divisor, strict=True):
            tokens *= size // side
        self.embed = kit.conv(in_channels, dim, self.divisor, stride=self.divisor)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.zeros(1, tokens + 1, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, mlp_ratio) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = make_head(lambda k: nn.Linear(dim, k), out_channels)
        self._initialise()

    def _initialise(self) -> None:
        for parameter in (self.token, self.position):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *image_size) -> (B, dim): the class token after the last norm."""
        require_size(x, self.image_size)
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1) + self.position
        out: Tensor = self.norm(self.blocks(tokens)[:, 0])
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out
