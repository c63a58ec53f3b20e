"""Plans shaped by what there is: width and patch by minutes and speed, then by memory; what fits nothing is refused."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hilum.core import resident
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.sizes import size_words
from hilum.data.store import LIMIT
from hilum.planning import _patch, memory
from hilum.planning.cost import step
from hilum.tasks import _task
from hilum.tasks._task import WIDTHS, Budget

log = logging.getLogger(__name__)

STEPS, LONGER = 500, 8
# A network should see about this many steps, and the root of the minutes times as many in runs longer than LONGER: of
# networks of several widths in equal minutes none was better, and the wider ones fell behind below these numbers
# (benchmarks/results/training_trials.md).
SHORT, SHORT_STEPS = 2.0, 2000
# Runs of so few minutes get networks so small that they stay well below the measured speed: predicted steps that they
# must see.
HOLD = 30
# Predicted steps that minutes hold which a refusal names: the ten that training wants at least, about as many that are
# tried, timed and validated beside them, and the rest for what no arithmetic predicts.
SHARES = (1.0, 0.5, 0.25)
# Of the usual size of a sample, tried in this order.
LEAST_STORE = 64 << 20
LEAST_PUBLISHED = 2
# Samples of a batch: nnU-Net plans no fewer.
ROOM = {2: 64, 3: 16}
# Voxels that a patch may have along an axis however small the images are: less can not be pooled.

Build = Callable[[Budget], Plan]
Speed = Callable[[Plan], float]
# GFLOP/s of this machine in the precision of a plan.


@dataclass(frozen=True)
class Shaped:
    """A plan, the budget that it was made with, and the seconds that one of its steps is predicted to take."""

    plan: Plan
    budget: Budget
    seconds: float | None = None


def by_minutes(build: Build, budget: Budget, speed: Speed | None) -> Shaped:
    """The widest plan that sees STEPS in the minutes; if none does, the narrowest with smaller samples.

    Without a known speed or minutes, and for a published plan, the budget stays as it is.
    """
    if speed is None or budget.minutes is None or budget.published:
        plan = build(budget)
        return Shaped(plan, budget, None if speed is None else step_seconds(plan, speed))
    tried = [replace(budget, chosen=width) for width in reversed(WIDTHS)]
    tried += [replace(budget, chosen=WIDTHS[0], share=share) for share in SHARES[1:]]
    found = None
    for one in tried:
        try:
            plan = build(one)
            if found is not None and found.plan == plan:
                continue
            seconds = step_seconds(plan, speed)
        except HilumError as error:
            # as in `by_memory`: stages that were given by hand do not follow every patch
            if found is None or error.code.split("-")[1] != "ZOO":
                raise
            continue
        found = Shaped(plan, one, seconds)
        if budget.minutes * 60 >= _wanted(budget.minutes, plan.task) * (found.seconds or 0):
            break
    assert found is not None
    return found


def _wanted(minutes: float, task: str) -> float:
    """Steps that a network should see in the minutes."""
    if minutes <= SHORT:
        return SHORT_STEPS
    return STEPS * _task.kind(task).steps_beside_segment * max(1.0, minutes / LONGER) ** 0.5


def step_seconds(plan: Plan, speed: Speed) -> float:
    """Predicted for one step: its operations over the measured speed."""
    return step(plan).flops / speed(plan) / 1e9


def enough_time(shaped: Shaped, minutes: float | None, again: Callable[[float], Shaped]) -> None:
    """Refuse minutes that do not hold one step, with some that do. again: what would be planned for other minutes."""
    if minutes is None or shaped.seconds is None or shaped.seconds <= minutes * 60:
        return
    enough, longer = minutes, shaped
    # more minutes make another plan, whose steps may be longer
    while (wanted := float(np.ceil(HOLD * (longer.seconds or 0) / 60))) > enough:
        enough, longer = wanted, again(wanted)
    raise HilumError(
        "HIL-PLAN-06",
        f"{minutes:g} minutes hold no step: one is predicted to take {shaped.seconds:.0f} s on this machine",
        f"Give --minutes {enough:g} for ten steps, or a smaller batch or network (or patch, of cut images)",
    )


def by_memory(build: Build, shaped: Shaped, ready: Any, most: int, fixed: set[str], devices: int = 1) -> Plan:
    """The plan, or the first that fits `most` bytes of those with a smaller store, batch, patch, width, in this order.

    fixed: plan keys that were given by hand ("batch", "patch", "store_bytes"), which are not changed, and "planner"
    where the published plan was asked for. devices: processes that share every batch; each holds its own store, weights
    and batches, and learns from its share of each batch.
    """
    cases, each, held = memory.kept(ready, shaped.plan), _share(most, devices), "store_bytes" in fixed
    if (plan := _stored(shaped.plan, cases, each, held, devices)) is not None:
        return plan
    last = shaped.plan
    for smaller in _smaller(build, shaped, fixed, devices):
        found = memory.kept(ready, smaller) if smaller.patch != last.patch else cases
        try:
            plan = _stored(smaller, found, each, held, devices)
        except HilumError as error:
            # a network whose stages were given by hand does not follow every patch, nor batch norm every batch
            if error.code.split("-")[1] != "ZOO":
                raise
            continue
        last, cases = smaller, found
        if plan is not None:
            log.info("batch %d, patch %s fit into %s", plan.batch, plan.patch, size_words(most))
            return _noted(plan, shaped.plan, most)
    whole = memory.predict(shaped.plan, memory.kept(ready, shaped.plan), devices=devices)
    least = memory.predict(last, cases, store=last.store_bytes if held else LEAST_STORE, devices=devices)
    given = f" with the given {' and '.join(sorted(fixed))}" if fixed else ""
    other = ", or --set options.planner=fitted" if "planner" in fixed else ""
    raise HilumError(
        "HIL-PLAN-07",
        f"{_may_use(most)}, but the plan needs {whole.words()}{_for_each(devices)}",
        f"The smallest plan{given} needs {size_words(least.total)} (batch {last.batch}, patch {last.patch})"
        f"{_for_each(devices)}: give --memory {_asked(least.total, devices)} or free some{other}",
    )


def _noted(plan: Plan, first: Plan, most: int) -> Plan:
    """The plan, with a note where it takes the place of nnU-Net's published one."""
    if not _published(first) or _published(plan):
        return plan
    note = f"nnU-Net's published plan does not fit into {size_words(most)}: the fitted one is taken"
    return plan.model_copy(update={"data": {**plan.data, "notes": [*plan.data.get("notes", []), note]}})


def _published(plan: Plan) -> bool:
    return plan.options.get("planner") == "published"


def _stored(plan: Plan, cases: memory.Kept, most: int, held: bool = False, devices: int = 1) -> Plan | None:
    """The plan when it fits, or with as much of its store as fits; None when even the least store does not.

    held: the store was given by hand and stays. devices: processes that share every batch; `most` is for each.
    """
    cost = memory.largest(plan)
    whole = memory.predict(plan, cases, cost=cost, devices=devices)
    if whole.total <= most:
        # cases that turn out larger than predicted do not make the store outgrow what is allowed
        room = most - (whole.total - whole.cases)
        if held or room >= (plan.store_bytes or LIMIT):
            return plan
        return plan.model_copy(update={"store_bytes": int(room)})
    # a smaller store does not make less of what looking at the images took
    if held or memory.LIBRARIES + cases.looked > most:
        return None
    # a store that can not keep all prepares cases while the network learns, which one that can does not
    least = memory.predict(plan, replace(cases, looked=0), store=0, cost=cost, devices=devices)
    room = most - (least.total - least.cases)
    if room < max(LEAST_STORE, max(cases.sizes, default=0)):
        return None
    return plan.model_copy(update={"store_bytes": int(room)})


def _smaller(build: Build, shaped: Shaped, fixed: set[str], devices: int) -> Iterator[Plan]:
    """Smaller batches that so many processes can share, then smaller patches, then narrower networks, each from the
    last.

    A published plan has a batch of LEAST_PUBLISHED at least; then the fitted one follows, unless it was asked for.
    """
    if "planner" in fixed:
        return
    plan, budget = shaped.plan, replace(shaped.budget, published=False)
    if _published(plan):
        for smaller in _halved(plan, LEAST_PUBLISHED, fixed, devices):
            plan = smaller
            yield plan
        plan = build(budget).model_copy(update={"batch": plan.batch})
        yield plan
    for smaller in _halved(plan, 1, fixed, devices):
        plan = smaller
        yield plan
    small = {"batch": plan.batch}
    if "patch" not in fixed:
        for share in (0.5, 0.25, 0.125, 0.06):
            if share < shaped.budget.share:
                budget = replace(budget, share=share)
                yield build(budget).model_copy(update=small)
    for width in reversed(WIDTHS):
        if width < budget.width:
            budget = replace(budget, chosen=width)
            yield build(budget).model_copy(update=small)


def _halved(plan: Plan, least: int, fixed: set[str], devices: int) -> Iterator[Plan]:
    """The plan with half the batch, half of that and so on, down to `least`; each is one that they can share."""
    batch = plan.batch
    while "batch" not in fixed and (batch := batch // 2 // devices * devices) >= max(1, least):
        yield plan.model_copy(update={"batch": batch})


def refuse_cap(asked: int | None) -> None:
    """On a card, where no memory is predicted, a cap would be an empty promise."""
    if asked is not None:
        raise HilumError(
            "HIL-PLAN-07", f"--memory {size_words(asked)} is kept on processors only, and this run is for CUDA",
            "Leave --memory out, or train on processors: --accelerator cpu of hilum train or compare",
        )  # fmt: skip


def _may_use(most: int) -> str:
    """What training may use, of whose SHARE a plan of `most` bytes is made."""
    return f"Training may use {size_words(most / memory.SHARE)}, of which {100 * memory.SHARE:.0f} % are planned"


def _for_each(devices: int) -> str:
    return f" in each of {devices} processes" if devices > 1 else ""


def _share(most: int, devices: int) -> int:
    """What each of the processes may hold. One that starts others does not learn, but holds what it holds."""
    return most if devices == 1 else (most - resident.now()) // devices


def _asked(size: int, devices: int) -> str:
    """What to ask for, so that each of the processes has this size and a little more, as --memory reads it."""
    whole = size if devices == 1 else size * devices + resident.now()
    return f"{int(np.ceil(whole * 1.02 / memory.SHARE / 2**20))}MB"


def given_fits(plan: Plan, ready: Any, most: int, devices: int = 1) -> Plan:
    """A plan made elsewhere, with a store that fits `most` bytes; refused with what would fit where it does not.

    devices: as for `by_memory`.
    """
    cases, each = memory.kept(ready, plan), _share(most, devices)
    if (found := _stored(plan, cases, each, devices=devices)) is not None:
        return found
    need = memory.predict(plan, cases, store=LEAST_STORE, devices=devices)
    for smaller in _halved(plan, 1, set(), devices):
        if _takes(smaller, cases, each, devices):
            fits = f"batch {smaller.batch} fits (--set plan.batch={smaller.batch})"
            break
    else:
        least = "patch" if _task.kind(plan.task).cut else "network"
        fits = f"no batch of this patch and network fits: take a smaller {least}, or plan anew"
    raise HilumError(
        "HIL-PLAN-07",
        f"{_may_use(most)}, but the plan needs {need.words()}{_for_each(devices)}",
        f"{fits}, or give --memory {_asked(need.total, devices)}",
    )


def _takes(plan: Plan, cases: memory.Kept, most: int, devices: int) -> bool:
    """Whether the plan fits and its network can learn from it: to batch norm one small image may be too few."""
    try:
        return _stored(plan, cases, most, devices=devices) is not None
    except HilumError as error:
        if error.code.split("-")[1] != "ZOO":
            raise
        return False


def passes(plan: Plan, ready: Any, seconds: float | None) -> float | None:
    """How often training will see every training image, by volume; None where the number of steps is unknown.

    ready: the planner's Prepared. seconds: of a step, for a plan of minutes.
    """
    steps = plan.steps or (plan.minutes * 60 / seconds if plan.minutes and seconds else None)
    if steps is None:
        return None
    share = min(1.0, float(np.prod(plan.patch)) / max(1.0, float(np.median(_volumes(plan, ready.facts)))))
    return steps * plan.batch * share / max(1, list(ready.parts.values()).count("train"))


def _volumes(plan: Plan, facts: dict[str, Any]) -> list[float]:
    """Voxels of every training image; 1 where a sample is the whole image."""
    if plan.task not in ("segment", "detect"):
        return [1.0]
    return [float(np.prod(size)) for size in _sizes(plan, facts)]


def _sizes(plan: Plan, facts: dict[str, Any]) -> list[tuple[int, ...]]:
    """Shapes of the images at the planned spacing."""
    return [memory.at_spacing(row, plan) for row in facts["cases"]]


def patch_fits(plan: Plan, facts: dict[str, Any]) -> None:
    """Refuse a patch over twice the largest image along an axis: what is more is padding, and teaches nothing.

    Where the network takes no patch of twice the largest, the nearest that it takes is the most.
    """
    if plan.task not in ("segment", "detect", "register"):
        return
    largest = np.max(_sizes(plan, facts), axis=0)
    most = np.maximum(2 * largest, ROOM[plan.dims])
    if (np.array(plan.patch) > most).any():
        nearest = _patch.taken(plan.model_copy(update={"patch": most.tolist()})).patch
        most = np.maximum(most, nearest)
    if (np.array(plan.patch) > most).any():
        raise HilumError(
            "HIL-PLAN-08",
            f"The patch {plan.patch} is over twice the largest image: {[int(n) for n in largest]} at the spacing",
            f"Take at most {[int(n) for n in most]}; images smaller than the patch are padded",
        )
