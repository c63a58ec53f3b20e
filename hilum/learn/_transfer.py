"""Which weights learn, and how fast: freezing by name, and layer-wise learning rates from the head backwards."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hilum.core.errors import HilumError, near
from hilum.core.plan import Strict

if TYPE_CHECKING:
    from torch import nn


class Origin(Strict):
    """The weights that a run began with: the name of their file or run, and its SHA-256 (hexadecimal)."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Transfer(Strict):
    """start: what the weights are from. freeze: names or patterns of weights that do not learn. layer_decay: the
    learning rate of a layer over that of the layer above it (1: all alike)."""

    start: Origin | None = None
    freeze: list[str] = Field(default_factory=list)
    layer_decay: float = Field(default=1.0, gt=0, le=1)


def freeze(net: "nn.Module", patterns: Sequence[str]) -> list[str]:
    """Weights that fit a pattern no longer learn; their names, in the network's order. Call `keep_still` after train().

    A pattern is the name of a weight or of a module it lies in ("encoder", "encoder.0"), with *, ? and [..] as in file
    names. Refused: one that fits nothing (HIL-LEARN-23), and all weights frozen (HIL-LEARN-24).
    """
    names = [name for name, _ in net.named_parameters()]
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in names):
            known = list(dict.fromkeys(part for name in names for part in _holders(name)))
            raise HilumError("HIL-LEARN-23", f"No weight of the network fits freeze {pattern!r}", _hint(pattern, known))
    frozen = [name for name in names if any(_fits(name, pattern) for pattern in patterns)]
    if len(frozen) == len(names):
        raise HilumError(
            "HIL-LEARN-24", f"With freeze {list(patterns)} all {len(names)} weights stay as they are", "Freeze fewer"
        )
    for name in frozen:
        net.get_parameter(name).requires_grad_(False)
    return frozen


def keep_still(net: "nn.Module") -> None:
    """Put every module whose weights are all frozen into evaluation mode: its batch statistics stay, its dropout rests.

    For after each net.train(); a network without frozen weights is left as it is.
    """
    for module in net.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def groups(
    net: "nn.Module", rate: float, weight_decay: float, layer_decay: float = 1.0, *, decay_norms: bool = True
) -> list[dict[str, Any]]:
    """Optimiser groups that hold every learning weight once, always in the same order, from the input to the head.

    Each has lr and weight_decay, and scale: layer_decay ** (layers above it), which a schedule multiplies its rate
    with. decay_norms: whether weights of one axis (norms, biases) decay too. At the defaults it is one group with all
    weights in the network's order.
    """
    layers = depth(net) if layer_decay < 1 else [("all", [name for name, _ in net.named_parameters()])]
    made = []
    for above, (layer, names) in zip(range(len(layers) - 1, -1, -1), layers, strict=True):
        weights = [w for w in map(net.get_parameter, names) if w.requires_grad]
        wide = [w for w in weights if decay_norms or w.ndim > 1]
        flat = [] if decay_norms else [w for w in weights if w.ndim <= 1]
        scale = layer_decay**above
        for part, decay in ((wide, weight_decay), (flat, 0.0)):
            if part:
                made.append({"params": part, "lr": rate * scale, "weight_decay": decay, "scale": scale, "layer": layer})
    return made


def depth(net: "nn.Module") -> list[tuple[str, list[str]]]:
    """(name, names of its weights) of every layer, from the input to the head; each weight is in one layer.

    A layer is a module of the network, or each item of one that is a list or a sequence, in the order of definition. A
    layer without a weight of two axes (a norm) joins the one before it; weights that lie on the network itself join
    the first. A network that computes in another order says so: `ORDER`, a tuple of tuples of names, from the input to
    the head; names in one tuple are equally deep, and those that end with ".*" are walked item by item, side by side.
    """
    order = getattr(type(net), "ORDER", None)
    made = _stated(net, order) if order is not None else _defined(net)
    names = [name for name, _ in net.named_parameters()]
    layers: list[tuple[str, list[str]]] = []
    for prefixes in made:
        found = [n for n in names if any(n == p or n.startswith(f"{p}.") for p in prefixes)]
        if layers and all(net.get_parameter(n).ndim < 2 for n in found):
            layers[-1][1].extend(found)
        elif found:
            layers.append((prefixes[0], found))
    placed = {n for _, found in layers for n in found}
    loose = [n for n in names if n not in placed]
    if not layers:
        return [("all", loose)]
    layers[0][1][:0] = loose
    return layers


def _defined(net: "nn.Module") -> list[tuple[str, ...]]:
    """Prefixes of the layers in the order of definition."""
    from torch import nn

    made: list[tuple[str, ...]] = []
    for name, child in net.named_children():
        opened = isinstance(child, nn.Sequential | nn.ModuleList)
        made += [(f"{name}.{part}",) for part, _ in child.named_children()] if opened else [(name,)]
    return made


def _stated(net: "nn.Module", order: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Prefixes of the layers as the network states them."""
    made: list[tuple[str, ...]] = []
    for names in order:
        walked = [
            [f"{n[:-2]}.{part}" for part, _ in net.get_submodule(n[:-2]).named_children()] if n.endswith(".*") else [n]
            for n in names
        ]
        made += [tuple(w[i] for w in walked if i < len(w)) for i in range(max(map(len, walked)))]
    return made


def _holders(name: str) -> list[str]:
    """a.b.c -> a, a.b, a.b.c."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _fits(name: str, pattern: str) -> bool:
    return any(fnmatchcase(part, pattern) for part in _holders(name))


def _hint(pattern: str, known: list[str]) -> str:
    """Near names, or the outermost ones: a network has hundreds."""
    close = near(pattern, known)
    return close if close.startswith("Did") else near("", [name for name in known if "." not in name])
