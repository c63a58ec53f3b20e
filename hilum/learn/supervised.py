"""Supervised learning: one network, one optimiser, the task's own losses."""

from typing import Any, Literal

from pydantic import Field

from hilum.core.image import Array
from hilum.core.plan import Plan, checked
from hilum.learn._state import Common, State, Update, rate_at
from hilum.learn._transfer import Transfer, freeze, groups
from hilum.tasks import _build, _task

CARD = {
    "about": "one network learns the task's losses",
    "roles": ["net"],
    "predicts": "net",
    "parallel": True,
    "defaults": {},
}


class Learning(Common, Transfer):
    """optimiser: adamw or sgd (Nesterov, where momentum is not 0). rate: the highest. schedule: of the rate after its
    warm-up, where poly is the share of the steps that are left to the power of 0.9. warmup: share of the steps."""

    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    warmup: float = Field(default=0.02, ge=0, lt=1)


def setup(plan: Plan) -> State:
    """The network with fresh weights (from torch's seed) and its optimiser."""
    import torch

    settings = checked(Learning, plan.learning, "plan.json learning")
    task = _task.load(plan)
    net = _build.build(task, "net")
    freeze(net, settings.freeze)
    weights = groups(net, settings.rate, settings.weight_decay, settings.layer_decay)
    optimiser: torch.optim.Optimizer
    if settings.optimiser == "adamw":
        # one pass over the weights instead of a dozen
        optimiser = torch.optim.AdamW(weights, lr=settings.rate, weight_decay=settings.weight_decay, fused=True)
    else:
        ahead = settings.momentum > 0
        optimiser = torch.optim.SGD(weights, lr=settings.rate, momentum=settings.momentum, nesterov=ahead)
    return State(plan, task, settings, {"net": net}, {"net": optimiser})


def step(state: State, batch: dict[str, Any], k: int, update: Update) -> dict[str, float]:
    """One optimiser step on the sum of the task's losses."""
    settings = state.learning
    rate_at(state.optimisers["net"], settings.rate, k, state.steps, settings.schedule, settings.warmup)
    losses = state.task.losses(state.networks["net"](*state.task.inputs(batch)), batch)
    update("net", sum(losses.values()))
    return {name: float(value.detach()) for name, value in losses.items()}


def validate(state: State, batch: dict[str, Any]) -> tuple[dict[str, float], Array | None, Any]:
    """The same losses, the task's counts of right and wrong, and the outputs; network in evaluation mode."""
    outputs = state.networks["net"](*state.task.inputs(batch))
    losses = {name: float(value) for name, value in state.task.losses(outputs, batch).items()}
    return losses, state.task.counts(outputs, batch), outputs
