"""Where the time of a training step goes: sampling, augmenting, forward, loss, backward, optimiser, each timed alone.

The network's part is timed with torch's own threads while nothing else runs; batches on one thread, as the loop makes
them. Then the real loop: the share of its time that it waits for a batch. How much of a step is convolutions, which
are oneDNN's whatever library calls them, a profile of two steps says.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import catalogue
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.learn import _device, _loop
from hilum.planning.planner import look
from hilum.tasks import _task
from hilum.verbs.plan import planned

WARM = 2


def measured(
    source: Path, task: str, settings: dict[str, Any], cases: int, rounds: int
) -> tuple[dict[str, float], Plan]:
    """Median seconds of each phase (of samples the mean) for a plan of 12 minutes: `rounds` steps on the first `cases`.

    convolutions: their share of the processor time of a step, 0 to 1. whole step: on one batch, with memory that the
    step before has freed, and, in turns, without (`hilum.learn._device.hold`).
    """
    ready = look(source, task, 0)
    return of_plan(ready, planned(ready, task, None, 12.0, None, 0, settings), cases, rounds, profiled=True)


def of_plan(ready: Any, plan: Plan, cases: int, rounds: int, profiled: bool = False) -> tuple[dict[str, float], Plan]:
    """The same for a plan that is there already. profiled: with `convolutions`."""
    import torch

    plan = _device.frozen(plan.model_copy(update={"steps": rounds + WARM}), "auto")
    chosen = [case for case, part in ready.units(plan) if part == "train"][:cases]
    regime = catalogue.load("hilum.learn", plan.regime)
    fabric = _device.fabric(plan)
    state = _device.placed(regime.setup(plan), fabric)
    bare = _task.load(plan.model_copy(update={"augment": []}))
    store = Store(state.task.prepare)
    spent: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        done = work()
        spent.setdefault(name, []).append(time.perf_counter() - began)
        return done

    for case in chosen:
        timed("read and prepare a case, once", lambda case=case: store(case))
    threads = torch.get_num_threads()
    net, optimiser = state.networks["net"], state.optimisers["net"]
    net.train()
    _device.hold(fabric.device.type)
    for k in range(rounds + WARM):
        torch.set_num_threads(1)
        timed("sample", lambda k=k: bare.sample(store, chosen, "train", k, np.random.default_rng([0, k])))
        whole = lambda k=k: state.task.sample(store, chosen, "train", k, np.random.default_rng([0, k]))  # noqa: E731
        batch = timed("sample and augment", whole)
        torch.set_num_threads(threads)
        optimiser.zero_grad(set_to_none=True)
        batch = _device.sent(batch, plan, fabric)
        outputs = timed("forward", lambda batch=batch: net(*state.task.inputs(batch)))
        total = timed("loss", lambda o=outputs, b=batch: sum(state.task.losses(o, b).values()))
        timed("backward", lambda loss=total: fabric.backward(loss))
        timed("optimiser", lambda k=k: _update(state, k))
    # most draws change nothing, and the median would be of those
    middle = {n: statistics.mean if "sample" in n else statistics.median for n in spent}
    found = {n: middle[n](v if "once" in n else v[WARM:]) for n, v in spent.items()}
    found["augment"] = max(0.0, found.pop("sample and augment") - found["sample"])

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        losses = state.task.losses(net(*state.task.inputs(batch)), batch)
        fabric.backward(sum(losses.values()))
        _update(state, rounds)

    if profiled:
        found["convolutions"] = convolutions(step)
        held, loose = [], []
        for _ in range(rounds):
            _device.hold(fabric.device.type)
            held.append([_seconds(step) for _ in range(WARM)][-1])
            _device.let_go()
            loose.append([_seconds(step) for _ in range(WARM)][-1])
        found |= {"whole step": statistics.median(held), "whole step, memory not held": statistics.median(loose)}
    return {n: round(v, 5) for n, v in found.items()}, plan


def _seconds(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def convolutions(step: Callable[[], None]) -> float:
    """Share of the processor time of two steps that convolutions take, 0 to 1."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(2):
            step()
    rows = seen.key_averages()
    own = sum(row.self_cpu_time_total for row in rows if "convolution" in row.key or "conv3d" in row.key)
    return float(own / sum(row.self_cpu_time_total for row in rows))


def _update(state: Any, k: int) -> None:
    """As the loop updates: clip, step, and move the average of the weights."""
    import torch

    torch.nn.utils.clip_grad_norm_(state.networks["net"].parameters(), state.learning.clip)
    state.optimisers["net"].step()
    if state.average:
        _loop._follow(state, k)
