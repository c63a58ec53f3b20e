"""Options that give a network about so many parameters, found on the meta device.

All its widths are scaled by one factor from the constructor's own and rounded to what the network can divide. None gets
less than 8 channels (or its own, where that is less), or 4 or 2 where the size can not be met otherwise. Depth, heads,
windows and kernels stay.
"""

import inspect
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.tasks._topology import features, topology
from hilum.zoo._cost import flops, parameters

LEAST, NEAR = (8, 4, 2), 1.25
# Channels of the narrowest layer, in the order tried; a size within this factor is near enough not to try the next.
WIDTHS = (
    "widths", "width", "features", "dim", "branch", "hidden", "decoder", "chain", "growth", "init_features", "history",
    "query_dim", "query_mlp", "groups", "reduction",
)  # fmt: skip
# Constructor options that are widths, whatever network has them. The last two follow: groups of a norm divide a width,
# and a gate's layers are at most as many times narrower as the narrowest level has channels.
MULTIPLES = {
    ("hnet", "width"): 4, ("sharp_dense_unet", "widths"): 2, ("swin_unet", "dim"): 3, ("sstransnet", "dim"): 3,
    ("swin_unetr", "width"): 3, ("unetr", "dim"): 12, ("transunet", "dim"): 12, ("da_transunet", "dim"): 12,
    ("transunet3d", "dim"): 12, ("transunet3d", "query_dim"): 24,
}  # fmt: skip
# What a width must be divisible by, mostly the heads.
STARTS: dict[str, dict[str, Any]] = {
    "denseaspp": {"growth": 32, "init_features": 64, "chain": [128, 64]},
    "i2unet": {"widths": [64, 128, 256, 512], "history": 32},
}
# Widths that the constructor takes from another option (depth=121, size="L").
PLANNED = ("nnunet", "transunet3d")
# Networks whose stages and strides the plan decides, by nnU-Net's rules for the patch.
REFUSED = (HilumError, ValueError, TypeError, RuntimeError, ZeroDivisionError, IndexError)


@dataclass(frozen=True)
class Form:
    """A network as it stands in a table. options: what makes it differ from the constructor's defaults."""

    label: str
    net: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """What a network is built for."""

    channels: int
    outputs: int
    patch: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """options: for --net. flops: of one forward pass on one patch, None where the meta device can not count it."""

    options: dict[str, Any]
    parameters: int
    flops: int | None


def search(form: Form, shape: Shape, target: int) -> Found:
    """The options whose count is nearest to `target` (in proportion)."""
    start, fixed = starts(form, shape)
    tried: dict[str, int] = {}
    for least in LEAST:
        for factor in _factors(form, start, fixed, shape, target, least, tried):
            _count(form, _scaled(form.net, start, factor, least), fixed, shape, tried)
        best = min(tried, key=lambda text: (abs(math.log(tried[text] / target)), text), default=None)
        if best is not None and max(tried[best] / target, target / tried[best]) < NEAR:
            break
    if best is None:
        raise HilumError("HIL-PLAN-04", f"{form.label} can not be built at any width tried", "Look at its options")
    options = fixed | json.loads(best)
    return Found(options, tried[best], _flops(build(form.net, options, shape), shape))


def _factors(
    form: Form,
    start: dict[str, Any],
    fixed: dict[str, Any],
    shape: Shape,
    target: int,
    least: int,
    tried: dict[str, int],
) -> Iterator[float]:
    """Factors to try: first towards the target, as parameters grow with the square of the widths, then about there."""
    factor = 1.0
    for _ in range(10):
        count = _count(form, _scaled(form.net, start, factor, least), fixed, shape, tried)
        if count is not None and abs(count / target - 1) < 0.01:
            break
        # a width that the network refuses is left by a small step
        factor *= 0.97 if count is None else min(4.0, max(0.1, (target / count) ** 0.5))
    yield from (factor * 1.02**k for k in range(-9, 10))


def _count(
    form: Form, widths: dict[str, Any], fixed: dict[str, Any], shape: Shape, tried: dict[str, int]
) -> int | None:
    """Parameters with these widths, kept in `tried`; None where the network refuses them."""
    text = json.dumps(widths, sort_keys=True)
    if text not in tried:
        try:
            tried[text] = parameters(build(form.net, fixed | widths, shape))
        except REFUSED as error:
            if isinstance(error, HilumError) and error.code == "HIL-ZOO-07":
                raise
            return None
    return tried[text]


def starts(form: Form, shape: Shape) -> tuple[dict[str, Any], dict[str, Any]]:
    """Widths at factor 1, and the options that stay."""
    made = inspect.signature(catalogue.load("hilum.zoo", form.net).Net).parameters
    known = {n: p.default for n, p in made.items() if n in WIDTHS and p.default not in (None, inspect.Parameter.empty)}
    start, fixed = known | STARTS.get(form.net, {}), dict[str, Any]()
    if form.net in PLANNED:
        found = topology(shape.patch, [1.0] * len(shape.patch))
        start["features"] = features(len(found.strides), 32, len(shape.patch))
        fixed = {"strides": [s[0] if len(set(s)) == 1 else s for s in found.strides], "deep_supervision": True}
        # named always, or the planner's own for another patch would stay
        fixed["kernels"] = None if all(set(k) == {3} for k in found.kernels) else found.kernels
    more = dict(form.options)
    if "blocks" in more and form.net == "nnunet":
        more["blocks"] = more["blocks"][: len(start["features"])]
    return {n: v for n, v in start.items() if n not in more}, fixed | more


def _scaled(net: str, start: dict[str, Any], factor: float, least: int) -> dict[str, Any]:
    def one(name: str, value: int) -> int:
        multiple = MULTIPLES.get((net, name), 1)
        return max(-(-min(least, value) // multiple), round(value * factor / multiple)) * multiple

    wide = {n: v for n, v in start.items() if n not in ("groups", "reduction")}
    made = {n: one(n, v) if isinstance(v, int) else [one(n, w) for w in v] for n, v in wide.items()}
    if "groups" in start:
        made["groups"] = max(n for n in range(1, start["groups"] + 1) if made["width"] % n == 0)
    if "reduction" in start:
        made["reduction"] = min(start["reduction"], *made["widths"])
    return made


def build(net: str, options: dict[str, Any], shape: Shape) -> torch.nn.Module:
    """The network on the meta device."""
    size = {"image_size": shape.patch} if catalogue.card("hilum.zoo", net)["image_size"] else {}
    with torch.device("meta"):
        made: torch.nn.Module = catalogue.load("hilum.zoo", net).Net(
            shape.channels, shape.outputs, len(shape.patch), **options, **size
        )
    return made


def _flops(net: torch.nn.Module, shape: Shape) -> int | None:
    """A network that refuses the patch is refused here already, not after the first step."""
    try:
        return flops(net.eval(), torch.empty((1, shape.channels, *shape.patch), device="meta"))
    except (NotImplementedError, RuntimeError):
        return None


def words(net: str, options: dict[str, Any]) -> str:
    """As --net takes it: "unet:widths=[16,32,64,128,256]"."""
    return ":".join([net, *(f"{n}={json.dumps(v, separators=(',', ':'))}" for n, v in options.items())])
