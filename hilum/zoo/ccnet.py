"""CCNet (Huang et al., 2019): every pixel looks along its row and its column, twice, and so sees the whole image.

What is special: criss-cross attention costs H + W - 1 scores for each pixel, not H W. The same weights run `recurrence`
times: after the second time each pixel has heard of all others. The scores have no 1 / sqrt(d); the result is added
with a learned weight that starts at zero (`gate`).

x: (B, C, H, W), divisible by 8 -> (B, K, H, W), logits; with deep supervision and in training mode {"out": [main,
auxiliary]}, both at full size: the auxiliary head reads the third stage.

Differs from the paper: sizes are multiples of 8 (the paper's crop is 769). The pool of the stem rounds up, so that a
side of 8 k gives k + 1 points, the last at the border; the logits are spread over the side corner on corner. The norms
are batch norms of one device, with a ReLU behind each in the heads. The released code runs no attention unless it is
told to (its recurrence is 0 by default); here the default is the paper's 2 and less than 1 is refused. The auxiliary
output weighs 0.4 beside the main one's 1, as in the released code (`supervision`); the loss is the plan's, there it is
cross-entropy.
"""

import torch
from torch import Tensor, cat, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, require_divisible
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.only import only
from hilum.zoo._blocks.resnet_encoder import Encoder, conv_norm
from hilum.zoo._blocks.supervised import by_name

CARD = {
    "paper": "CCNet: Criss-Cross Attention for Semantic Segmentation",
    "authors": "Huang, Wang, Huang, Huang, Wei, Liu",
    "year": 2019,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2],
    "inputs": ["image"],
    "divisor": 8,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 19, "spatial_dims": 2},
            "parameters": 71287399,
            "evidence": "calc; 4729363 of the auxiliary head, which works in training only",
            "shape": [1, 3, 768, 768],
            # gives the 97 points a side of the paper's crop of 769, which 8 does not divide
        },
        {
            "kwargs": {"in_channels": 3, "out_channels": 19, "spatial_dims": 2, "deep_supervision": False},
            "parameters": 66558036,
            "evidence": "calc; without the encoder 23934100, as counted in the released code",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 2,
            "depth": 18,
            "width": 8,
            "gate": 0.5,
        },
        "shape": [2, 1, 32, 32],
    },
    "supervision": [1.0, 0.4],
    "licence": "Apache-2.0",
    "reconstruction": False,
}


def attend(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """query, key: (B, D, H, W) -> weights along the column (B, H, W, H) and along the row (B, H, W, W).

    Both together sum to one for each pixel, which itself is counted in its row only.
    """
    column = torch.einsum("bchw,bciw->bhwi", query, key)
    row = torch.einsum("bchw,bchj->bhwj", query, key)
    own = torch.eye(column.shape[1], dtype=torch.bool, device=column.device)[:, None, :]  # h 1 i
    scores = cat([column.masked_fill(own, -torch.inf), row], dim=-1).softmax(dim=-1)
    return scores[..., : column.shape[-1]], scores[..., column.shape[-1] :]


class CrissCross(nn.Module):
    """(B, C, H, W) -> the same: gate * (what row and column say) + x. Queries and keys have an eighth of C."""

    def __init__(self, kit: Layers, channels: int, gate: float = 0.0) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.query, self.key = kit.conv(channels, inner, 1), kit.conv(channels, inner, 1)
        self.value = kit.conv(channels, channels, 1)
        self.gate = nn.Parameter(torch.full((1,), float(gate)))

    def forward(self, x: Tensor) -> Tensor:
        column, row = attend(self.query(x), self.key(x))
        value = self.value(x)
        heard = torch.einsum("bhwi,bciw->bchw", column.to(value.dtype), value)
        heard = heard + torch.einsum("bhwj,bchj->bchw", row.to(value.dtype), value)
        return self.gate * heard + x


class Corners(nn.Module):
    """(B, K, h + 1, w + 1) -> (B, K, 8 h, 8 w), bilinear, corner on corner."""

    def forward(self, x: Tensor) -> Tensor:
        size = [8 * (side - 1) for side in x.shape[2:]]
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


def conv_act(kit: Layers, inputs: int, outputs: int) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU."""
    return conv_norm(kit, inputs, outputs, 3).append(nn.ReLU(inplace=True))


class Net(nn.Module):
    """depth: 18, 34, 50 or 101. width: the stem's first. recurrence: how often the attention runs, with one set of
    weights. gate: its first weight. deep_supervision: an auxiliary head on the third stage. dropout: of whole channels
    before each head's last layer.
    """

    ORDER = (
        ("encoder.stem",),
        ("encoder.stages.*",),
        ("reduce",),
        ("attention",),
        ("after",),
        ("fuse", "auxiliary_body"),
        ("head", "auxiliary_head"),
    )
    # From the input to the output, for learning rates by depth: the auxiliary head ends beside the main one.

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        depth: int = 101,
        width: int = 64,
        recurrence: int = 2,
        gate: float = 0.0,
        deep_supervision: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        kit, inner = only(spatial_dims, 2), 8 * width
        if recurrence < 1:
            raise HilumError("HIL-ZOO-03", f"recurrence is {recurrence}, so nothing would attend", "Use 1, 2, ...")
        self.divisor = (8,) * spatial_dims
        self.recurrence, self.deep_supervision = recurrence, deep_supervision
        self.encoder = Encoder(kit, in_channels, depth=depth, width=width, stem="deep", output_stride=8)
        third, last = self.encoder.channels[-2:]
        self.reduce = conv_act(kit, last, inner)
        self.attention = CrissCross(kit, inner, gate)
        self.after = conv_act(kit, inner, inner)
        self.fuse = conv_act(kit, last + inner, inner)
        self.dropout = nn.Dropout2d(dropout)
        self.head = make_head(lambda k: nn.Sequential(kit.conv(inner, k, 1), Corners()), out_channels)
        if deep_supervision:
            self.auxiliary_body = conv_act(kit, third, inner)
            self.auxiliary_head = make_head(lambda k: nn.Sequential(kit.conv(inner, k, 1), Corners()), out_channels)

    def _fused(self, last: Tensor) -> Tensor:
        """The last stage's features, and what criss-cross attention makes of them, fused."""
        x = self.reduce(last)
        for _ in range(self.recurrence):
            x = self.attention(x)
        out: Tensor = self.dropout(self.fuse(cat([last, self.after(x)], dim=1)))
        return out

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 8 width, H / 8 + 1, W / 8 + 1): what the head's 1x1 convolution reads."""
        require_divisible(x, self.divisor)
        return self._fused(self.encoder(x)[-1])

    def forward(self, x: Tensor) -> Output:
        if not (self.training and self.deep_supervision):
            out: Output = self.head(self.features(x))
            return out
        require_divisible(x, self.divisor)
        *_, third, last = self.encoder(x)
        auxiliary = self.auxiliary_head(self.dropout(self.auxiliary_body(third)))
        return by_name([self.head(self._fused(last)), auxiliary])
