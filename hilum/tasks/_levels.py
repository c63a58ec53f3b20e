"""What a segmentation network learns from: the loss at every level it gives, its queries, whether anything is there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.losses import _named
from hilum.tasks._labels import IGNORE

if TYPE_CHECKING:
    from torch import Tensor


def losses(plan: Plan, name: str, outputs: Any, target: "Tensor") -> "dict[str, Tensor]":
    """The loss of that name at every level, by the weights of the network's card where it has some.

    outputs: logits (B, K, *patch), or {"out": levels, "masks", "classes": of queries, "presence"}. target: (B, *patch).
    """
    from hilum.losses.deep_supervision import deep_supervised
    from hilum.losses.presence import presence

    found = dict[str, "Tensor"]()

    def loss(logits: "Tensor", level: "Tensor") -> "Tensor":
        spacing = _spacing(plan, _named.measures(name, "segment"), target.shape[1:], level.shape[1:])
        chosen = _named.loss(name, "segment", spacing)
        return chosen(logits[:, : 1 + len(plan.classes)], level, IGNORE)

    more = outputs if isinstance(outputs, dict) else {"out": [outputs]}
    levels = more["out"]
    if levels[0].shape[2:] != target.shape[1:]:
        # shrinking the target would move it, where the network cuts its borders off
        seen = f"The network answers with the size {tuple(levels[0].shape[2:])}, not that of its input"
        raise HilumError("HIL-PLAN-03", seen, "Choose other options of the network (unet: padding same or mirror)")
    # what queries paint together is the first level, and learns as they do
    learned = levels[1:] if "masks" in more else levels
    if learned:
        targets = [_shrink(target, level.shape[2:]).long() for level in learned]
        found["loss"] = deep_supervised(loss, learned, targets, _shares(plan) if more is outputs else None)
    if "masks" in more:
        found["matching"] = _matching(plan, more["classes"], more["masks"], target)
    if "presence" in more:
        # a network that asks whether anything is there learns that from nothing else
        found["presence"] = presence(more["presence"][0], target, IGNORE)
    return found


def _spacing(plan: Plan, unit: str | None, full: Sequence[int], shape: Sequence[int]) -> list[float] | None:
    """Size of the voxels of a level of that shape, in mm or in pixels of the full size.

    None where the loss measures nothing, and for the mm of pictures without a size.
    """
    known = [1.0] * len(full) if unit == "pixels" else plan.spacing
    if unit is None or known is None:
        return None
    return [step * side / less for step, side, less in zip(known, full, shape, strict=True)]


def _shares(plan: Plan) -> list[float] | None:
    """The weights that the network's card gives to its outputs, if it does."""
    shares: list[float] | None = catalogue.card("hilum.zoo", plan.networks["net"].name).get("supervision")
    return shares


def _matching(plan: Plan, classes: "Sequence[Tensor]", masks: "Sequence[Tensor]", target: "Tensor") -> "Tensor":
    """Queries learn the background, the classes and, last, "no object"; not the depth, which is no class."""
    from hilum.losses.matching import matching

    kinds = [*range(1 + len(plan.classes)), -1]
    return matching([part[..., kinds] for part in classes], masks, target, IGNORE)


def _shrink(target: "Tensor", shape: Sequence[int]) -> "Tensor":
    """(B, *space) integers to (B, *shape) by nearest."""
    from torch.nn import functional

    if tuple(target.shape[1:]) == tuple(shape):
        return target
    return functional.interpolate(target[:, None].float(), size=tuple(shape), mode="nearest-exact")[:, 0].long()
