"""3D TransUNet (Chen et al., 2024): nnU-Net with a Transformer at the bottom, one that reads the decoder, or both.

What is special: `kind="encoder"` lets the voxels of the lowest resolution attend to each other; `kind="decoder"` lets
a few queries, one organ or lesion each, gather what they need from three resolutions and paint their own masks.

x: (B, C, *image_size), divisible by the product of the strides (`Net.divisor`, per axis) -> (B, K, *image_size),
logits. The queries' answer, the sum over queries of p(class) sigmoid(mask), comes as its logarithm, so that a softmax
gives shares. In training mode with deep supervision {"out": [...]}, highest resolution first: encoder only as nnU-Net
gives them; with queries [the queries' map, U-Net full size, next lower, ...].

Queries are handed out in training mode, with or without deep supervision: {"out": [the queries' map, ...], "classes":
[(B, Q, K + 1), ...], "masks": [(B, Q, *image_size), ...]}, logits before the first layer and after each, "no object"
the last class. In the task segment they learn by `matching`, the paper's loss: each class is given to one query, in
every layer. As in the paper the map itself is not compared; the plan's loss is that of the U-Net's own outputs, so
without deep supervision there is none. With named heads the maps alone come out, and `queries` gives the rest.

Differs from the paper: the matching loss counts every voxel, where Mask2Former draws some. The 1x1 convolution of the
mask features is multiplied into the queries first, which is the same product without 192 channels at full size. Sizes
must divide: 40 slices, as in its patch for abdominal CT, do not. The weights of ImageNet-21k are not fetched. The
U-Net's outputs weigh 1, 1/2, ... as in nnU-Net; with queries the authors leave out the full size and begin with 1/2.
Layer scale weighs what a branch adds; the authors' code weighs what it is added to (the ViT's, and the queries' MLP,
with its sum), so that little of that is left at first. Neither form of theirs is offered, because only their
trained weights would need it, and those do not load here. Dropout is an option, and none, and never
behind the positions; theirs is 0.1, in the ViT and there.

Filled in, where the description has gaps: positions of tokens are sines, as in Mask2Former (Cheng et al., 2022), whose
order within a layer is kept too. The queries' attention to each other and MLP have a layer scale, as the authors'
configurations ask for. The U-Net is that of nnU-Net's version 1: no biases in the transposed and the last
convolutions, and a decoder stage has the kernel of the stage below it; convolutions start as PyTorch draws them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import per_axis, require_divisible, require_more_than_one_voxel, require_size
from hilum.zoo._blocks.heads import Heads, Output, make_head
from hilum.zoo._blocks.only import only
from hilum.zoo._blocks.supervised import Answer, by_name, each
from hilum.zoo._blocks.vit_layer import ViTLayer, initialise
from hilum.zoo.nnunet import stage, topology

CARD = {
    "paper": "TransUNet: Rethinking the U-Net architecture design for medical image segmentation through the lens of "
    "transformers",
    "authors": "Chen et al.",
    "year": 2024,
    "tasks": ["segment"],
    "role": "net",
    "dims": [3],
    "inputs": ["image"],
    "divisor": 4,
    "image_size": True,
    "planned": ["features", "strides", "kernels"],
    "head": "with queries the output is read from several resolutions, not from one layer",
    "golden": [
        {
            "plan": "both; 2 x 7 x 6 tokens",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 9,
                "spatial_dims": 3,
                "image_size": [32, 224, 192],
                "kind": "both",
                "strides": [1, [1, 2, 2], 2, 2, 2, 2],
                "kernels": [[1, 3, 3], 3, 3, 3, 3, 3],
            },
            "parameters": 119689162,
            "evidence": "calc",
            "shape": [1, 1, 32, 224, 192],
            # the patch of its configuration for Synapse, whose 40 slices do not divide
        },
        {
            "plan": "encoder only; 2 x 7 x 6 tokens",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 9,
                "spatial_dims": 3,
                "image_size": [32, 224, 192],
                "kind": "encoder",
                "strides": [1, [1, 2, 2], 2, 2, 2, 2],
                "kernels": [[1, 3, 3], 3, 3, 3, 3, 3],
            },
            "parameters": 116804736,
            "evidence": "calc",
        },
        {
            "plan": "decoder only",
            "kwargs": {
                "in_channels": 1,
                "out_channels": 9,
                "spatial_dims": 3,
                "image_size": [32, 224, 192],
                "kind": "decoder",
                "strides": [1, [1, 2, 2], 2, 2, 2, 2],
                "kernels": [[1, 3, 3], 3, 3, 3, 3, 3],
            },
            "parameters": 34057610,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 1,
            "out_channels": 2,
            "spatial_dims": 3,
            "image_size": [16, 16, 16],
            "features": [8, 8, 16],
            "strides": [1, 2, 2],
            "dim": 16,
            "depth": 1,
            "heads": 2,
            "queries": 4,
            "query_dim": 12,
            "query_heads": 2,
            "query_mlp": 24,
            "query_layers": 2,
        },
        "shape": [2, 1, 16, 16, 16],
    },
    "licence": "Apache-2.0",
    "reconstruction": True,
}

SCALE = 1e-5
# What layer scale starts from.


class Tokens(nn.Module):
    """The lowest resolution's voxels as tokens, and back: (B, C, *grid) -> (B, C, *grid)."""

    def __init__(self, channels: int, grid: Sequence[int], dim: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Conv3d(channels, dim, 1)
        self.position = nn.Parameter(torch.zeros(1, math.prod(grid), dim))
        self.layers = nn.Sequential(*(ViTLayer(dim, heads, 4, dropout, scale=SCALE) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.back = nn.Conv3d(dim, channels, 1)
        nn.init.trunc_normal_(self.position, std=0.02)
        initialise(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        tokens = self.norm(self.layers(tokens))
        out: Tensor = self.back(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))
        return out


def sines(space: Sequence[int], dim: int, device: torch.device) -> Tensor:
    """(N, dim): for each axis a third of the channels, sines and cosines of the place scaled to 2 pi."""
    each = dim // len(space)
    rates = 10000 ** (torch.arange(each // 2, device=device) / (each // 2))
    rows = []
    for axis, size in enumerate(space):
        angles = 2 * math.pi * torch.arange(1, size + 1, device=device)[:, None] / size / rates
        shape = [size if a == axis else 1 for a in range(len(space))]
        rows.append(torch.cat([angles.sin(), angles.cos()], dim=1).view(*shape, each).expand(*space, each))
    return torch.cat(rows, dim=-1).flatten(0, -2)


class QueryLayer(nn.Module):
    """Queries read the tokens they may see, then each other, then an MLP; norms after each sum.

    What they say to each other and the MLP add little at first: each channel is scaled by a number learned from 1e-5.
    """

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.read = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.read_norm = nn.LayerNorm(dim)
        self.talk = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.talk_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim))
        self.mlp_norm = nn.LayerNorm(dim)
        self.talk_scale = nn.Parameter(torch.full((dim,), SCALE))
        self.mlp_scale = nn.Parameter(torch.full((dim,), SCALE))

    def forward(self, x: Tensor, name: Tensor, tokens: Tensor, place: Tensor, blocked: Tensor) -> Tensor:
        """x: (B, Q, D). name: (Q, D), who a query is. tokens: (B, N, D). place: (N, D). blocked: (B, Q, N), bool."""
        blocked = blocked.repeat_interleave(self.read.num_heads, dim=0)
        found, _ = self.read(x + name, tokens + place, tokens, attn_mask=blocked, need_weights=False)
        x = self.read_norm(x + found)
        found, _ = self.talk(x + name, x + name, x, need_weights=False)
        x = self.talk_norm(x + self.talk_scale * found)
        out: Tensor = self.mlp_norm(x + self.mlp_scale * self.mlp(x))
        return out


def open_rows(blocked: Tensor) -> Tensor:
    """(B, Q, N) bool: a query whose mask is empty, so that all is blocked, may see everything."""
    return blocked & ~blocked.all(dim=-1, keepdim=True)


class QueryDecoder(nn.Module):
    """Maps of the U-Net's decoder, lowest resolution first -> logits at the resolution of the last one.

    channels: of the maps; the last gives the masks, the three before it are read, one in each layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int | dict[str, int],
        *,
        queries: int,
        dim: int,
        heads: int,
        hidden: int,
        depth: int,
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(nn.Conv3d(count, dim, 1), nn.GroupNorm(math.gcd(32, dim), dim)) for count in channels[-4:-1]
        )
        self.mask_features = nn.Linear(channels[-1], dim)  # of every voxel
        self.start = nn.Parameter(torch.randn(queries, dim))
        self.name = nn.Parameter(torch.randn(queries, dim))
        self.level = nn.Parameter(torch.randn(len(self.scales), dim))
        self.layers = nn.ModuleList(QueryLayer(dim, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.classes = make_head(lambda k: nn.Linear(dim, k + 1), out_channels)
        self.masks = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(inplace=True), nn.Linear(dim, dim), nn.ReLU(inplace=True), nn.Linear(dim, dim)
        )

    def mask_logits(self, state: Tensor, fine: Tensor) -> Tensor:
        """<mlp(query), mask feature of the voxel>: (B, Q, D), (B, C, *space) -> (B, Q, *space)."""
        wanted = self.masks(state)
        weight, bias = wanted @ self.mask_features.weight, wanted @ self.mask_features.bias
        return (weight @ fine.flatten(2) + bias.unsqueeze(-1)).unflatten(2, fine.shape[2:])

    def states(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The queries (B, Q, D) before the first layer and after each, ready to be read."""
        read, fine = maps[-1 - len(self.scales) : -1], maps[-1]
        x = self.start.repeat(len(fine), 1, 1)
        found = [self.norm(x)]
        for number, layer in enumerate(self.layers):
            turn = number % len(self.scales)
            space = read[turn].shape[2:]
            tokens = self.scales[turn](read[turn]).flatten(2).transpose(1, 2) + self.level[turn]
            with torch.no_grad():  # both are linear, so masks of the shrunk map are the shrunk masks
                small = functional.interpolate(fine, size=space, mode="trilinear", align_corners=False)
                blocked = open_rows(self.mask_logits(found[-1], small).flatten(2) < 0)
            place = sines(space, x.shape[-1], x.device)
            x = layer(x, self.name, tokens, place, blocked)
            found.append(self.norm(x))
        return found

    def answers(self, maps: Sequence[Tensor]) -> list[tuple[Answer, Tensor]]:
        """Logits of classes (B, Q, K + 1) and masks (B, Q, *space), before the first layer and after each."""
        return [(self.classes(state), self.mask_logits(state, maps[-1])) for state in self.states(maps)]

    def forward(self, maps: Sequence[Tensor]) -> Answer:
        state = self.states(maps)[-1]
        return painted(self.classes(state), self.mask_logits(state, maps[-1]))


def painted(classes: Answer, masks: Tensor) -> Answer:
    """The map that the queries paint together, of logits of their classes and masks; one for each named head."""
    shown = masks.sigmoid()
    return each(classes, lambda part: semantic(part, shown))


def semantic(classes: Tensor, masks: Tensor) -> Tensor:
    """log of sum over queries of p(class) mask: (B, Q, K + 1) logits, (B, Q, *space) -> (B, K, *space)."""
    shares = classes.softmax(-1)[..., :-1].transpose(1, 2)  # without "no object"
    scores = (shares.to(masks.dtype) @ masks.flatten(2)).float()
    return (scores + 1e-6).log().unflatten(2, masks.shape[2:])


class Net(nn.Module):
    """kind: "encoder", "decoder" or "both", where the Transformers are. image_size: voxels, one number or one per axis.

    features, strides, kernels, deep_supervision: of the U-Net, as nnU-Net's here. dim, depth, heads, dropout: of the
    Transformer at the bottom; heads divides dim. queries and query_*: of the Transformer that reads the decoder;
    query_dim is divisible by 6 and by query_heads. With "decoder" alone no weight depends on the image size.
    """

    ORDER = (("encoder.*",), ("tokens",), ("up.*", "decoder.*"), ("head", "lower_heads"))
    # From the input to the output, for learning rates by depth; decoder stages are defined after all the `up`.
    ENCODER = ("encoder", "tokens")

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        image_size: int | Sequence[int],
        kind: str = "both",
        features: Sequence[int] = (32, 64, 128, 256, 320, 320),
        strides: Sequence[int | Sequence[int]] = (1, 2, 2, 2, 2, 2),
        kernels: Sequence[int | Sequence[int]] | None = None,
        deep_supervision: bool = True,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        dropout: float = 0.0,
        queries: int = 20,
        query_dim: int = 192,
        query_heads: int = 8,
        query_mlp: int = 1536,
        query_layers: int = 3,
    ) -> None:
        super().__init__()
        only(spatial_dims, 3)
        check(kind, len(features), dim, heads, query_dim, query_heads)
        step, size = topology(3, len(features), strides, kernels)
        self.divisor = tuple(math.prod(axis) for axis in zip(*step, strict=True))
        self.image_size = per_axis(image_size, 3, "image_size")
        grid = grid_of(self.image_size, self.divisor)
        self.kind, self.deep_supervision = kind, deep_supervision
        self._build_unet(in_channels, features, step, size)
        self.tokens = None if kind == "decoder" else Tokens(features[-1], grid, dim, depth, heads, dropout)
        maps = features[-2::-1]
        plain = [make_head(lambda k, w=w: nn.Conv3d(w, k, 1, bias=False), out_channels) for w in maps]  # type: ignore[misc]
        sizes = {"queries": queries, "dim": query_dim, "heads": query_heads, "hidden": query_mlp, "depth": query_layers}
        self.head = plain.pop() if kind == "encoder" else QueryDecoder(maps, out_channels, **sizes)
        self.lower_heads = nn.ModuleList(plain if deep_supervision else [])

    def _build_unet(
        self, inputs: int, features: Sequence[int], step: list[tuple[int, ...]], size: list[tuple[int, ...]]
    ) -> None:
        widths, still = [inputs, *features], (1, 1, 1)
        self.encoder, self.up, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(features):
            self.encoder.append(stage(widths[i], width, 3, size[i], step[i], 2))
        for i in range(len(features) - 2, -1, -1):
            below = step[i + 1]
            self.up.append(nn.ConvTranspose3d(features[i + 1], features[i], below, stride=below, bias=False))  # type: ignore[arg-type]
            self.decoder.append(stage(2 * features[i], features[i], 3, size[i + 1], still, 2))

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Every decoder stage's features, lowest resolution first."""
        require_divisible(x, self.divisor)
        if self.tokens is not None:
            require_size(x, self.image_size)
        require_more_than_one_voxel(x, self.divisor)
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        x = x if self.tokens is None else self.tokens(x)
        found = []
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat([up(x), skips.pop()], dim=1))
            found.append(x)
        return found

    def features(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B, features[0], *space): the U-Net's last map, from which masks and classes are read."""
        return self._maps(x)[-1]

    def queries(self, x: Tensor) -> list[tuple[Answer, Tensor]]:
        """What a matching loss compares: class logits (B, Q, K + 1), "no object" last, and mask logits
        (B, Q, *space), before the first layer and after each."""
        if not isinstance(self.head, QueryDecoder):
            raise HilumError("HIL-ZOO-03", 'kind is "encoder", which has no queries', 'Use "decoder" or "both"')
        return self.head.answers(self._maps(x))

    def forward(self, x: Tensor) -> Output:
        maps, head = self._maps(x), self.head
        if self.training and isinstance(head, QueryDecoder) and not isinstance(head.classes, Heads):
            asked = head.answers(maps)
            levels = by_name([painted(*asked[-1]), *self._lower(maps)])
            return levels | by_name([{"classes": classes, "masks": masks} for classes, masks in asked])  # type: ignore[dict-item]
        out: Answer = head(maps[-1] if self.kind == "encoder" else maps)
        return by_name([out, *self._lower(maps)]) if self.training and self.deep_supervision else out

    def _lower(self, maps: Sequence[Tensor]) -> list[Answer]:
        """The U-Net's own outputs, highest resolution first; none without deep supervision."""
        return [head(found) for head, found in zip(self.lower_heads, maps, strict=False)][::-1]


def grid_of(image_size: Sequence[int], divisor: Sequence[int]) -> list[int]:
    """Voxels of the lowest resolution per axis; a size that leaves a rest is refused."""
    if any(side % step for side, step in zip(image_size, divisor, strict=True)):
        seen = f"image_size {tuple(image_size)} is not divisible by the product of the strides {tuple(divisor)}"
        raise HilumError("HIL-ZOO-03", seen, "Change one of them")
    return [side // step for side, step in zip(image_size, divisor, strict=True)]


def check(kind: str, stages: int, dim: int, heads: int, query_dim: int, query_heads: int) -> None:
    """Refuse options that can not be built."""
    if kind not in ("encoder", "decoder", "both"):
        raise HilumError("HIL-ZOO-03", f"kind is {kind!r}", 'Use "encoder", "decoder" or "both"')
    if kind != "encoder" and stages < 3:
        raise HilumError("HIL-ZOO-03", f"There are {stages} features, but queries read two decoder stages", "Give 3")
    if kind != "decoder" and dim % heads:
        raise HilumError("HIL-ZOO-03", f"dim {dim} is not divisible by {heads} heads", "Change one of them")
    if kind != "encoder" and query_dim % math.lcm(6, query_heads):
        seen = f"query_dim {query_dim} is not divisible by 6, for sines of three axes, and by {query_heads} query_heads"
        raise HilumError("HIL-ZOO-03", seen, "Change one of them")
