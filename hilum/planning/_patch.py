"""The planned patch brought to a size that another network than the planned one takes."""

from collections.abc import Iterator

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.planning.cost import step
from hilum.tasks import _build, _task

LARGE = 64
# Times the card's divisor: an image of this size is divided by whatever stages a network has.
FEWEST = 12
# Of a network's divisor along an axis, so many are tried: some need more than one of them to pool.
SIZES = ("HIL-ZOO-02", "HIL-ZOO-03", "HIL-ZOO-04")
# Refusals of a size, and of an image_size that does not divide.
WHOLE = 16
# Of whole images the sizes tried lie at least so far apart, as those of the rules do: a network that divides by 1 may
# still ask for many pixels.


def taken(plan: Plan) -> Plan:
    """The plan with the patch nearest to its own that its network takes, and a note that says so.

    A network that takes none of the sizes tried, or can not be built, is left to be refused by its own sentence.
    """
    if plan.task not in ("segment", "detect", "classify") or _refused(plan) not in SIZES:
        return plan
    divisor = _divisor(plan)
    if divisor is None:
        return plan
    if plan.task == "classify":
        divisor = [step * -(-WHOLE // step) for step in divisor]
    for patch in _sizes(plan.patch, divisor):
        found = plan.model_copy(update={"patch": patch})
        if _refused(found) is None:
            net = plan.networks[_build.predicting(plan)].name
            note = f"{net} takes no patch of {plan.patch}, which the rules gave; it has {patch}"
            return found.model_copy(update={"data": plan.data | {"notes": [*plan.data.get("notes", []), note]}})
    return plan


def _refused(plan: Plan) -> str | None:
    """The code with which the networks refuse a step of the plan; None where they take it."""
    try:
        step(plan)
    except HilumError as error:
        return error.code
    return None


def _divisor(plan: Plan) -> list[int] | None:
    """What the network divides each side by; None where it can not be built."""
    steps = catalogue.card("hilum.zoo", plan.networks[_build.predicting(plan)].name)["divisor"]
    large = plan.model_copy(update={"patch": [LARGE * steps] * plan.dims})
    try:
        return _build.divisor(_task.load(large))
    except HilumError:
        return None


def _sizes(patch: list[int], divisor: list[int]) -> Iterator[list[int]]:
    """The nearest multiples, then no side below two of its divisor, three, ..."""
    near = [max(1, (2 * side + step) // (2 * step)) for side, step in zip(patch, divisor, strict=True)]
    tried = list[list[int]]()
    for least in range(1, FEWEST + 1):
        found = [max(count, least) * step for count, step in zip(near, divisor, strict=True)]
        if found not in tried:
            tried.append(found)
            yield found
