"""Batches made one thread ahead; batch k comes from (seed, k) alone, so how many lie ready never matters."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from hilum.core.evenly import evenly
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.tasks._task import Batch, Task

AHEAD = 2
# Batches made in advance.
SHORT = 10
# Fewest steps of a round, in runs that have so many.
CHECK = 1_000_000_007
# Keeps the randomness of validation batches apart from that of training ones.


class Seen:
    """The store, remembering which cases a batch was made of, so that a bad batch can name them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ids: list[str] = []

    def __call__(self, case: Case) -> dict[str, Any]:
        if case.id not in self.ids:
            self.ids.append(case.id)
        return self._store(case)


def make(task: Task, store: Store, cases: Sequence[Case], plan: Plan, k: int) -> tuple[Batch, list[str]]:
    """Training batch k and the ids of its cases."""
    seen = Seen(store)
    rng = np.random.default_rng([plan.seed, k])
    return task.sample(seen, cases, "train", k, rng), seen.ids  # type: ignore[arg-type]


def ahead(
    task: Task, store: Store, cases: Sequence[Case], plan: Plan, start: int, stop: int
) -> Generator[tuple[int, Batch, list[str]], None, None]:
    """(k, batch k, ids of its cases), k from start to stop."""
    with ThreadPoolExecutor(1, initializer=_one_thread) as pool:
        waiting: list[tuple[int, Future[tuple[Batch, list[str]]]]] = []
        try:
            for k in range(start, stop):
                while len(waiting) < AHEAD and k + len(waiting) < stop:
                    number = k + len(waiting)
                    waiting.append((number, pool.submit(make, task, store, cases, plan, number)))
                number, future = waiting.pop(0)
                batch, ids = future.result()
                yield number, batch, ids
        finally:
            for _, future in waiting:
                future.cancel()


def every(plan: Plan) -> int:
    """Steps from one round of validation to the next: ten at least, or a round would cost as much as its steps."""
    steps = plan.steps or 1
    return max(1, -(-steps // int(plan.learning["rounds"])), min(SHORT, -(-steps // 4)))


def check_count(plan: Plan, cases: int) -> int:
    """Validation batches of one round: enough to see every case once, but no more than a twentieth of the steps.

    Where cases can not lie in one batch (`Task.alike`), each of these is several.
    """
    # a batch costs about a third of a step here, because nothing goes backwards
    return max(1, min(-(-cases // plan.batch), every(plan) * 3 // 20))


def check(task: Task, store: Store, cases: Sequence[Case], plan: Plan) -> Iterator[tuple[Batch, list[str]]]:
    """The validation batches of a round, the same in every round; together they deal out the cases.

    Where there are more cases than these batches hold, evenly chosen ones. What can not lie in one batch makes several.
    """
    count = check_count(plan, len(cases))
    cases = evenly(cases, count * plan.batch)
    for number in range(count):
        for few in task.alike(store, cases[number::count]):
            seen = Seen(store)
            rng = np.random.default_rng([plan.seed, CHECK, number])
            yield task.check(seen, few, number, rng), seen.ids  # type: ignore[arg-type]


def _one_thread() -> None:
    """Batches are made on one thread: small interpolations only quarrel with the training step over the cores."""
    import torch

    torch.set_num_threads(1)
