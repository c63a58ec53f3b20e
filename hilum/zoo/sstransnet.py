"""SSTrans-Net (Liyao Fu et al., 2024): Swin-Unet whose shifted windows have a learned mask, not a fixed one.

What is special: shifting windows rolls the image, so that far edges meet in one window. Swin forbids what lies in such
a window to see across; here the network learns, head by head, how much it may see of which place.

x: (B, C, *image_size), both sides divisible by 32 times the window, so 224, 448, ... -> (B, K, *image_size), logits.

A reconstruction: only the abstract and an incomplete code were at hand. Each shifted block has a learned potential P
per head and place, 0 at first; query i and key j of one window get P[i] - P[j] added to their score. The released code
means something like it, one potential for all heads, but its mask is no parameter and stays 0, which is `smart=False`:
shifted windows without a mask. Its filter of channels, which it never calls, is not here. The published parameter count
(29.64 million) fits neither form. Attention's softmax takes out what is the same for all keys of a query, so only -P[j]
acts: places become more or less visible to all of their window. The potential is learned for one image size. Weights of
a Swin-T load as in Swin-Unet.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import per_axis, require_size
from hilum.zoo._blocks.swin import SwinBlock, windows
from hilum.zoo._blocks.swin_unet import PATCH, SwinUnet
from hilum.zoo.swin_unet import from_swin as from_swin  # its names are those of Swin-Unet

CARD = {
    "paper": "SSTrans-Net: Smart Swin Transformer Network for medical image segmentation",
    "authors": "Liyao Fu, Chen, Ji, Yang",
    "year": 2024,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 224,
    "image_size": True,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 9, "spatial_dims": 2, "image_size": [224, 224]},
            "parameters": 27201828,
            "evidence": "calc: Swin-Unet's 27168900 and 32928 of the potentials",
            "shape": [1, 3, 224, 224],
        },
        {
            "kwargs": {
                "in_channels": 3,
                "out_channels": 9,
                "spatial_dims": 2,
                "image_size": [224, 224],
                "smart": False,
            },
            "parameters": 27168900,
            "evidence": "calc, and the released code's 31080708 less the 3911808 that it never uses",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "image_size": [32, 32],
            "dim": 8,
            "depths": [2, 2],
            "heads": [2, 4],
            "window": 4,
            "drop_path": 0.0,
        },
        "shape": [2, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": True,
}


class SmartBlock(SwinBlock):
    """A Swin block whose mask is learned where it is shifted, or (smart=False) none.

    size: height and width of its image, in tokens.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        *,
        size: tuple[int, int],
        shifted: bool,
        drop_path: float,
        smart: bool,
    ) -> None:
        super().__init__(dim, heads, window, shifted=shifted, drop_path=drop_path)
        learned = smart and any(self.shift(size))
        self.potential = nn.Parameter(torch.zeros(heads, *size)) if learned else None

    def mask(self, size: tuple[int, int], device: torch.device) -> Tensor | None:
        """(N, heads, T, T): P[i] - P[j]."""
        if self.potential is None:
            return None
        potential = windows(self.potential.movedim(0, -1)[None], self.window)[0].transpose(1, 2)  # n h t
        return potential[..., :, None] - potential[..., None, :]


class Net(SwinUnet):
    """image_size: pixels, one number or one per axis. smart: learn the masks. The others are Swin-Unet's: dim: channels
    at a quarter of the resolution. depths, heads: blocks and heads of each level, highest resolution first. window: its
    side, in tokens of 4x4 pixels. drop_path: rate of the encoder's last block."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        image_size: int | Sequence[int],
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.2,
        smart: bool = True,
    ) -> None:
        height, width = per_axis(image_size, 2, "image_size")

        def make_block(level: int, channels: int, count: int, shifted: bool, drop: float) -> SmartBlock:
            size = (height // (PATCH * 2**level), width // (PATCH * 2**level))
            return SmartBlock(channels, count, window, size=size, shifted=shifted, drop_path=drop, smart=smart)

        super().__init__(
            in_channels, out_channels, spatial_dims, dim=dim, depths=depths, heads=heads, window=window,
            drop_path=drop_path, make_block=make_block,
        )  # fmt: skip
        self.image_size = (height, width)
        if any(size % side for size, side in zip(self.image_size, self.divisor, strict=True)):
            seen = f"image_size {self.image_size} is not divisible by {self.divisor}"
            raise HilumError("HIL-ZOO-03", seen, "Change image_size or window")

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *image_size) -> (B, dim, *image_size): what the last 1x1 convolution reads."""
        require_size(x, self.image_size, "that of the learned masks")
        return super().features(x)
