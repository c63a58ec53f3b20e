"""An image becomes labels plane by plane: the scores of all classes are never held for more than a few voxels.

Averaging over windows and a linear last layer commute, so with many classes the features in front of that layer are
averaged, and the classes follow from them a few voxels at a time: memory does not grow with the classes.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.core.strongest import strongest
from hilum.infer.near import Collector, Near

if TYPE_CHECKING:
    from torch import Tensor, nn

CHUNK, ON_CARD = 1 << 20, 1 << 26
# Scores held at a time: as many as stay near the processor; on a card, so many that it is kept busy.
ROUNDING = 1e-5
# Share of a score by which one value may differ between voxels once it was weighted, summed and divided in float32.
PLANES, SMALL = 8, 1 << 16
# Handed to the collector at a time; of small planes as many as hold so many voxels.
Map = Callable[["Tensor"], "Tensor"]
# Scores (K, n) of some voxels -> (n,) float32.


@dataclass(frozen=True)
class Found:
    """labels: (*space) channel numbers. near: see `Near`. maps: (*space) float32 by name."""

    labels: Array
    near: Near
    maps: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """The network's last layer as a matrix: scores (K, n) = weight (K, F) @ features (F, n) + bias (K,)."""

    weight: "Tensor"
    bias: "Tensor"

    @property
    def late(self) -> bool:
        """Whether features are averaged over windows, and not scores: of fewer features than classes there is less."""
        return self.weight.shape[1] < self.weight.shape[0]

    def __call__(self, features: "Tensor") -> "Tensor":
        """(F, n) -> (K, n)."""
        import torch

        weight, bias = self.weight.to(features.device), self.bias.to(features.device)
        # the scores of a voxel lie together in memory, for the strongest of them is looked for next
        return torch.addmm(bias, features.t(), weight.t()).t()

    def over(self, features: "Tensor") -> "Tensor":
        """(B, F, *space) -> (B, K, *space)."""
        flat = features.transpose(0, 1)
        return self(flat.flatten(1)).unflatten(1, flat.shape[1:]).transpose(0, 1)


def linear_head(net: "nn.Module") -> Head | None:
    """The head, where it is one 1x1 layer and the network answers with what it makes of `features`; else None."""
    import torch
    from torch import nn

    head = getattr(net, "head", None)
    # some answer otherwise with certain options, and say so
    if not isinstance(head, nn.Conv2d | nn.Conv3d) or not hasattr(net, "features") or not getattr(net, "plain", True):
        return None
    plain = set(head.kernel_size) | set(head.stride) | set(head.dilation) | {head.groups}
    if plain != {1} or any(head.padding):
        return None
    weight = head.weight.detach().flatten(1)
    bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach()
    return Head(weight, bias)


def found(
    planes: "Iterable[tuple[int, Tensor]]",
    image: Array,
    count: int,
    head: Head | None = None,
    maps: Mapping[str, Map] | None = None,
    seed: int = 0,
    where: Array | None = None,
) -> Found:
    """Labels of merged planes (first, (C, n, *rest)) as `windows.planes` gives them; of equal scores the first class.

    image: (C, *space), what was looked at. count: classes with the background; further channels are left out. head:
    makes scores of the channels, where they are features. where: bool (*space), elsewhere is background. Refused
    (HIL-M10): what is no number, one answer everywhere.
    """
    shape = image.shape[1:]
    labels = np.zeros(shape, dtype=np.uint8 if count <= 256 else np.int16)
    pictures = {name: np.zeros(shape, dtype=np.float32) for name in maps or {}}
    keeper, likeliest, reach = Collector(shape[1:], seed), _Likeliest(), _Reach()
    for start, values in planes:
        check_numbers(values)
        size = values.shape[1]
        flat = values.reshape(len(values), -1)
        here = np.empty(flat.shape[1], dtype=labels.dtype)
        some = max(1, (CHUNK if values.device.type == "cpu" else ON_CARD) // count)
        for low in range(0, flat.shape[1], some):
            part = slice(low, low + some)
            scores = (flat[:, part] if head is None else head(flat[:, part]))[:count]
            here[part] = strongest(scores).cpu().numpy()
            reach.see(scores)
            if not keeper.found:
                likeliest.see(scores)
            for name, picture in pictures.items():
                picture[start : start + size].reshape(-1)[part] = (maps or {})[name](scores).cpu().numpy()
        labels[start : start + size] = here.reshape(size, *shape[1:])
        if where is not None:
            for kept in (labels, *pictures.values()):
                kept[start : start + size] *= where[start : start + size]
        for low in range(0, size, at_a_time(shape[1:])):
            end = min(low + at_a_time(shape[1:]), size)
            keeper.add(labels[start + low : start + end], values[:, low:end])
        # let go before the next planes are made
        del values, flat
    reach.check(image)
    return Found(labels, _near(keeper, likeliest, head, count, shape), pictures)


def mapped(scores: "Tensor", how: Map) -> "Tensor":
    """Scores (K, *space) of a whole image -> (*space), some planes at a time: of all at once, copies would be made."""
    import torch

    made, some = torch.empty(scores.shape[1:]), max(1, CHUNK // scores[:, 0].numel())
    for low in range(0, len(made), some):
        made[low : low + some] = how(scores[:, low : low + some].float())
    return made


def at_a_time(plane: tuple[int, ...]) -> int:
    """Planes of this shape that are handed to the collector at a time."""
    return max(PLANES, SMALL // max(1, math.prod(plane)))


def of_scores(scores: "Tensor", seed: int = 0) -> Near:
    """The voxels that are looked at of a whole image of scores (K, *space)."""
    # of scores alone there is no image to compare with
    image = np.zeros((1, *scores.shape[1:]), dtype=np.uint8)
    return found([(0, scores)], image, len(scores), seed=seed).near


class _Likeliest:
    """The voxel whose best class comes nearest to the background, or furthest above it."""

    def __init__(self) -> None:
        self.margin, self.scores = -np.inf, np.zeros(0, dtype=np.float32)

    def see(self, scores: "Tensor") -> None:
        """scores: (K, n)."""
        margin = scores[1:].amax(dim=0) - scores[0]
        best = int(margin.argmax())
        if float(margin[best]) > self.margin:
            self.margin, self.scores = float(margin[best]), scores[:, best].cpu().numpy().copy()


class _Reach:
    """The least and the most score of every class, looked at until one of them is known to vary."""

    def __init__(self) -> None:
        self._ends: tuple[Tensor, Tensor] | None = None
        self._varies = False

    def see(self, scores: "Tensor") -> None:
        """scores: (K, n)."""
        if self._varies:
            return
        low, high = scores.aminmax(dim=1)
        if self._ends is not None:
            low, high = low.minimum(self._ends[0]), high.maximum(self._ends[1])
        self._ends, self._varies = (low, high), not _alike(low, high)

    def check(self, image: Array) -> None:
        """As `check_varies`, of all that was seen."""
        if self._ends is not None:
            check_varies(*self._ends, image)


def _near(keeper: Collector, likeliest: _Likeliest, head: Head | None, count: int, shape: tuple[int, ...]) -> Near:
    """shape: of the image, in which what was kept has its places."""
    import torch

    kept = keeper.end()
    if kept is None:
        nowhere = np.zeros((0, len(shape)), dtype=np.intp)
        return Near(likeliest.scores[None].astype(np.float32), True, np.zeros(1, dtype=np.intp), np.ones(1), nowhere)
    values = torch.from_numpy(np.ascontiguousarray(kept.values.T))
    scores = (values if head is None else head(values))[:count]
    places = np.stack(np.unravel_index(kept.flat, shape), axis=1)
    return Near(scores.numpy().T.astype(np.float32), False, kept.labels, kept.weights, places)


def check_varies(low: "Tensor", high: "Tensor", image: Array) -> None:
    """Refuse answers that are the same everywhere though the image is not (M10). low, high: (K,), of each score.

    image: (C, *space), of which any channel may be the one that varies.
    """
    if _alike(low, high) and any(channel.min() < channel.max() for channel in image):
        raise HilumError("HIL-M10", "The model gives one value everywhere, whatever it sees", "Train again")


def _alike(low: "Tensor", high: "Tensor") -> bool:
    """Whether each score is the same everywhere, but for the rounding of its mean over windows."""
    return bool((high - low <= ROUNDING * low.abs().maximum(high.abs())).all())


def check_numbers(outputs: Any) -> None:
    """Refuse outputs that are no numbers before an argmax, a threshold or a sort hides them (M10)."""
    levels = list(outputs.values()) if isinstance(outputs, dict) else outputs
    if isinstance(levels, list | tuple):
        for level in levels:
            check_numbers(level)
    # what is not finite stays so in a sum, which is far cheaper; finite values may add up to too much
    elif not levels.sum().isfinite() and not levels.isfinite().all():
        raise HilumError("HIL-M10", "The model gave values that are no numbers", "Train again")
