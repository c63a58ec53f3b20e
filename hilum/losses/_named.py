"""A loss as a plan names it: "tversky", or with options "tversky:alpha=0.3:beta=0.7".

A file here that a task may pick has its name in CARD `tasks`, its options with the values that the task uses in CARD
`options`, and a function of its own name: loss(logits, target, ignore, *, options) -> a scalar.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hilum.core import catalogue
from hilum.core.errors import HilumError, near
from hilum.core.plan import parse_net

if TYPE_CHECKING:
    from torch import Tensor


def parsed(text: str, task: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a loss for that task; what is unknown is refused. Imports no torch."""
    name, given = parse_net(text)
    known = {n: card for n, card in catalogue.cards("hilum.losses").items() if task in card["tasks"]}
    if name not in known:
        raise HilumError("HIL-CORE-02", f"There is no loss named {name!r} for {task}", near(name, list(known)))
    options: dict[str, Any] = known[name]["options"]
    for option, value in given.items():
        if option not in options:
            hint = near(option, list(options)) if options else "It has no options"
            raise HilumError("HIL-PLAN-02", f"Loss {name!r} has no option {option!r}", hint)
        if not _alike(value, options[option]):
            seen = f"Option {option!r} of the loss {name!r} can not be {value!r}"
            raise HilumError("HIL-PLAN-03", seen, f"Give something like {options[option]}")
    return name, options | given


def _alike(value: Any, default: Any) -> bool:
    """A number for a number, true or false for a bool, a word for a word."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int | float if isinstance(default, float) else type(default))


def measures(text: str, task: str) -> str | None:
    """The unit of its distances (`spacing` in the CARD): "mm", "pixels" of the network's input; None: it has none."""
    unit: str | None = catalogue.card("hilum.losses", parsed(text, task)[0]).get("spacing")
    return unit


def loss(
    text: str, task: str, spacing: Sequence[float] | None = None
) -> "Callable[[Tensor, Tensor, int | None], Tensor]":
    """The loss that `text` names, with its options, as loss(logits, target, ignore).

    spacing: size of the target's voxels, in the unit of a loss that `measures`; None: it counts voxels.
    """
    name, options = parsed(text, task)
    options |= {} if spacing is None else {"spacing": spacing}
    return functools.partial(getattr(catalogue.load("hilum.losses", name), name), **options)
