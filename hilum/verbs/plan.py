"""plan: a data set and a task become plan.json."""

from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan, checked
from hilum.core.progress import Progress, quiet
from hilum.planning.planner import Prepared, look, make_plan


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
    progress: Progress = quiet,
) -> Plan:
    """Look at the data and plan by the task's rules. out: where plan.json is written (an existing file is refused).

    net: "name" or "name:key=value". settings: {"learning.rate": 0.001, ...} as --set gives them.
    """
    if out is not None and Path(out).exists():
        raise HilumError("HIL-CORE-03", f"{out} exists", "Choose another --out or remove it")
    made = planned(look(data, task, seed, progress), task, net, minutes, steps, seed, settings)
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
) -> Plan:
    """make_plan, completed with the regime's typed learning settings."""
    return complete(make_plan(ready, task, net=net, minutes=minutes, steps=steps, seed=seed, settings=settings))


def complete(made: Plan) -> Plan:
    """The plan with every learning setting written out, unknown ones refused."""
    learning = catalogue.load("hilum.learn", made.regime).Learning
    filled = checked(learning, made.learning, "plan.json learning").model_dump()
    return made.model_copy(update={"learning": filled})
