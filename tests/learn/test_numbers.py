"""T06, T07, T08 and collapse: what is no number, too much or too little stops by sentence, or goes on by rule."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.learn import _batches, _checkpoint, _device, _guards, _judge, _loop
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared
from hilum.tasks import _rounds, _task

Begin = Callable[..., Training]
Folder = Callable[[str], Path]
Made = Callable[..., Path]
PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]
Same = Callable[[Path, Path], None]
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _every_step_is_a_round_that_is_saved(monkeypatch: Patch) -> None:
    """A busy machine saves slowly, and slow savings are spared; a short run has few rounds."""
    monkeypatch.setattr(_batches, "SHORT", 1)
    monkeypatch.setattr(_loop, "QUICK", float("inf"))


def at(step: int, act: Callable[[], object]) -> Callable[..., None]:
    """A listener that acts once after that step."""

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if name == "train" and done == step:
            act()

    return progress


def spoil(training: Training, patch: Patch, steps: range, which: str | None = None) -> None:
    """The gradient of an optimiser (or all) is no number in these steps, though the loss is one."""
    honest = training.regime.step

    def step(state: Any, batch: Any, k: int, update: Any) -> Any:
        def spoiled(name: str, loss: Any) -> None:
            if k in steps and which in (None, name):
                weight = state.optimisers[name].param_groups[0]["params"][0]
                # the square root of nothing has an infinite slope
                loss = loss + torch.sqrt((weight * 0).sum())
            update(name, loss)

        return honest(state, batch, k, spoiled)

    patch.setattr(training.regime, "step", step)


def test_t06_one_gradient_that_is_no_number_is_left_out_and_told(
    plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    training = begin(tmp_path / "run", plan_of("classify", 6), ready("classify"))
    spoil(training, monkeypatch, range(2, 4))
    state = training.run(False)
    told = [r.message for r in caplog.records if "gradient that is no number" in r.message]
    assert [m.split()[1] for m in told] == ["3", "4"] and "(cases " in told[0]
    assert state.memory["skipped"] == {"net": 0}
    assert all(t.isfinite().all() for t in state.networks["net"].state_dict().values())


@pytest.mark.parametrize(("task", "which"), [("classify", "net"), ("generate", "generator"), ("generate", "critic")])
def test_t06_five_gradients_in_a_row_stop_with_the_batch_and_its_cases(
    task: str, which: str, plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch
) -> None:
    plan = plan_of(task, 10)
    training = begin(tmp_path / "run", plan, ready(task))
    spoil(training, monkeypatch, range(1, 10), which)
    with pytest.raises(HilumError) as error:
        training.run(False)
    last = 2 if which == "critic" else 5
    # the critic is updated three times in a step
    assert error.value.code == "HIL-T06" and f"{which} was no number 5 times in a row, to step {last + 1}" in str(error)
    batch, ids = _batches.make(training.task, Store(training.task.prepare), training.parts["train"], plan, last)
    kept = load_file(tmp_path / "run" / "bad_batch.safetensors")
    tensors = {n: t for n, t in batch.items() if isinstance(t, torch.Tensor)}
    assert kept.keys() == tensors.keys() and all(torch.equal(kept[n], t) for n, t in tensors.items())
    assert f"on the cases {', '.join(ids)}" in error.value.seen and "bad_batch.safetensors" in error.value.seen
    assert _checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")["step"] == last


def test_t06_a_bad_batch_keeps_its_boxes(plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    plan = plan_of("detect")
    task = _task.load(plan)
    cases = [c for c, _ in ready("detect").units(plan)]
    batch, _ = _batches.make(task, Store(task.prepare), cases, plan, 0)
    _guards.save_bad_batch(tmp_path / "bad_batch.safetensors", batch)
    kept = load_file(tmp_path / "bad_batch.safetensors")
    assert torch.equal(kept.pop("image"), batch["image"])
    assert len(kept) == 2 * plan.batch
    for name in ("boxes", "labels"):
        assert all(torch.equal(kept[f"{name}.{n}"], one) for n, one in enumerate(batch[name]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_t06_a_voxel_that_is_no_number_is_named_before_training(
    value: float, plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path
) -> None:
    told: list[str] = []
    training = begin(tmp_path / "run", plan_of("segment", 2), ready("segment"), lambda name, *_: told.append(name))
    honest, last = training.task.prepare, training.parts["val"][-1]

    def prepare(case: Any) -> Any:
        made = honest(case)
        if case.id == last.id:
            made["image"] = made["image"].copy()
            made["image"].flat[7] = value
        return made

    training.store = Store(prepare)
    with pytest.raises(HilumError) as error:
        training.run(False)
    assert error.value.code == "HIL-T06" and last.id in error.value.seen and "train" not in told


ALLOCATOR = "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError(ALLOCATOR),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
@pytest.mark.parametrize("where", ["prepare", "first step", "batch", "step"])
def test_t07_memory_that_runs_out_is_a_sentence_and_leaves_no_thread(
    where: str, fault: Exception, plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch
) -> None:
    training = begin(tmp_path / "run", plan_of("classify", 6), ready("classify"))
    honest, calls, threads = training.regime.step, [0], threading.active_count()

    def step(*words: Any) -> Any:
        calls[0] += 1
        if calls[0] == {"first step": 1, "step": 4}.get(where):
            raise fault
        return honest(*words)

    def fail(*_: Any) -> Any:
        raise fault

    monkeypatch.setattr(training.regime, "step", step)
    if where == "prepare":
        monkeypatch.setattr(training, "store", fail)
    if where == "batch":
        training.progress = at(2, lambda: monkeypatch.setattr(training.task, "sample", fail))
    with pytest.raises(HilumError) as error:
        training.run(False)
    assert error.value.code == "HIL-T07" and "plan.batch" in error.value.remedy
    assert ("largest case" in error.value.seen) == (where == "first step")
    assert threading.active_count() == threads
    if where in ("batch", "step"):
        begin(tmp_path / "run", plan_of("classify", 6), ready("classify"))
        assert 2 <= _checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")["step"] <= 4


def test_t07_memory_that_runs_out_while_steps_are_timed_is_a_sentence(
    plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch
) -> None:
    def fail(*_: Any) -> int:
        raise MemoryError

    monkeypatch.setattr("hilum.learn._pace.steps_for", fail)
    plan = plan_of("classify").model_copy(update={"steps": None, "minutes": 1.0})
    with pytest.raises(HilumError, match="while steps were timed") as error:
        begin(tmp_path / "run", plan, ready("classify")).run(False)
    assert error.value.code == "HIL-T07"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_t07_no_memory_is_offered_where_none_is_planned(device: str) -> None:
    """On a card --memory is refused."""
    with pytest.raises(HilumError) as error, _guards.memory("here", device):
        raise MemoryError
    assert ("--memory" in error.value.remedy) is (device == "cpu") and "plan.batch" in error.value.remedy


def test_t07_another_fault_is_not_called_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), _guards.memory("here"):
        raise RuntimeError("shapes differ")


def test_t08_without_a_validation_part_training_goes_on_and_says_nothing_of_it(
    plan_of: PlanOf, ready: Ready, tmp_path: Path
) -> None:
    plan = plan_of("classify", 3, **{"learning.keep": "best"})
    units = [(c, p) for c, p in ready("classify").units(plan) if p != "val"]
    (tmp_path / "run").mkdir()
    state = Training(tmp_path / "run", plan, units).run(False)
    assert "val" not in (tmp_path / "run" / "log.csv").read_text() and "best" not in state.memory
    assert (tmp_path / "run" / "weights" / "net.safetensors").exists()


def test_t08_without_a_training_part_nothing_begins(plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    plan = plan_of("classify", 3)
    with pytest.raises(HilumError) as error:
        Training(tmp_path, plan, [(c, p) for c, p in ready("classify").units(plan) if p == "val"]).run(False)
    assert error.value.code == "HIL-T08"


@pytest.mark.parametrize("part", ["train", "val"])
def test_t08_a_part_of_one_case_or_one_class_trains(part: str, plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    plan = plan_of("classify", 2)
    units = ready("classify").units(plan)
    first = next(c for c, p in units if p == part)
    (tmp_path / "run").mkdir()
    Training(tmp_path / "run", plan, [(c, p) for c, p in units if p != part or c is first]).run(False)
    assert "nan" not in (tmp_path / "run" / "log.csv").read_text()


def test_t08_a_class_that_validation_lacks_counts_neither_as_0_nor_as_1() -> None:
    counts = np.array([[90, 0, 0], [4, 2, 2], [0, 0, 0]])
    assert _rounds.dice(counts) == {"dice": pytest.approx(8 / 12)}
    assert np.isnan(_rounds.dice(np.array([[90, 0, 0], [0, 3, 0], [0, 0, 0]]))["dice"])
    assert _rounds.balanced(np.array([[3, 1], [0, 0]]))["balanced_accuracy"] == 0.75


def one_answer(channel: int) -> Callable[[Any], None]:
    """Makes a network prefer one class by far, wherever it looks."""

    def prefer(outputs: Any) -> Any:
        if isinstance(outputs, list | tuple):
            return type(outputs)(prefer(o) for o in outputs)
        bias = torch.zeros(outputs.shape[1])
        bias[channel] = 1e4
        return outputs + bias.view(1, -1, *[1] * (outputs.ndim - 2))

    return lambda net: net.register_forward_hook(lambda module, inputs, outputs: prefer(outputs))


def test_few_images_that_are_called_alike_are_no_collapse() -> None:
    """Two images of two classes, called alike in three rounds, ended a run that had told them apart before."""
    for count, said in ((1, False), (3, False), (4, True), (50, True)):
        assert (_rounds.one_answer(np.array([[0, count], [0, count]]), ["a", "b"]) is not None) == said
    # one hard image of a rare class, eight right ones of the other
    assert _rounds.one_answer(np.array([[8, 0], [1, 0]]), ["a", "b"]) is None


@pytest.mark.parametrize(
    ("task", "channel", "words"),
    [
        ("segment", 0, "the network finds nothing but background"),
        ("segment", 1, "the network finds nothing but "),
        ("classify", 0, "the network calls each of "),
        ("classify", 1, "the network calls each of "),
    ],
)
def test_a_collapsed_network_stops_with_a_diagnosis_and_its_cases(
    task: str, channel: int, words: str, plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(_judge, "PATIENT", 4)
    monkeypatch.setattr(_rounds, "FEW", 2)
    training = begin(tmp_path / "run", plan_of(task, 7), ready(task), start=one_answer(channel))
    with pytest.raises(HilumError) as error:
        training.run(False)
    assert error.value.code == "HIL-LEARN-02" and f"After 4 steps {words}" in error.value.seen
    assert training.parts["val"][0].id in error.value.seen
    assert _checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")["step"] == 3


def test_nobody_is_called_collapsed_before_200_steps(
    plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch
) -> None:
    assert _judge.PATIENT == 200
    monkeypatch.setattr(_rounds, "FEW", 2)
    state = begin(tmp_path / "run", plan_of("classify", 7), ready("classify"), start=one_answer(0)).run(False)
    assert state.memory["collapsed"] == 7


def test_a_network_that_finds_something_is_not_collapsed(
    plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(_judge, "PATIENT", 1)
    state = begin(tmp_path / "run", plan_of("segment", 3000), ready("segment")).fresh()
    collapsed, works = np.array([[90, 10, 0], [0, 0, 10]]), np.array([[90, 9, 0], [1, 0, 9]])
    for counts in (collapsed, collapsed, works, collapsed, collapsed, works):
        _judge.check_collapse(state, 1000, [counts], ["a"])
    assert state.memory["collapsed"] == 0
    # before a third of the steps it may yet find something
    for counts in (collapsed, collapsed, collapsed, works):
        _judge.check_collapse(state, 999, [counts], ["a"])
    with pytest.raises(HilumError):
        for _ in range(3):
            _judge.check_collapse(state, 1000, [collapsed], ["a"])


def test_a_wrong_range_and_an_image_without_contrast_are_told_by_case(
    plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = begin(tmp_path / "run", plan_of("classify", 1), ready("classify"))
    flat, wild = training.parts["train"][:2]
    honest = training.task.prepare

    def prepare(case: Any) -> Any:
        made = honest(case)
        if case.id in (flat.id, wild.id):
            made["image"] = made["image"] * (0 if case.id == flat.id else 1e6)
        return made

    training.store = Store(prepare)
    training.run(False)
    told = [r.message for r in caplog.records]
    assert any(flat.id in m and "the same everywhere" in m for m in told)
    assert any(wild.id in m and "its range differs" in m for m in told)
    plan = Plan.read(tmp_path / "run" / "plan.json")
    # report and model card say it too, and the run can be gone on with
    assert plan.data["warnings"][-2:] == [
        f"HIL-LEARN-08: images that are the same everywhere: {flat.id}",
        f"HIL-LEARN-08: images that are out of range after normalisation: {wild.id}",
    ]
    again = begin(tmp_path / "run", plan, ready("classify"))
    again.store = Store(prepare)
    again.run(True)
    assert Plan.read(tmp_path / "run" / "plan.json") == plan


def test_t10_cases_of_which_nothing_can_be_learned_are_all_named_before_the_first_step(
    plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of raw data those that are undersampled: a batch would meet the first of them at some step."""
    training = begin(tmp_path / "run", plan_of("classify", 1), ready("classify"))
    monkeypatch.setattr(training.task, "unlearnable", lambda prepared: "they are undersampled")
    with pytest.raises(HilumError) as error:
        training.run(False)
    assert error.value.code == "HIL-T10" and "as they are undersampled" in error.value.seen
    assert all(case.id in error.value.seen for part in ("train", "val") for case in training.parts[part])
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("side", ["image", "fixed", "moving"])
def test_an_image_without_contrast_is_told_of_pairs_too(side: str) -> None:
    found = _guards.check_prepared(Case("a", "", {}), {side: np.full((1, 4, 4), 0.5, np.float32)})
    assert found is not None and found[0] == _guards.FLAT


@pytest.mark.parametrize(("times", "words"), [(0, "are the same everywhere"), (1e6, "are out of range")])
def test_images_that_mostly_look_wrong_stop_with_a_diagnosis_and_their_cases(
    times: float, words: str, plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path
) -> None:
    training = begin(tmp_path / "run", plan_of("classify", 1), ready("classify"))
    honest, names = training.task.prepare, [case.id for case in training.parts["train"]]
    wrong = names[: len(names) // 2 + 1]

    def prepare(case: Any) -> Any:
        made = honest(case)
        return made | {"image": made["image"] * times} if case.id in wrong else made

    training.store = Store(prepare)
    with pytest.raises(HilumError) as error:
        training.run(False)
    assert error.value.code == "HIL-LEARN-08" and words in error.value.seen
    assert f"{len(wrong)} of {len(names)} training cases" in error.value.seen
    assert all(name in error.value.seen for name in wrong)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_raw_data_in_large_units_are_not_out_of_range() -> None:
    image = np.linspace(0, 1e6, 9).reshape(1, 3, 3)
    case = Case("a", "a", {})
    assert _guards.check_prepared(case, {"image": image.astype(np.complex64)}) is None
    found = _guards.check_prepared(case, {"image": image.astype(np.float32)})
    assert found is not None and found[0] == _guards.WILD


def decoders() -> list[int]:
    """The processes that decode files for this one."""
    found = []
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        # a thread, or a process, may end while it is looked at
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (thread / "children").read_text().split():
                if b"hilum.io._worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def test_t07_a_decoding_process_that_is_killed_is_replaced_and_leaves_no_zombie(
    plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(name: str, done: int, total: int, note: str = "") -> None:
        if name == "prepare" and done == 1:
            killed.extend(decoders())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
                while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    time.sleep(0.001)

    training = begin(tmp_path / "run", plan_of("segment", 2), ready("segment"), kill)
    for case in training.parts["train"]:
        case.items["image"].read()
    training.run(False)
    assert killed and (tmp_path / "run" / "weights" / "net.safetensors").exists()
    # the one that was asked next was replaced; another one is when its turn comes
    assert any(not Path(f"/proc/{pid}").exists() for pid in killed)


def stepped(training: Training) -> list[float]:
    """Carry the run out; the norm of the whole gradient at each step of an optimiser."""
    seen: list[float] = []

    def note(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        found = [w.grad for group in optimiser.param_groups for w in group["params"] if w.grad is not None]
        seen.append(float(torch.stack([gradient.norm() for gradient in found]).norm()))

    handle = register_optimizer_step_pre_hook(note)
    try:
        training.run(False)
    finally:
        handle.remove()
    return seen


@pytest.mark.parametrize(("clip", "held"), [(1e-3, True), (1e9, False)])
def test_a_gradient_is_clipped_to_the_planned_norm(
    clip: float, held: bool, plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path
) -> None:
    words = {"learning.optimiser": "sgd", "learning.momentum": 0.0, "learning.precision": "float32"}
    plan = plan_of("classify", 3, **words, **{"learning.clip": clip})
    seen = stepped(begin(tmp_path / "run", plan, ready("classify")))
    # the first one is the dry step
    assert len(seen) == 4
    if held:
        assert seen == pytest.approx([1e-3] * 4, rel=1e-3)
    else:
        assert min(seen) > 2e-3


@pytest.mark.parametrize("when", ["at first", "in the dry step", "with the steps", "resumed"])
def test_t07_a_card_that_is_full_before_the_first_step_is_a_sentence(
    when: str, plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch
) -> None:
    plan, left = (
        plan_of("classify", 2),
        [{"at first": 0, "in the dry step": 1, "with the steps": 2, "resumed": 1}[when]],
    )
    if when == "resumed":
        begin(tmp_path / "run", plan, ready("classify")).run(False)
    honest = _device.placed

    def full(state: Any, fabric: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return honest(state, fabric)

    monkeypatch.setattr(_device, "placed", full)
    with pytest.raises(HilumError, match=r"Memory ran out while the network is placed.*HIL-T07"):
        begin(tmp_path / "run", plan, ready("classify")).run(when == "resumed")
