"""Non-local network (Wang et al., 2018): every position looks at every other one, inside a ResNet.

What is special: the non-local block. With embedded Gaussians y_i = sum over j of softmax_j(theta_i . phi_j) g_j, where
theta, phi and g are 1x1 convolutions to half the channels; z = norm(W y) + x. The norm starts at zero (`gate`), so that
a new block changes nothing and can be put into a trained network.

x: (B, C, *space), space divisible by 8 -> (B, K, *space), logits.

Differs from the paper: it has no segmentation network (it classifies video and finds objects), so the frame is a
reconstruction: a ResNet whose last two stages dilate instead of stride (output stride 8), a 3x3 convolution to a
quarter of the channels, a 1x1 head, linear upsampling. Where the blocks stand (second and third stage), the modes and
the pooling follow the paper as it is remembered, and so the softmax has no 1 / sqrt(d), by which the authors' code
divides: `scaled` is that form. With `subsample` phi and g are pooled by 2 on all axes, not in the plane only; that code
pools what they are made of, which is not offered, as its pooling is not known exactly.
The scores are one number for each pair of positions, sixteen times as many for twice the side in 2-D; `mode` "dot" has
no softmax and is computed without them.
`encoder_weights` takes a ResNet of torchvision of that depth, as a safetensors file (`from_resnet`).
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.batch_unet import require_levels
from hilum.zoo._blocks.dims import Layers, layers
from hilum.zoo._blocks.heads import Output, make_head
from hilum.zoo._blocks.resnet_encoder import BLOCKS, Encoder, conv_norm, renamed

CARD = {
    "paper": "Non-local Neural Networks",
    "authors": "Wang, Girshick, Gupta, He",
    "year": 2018,
    "tasks": ["segment"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["image"],
    "divisor": 8,
    "image_size": False,
    "golden": [
        {
            "kwargs": {"in_channels": 3, "out_channels": 2, "spatial_dims": 2},
            "parameters": 40305730,
            "evidence": "counted here, as the frame is ours; one block alone has the original count",
            "shape": [1, 3, 256, 256],
            # chosen here: no size is known for a segmenting form
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
    "licence": "Apache-2.0",
    "reconstruction": True,
}

MODES = ("embedded", "gaussian", "dot", "concat")


class NonLocal(nn.Module):
    """(B, C, *space) -> the same. mode: how alike two positions are. subsample: look at every second position.

    scaled: a softmax of scores divided by sqrt(d), d the channels of theta; other modes have none.
    """

    def __init__(
        self,
        kit: Layers,
        channels: int,
        mode: str = "embedded",
        subsample: bool = False,
        gate: float = 0.0,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise HilumError("HIL-ZOO-03", f"mode is {mode!r}", f"Use one of {MODES}")
        if scaled and mode in ("dot", "concat"):
            raise HilumError("HIL-ZOO-03", f"mode {mode!r} has no softmax to be scaled", "Leave scaled out")
        inner = channels // 2
        self.mode, self.scaled = mode, scaled
        embedded = mode != "gaussian"
        self.theta = kit.conv(channels, inner, 1) if embedded else nn.Identity()
        self.phi = kit.conv(channels, inner, 1) if embedded else nn.Identity()
        self.g = kit.conv(channels, inner, 1)
        self.pair = nn.Linear(2 * inner, 1, bias=False) if mode == "concat" else None
        self.pool = kit.max_pool(2) if subsample else nn.Identity()
        self.out = nn.Sequential(kit.conv(inner, channels, 1), kit.batch_norm(channels))
        nn.init.constant_(self.out[1].weight, gate)  # type: ignore[arg-type]

    def mix(self, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """theta: (B, N, D), phi: (B, M, D), g: (B, M, E) -> (B, N, E): what each position gathers from the others."""
        if self.mode == "dot":
            return theta @ (phi.transpose(1, 2) @ g / phi.shape[1])
        if self.pair is None:
            # one head: the ONNX exporter knows four axes
            scale = None if self.scaled else 1.0  # None: 1 / sqrt(d)
            one = functional.scaled_dot_product_attention(theta[:, None], phi[:, None], g[:, None], scale=scale)
            return one[:, 0]
        one, other = self.pair.weight[0].chunk(2)
        alike = ((theta @ one)[:, :, None] + (phi @ other)[:, None, :]).relu()  # b n m
        return alike @ g / phi.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        made = (self.theta(x), self.pool(self.phi(x)), self.pool(self.g(x)))
        theta, phi, g = (part.flatten(2).transpose(1, 2) for part in made)  # each b (space) c
        y = self.mix(theta, phi, g).transpose(1, 2).unflatten(2, x.shape[2:])
        out: Tensor = self.out(y) + x
        return out


def places(counts: Sequence[int], every: int) -> list[list[int]]:
    """Residual blocks per stage -> those that a non-local block follows, for each stage."""
    found = [[index for index in range(count) if every > 0 and (index + 1) % every == 0] for count in counts]
    if every == 0:
        found[-1] = [counts[-1] - 2]
    if not any(found):
        remedy = f"Use 0 for one block in all, or 1 to {max(counts)}"
        raise HilumError("HIL-ZOO-03", f"every is {every}, which makes no non-local block", remedy)
    return found


class Net(nn.Module):
    """depth: 18, 34, 50 or 101. width: first stage's. every: a non-local block after every so many residual blocks of
    stages 2 and 3 (2 makes five at depth 50, 1 makes ten; 0 makes one, before the last block of stage 3).
    mode, subsample, gate, scaled: see `NonLocal`.
    """

    ORDER = (("encoder.stem",), ("encoder.stages.*",), ("neck",), ("head",))

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        depth: int = 50,
        width: int = 64,
        every: int = 2,
        mode: str = "embedded",
        subsample: bool = False,
        gate: float = 0.0,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        kit = layers(spatial_dims)
        self.divisor = (8,) * spatial_dims
        self.smallest = 16 if subsample else 8
        self.encoder = Encoder(kit, in_channels, depth=depth, width=width, output_stride=8)
        wanted = places(BLOCKS[depth][1:3], every)
        for level, after in zip((1, 2), wanted, strict=True):
            stage, channels = nn.Sequential(), self.encoder.channels[level + 1]
            for index, block in enumerate(self.encoder.stages[level].children()):
                stage.add_module(str(index), block)
                if index in after:
                    stage.add_module(f"nonlocal{index}", NonLocal(kit, channels, mode, subsample, gate, scaled))
            self.encoder.stages[level] = stage
        channels = self.encoder.channels[-1]
        inner = max(channels // 4, 1)
        self.neck = conv_norm(kit, channels, inner, 3).append(nn.ReLU(inplace=True))
        shape = "bilinear" if spatial_dims == 2 else "trilinear"
        self.head = make_head(
            lambda k: nn.Sequential(kit.conv(inner, k, 1), nn.Upsample(scale_factor=8, mode=shape)), out_channels
        )

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, F, *space / 8): what the head's 1x1 convolution reads."""
        require_levels(x, self.divisor, self.training)
        if min(x.shape[2:]) < self.smallest:
            seen = f"The input's size {tuple(x.shape[2:])} leaves one point, and subsample wants two"
            raise HilumError("HIL-ZOO-02", seen, f"Pad or resample to at least {self.smallest}")
        out: Tensor = self.neck(self.encoder(x)[-1])
        return out

    def forward(self, x: Tensor) -> Output:
        out: Output = self.head(self.features(x))
        return out


def from_resnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state of torchvision's ResNet for the encoder of `Net`; the non-local blocks start as they are."""
    return renamed(state, "encoder")
