"""Before the first step: one dry step on the largest case, and minutes into a number of steps."""

import logging
import math
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.core import card
from hilum.core.errors import HilumError
from hilum.core.image import Case

if TYPE_CHECKING:
    from hilum.learn._loop import Training

log = logging.getLogger(__name__)

MARGIN = 0.95
# Share of what is left of the minutes that is planned; the rest is for what no timing sees: machines slow down under
# lasting work, and steps that are frozen can not be taken back.
LEAST, MOST = 6, 20
# Steps that are timed.
FEWEST = 10
# Fewer steps than these are no training: minutes that hold no more are refused.


def dry_step(training: "Training") -> None:
    """A step on the largest case alone, and a validation of the largest that is learned from or validated, on weights
    that are then thrown away: it must fit.
    """
    from hilum.learn import _batches, _guards

    def size(case: Case) -> int:
        return training.sizes.get(case.id, 0)

    # two, because one image alone is no pair
    largest = training.task.asked(sorted(training.parts["train"], key=size)[-2:])[-1]
    # whole images of the validation part may be larger
    judged = max([largest, *training.parts["val"]], key=size)
    state, plan, device = training.fresh(), training.plan, training.fabric.device.type
    with _guards.memory(f"in a first step on {largest.id}, the largest case", device):
        batch, ids = _batches.make(training.task, training.store, [largest], plan, 0)
        training.step(state, batch, 0, ids)
    with _guards.memory(f"in a first validation of {judged.id}, the largest case", device):
        training.validated(state, [judged])


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    # the kernel of macOS counts bytes, others kilobytes
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> int:
    """Begin the peak anew where the system allows it (Linux), that of a card too, and say where it stands."""
    from hilum.learn import _device

    card.forget()
    _device.let_go()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes()


def steps_for(training: "Training", minutes: float) -> int:
    """Steps that fit what is left of the minutes, from a short timing on a state that is then thrown away.

    Refused (HIL-PLAN-06): fewer than FEWEST.
    """
    from hilum.learn import _batches, _device

    state, spent, began = training.fresh(), [], time.monotonic()
    batches = _batches.ahead(training.task, training.store, training.parts["train"], training.plan, 0, MOST + 1)
    last = began
    for k, batch, ids in batches:
        training.step(state, batch, k, ids)
        now = time.monotonic()
        spent.append(now - last)
        last = now
        # the timing may take a twentieth of the minutes; several processes must end it at the same step
        over = (k + 1 >= LEAST and now - began > minutes * 3) or now - began > minutes * 6
        if _device.largest(int(over), training.fabric):
            break
    batches.close()
    # the first step pays for allocation
    each = _slower(spent[1:] or spent)
    once = _validation(training, state)
    left = minutes * 60 - (time.monotonic() - training.began)
    steps = _fitting(MARGIN * left, each, once, training)
    needed = _needed(minutes * 60 - left, each, once, training)
    # several processes must decide alike
    steps, needed = training.fabric.broadcast((steps, needed))
    if steps < FEWEST:
        raise HilumError(
            "HIL-PLAN-06",
            f"{minutes:g} minutes hold {max(0, steps)} steps: preparing and timing took {minutes * 60 - left:.2g} s, a "
            f"step takes {each:.2g} s",
            f"Give --minutes {needed:g} for {FEWEST} steps, or a smaller batch or network (or patch, of cut images)",
        )
    if left < minutes * 30:
        log.warning(
            "preparing %d cases took over half of the %.2g minutes, which leaves %d steps: give more --minutes",
            len(training.parts["train"]) + len(training.parts["val"]), minutes, steps,
        )  # fmt: skip
    log.info("%.3f s a step: %d steps in %.2g minutes", each, steps, minutes)
    return steps


def _slower(spent: list[float]) -> float:
    """The mean of the slower half but for the slowest: minutes are more easily overrun than left unused."""
    kept = sorted(spent)[len(spent) // 2 :]
    return sum(kept[:-1] or kept) / len(kept[:-1] or kept)


def _validation(training: "Training", state: Any) -> float:
    """Seconds of one validation batch with its pictures."""
    cases = training.parts["val"]
    began = time.monotonic()
    if cases:
        training.validated(state, cases[: training.plan.batch])
    return time.monotonic() - began


def _fitting(seconds: float, each: float, once: float, training: "Training") -> int:
    """The most steps that fit with their rounds of validation; 0 where none does."""
    steps, over = 0, int(seconds / each) + 1
    while over - steps > 1:
        middle = (steps + over) // 2
        if middle * each + _checks(middle, once, training) <= seconds:
            steps = middle
        else:
            over = middle
    return steps


def _checks(steps: int, once: float, training: "Training") -> float:
    """Seconds of all validation of so many steps."""
    from hilum.learn import _batches

    plan = training.plan.model_copy(update={"steps": steps})
    return -(-steps // _batches.every(plan)) * once * _batches.check_count(plan, len(training.parts["val"]))


def _needed(before: float, each: float, once: float, training: "Training") -> float:
    """Minutes, rounded up, that hold FEWEST steps with a third to spare. before: seconds that went before the steps."""
    minutes = 4 / 3 * (before + (FEWEST * each + _checks(FEWEST, once, training)) / MARGIN) / 60
    return math.ceil(minutes * 10) / 10
