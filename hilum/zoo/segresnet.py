"""SegResNet (Myronenko, 2018): a wide residual encoder, a thin decoder; first in BraTS 2018.

What is special: far more blocks on the way down than up; group norm before every convolution of a block, so that a
batch of one is enough; the decoder adds the encoder's maps instead of joining them.

x: (B, C, *space), divisible by 2^(stages - 1), 8 as in the paper -> (B, K, *space), logits.

The body is MONAI's `SegResNet`; MONAI has to be installed. Weights of it load through `from_monai`. The paper is 3-D;
the 2-D form is MONAI's.

Differs from the paper: its second branch, a variational autoencoder that redraws the image to regularise the encoder,
is left out, as in MONAI's network of this name: it takes part in training only, and fixes the size of the image. As in
MONAI, a norm and ReLU stand before the last convolution, and the norm has 8 groups (`groups`).
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers, require_divisible
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.monai_parts import monai_part

CARD = {
    "paper": "3D MRI brain tumor segmentation using autoencoder regularization",
    "authors": "Myronenko",
    "year": 2018,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 8,
    "image_size": False,
    "package": "monai",
    "golden": [
        {
            "kwargs": {"in_channels": 4, "out_channels": 3, "spatial_dims": 3},
            "parameters": 18798627,
            "evidence": "counted by hand from the layers",
            "shape": [1, 4, 160, 192, 128],
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "width": 8,
            "blocks": [1, 1, 2],
            "groups": 4,
            "dropout": 0.0,
        },
        "shape": [2, 1, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
}


class Net(nn.Module):
    """width: channels at full resolution, doubled at each stage. blocks: residual blocks of each encoder stage.

    A decoder stage has one block. groups: of the group norms. dropout: of whole channels after the first convolution.
    """

    ENCODER = ("body.convInit", "body.down_layers")
    ORDER = (
        ("body.convInit",), ("body.down_layers.*",), ("body.up_samples.*", "body.up_layers.*"), ("body.conv_final",),
        ("head",),
    )  # fmt: skip

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        width: int = 32,
        blocks: Sequence[int] = (1, 2, 2, 4),
        groups: int = 8,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        if len(blocks) < 2 or min(blocks) < 1:
            raise HilumError("HIL-ZOO-03", f"blocks is {list(blocks)!r}", "Give two positive numbers or more")
        if groups < 1 or width % groups:
            raise HilumError("HIL-ZOO-03", f"width {width} is not divisible by groups {groups}", "Make it divisible")
        self.body = monai_part("networks.nets", "SegResNet")(
            spatial_dims=spatial_dims,
            init_filters=width,
            in_channels=in_channels,
            out_channels=1,
            dropout_prob=dropout or None,
            norm=("group", {"num_groups": groups}),
            blocks_down=tuple(blocks),
            blocks_up=(1,) * (len(blocks) - 1),
        )
        self.body.conv_final = self.body.conv_final[:2]  # norm and ReLU; its convolution is `head`
        self.head = make_head(lambda k: kit.conv(width, k, 1), out_channels)
        self.divisor = (2 ** (len(blocks) - 1),) * spatial_dims

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, width, *space): what the last 1x1 convolution reads."""
        require_divisible(x, self.divisor)
        out: Tensor = self.body(x)
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out


def from_monai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state of MONAI's `SegResNet` for `Net`."""
    last = "conv_final.2.conv."
    return {
        f"head.{key.removeprefix(last)}" if key.startswith(last) else f"body.{key}": value
        for key, value in state.items()
    }
