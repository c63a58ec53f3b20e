"""The loop: minutes become steps, batches are prefetched, rounds validate and save, the curve is written."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.atomic import clear, write_json, writing
from hilum.core.errors import RESUME, HilumError, Stopped
from hilum.core.image import Array, Case
from hilum.core.plan import Plan
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import listed
from hilum.data.stamps import Stamps
from hilum.data.store import LIMIT, Store
from hilum.learn import _batches, _checkpoint, _curve, _device, _guards, _judge, _pace, _versions
from hilum.learn._record import Record
from hilum.learn._state import State
from hilum.tasks import _build
from hilum.tasks._task import Batch, Task

log = logging.getLogger(__name__)

SPARING, QUICK = 20, 0.1
# A state is saved at a round, unless that takes over a tenth of a second and a twentieth of the time since the last.
SKIPPED = 5
# Updates of one optimiser in a row whose gradient is no number and which are left out before the run stops.

UNKNOWN = ("HIL-N15", "HIL-T10")
# Refusals of a label, class or box that the plan does not know: of these all cases are named.


class Training:
    """One run: a plan, its cases and its folder."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        units: list[tuple[Case, str]],
        progress: Progress = quiet,
        *,
        accelerator: str = "auto",
        fabric: Any = None,
        start: Any = None,
        accept: Sequence[str] = (),
        track: str | None = None,
    ) -> None:
        self.began = time.monotonic()
        self.folder, self.progress = folder, progress
        self.plan = _device.frozen(plan, accelerator)
        self.fabric = fabric or _device.fabric(self.plan, accelerator)
        self.leads = self.fabric.global_rank == 0
        self.parts = {p: [c for c, part in units if part == p] for p in ("train", "val", "test")}
        self.cut = _versions.cut(units)
        self.regime = catalogue.load("hilum.learn", plan.regime)
        self.start, self.accept = start, accept
        self.task: Task = self.fresh().task
        self.store = Store(self.task.prepare, plan.store_bytes or LIMIT)
        self.sizes: dict[str, int] = {}
        self.odd: dict[str, str] = {}
        self.record = Record(folder, self.plan, self.leads, track)
        self.signals = _guards.Signals()

    def fresh(self) -> State:
        """Networks and optimisers from the seed (and what they start from), on the device."""
        import torch

        torch.manual_seed(self.plan.seed)
        # a card may be full before anything is learned on it
        with _guards.memory("while the network is placed", self.fabric.device.type):
            state: State = self.regime.setup(self.plan)
            if self.start is not None:
                self.start(state.networks[_build.predicting(self.plan)])
            return _device.placed(state, self.fabric)

    def run(self, resume: bool) -> State:
        """Train to the last planned step and return the state; the folder then holds plan, weights and curve."""
        with self.record.told(len(self.parts["train"] + self.parts["val"])), _device.exact(self.plan):
            try:
                return self._run(resume)
            finally:
                _device.let_go()

    def _run(self, resume: bool) -> State:
        self.stamps = Stamps(self.parts["train"] + self.parts["val"])
        with self.record.spend("prepare"), _guards.memory("while preparing the cases", self.fabric.device.type):
            self._prepare()
        self.stamps.check()
        if not resume:
            with self.record.spend("plan"):
                self._try_out()
        state, begin = self.fresh(), 0
        if resume:
            with _guards.memory("while the saved state is placed", self.fabric.device.type):
                begin = self._restore(state)
        # stopped early or gone on with after its last step, a run is done as it is
        over = begin >= (self.plan.steps or 1) and not self._owes(state, begin)
        done = bool(state.memory.get("stopped")) or over
        self.record.begin(begin, self.plan, state.memory.get("best"), done)
        if not done:
            self._steps(state, begin)
        if self.leads:
            self._write(state)
        return state

    def _try_out(self) -> None:
        """A dry step, and minutes into steps; the plan is then whole, and says which images look wrong."""
        if words := _guards.check_images(self.odd, self.parts["train"]):
            told = {"warnings": [*self.plan.data.get("warnings", []), *words]}
            self.plan = self.plan.model_copy(update={"data": self.plan.data | told})
        _pace.dry_step(self)
        if self.plan.steps is None:
            with _guards.memory("while steps were timed", self.fabric.device.type):
                steps = _pace.steps_for(self, self.plan.minutes or 1.0)
            self.plan = self.plan.model_copy(update={"steps": steps})
        if self.leads:
            self.plan.write(self.folder / "plan.json")

    def _prepare(self) -> None:
        """Every case once: bad ones are named before any time is spent, and the largest is known."""
        cases = self.parts["train"] + self.parts["val"]
        if not self.parts["train"]:
            raise HilumError("HIL-T08", "No case is left in the train part", "Give more cases, or name the parts")
        unlearnable: dict[str, list[str]] = {}
        unknown: list[HilumError] = []
        for number, case in enumerate(cases):
            try:
                if why := self._ready(case):
                    unlearnable.setdefault(why, []).append(case.id)
            except HilumError as error:
                if error.code not in UNKNOWN:
                    raise
                # its traceback would keep the arrays
                unknown.append(error.with_traceback(None))
            self.progress("prepare", number + 1, len(cases), case.id)
        if unknown:
            raise _guards.together(unknown, len(cases))
        for why, names in unlearnable.items():
            raise HilumError(
                "HIL-T10", f"Nothing can be learned from {len(names)} of {len(cases)} cases, as {why}: {listed(names)}",
                "Leave them out, or give what they lack",
            )  # fmt: skip

    def _ready(self, case: Case) -> str:
        """Prepare a case, and note its size and what looks odd. Why nothing can be learned from it, or ""."""
        prepared = self.store(case)
        self.sizes[case.id] = self.task.size(prepared)
        if found := _guards.check_prepared(case, prepared):
            self.odd[case.id], words = found
            log.warning("%s", words)
        return self.task.unlearnable(prepared)

    def step(self, state: State, batch: Batch, k: int, ids: list[str]) -> dict[str, float]:
        """Step k: forwards, backwards, update. Returns the losses."""
        import torch

        _device.hold(self.fabric.device.type)
        # dropout and latent vectors too belong to (seed, k)
        torch.manual_seed((self.plan.seed << 32) + k + 1)
        sent, update = _device.sent(batch, self.plan, self.fabric, share=True), self._updater(state, batch, k, ids)
        losses = self._agreed(self.regime.step(state, sent, k, update))
        if self.fabric.world_size > 1:
            # each process saw its share of the batch. A signal saves between rounds: were they averaged at rounds
            # alone, a run that is resumed would not be the uninterrupted one bit for bit. It is a small message
            _device.average(_running(state), self.fabric)
        if state.average:
            _follow(state, k)
        return losses

    def _agreed(self, losses: dict[str, float]) -> dict[str, float]:
        """The losses of the whole batch, of which each process saw its share."""
        import torch

        if self.fabric.world_size == 1:
            return losses
        seen = torch.tensor(list(losses.values()), dtype=torch.float64, device=self.fabric.device)
        _device.average([seen], self.fabric)
        return dict(zip(losses, seen.tolist(), strict=True))

    def _updater(self, state: State, batch: Batch, k: int, ids: list[str]) -> Any:
        """The one place where gradients become weights."""
        import torch

        def update(name: str, loss: Any) -> None:
            seen = loss.detach().clone()
            # one process's loss that is no number must stop all of them
            _device.average([seen], self.fabric)
            if not torch.isfinite(seen):
                self._bad(batch, f"The loss became {float(seen)} at step {k + 1}", ids)
            optimiser = state.optimisers[name]
            optimiser.zero_grad(set_to_none=True)
            self.fabric.backward(loss)
            weights = [p for g in optimiser.param_groups for p in g["params"] if p.grad is not None]
            _device.average([p.grad for p in weights], self.fabric)
            norm = torch.nn.utils.clip_grad_norm_(weights, state.learning.clip)
            skipped = state.memory.setdefault("skipped", {})
            if torch.isfinite(norm):
                skipped[name] = 0
                optimiser.step()
                return
            # one odd batch in half precision is left out; several in a row are a fault
            skipped[name] = skipped.get(name, 0) + 1
            log.warning("step %d has a gradient that is no number and is left out (cases %s)", k + 1, ", ".join(ids))
            if skipped[name] >= SKIPPED:
                self._bad(batch, f"The gradient of {name} was no number {SKIPPED} times in a row, to step {k + 1}", ids)

        return update

    def _bad(self, batch: Batch, seen: str, ids: list[str]) -> None:
        """Stop with the batch saved and its cases named (T06)."""
        path = self.folder / "bad_batch.safetensors"
        kept = f"the batch is kept in {path}"
        if self.leads:
            try:
                _guards.save_bad_batch(path, batch)
            except Exception as error:
                # a full disk has many names, and whatever it is: the cases must be said
                kept = f"the batch could not be kept ({getattr(error, 'strerror', None) or error})"
        raise HilumError(
            "HIL-T06", f"{seen}, on the cases {', '.join(ids)}; {kept}",
            "Lower learning.rate, or look at these cases with: hilum inspect",
        )  # fmt: skip

    def _steps(self, state: State, begin: int) -> None:
        """Steps begin..planned; every round of them validates, draws the curve and saves."""
        steps = self.plan.steps or 1
        state.learn()
        batches = _batches.ahead(self.task, self.store, self.parts["train"], self.plan, begin, steps)
        last = self.saved_at = time.monotonic()
        self.saving = 0.0
        device = self.fabric.device.type
        with self.signals, _guards.memory("while training", device), closing(batches), self._stamped():
            if self._owes(state, begin):
                self._round(state, begin)
                last = time.monotonic()
            for k, batch, ids in () if state.memory.get("stopped") else batches:
                self.record.spent["wait"] += time.monotonic() - last
                if k == 0:
                    # there is something to resume from as soon as the data have given a first batch
                    self._save(state, 0)
                with self.record.spend("step"):
                    losses = self.step(state, batch, k, ids)
                self._sum(state, losses)
                self.progress("train", k + 1, steps, " ".join(f"{n} {v:.3f}" for n, v in losses.items()))
                if self._owes(state, k + 1):
                    self._round(state, k + 1)
                self._heed(state, k + 1)
                if state.memory.get("stopped"):
                    break
                last = time.monotonic()

    def _owes(self, state: State, step: int) -> bool:
        """Whether a round is due after so many steps: its losses are summed, and not yet shown."""
        due = step % _batches.every(self.plan) == 0 or step == self.plan.steps
        return due and "counted" in state.memory

    def _heed(self, state: State, step: int) -> None:
        """End with the state saved where a signal has come."""
        signal = _device.largest(self.signals.seen or 0, self.fabric)
        if not signal:
            return
        # as at a round: of data that changed nothing is saved, and the state before can be gone on from
        self.stamps.check()
        self._save(state, step)
        # who saves is still at it: the first process to end makes the others end
        self.fabric.barrier()
        raise Stopped(signal, f"after step {step}; the state is saved, {RESUME}")

    @contextmanager
    def _stamped(self) -> Iterator[None]:
        """What fails because a file has gone or changed is said so (T11): a batch may read it long before a round."""
        try:
            yield
        except (HilumError, OSError):
            self.stamps.check()
            raise

    @staticmethod
    def _sum(state: State, losses: dict[str, float]) -> None:
        """The round's losses so far; part of the state, or a resumed run would show another curve."""
        sums = state.memory.setdefault("sums", {})
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        state.memory["counted"] = state.memory.get("counted", 0) + 1

    def _round(self, state: State, step: int) -> None:
        """Validate, judge, write the curve, save."""
        _device.let_go()
        self.stamps.check()
        row = self.record.row(state, step)
        pictures: list[tuple[Array, str]] = []
        if self.parts["val"]:
            with self.record.spend("validate"):
                losses, counts, ids, pictures = self.validated(state, self.parts["val"], step)
            # several processes must decide alike, and so by what the first one saw
            losses, counts = self.fabric.broadcast((losses, counts))
            shown, score = _judge.rate(state, losses, counts)
            row |= {f"val {n}": round(v, 6) for n, v in shown.items()}
            _judge.check_collapse(state, step, counts, ids)
            _judge.keep_best(state, step, score)
        # shown: until here a round that is broken off is owed
        del state.memory["sums"], state.memory["counted"]
        done = step == self.plan.steps
        if not done and _judge.weary(state, step):
            log.info("no better validation since step %d: stopped at %d", state.memory["best"]["step"], step)
            state.memory["stopped"] = True
        self.record.round(row, state, pictures, done or bool(state.memory.get("stopped")))
        spared = self.saving > QUICK and time.monotonic() - self.saved_at < SPARING * self.saving
        if done or state.memory.get("stopped") or not spared:
            self._save(state, step)

    def validated(
        self, state: State, cases: list[Case], step: int | None = None
    ) -> tuple[list[dict[str, float]], list[Any], list[str], Any]:
        """Losses and counts of every validation batch, the cases, and pictures of the first ones.

        step: of a round, which a signal breaks off between two batches: it may be long, and who sent it may not wait.
        """
        import torch

        losses, counts, ids = list[dict[str, float]](), list[Any](), list[str]()
        pictures: list[tuple[Array, str]] = []
        # it asks for blocks of many sizes
        _device.let_go()
        with torch.no_grad(), state.judged() as judged:
            for number, (batch, names) in enumerate(_batches.check(self.task, self.store, cases, self.plan)):
                if step is not None:
                    self._heed(state, step)
                torch.manual_seed(number)
                sent = _device.sent(batch, self.plan, self.fabric)
                found, counted, outputs = self.regime.validate(judged, sent)
                losses.append(found)
                counts.append(counted)
                ids += [n for n in names if n not in ids]
                if len(pictures) < _curve.PICTURES and self.leads:
                    pictures += self.task.pictures(outputs, batch, names)
        return losses, counts, ids, pictures

    def _save(self, state: State, step: int) -> None:
        began = time.monotonic()
        if self.leads:
            with self.record.spend("save"), _guards.disk(self.folder):
                origin = _versions.origin(self.plan, self.fabric.world_size, self.fabric.device.type)
                tree = {"step": step, "origin": origin, "cut": self.cut} | state.tree()
                _checkpoint.save(self.folder / "checkpoint.safetensors", tree)
        self.saved_at = time.monotonic()
        self.saving = self.saved_at - began

    def _restore(self, state: State) -> int:
        """Load the last checkpoint into the state; the step to go on from."""
        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            raise HilumError(
                "HIL-T05", f"{self.folder} has no checkpoint to resume", "Train without --resume into a new folder"
            )
        if self.leads:
            # what a killed process was writing; who leads writes already, so nobody else may clear away
            clear(self.folder)
        self.fabric.barrier()
        tree = _checkpoint.load(path)
        here, accepted = self.fabric.device.type, "T04" in self.accept
        _versions.check(tree.get("origin"), self.plan, self.fabric.world_size, accepted, here)
        _versions.check_cut(tree.get("cut"), self.cut)
        state.restore(tree)
        return int(tree["step"])

    def _write(self, state: State) -> None:
        """Weights of every planned role as safetensors, and where the time went."""
        from safetensors.torch import save_file

        kept = state.memory.get("best", {}).get("weights", {})
        with _guards.disk(self.folder):
            for role in self.plan.networks:
                weights = kept.get(role) or {**state.networks, **state.average}[role].state_dict()
                with writing(self.folder / "weights" / f"{role}.safetensors") as part:
                    save_file({n: t.detach().cpu().contiguous() for n, t in weights.items()}, part)
            write_json(self.folder / "timing.json", self.record.timing(state))


def _running(state: State) -> list[Any]:
    """The running statistics of the networks' norms: buffers that learn; others are constant."""
    named = [pair for module in state.networks.values() for pair in module.named_buffers()]
    return [b for name, b in named if name.rpartition(".")[2].startswith("running_")]


def _follow(state: State, k: int) -> None:
    """Move the averages towards the weights. The average looks back on a share of the run, so its length is known."""
    import torch

    decay = 1 - 1 / max(1.0, state.learning.ema * state.steps)
    # a young average forgets fast, or the first weights would stay in it
    decay = min(decay, (1 + k) / (10 + k))
    with torch.no_grad():
        for role, twin in state.average.items():
            for old, new in zip(twin.state_dict().values(), state.networks[role].state_dict().values(), strict=True):
                if old.is_floating_point():
                    old.lerp_(new, 1 - decay)
                else:
                    old.copy_(new)
