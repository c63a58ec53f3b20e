"""Starting from given weights: copied by name and shape, and every tensor accounted for.

The whole network, or its encoder only: what lies in `Net.ENCODER`, names of modules, or without that in `encoder`.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hilum.core.errors import HilumError, near

if TYPE_CHECKING:
    from torch import Tensor, nn

LEAST = 0.2
# Share of the network's (or the encoder's) values that must come from the file; less is another network with a few
# names in common.
FOREIGN = (HilumError, RuntimeError, ValueError, IndexError, KeyError, TypeError, AttributeError)
# What a translator runs into where names or shapes are somebody else's.
Channels = Literal["mean", "repeat", "fresh"]


@dataclass(frozen=True)
class Report:
    """What came of every tensor. {name: count of values}, parameters and running statistics alike.

    matched: copied. reshaped: copied by a rule. wrong_shape: in both, but not copied (shapes holds both shapes).
    unplaced: a position embedding of the network's own shape, not copied because nobody says how its tokens lie. fresh:
    in the network, not in the file. unused: in the file, not in the network. All but matched and reshaped of the
    network start as they were; head: whether the head is among them.

    encoder: only the encoder begins from the file. Then outside holds what lies elsewhere in the network, which starts
    as it was, whether the file has it or not. reading: how the file's names were read, where not as they are.
    """

    matched: dict[str, int] = field(default_factory=dict)
    reshaped: dict[str, int] = field(default_factory=dict)
    wrong_shape: dict[str, int] = field(default_factory=dict)
    unplaced: dict[str, int] = field(default_factory=dict)
    fresh: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    outside: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    encoder: bool = False
    reading: str = ""

    @property
    def share(self) -> float:
        """Share of the network's values, or of its encoder's, that came from the file, 0 to 1."""
        took = sum(self.matched.values()) + sum(self.reshaped.values())
        left = self.wrong_shape | self.unplaced | self.fresh
        return took / max(1, took + sum(left.values()))

    @property
    def head(self) -> bool:
        """Whether a tensor of a head starts fresh."""
        return any("head" in name.split(".")[0] for name in self.wrong_shape | self.fresh | self.outside)

    def sentence(self) -> str:
        """One sentence for people."""
        words = [f"{len(self.matched)} tensors taken as they are"]
        words += [f"{len(self.reshaped)} reshaped"] if self.reshaped else []
        words += [f"{len(self.wrong_shape)} left fresh for their shape"] if self.wrong_shape else []
        words += [f"{len(self.unplaced)} left fresh because their grid is not known"] if self.unplaced else []
        words += [f"{len(self.fresh)} left fresh because the file lacks them"] if self.fresh else []
        words += [f"{len(self.outside)} outside the encoder left fresh"] if self.outside else []
        words += [f"{len(self.unused)} of the file unused"] if self.unused else []
        words += [self.reading] if self.reading else []
        part = "encoder" if self.encoder else "network"
        head = "; the head starts fresh" if self.head else ""
        return f"{self.share:.1%} of the {part}'s values come from the file ({', '.join(words)}){head}"

    def table(self) -> list[dict[str, Any]]:
        """One row per tensor: tensor, values, what became of it, and the shapes where they differ."""
        kinds = ("matched", "reshaped", "wrong_shape", "unplaced", "fresh", "outside", "unused")
        return [
            {"tensor": name, "values": count, "became": kind.replace("_", " "), "shapes": self.shapes.get(name, "")}
            for kind in kinds
            for name, count in getattr(self, kind).items()
        ]

    def facts(self) -> dict[str, Any]:
        """Plain data for start.json."""
        return {"sentence": self.sentence(), "share": round(self.share, 6), "head_fresh": self.head, **asdict(self)}


def start(
    net: "nn.Module",
    weights: "Mapping[str, Tensor]",
    *,
    strict: bool = False,
    channels: Channels = "mean",
    encoder: bool = False,
    grid: Sequence[int] | None = None,
) -> Report:
    """Copy into `net` what fits, and say what became of every tensor. Nothing is copied when it is refused.

    By name and shape; else, by rule: convolutions that read the image, for another number of channels (`channels`, see
    `_channels`), a `position` embedding of another image size (interpolated, see `_position`). A head for another
    number of classes stays fresh. strict: anything but a whole match is refused. encoder: fill that part only, from a
    file of an encoder, of a whole network, or of a maker whose names the network's file translates; see `_readings`.
    grid: tokens along each axis of the network that the weights are of; None: not known, with strict those of `net`.

    Refused (HIL-LEARN-22): less than LEAST of the network's (or the encoder's) values would come from the file.
    """
    import torch

    parts = encoder_of(net) if encoder else None
    reading, weights = ("", weights) if parts is None else best_reading(net, weights, parts)
    grid = tokens(net) if strict and grid is None else grid
    report, taken = _compared(net, weights, channels, parts, reading, grid)
    _check(report, strict)
    for name, value in taken.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise HilumError("HIL-M04", f"The weight {name!r} is not finite", "Take an earlier checkpoint")
    own = net.state_dict()
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    return report


def encoder_of(net: "nn.Module") -> tuple[str, ...]:
    """Names of the modules and weights that make up the encoder; a network without one is refused (HIL-LEARN-06)."""
    parts: tuple[str, ...] = getattr(type(net), "ENCODER", ("encoder",))
    if not any(_inside(name, parts) for name, _ in net.named_parameters()):
        seen = "The network has no part that is its encoder"
        raise HilumError("HIL-LEARN-06", seen, "Begin all of it from the weights, with --start")
    return parts


def _inside(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _readings(net: "nn.Module", weights: "Mapping[str, Tensor]") -> "Iterator[tuple[str, Mapping[str, Tensor]]]":
    """(words, weights) of each way to read the file's names: as they are; of an encoder that was saved alone; and as
    each function `from_...` of the network's file translates another maker's. What that leaves out keeps its name; what
    it says is None has gone into another tensor."""
    yield "", weights
    yield "encoder. put before the names", {f"encoder.{name}": value for name, value in weights.items()}
    for name, translate in vars(sys.modules[type(net).__module__]).items():
        if not name.startswith("from_"):
            continue
        try:
            made = translate(weights)
        except FOREIGN:
            continue
        used = {value.data_ptr() for value in made.values() if value is not None}
        left = {key: value for key, value in weights.items() if key not in made and value.data_ptr() not in used}
        whole = {key: value for key, value in made.items() if value is not None}
        yield f"names translated by {name}", left | whole


def best_reading(
    net: "nn.Module", weights: "Mapping[str, Tensor]", parts: tuple[str, ...] | None = None
) -> "tuple[str, Mapping[str, Tensor]]":
    """(words, weights) of the reading by which most values find their place; as they are ("") where none is better.

    parts: what of the network counts, such as its encoder; None for all.
    """
    own = {n: value.shape for n, value in net.state_dict().items() if parts is None or _inside(n, parts)}

    def fitting(reading: "tuple[str, Mapping[str, Tensor]]") -> int:
        return sum(value.numel() for name, value in reading[1].items() if own.get(name) == value.shape)

    return max(_readings(net, weights), key=fitting)


def _compared(
    net: "nn.Module",
    weights: "Mapping[str, Tensor]",
    channels: Channels,
    parts: tuple[str, ...] | None,
    reading: str,
    grid: Sequence[int] | None,
) -> "tuple[Report, dict[str, Tensor]]":
    """What would become of every tensor, and what would be copied, in the network's types. parts: None for all."""
    own, image = net.state_dict(), _image_convolutions(net, weights)
    report, taken = Report(encoder=parts is not None, reading=reading), {}
    report.unused.update({name: value.numel() for name, value in weights.items() if name not in own})
    for name, target in own.items():
        value, count = weights.get(name), target.numel()
        if parts is not None and not _inside(name, parts):
            report.outside[name] = count
            continue
        if value is None:
            report.fresh[name] = count
            continue
        made, told = _fitted(net, name, value, target, image, channels, grid)
        if made is not value:
            report.shapes[name] = f"{tuple(value.shape)} in the file, {tuple(target.shape)} in the network{told}"
        if made is None and value.shape == target.shape:
            report.unplaced[name] = count
            continue
        if made is None or value.is_floating_point() != target.is_floating_point():
            report.wrong_shape[name] = count
            report.shapes.setdefault(name, f"{value.dtype} in the file, {target.dtype} in the network")
            continue
        taken[name] = made.to(target.dtype)
        (report.matched if made is value else report.reshaped)[name] = count
    return report, taken


def _check(report: Report, strict: bool) -> None:
    """Refuse too little, or with strict anything but all; the sentence shows the nearest wrong name or shape."""
    differs = report.reshaped or report.wrong_shape or report.unplaced or report.fresh or report.unused
    if report.share >= LEAST and not (strict and differs):
        return
    if report.shapes and sum(report.wrong_shape.values()) >= sum(report.fresh.values()):
        name = next(iter(report.shapes))
        remedy = f"{name} is {report.shapes[name]}: use the network, dimensions and options that the weights are of"
    elif report.fresh and report.unused:
        name, there = next(iter(report.fresh)), list(report.unused)
        close = near(name, there)
        close = close if close.startswith("Did") else f"The file has {', '.join(there[:3])}, ..."
        remedy = f"The network has {name}, the file lacks it. {close}"
    else:
        remedy = "Use the network and options that the weights are of"
    limit = "all are wanted" if strict else f"at least {LEAST:.0%} are needed"
    raise HilumError("HIL-LEARN-22", f"{report.sentence()}; {limit}", remedy)


def _image_convolutions(net: "nn.Module", weights: "Mapping[str, Tensor]") -> set[str]:
    """The weights of the convolutions that may read the image: of as many inputs as the first, in the file too.

    None of them where the network reads two images in one input (moving, fixed): each has its own channels, which a
    mean would make equal. One that reads features beside the image has more inputs, and is not among them.
    """
    import inspect

    from torch import nn

    if len(inspect.signature(net.forward).parameters) != 1:
        return set()
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d
    convolutions = {f"{n}.weight" if n else "weight": m for n, m in net.named_modules() if isinstance(m, kinds)}
    reading = [n for n, m in convolutions.items() if m.in_channels == next(iter(convolutions.values())).in_channels]
    there = {n: weights[n].shape[1] for n in reading if n in weights and weights[n].ndim > 2}
    return {n for n, count in there.items() if count == next(iter(there.values()))}


def _fitted(
    net: "nn.Module",
    name: str,
    value: "Tensor",
    target: "Tensor",
    image: set[str],
    channels: Channels,
    grid: Sequence[int] | None,
) -> "tuple[Tensor | None, str]":
    """The value as it is, or by one of the two rules in the target's shape, or None; and what is to be said of it."""
    if name.split(".")[-1] == "position":
        return _position(net, value, target, grid)
    if value.shape == target.shape:
        return value, ""
    alike = value.ndim == target.ndim > 2 and value[:, :1].shape == target[:, :1].shape
    if name in image and channels != "fresh" and alike:
        return _channels(value, target.shape[1], channels), ""
    return None, ""


def _channels(value: "Tensor", wanted: int, how: Channels) -> "Tensor":
    """(O, c, *k) -> (O, wanted, *k), times c / wanted, so that a grey image in all channels gives what it gave before.

    mean: every new channel gets the mean of the old ones. repeat: the old ones in turn (1 2 3 1 ...); what is said of
    the grey image then holds where `wanted` is a multiple of c.
    """
    old = value.shape[1]
    if how == "mean":
        return value.mean(dim=1, keepdim=True).repeat_interleave(wanted, dim=1) * (old / wanted)
    turns = [index % old for index in range(wanted)]
    return value[:, turns] * (old / wanted)


def tokens(net: "nn.Module") -> list[int] | None:
    """How many tokens lie along each axis of a network that is built for one image size; None of others."""
    sizes, sides = getattr(net, "image_size", None), getattr(net, "divisor", None)
    if sizes is None or sides is None:
        return None
    return [size // side for size, side in zip(sizes, sides, strict=True)]


def _position(
    net: "nn.Module", value: "Tensor", target: "Tensor", grid: Sequence[int] | None
) -> "tuple[Tensor | None, str]":
    """(1, n, D) -> (1, m, D), the grid interpolated linearly; (1, 1 + n, D) -> (1, 1 + m, D) where the network has a
    class token, whose position stays. As it is where both grids are one; None where the file's is not known. And what
    is to be said of the grids. grid: of the file's network, where that is known; see `_grid`."""
    from torch import cat
    from torch.nn import functional

    own, same = tokens(net), value.shape == target.shape
    if own is None or value.ndim != 3 or value.shape[::2] != target.shape[::2]:
        return (value if same else None), ""
    first = target.shape[1] - prod(own)
    if first not in (0, 1):
        return (value if same else None), ""
    old = _grid(value.shape[1] - first, own, grid)
    wanted = " x ".join(map(str, own))
    if old is None:
        return None, f", which has {wanted} tokens; how those of the file lie is not known"
    if old == own:
        return value, ""
    image = value[:, first:].float().transpose(1, 2).unflatten(2, old)
    mode = "bilinear" if len(own) == 2 else "trilinear"
    made = functional.interpolate(image, size=own, mode=mode, align_corners=False).flatten(2).transpose(1, 2)
    said = f", from {' x '.join(map(str, old))} tokens to {wanted}"
    return cat([value[:, :first].float(), made], dim=1), said


def _grid(count: int, own: list[int], known: Sequence[int] | None) -> list[int] | None:
    """Tokens along each axis of a file's position embedding of so many; None where that can not be told.

    own: of the network that begins. known: of the file's network. Without that it is taken as square or cubic, as
    those of published weights are; but not where the network's own grid has as many and is neither, which would be
    another reading.
    """
    if known is not None:
        return list(known) if len(known) == len(own) and prod(known) == count else None
    if count < 1:
        return None
    even = [round(count ** (1 / len(own)))] * len(own)
    if prod(even) != count or (count == prod(own) and even != own):
        return None
    return even


@dataclass(frozen=True)
class Beginning:
    """A network, or its encoder only, begins with the weights at `path`; calling it brings them in."""

    path: Path
    encoder: bool = False

    def __call__(self, net: "nn.Module") -> Report:
        from hilum.learn._weights import grid, read_weights

        weights = read_weights(self.path)
        return start(net, weights, encoder=self.encoder, grid=grid(self.path, weights))
