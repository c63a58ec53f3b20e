"""TransUNet (Chen et al., 2021): a U-Net with a Vision Transformer at its lowest resolution.

What is special: a ResNet-50 makes the tokens and the skips, so the Transformer sees the whole image at 1/16 of the
size while the decoder keeps the detail.

x: (B, C, *image_size), sides divisible by 16 -> (B, K, *image_size), logits.

Follows the released code where the paper is silent: weight-standardised convolutions, ReLU after each norm, a max
pooling without padding (its skip is padded with zeros to the right and below), no class token. A grey image enters
three times.

Differs from the released code: images need not be square. The position embedding is learned for one image size; weights
for another are interpolated linearly by the centres of the patches, where theirs aligns the corners.
Weights of ImageNet-21k are not fetched: `encoder_weights` takes an R50+ViT-B/16, as the npz file of its paper
(`from_vit`) or as timm's safetensors (`from_timm`).
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.hybrid_names import of_google, of_timm
from hilum.zoo._blocks.transunet import STRIDE, Decoder, Encoder, checked

CARD = {
    "paper": "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation",
    "authors": "Chen et al.",
    "year": 2021,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 16,
    "image_size": True,
    "golden": [
        {
            "plan": "eight organs and background, 224 x 224",
            "kwargs": {"in_channels": 1, "out_channels": 9, "spatial_dims": 2, "image_size": [224, 224]},
            "parameters": 105277081,
            "evidence": "calc",
            "shape": [1, 1, 224, 224],
        },
        {
            "plan": "one class and background, 224 x 224",
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2, "image_size": [224, 224]},
            "parameters": 105276066,
            "evidence": "published",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "image_size": [32, 32],
            "width": 8,
            "units": [1, 1, 1],
            "dim": 16,
            "depth": 1,
            "heads": 2,
            "dropout": 0.0,
            "decoder": [16, 16, 8, 8, 8],
        },
        "shape": [2, 1, 32, 32],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class Net(nn.Module):
    """image_size: pixels, one number or one per axis. width: channels of the stem. units: of the three stages.

    dim, depth, heads, mlp_ratio: of the Transformer; heads divides dim. dropout: rate on the tokens and in the MLPs.
    decoder: channels of its first convolution and its four blocks. skips: how many are used, the lowest first.
    """

    ORDER = (
        ("encoder.stem",),
        ("encoder.stages.*",),
        ("encoder.embed", "encoder.position"),
        ("encoder.layers.*",),
        ("encoder.norm",),
        ("decoder.first",),
        ("decoder.blocks.*",),
        ("head",),
    )
    # From the input to the output, for learning rates by depth.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        image_size: int | Sequence[int],
        width: int = 64,
        units: Sequence[int] = (3, 4, 9),
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: int = 4,
        dropout: float = 0.1,
        decoder: Sequence[int] = (512, 256, 128, 64, 16),
        skips: int = 3,
    ) -> None:
        super().__init__()
        self.image_size = checked(spatial_dims, image_size, dim, heads, (units, decoder))
        if skips not in range(4):
            raise HilumError("HIL-ZOO-03", f"skips is {skips!r}", "Use 0, 1, 2 or 3")
        self.divisor = (STRIDE, STRIDE)
        self.skips = skips
        self.encoder = Encoder(
            in_channels, self.image_size, width=width, units=units, dim=dim, depth=depth, heads=heads,
            mlp_ratio=mlp_ratio, dropout=dropout,
        )  # fmt: skip
        self.decoder = Decoder(dim, [8 * width, 4 * width, width][:skips], decoder)
        self.head = make_head(lambda k: nn.Conv2d(decoder[-1], k, 3, padding=1), out_channels)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *image_size) -> (B, decoder[-1], *image_size): what the last convolution reads."""
        image, skips = self.encoder(x)
        out: Tensor = self.decoder(image, skips[: self.skips])
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out


def from_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """Rename the arrays of the published R50+ViT npz file for the encoder of `Net`."""
    return of_google(state)


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """Rename a state of timm's `vit_base_r50_s16_...` for the encoder of `Net`."""
    return of_timm(state)
