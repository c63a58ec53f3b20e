"""Supervised learning: one network, one optimiser, the task's own losses."""

from typing import Any, Literal

from pydantic import Field

from hilum.core.plan import Plan, Strict, checked
from hilum.learn._state import State, Update, half, rate_at, wide
from hilum.tasks import _build, _task

CARD = {
    "about": "one network learns the task's losses",
    "roles": ["net"],
    "predicts": "net",
    "defaults": {},
}


class Learning(Strict):
    """optimiser: adamw or sgd (Nesterov). rate: the highest. warmup: share of the steps. clip: of the gradient norm.

    precision: of the network's arithmetic; auto takes bfloat16 where the processor has it (about twice as fast).
    """

    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    warmup: float = Field(default=0.02, ge=0, lt=1)
    clip: float = Field(default=12.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


def setup(plan: Plan) -> State:
    """The network with fresh weights (from torch's seed) and its optimiser."""
    import torch

    settings = checked(Learning, plan.learning, "plan.json learning")
    task = _task.load(plan)
    net = _build.build(task, "net")
    optimiser: torch.optim.Optimizer
    if settings.optimiser == "adamw":
        optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    else:
        optimiser = torch.optim.SGD(
            net.parameters(),
            lr=settings.rate,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            nesterov=True,
        )
    return State(plan, task, settings, {"net": net}, {"net": optimiser})


def step(state: State, batch: dict[str, Any], k: int, update: Update) -> dict[str, float]:
    """One optimiser step on the sum of the task's losses."""
    settings = state.learning
    rate_at(state.optimisers["net"], settings.rate, k, state.steps, settings.schedule, settings.warmup)
    with half(settings.precision):
        outputs = state.networks["net"](*state.task.inputs(batch))
    losses = state.task.losses(wide(outputs), batch)
    total = sum(losses.values())
    update("net", total)
    return {name: float(value.detach()) for name, value in losses.items()}


def validate(state: State, batch: dict[str, Any]) -> dict[str, float]:
    """The same losses, network in evaluation mode."""
    with half(state.learning.precision):
        outputs = state.networks["net"](*state.task.inputs(batch))
    return {name: float(value) for name, value in state.task.losses(wide(outputs), batch).items()}
