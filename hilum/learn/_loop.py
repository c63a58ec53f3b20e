"""The loop: minutes become steps, batches are prefetched, state is saved, the curve is written."""

import csv
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import catalogue
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.core.progress import Progress, quiet
from hilum.core.run import write_rows
from hilum.data.store import Store
from hilum.learn import _checkpoint
from hilum.learn._state import State
from hilum.tasks._task import Batch, Task

log = logging.getLogger(__name__)

AHEAD = 2
# Batches made in advance; each is made from (seed, k) alone, so how many lie ready never matters.
ROUNDS = 10
# Times a run stops to validate and save.
VALIDATION_BATCHES = 4
MARGIN = 0.95
# Share of the minutes given to steps; validation and saving take the rest.


class Training:
    """One run: a plan, its cases and its folder."""

    def __init__(self, folder: Path, plan: Plan, units: list[tuple[Case, str]], progress: Progress = quiet) -> None:
        self.folder, self.plan, self.progress = folder, plan, progress
        self.parts = {p: [c for c, part in units if part == p] for p in ("train", "val", "test")}
        self.regime = catalogue.load("hilum.learn", plan.regime)
        self.began = time.monotonic()
        state = self._fresh()
        self.task: Task = state.task
        self.store = Store(self.task.prepare)
        self.rows: list[dict[str, Any]] = []

    def _fresh(self) -> State:
        """Networks and optimisers from the seed."""
        import torch

        torch.manual_seed(self.plan.seed)
        state: State = self.regime.setup(self.plan)
        return state

    def run(self, resume: bool) -> State:
        """Train to the last planned step and return the state; the folder then holds plan, weights and curve."""
        for number, case in enumerate(self.parts["train"] + self.parts["val"]):
            self.store(case)
            self.progress("prepare", number + 1, len(self.parts["train"]) + len(self.parts["val"]), case.id)
        if self.plan.steps is None:
            self.plan = self.plan.model_copy(update={"steps": self._steps_for(self.plan.minutes or 1.0)})
            self.plan.write(self.folder / "plan.json")
        state, start = self._fresh(), 0
        if resume:
            start = self._restore(state)
        self._steps(state, start)
        self._write(state)
        return state

    def _steps_for(self, minutes: float) -> int:
        """Steps that fit what is left of the minutes, from a short timing on a state that is then thrown away."""
        state = self._fresh()
        spent, count, began = [], 0, time.monotonic()
        for k, batch in self._batches(0, 1000):
            before = time.monotonic()
            self.regime.step(state, batch, k, self._updater(state))
            spent.append(time.monotonic() - before)
            count += 1
            # the first steps pay for allocation; the timing may take a twentieth of the minutes
            if (count >= 8 and time.monotonic() - began > 2) or time.monotonic() - began > minutes * 3:
                break
        each = (time.monotonic() - began - spent[0]) / max(1, count - 1) if count > 1 else spent[0]
        left = minutes * 60 - (time.monotonic() - self.began)
        steps = max(1, int(MARGIN * left / each))
        if left < minutes * 30:
            log.warning(
                "preparing %d cases took over half of the %.2g minutes, which leaves %d steps: give more --minutes",
                len(self.parts["train"]) + len(self.parts["val"]), minutes, steps,
            )  # fmt: skip
        log.info("%.3f s a step: %d steps in %.2g minutes", each, steps, minutes)
        return steps

    def _batches(self, start: int, stop: int, part: str = "train") -> Iterator[tuple[int, Batch]]:
        """(k, batch k), made one thread ahead."""
        cases = self.parts[part]

        def make(k: int) -> Batch:
            return self.task.sample(self.store, cases, part, k, np.random.default_rng([self.plan.seed, k]))

        with ThreadPoolExecutor(1, initializer=_one_thread) as pool:
            waiting: list[tuple[int, Future[Batch]]] = []
            try:
                for k in range(start, stop):
                    while len(waiting) < AHEAD and k + len(waiting) < stop:
                        ahead = k + len(waiting)
                        waiting.append((ahead, pool.submit(make, ahead)))
                    number, future = waiting.pop(0)
                    yield number, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _updater(self, state: State) -> Any:
        """The one place where gradients become weights."""
        import torch

        def update(name: str, loss: Any) -> None:
            if not torch.isfinite(loss):
                raise HilumError(
                    "HIL-T06",
                    f"The loss became {float(loss.detach())}",
                    "Lower learning.rate or look at the images for NaN",
                )
            optimiser = state.optimisers[name]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            weights = [p for g in optimiser.param_groups for p in g["params"]]
            torch.nn.utils.clip_grad_norm_(weights, state.learning.clip)
            optimiser.step()

        return update

    def _steps(self, state: State, start: int) -> None:
        """Steps start..planned; every tenth of them validate, write the curve and save."""
        import torch

        steps = self.plan.steps or 1
        every = max(1, -(-steps // ROUNDS))
        update, began, sums, counted = self._updater(state), time.monotonic(), dict[str, float](), 0
        for module in state.networks.values():
            module.train()
        for k, batch in self._batches(start, steps):
            if k == 0:
                # there is something to resume from as soon as the data have given a first batch
                _checkpoint.save(self.folder / "checkpoint.safetensors", {"step": 0} | state.tree())
            # dropout and latent vectors too belong to (seed, k)
            torch.manual_seed((self.plan.seed << 32) + k + 1)
            losses = self.regime.step(state, batch, k, update)
            counted += 1
            sums = {n: sums.get(n, 0.0) + v for n, v in losses.items()}
            words = " ".join(f"{n} {v:.3f}" for n, v in losses.items())
            self.progress("train", k + 1, steps, words)
            if (k + 1) % every == 0 or k + 1 == steps:
                row: dict[str, Any] = {"step": k + 1, "seconds": round(time.monotonic() - began, 2)}
                row |= {f"train {n}": round(v / counted, 6) for n, v in sums.items()}
                row |= {f"val {n}": round(v, 6) for n, v in self._validate(state).items()}
                self.rows.append(row)
                sums, counted = {}, 0
                write_rows(self.folder / "log.csv", self.rows)
                _checkpoint.save(self.folder / "checkpoint.safetensors", {"step": k + 1} | state.tree())

    def _validate(self, state: State) -> dict[str, float]:
        """Mean of the losses over a few fixed validation batches."""
        import torch

        if not self.parts["val"]:
            return {}
        found: list[dict[str, float]] = []
        for module in state.networks.values():
            module.eval()
        with torch.no_grad():
            for number in range(VALIDATION_BATCHES):
                torch.manual_seed(number)
                rng = np.random.default_rng([self.plan.seed, 1_000_000_007, number])
                found.append(
                    self.regime.validate(state, self.task.sample(self.store, self.parts["val"], "val", number, rng))
                )
        for module in state.networks.values():
            module.train()
        return {n: float(np.mean([f[n] for f in found])) for n in found[0]}

    def _restore(self, state: State) -> int:
        """Load the last checkpoint into the state; the step to go on from."""
        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            raise HilumError(
                "HIL-T05", f"{self.folder} has no checkpoint to resume", "Train without --resume into a new folder"
            )
        tree = _checkpoint.load(path)
        state.restore(tree)
        if (self.folder / "log.csv").is_file():
            with open(self.folder / "log.csv", encoding="utf-8", newline="") as stream:
                self.rows = [dict(r) for r in csv.DictReader(stream) if int(r["step"]) <= tree["step"]]
        return int(tree["step"])

    def _write(self, state: State) -> None:
        """Weights of every planned role as safetensors."""
        from safetensors.torch import save_file

        for role in self.plan.networks:
            path = self.folder / "weights" / f"{role}.safetensors"
            with writing(path) as part:
                save_file({n: t.contiguous() for n, t in state.networks[role].state_dict().items()}, part)


def _one_thread() -> None:
    """Batches are made on one thread: small interpolations only quarrel with the training step over the cores."""
    import torch

    torch.set_num_threads(1)
