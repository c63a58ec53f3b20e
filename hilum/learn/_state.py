"""What a regime hands to the loop, the settings that every regime shares, and the learning rate of a step."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from hilum.core.plan import Plan, Strict
from hilum.learn._transfer import keep_still
from hilum.tasks._task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


class Common(Strict):
    """Settings that belong to the loop; every regime's `Learning` inherits them.

    clip: most norm of the gradient. precision: of the network's arithmetic; auto takes bfloat16 where the processor
    has it. layout: of images in memory; auto takes channels_last in 3-D. Both are frozen into
    the run's plan. ema: share of the run that the averaged weights look back on (0: no average); the average is what
    validates and predicts. rounds: times a run stops to validate. patience: share of the run without a better
    validation after which it stops (0: never). keep: which weights predict, the best of validation or the last.
    deterministic: the same bits every time on a GPU too, slower; on processors they are that anyway.
    """

    clip: float = Field(default=12.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    ema: float = Field(default=0.02, ge=0, lt=1)
    rounds: int = Field(default=25, ge=1, le=1000)
    patience: float = Field(default=0.0, ge=0, le=1)
    keep: Literal["best", "last"] = "last"
    deterministic: bool = False


class Update(Protocol):
    """The loop's update: backward, clip, NaN check, step of the named optimiser. A private wrapper replaces it."""

    def __call__(self, optimiser: str, loss: "Tensor | Any") -> None: ...


@dataclass
class State:
    """Everything that changes while learning; saved and restored whole, so that a resumed run goes on as it was.

    networks: by role, and helpers such as a critic; `plan.networks` roles are what is written out.
    average: the averaged twins of networks that have one. memory: the loop's own (best weights, counts, ...).
    """

    plan: Plan
    task: Task
    learning: Any
    networks: "dict[str, nn.Module]"
    optimisers: "dict[str, Optimizer]"
    average: "dict[str, nn.Module]" = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Planned steps (1 while they are being timed)."""
        return self.plan.steps or 1

    @contextmanager
    def judged(self) -> Iterator["State"]:
        """The networks that predict (averages where there are any), in evaluation mode; back to training after."""
        here = State(self.plan, self.task, self.learning, {**self.networks, **self.average}, self.optimisers)
        for module in here.networks.values():
            module.eval()
        try:
            yield here
        finally:
            self.learn()

    def learn(self) -> None:
        """The networks in training mode, but for what is frozen."""
        for module in self.networks.values():
            keep_still(module.train())

    def tree(self) -> dict[str, Any]:
        """All state as nested plain data and tensors."""
        return {
            "networks": {n: dict(m.state_dict()) for n, m in self.networks.items()},
            "average": {n: dict(m.state_dict()) for n, m in self.average.items()},
            "optimisers": {n: o.state_dict() for n, o in self.optimisers.items()},
            "memory": self.memory,
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """The opposite of tree()."""
        for name, module in self.networks.items():
            module.load_state_dict(tree["networks"][name])
        for name, module in self.average.items():
            module.load_state_dict(tree["average"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(tree["optimisers"][name])
            _as_laid_out(optimiser)
        self.memory = tree["memory"]


def _as_laid_out(optimiser: "Optimizer") -> None:
    """Moments in their weights' memory layout, as they were: another order of sums would not be the same run."""
    import torch

    for group in optimiser.param_groups:
        for weight in group["params"]:
            kept = optimiser.state.get(weight, {})
            for name, value in kept.items():
                if torch.is_tensor(value) and value.shape == weight.shape:
                    kept[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def rate_at(optimiser: "Optimizer", rate: float, k: int, steps: int, schedule: str, warmup: float) -> None:
    """Set the learning rate of step k: linear warm-up, then poly (power 0.9), cosine or constant.

    A parameter group with a "scale" (layer-wise rates) learns at that multiple of it.
    """
    begin = max(1, round(warmup * steps)) if warmup else 0
    if k < begin:
        factor = (k + 1) / begin
    else:
        done = min(1.0, (k - begin) / max(1, steps - begin))
        factor = {"poly": (1 - done) ** 0.9, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}[schedule]
    for group in optimiser.param_groups:
        group["lr"] = rate * factor * group.get("scale", 1.0)
