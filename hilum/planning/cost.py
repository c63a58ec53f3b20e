"""What one training step of a plan costs, counted on the meta device, where nothing is allocated."""

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.tasks import _build, _task

if TYPE_CHECKING:
    from torch import nn

BACKWARD = 3
# A forward and a backward pass cost about three forward passes.
COUNTED = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError)
# What a loss may raise on tensors that hold no values.


@dataclass(frozen=True)
class Step:
    """flops: of forward and backward. weights: bytes of all parameters. saved: bytes kept for backward.

    largest: bytes of the largest of those. batch: bytes of the batch. outputs: bytes of what the network gives.
    """

    flops: float
    weights: int
    saved: int
    largest: int
    batch: int
    outputs: int


def step(plan: Plan) -> Step:
    """One training step of the plan, of every network of its regime, in float32. Counted once per plan."""
    # what changes no tensor would only fill the cache
    data = {name: plan.data.get(name) for name in ("labels", "coils")}
    plain = {"data": data, "machine": {}, "minutes": None, "store_bytes": None}
    return _counted(plan.model_copy(update=plain).text())


@lru_cache(maxsize=64)
def _counted(text: str) -> Step:
    """The step of a plan's text."""
    import torch

    from hilum.zoo._cost import parameters

    plan = Plan.parse(text)
    task = _task.load(plan)
    batch = _meta(task.example(np.random.default_rng(0)), plan.batch)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        nets = {role: _build.build(task, role) for role in catalogue.card("hilum.learn", plan.regime)["roles"]}
    main = nets.pop(_build.predicting(plan))
    flops, saved, largest, outputs = _forward(main, task.inputs(batch), task, batch)
    for other in nets.values():
        # a critic sees real, made and mixed images, and its gradient is followed once more
        image = batch.get("real", next(v for v in batch.values() if hasattr(v, "shape")))
        more = _forward(other, (image,), None, batch)
        rounds = plan.learning.get("critic_steps", 3)
        if not isinstance(rounds, int) or rounds < 1:
            raise HilumError("HIL-PLAN-03", f"learning.critic_steps is {rounds!r}", "Give a whole number from 1 on")
        flops += flops * rounds / BACKWARD + more[0] * 2 * rounds
        saved, largest = saved + 4 * more[1], max(largest, more[2])
    weights = 4 * sum(parameters(net) for net in (main, *nets.values()))
    return Step(flops, weights, saved, largest, _bytes(batch), outputs)


def _forward(
    net: "nn.Module", inputs: tuple[Any, ...], task: Any, batch: dict[str, Any]
) -> tuple[float, int, int, int]:
    """(flops with backward, bytes saved, largest of them, bytes of the outputs) of one network and its losses."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    own = {p.untyped_storage()._cdata for p in net.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            # held, or its number would be given to another
            kept[storage._cdata] = storage
        return tensor

    net.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with FlopCounterMode(display=False) as counter:
            outputs = net(*inputs)
        if task is not None:
            try:
                task.losses(outputs, batch)
            except COUNTED:
                # a loss that looks at values: softmax, its logarithm and two of the target's shape, at a guess
                kept[-1] = _Lump(4 * _bytes(outputs))
    sizes = [storage.nbytes() for storage in kept.values()] or [0]
    return BACKWARD * counter.get_total_flops(), sum(sizes), max(sizes), _bytes(outputs)


@dataclass(frozen=True)
class _Lump:
    size: int

    def nbytes(self) -> int:
        return self.size


def _meta(value: Any, count: int) -> Any:
    """An example batch as one of `count` on the meta device, however deep its tensors lie."""
    import torch

    if isinstance(value, torch.Tensor):
        lead = count if value.ndim else None
        shape = value.shape if lead is None else (lead, *value.shape[1:])
        return torch.empty(shape, dtype=value.dtype, device="meta")
    if isinstance(value, dict):
        return {name: _meta(inner, count) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        # boxes: a list of one image's
        return [_meta(value[0], len(value[0])) for _ in range(count)] if value else []
    if hasattr(value, "__dict__"):
        moved = copy.copy(value)
        moved.__dict__ = {name: _meta(inner, count) for name, inner in vars(value).items()}
        return moved
    return value


def _bytes(value: Any) -> int:
    """Of all tensors inside."""
    if hasattr(value, "element_size"):
        return int(value.numel() * value.element_size())
    if isinstance(value, dict):
        return sum(_bytes(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return sum(_bytes(inner) for inner in value)
    return sum(_bytes(inner) for inner in vars(value).values()) if hasattr(value, "__dict__") else 0
