"""Networks from a plan, checked: known name, fitting task and dimensions, known options."""

import inspect
from typing import TYPE_CHECKING, Any

from hilum.core import catalogue
from hilum.core.errors import HilumError, near
from hilum.core.plan import NetworkPlan, Plan
from hilum.tasks._task import Task

if TYPE_CHECKING:
    from torch import nn

ODD = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError, MemoryError)
# What Python and torch raise where options or a patch are none that a network takes: a plan may be foreign.


def build(task: Task, role: str) -> "nn.Module":
    """The network of that role with the plan's options; nonsense is refused by sentence. Weights from torch's seed."""
    wanted = task.plan.networks.get(role)
    if wanted is None:
        raise HilumError(
            "HIL-PLAN-03", f"The plan has no network for the role {role!r}", f"It has: {list(task.plan.networks)}"
        )
    check(task, wanted, role)
    card = catalogue.card("hilum.zoo", wanted.name)
    options: dict[str, Any] = dict(wanted.options)
    if card["image_size"]:
        options["image_size"] = tuple(task.plan.patch)
    inputs, outputs = (
        (task.in_channels(), task.out_channels()) if card["role"] == "net" else (len(task.plan.channels), 1)
    )
    if not outputs:
        raise HilumError("HIL-PLAN-03", "The plan names no classes to find", "Name them or plan anew")
    net = catalogue.load("hilum.zoo", wanted.name).Net
    try:
        made: nn.Module = net(inputs, outputs, task.plan.dims, **options)
    except ODD as error:
        raise HilumError(
            "HIL-PLAN-04", f"{wanted.name} can not be built with {options} ({error})", "Change networks in the plan"
        ) from error
    return made


def check(task: Task, wanted: NetworkPlan, role: str) -> None:
    """Refuse an unknown name or option, another task's network, or wrong dimensions. Imports no torch for the name."""
    card = catalogue.card("hilum.zoo", wanted.name)
    if card["role"] != role and "critic" in (card["role"], role):
        raise HilumError("HIL-PLAN-05", f"{wanted.name} can not be the {role}", f"It is made as a {card['role']}")
    if card["role"] == "net" and task.plan.task not in card["tasks"]:
        fitting = [n for n, c in catalogue.cards("hilum.zoo").items() if task.plan.task in c["tasks"]]
        raise HilumError(
            "HIL-PLAN-05", f"{wanted.name} is for {', '.join(card['tasks'])}, not {task.plan.task}",
            f"Networks for {task.plan.task}: {', '.join(fitting)}",
        )  # fmt: skip
    if task.plan.dims not in card["dims"]:
        raise HilumError("HIL-PLAN-05", f"{wanted.name} has no {task.plan.dims}-D form", f"It has {card['dims']}")
    signature = inspect.signature(catalogue.load("hilum.zoo", wanted.name).Net)
    known = [n for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY and n != "image_size"]
    for name in wanted.options:
        if name not in known:
            raise HilumError("HIL-PLAN-02", f"{wanted.name} has no option {name!r}", near(name, known))


def trial(task: Task) -> None:
    """Build every network of the plan's regime and run the predicting one on a synthetic batch; throw them away."""
    import numpy as np
    import torch

    made = {role: build(task, role) for role in catalogue.card("hilum.learn", task.plan.regime)["roles"]}
    try:
        with torch.inference_mode():
            made[predicting(task.plan)].eval()(*task.inputs(task.example(np.random.default_rng(0))))
    except ODD as error:
        raise HilumError(
            "HIL-PLAN-04", f"The planned network can not take a patch of {task.plan.patch} ({error})",
            "Change patch or networks in the plan",
        ) from error  # fmt: skip


def divisor(task: Task) -> list[int]:
    """What the predicting network divides each side of its input by; it is built where nothing is allocated."""
    import torch

    role = predicting(task.plan)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        net: Any = build(task, role)
    steps = catalogue.card("hilum.zoo", task.plan.networks[role].name)["divisor"]
    return list(getattr(net, "divisor", [steps] * task.plan.dims))


def predicting(plan: Plan) -> str:
    """The role whose network predicts: "net" unless the regime's CARD says otherwise (read as text, not imported)."""
    return str(catalogue.card("hilum.learn", plan.regime).get("predicts", "net"))
