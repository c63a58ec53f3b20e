"""plan: a data set and a task become plan.json."""

from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan, checked
from hilum.core.progress import Progress, quiet
from hilum.core.sizes import parse_size
from hilum.planning import machine
from hilum.planning.planner import Prepared, look, make_plan

DEFAULT_MINUTES = 10.0
# Where neither minutes nor steps are given, here as in `train`.


def plan(
    data: Path | str,
    task: str,
    out: Path | str | None = None,
    *,
    net: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    memory: str | None = None,
    progress: Progress = quiet,
) -> Plan:
    """Look at the data and plan by the task's rules. out: where plan.json is written (an existing file is refused).

    net: "name" or "name:key=value". settings: {"learning.rate": 0.001, ...} as --set gives them.
    memory: the most that training may use, such as "4GB"; by default most of what is free. Without minutes or steps it
    is a plan for the ten minutes of `train`.
    """
    if out is not None and Path(out).exists():
        raise HilumError("HIL-CORE-03", f"{out} exists", "Choose another --out or remove it")
    budget = DEFAULT_MINUTES if minutes is None and steps is None else minutes
    made = planned(look(data, task, seed, progress), task, net, budget, steps, seed, settings, memory)
    if out is not None:
        made.write(Path(out))
    return made


def planned(
    ready: Prepared,
    task: str,
    net: str | None,
    minutes: float | None,
    steps: int | None,
    seed: int,
    settings: dict[str, Any] | None,
    memory: str | None = None,
    accelerator: str = "auto",
    devices: int = 1,
) -> Plan:
    """make_plan for this machine, completed with the regime's typed learning settings. memory: "4GB" or bytes, shared
    by all devices (processes).

    The speed is measured only where minutes must become a network; steps are planned alike on every machine without a
    CUDA card that has the memory.
    """
    known = machine.facts(None if minutes is None else int(ready.facts["dims"]), accelerator)
    asked = None if memory is None else parse_size(memory)
    made = make_plan(
        ready, task, net=net, minutes=minutes, steps=steps, seed=seed, settings=settings, memory=asked, machine=known,
        devices=devices,
    )  # fmt: skip
    return complete(made)


def complete(made: Plan) -> Plan:
    """The plan with every learning setting written out, unknown ones refused."""
    learning = catalogue.load("hilum.learn", made.regime).Learning
    filled = checked(learning, made.learning, "plan.json learning").model_dump()
    return made.model_copy(update={"learning": filled})
