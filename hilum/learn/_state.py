"""What a regime hands to the loop, and the learning rate as a function of the step alone."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hilum.core.plan import Plan
from hilum.tasks._task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


class Update(Protocol):
    """The loop's update: backward, clip, NaN check, step of the named optimiser. A private wrapper replaces it."""

    def __call__(self, optimiser: str, loss: "Tensor | Any") -> None: ...


@dataclass
class State:
    """Everything that changes while learning; saved and restored whole, so that a resumed run goes on as it was.

    networks: by role, and helpers such as an average; `plan.networks` roles are what is written out.
    """

    plan: Plan
    task: Task
    learning: Any
    networks: "dict[str, nn.Module]"
    optimisers: "dict[str, Optimizer]"

    @property
    def steps(self) -> int:
        """Planned steps (1 while they are being timed)."""
        return self.plan.steps or 1

    def tree(self) -> dict[str, Any]:
        """All state as nested plain data and tensors."""
        return {
            "networks": {n: dict(m.state_dict()) for n, m in self.networks.items()},
            "optimisers": {n: o.state_dict() for n, o in self.optimisers.items()},
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """The opposite of tree()."""
        for name, module in self.networks.items():
            module.load_state_dict(tree["networks"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(tree["optimisers"][name])


def rate_at(optimiser: "Optimizer", rate: float, k: int, steps: int, schedule: str, warmup: float) -> None:
    """Set the learning rate of step k: linear warm-up, then poly (power 0.9), cosine or constant."""
    begin = max(1, round(warmup * steps)) if warmup else 0
    if k < begin:
        factor = (k + 1) / begin
    else:
        done = min(1.0, (k - begin) / max(1, steps - begin))
        factor = {"poly": (1 - done) ** 0.9, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}[schedule]
    for group in optimiser.param_groups:
        group["lr"] = rate * factor


def wide(outputs: Any) -> Any:
    """Outputs in float32, however deep they lie: losses lose their small differences in half precision."""
    if isinstance(outputs, dict):
        return {name: wide(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [wide(value) for value in outputs]
    return outputs.float()


def half(precision: str) -> Any:
    """A context in which networks compute in bfloat16, or nothing for float32. auto: where the processor has it."""
    import torch

    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    wanted = precision == "bfloat16" or (precision == "auto" and bool(native()))
    return torch.autocast("cpu", torch.bfloat16, enabled=wanted)
