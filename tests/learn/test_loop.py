"""The loop: a resumed run is the uninterrupted one bit for bit, minutes are frozen to steps, NaN stops."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.learn import _batches, _checkpoint, _judge, _loop, _pace
from hilum.learn._loop import Training
from hilum.learn._state import State
from hilum.planning.planner import Prepared
from hilum.verbs.train import train

PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]


@pytest.fixture(autouse=True)
def _every_round_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine saves slowly, and slow savings are spared."""
    monkeypatch.setattr(_loop, "QUICK", float("inf"))


class Killed(BaseException):
    """Stands for kill -9: nothing in the program catches it."""


def stop_after(step: int) -> Callable[..., None]:
    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if name == "train" and done == step:
            raise Killed

    return progress


def begin(folder: Path, plan: Plan, ready: Prepared, progress: Any = None) -> Training:
    folder.mkdir(exist_ok=True)
    plan.write(folder / "plan.json")
    return Training(folder, plan, ready.units(plan), *([progress] if progress else []))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.stem}.{name}": tensor
        for path in sorted((folder / "weights").iterdir())
        for name, tensor in load_file(path).items()
    }


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_generator_learns_in_bfloat16(tmp_path: Path, plan_of: PlanOf, ready: Ready) -> None:
    plan = plan_of("generate")
    plan = plan.model_copy(update={"learning": plan.learning | {"precision": "bfloat16"}})
    begin(tmp_path / "run", plan, ready("generate")).run(resume=False)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())


@pytest.mark.parametrize("task", ["classify", "generate"])
def test_t03_a_resumed_run_equals_the_uninterrupted_one(
    task: str, plan_of: PlanOf, ready: Ready, tmp_path: Path
) -> None:
    plan, seen = plan_of(task, 10), ready(task)
    begin(tmp_path / "whole", plan, seen).run(False)
    with pytest.raises(Killed):
        begin(tmp_path / "parts", plan, seen, stop_after(6)).run(False)
    kept = _checkpoint.load(tmp_path / "parts" / "checkpoint.safetensors")["step"]
    assert 0 < kept < 6 and not (tmp_path / "parts" / "weights").exists()
    begin(tmp_path / "parts", plan, seen).run(True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    curves = []
    for folder in ("whole", "parts"):
        with open(tmp_path / folder / "log.csv", newline="") as stream:
            curves.append([{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(stream)])
    assert curves[0] == curves[1] and curves[0][-1]["step"] == "10"


def test_a_run_can_be_resumed_twice_and_after_it_is_done(plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    plan, seen = plan_of("classify", 10), ready("classify")
    begin(tmp_path / "whole", plan, seen).run(False)
    for step in (3, 7):
        with pytest.raises(Killed):
            begin(tmp_path / "parts", plan, seen, stop_after(step)).run(step > 3)
    for _ in range(2):
        begin(tmp_path / "parts", plan, seen).run(True)
        for name, tensor in weights(tmp_path / "whole").items():
            assert torch.equal(tensor, weights(tmp_path / "parts")[name])


def test_t05_resuming_without_a_checkpoint_is_refused(plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    with pytest.raises(HilumError) as error:
        begin(tmp_path / "run", plan_of("classify"), ready("classify")).run(True)
    assert error.value.code == "HIL-T05"


def test_t04_resuming_with_other_data_is_refused(
    plan_of: PlanOf, data: Callable[[str], Path], trained: Callable[[str], Run], tmp_path: Path
) -> None:
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained("classify").path, run)
    folder = tmp_path / "slices"
    shutil.copytree(data("classify"), folder)
    train(folder, "classify", run, resume=True)
    next((folder / "healthy").iterdir()).unlink()
    for task, where in (("classify", folder), ("segment", data("segment"))):
        with pytest.raises(HilumError) as error:
            train(where, task, run, resume=True)
        assert error.value.code == "HIL-T04"


def test_t06_a_loss_that_is_no_number_stops_and_keeps_the_last_state(
    plan_of: PlanOf, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(tmp_path / "run", plan_of("classify"), ready("classify"))
    honest, calls = training.regime.step, []

    def step(state: Any, batch: Any, k: int, update: Any) -> Any:
        calls.append(k)
        if k == 4:
            batch = batch | {"image": batch["image"] * float("nan")}
        return honest(state, batch, k, update)

    monkeypatch.setattr(training.regime, "step", step)
    with pytest.raises(HilumError) as error:
        training.run(False)
    # the first one is the dry step
    assert error.value.code == "HIL-T06" and calls == [0, 0, 1, 2, 3, 4]
    tree = _checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert tree["step"] == 3 and not (tmp_path / "run" / "weights").exists()
    assert all(t.isfinite().all() for t in tree["networks"]["net"].values() if t.is_floating_point())


def test_one_process_does_not_look_for_what_several_average(
    plan_of: PlanOf, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(tmp_path / "run", plan_of("classify", 4), ready("classify"))
    state = training.fresh()
    state.learn()
    monkeypatch.setattr(_loop, "_running", lambda state: pytest.fail("one process shares nothing"))
    batch, ids = _batches.make(training.task, training.store, training.parts["train"], training.plan, 0)
    assert training.step(state, batch, 0, ids)


@pytest.mark.parametrize(("keep", "ema", "place"), [("best", 0.0, 1), ("best", 0.5, 1), ("last", 0.0, 2)])
def test_the_weights_that_are_written_are_those_of_the_planned_round(
    keep: str, ema: float, place: int, plan_of: PlanOf, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, scores, rounds = _judge.rate, iter([0.1, 0.9, 0.3]), list[dict[str, torch.Tensor]]()

    def rate(state: State, losses: Any, counts: Any) -> tuple[dict[str, float], float]:
        judged = {**state.networks, **state.average}["net"]
        rounds.append({name: tensor.detach().clone() for name, tensor in judged.state_dict().items()})
        return honest(state, losses, counts)[0], next(scores)

    monkeypatch.setattr(_judge, "rate", rate)
    # so few steps are a round each
    plan = plan_of("classify", 3, **{"learning.keep": keep, "learning.ema": ema})
    state = begin(tmp_path / "run", plan, ready("classify")).run(False)
    written = load_file(tmp_path / "run" / "weights" / "net.safetensors")
    assert [alike(written, copy) for copy in rounds] == [number == place for number in range(3)]
    assert state.memory["best"]["step"] == 2 and state.memory["best"]["score"] == 0.9


@pytest.mark.parametrize(("k", "decay"), [(0, 0.1), (30, 0.5)])
def test_averages_follow_the_weights_fast_while_they_are_young(
    k: int, decay: float, plan_of: PlanOf, ready: Ready, tmp_path: Path
) -> None:
    # it looks back on two of the forty steps
    training = begin(tmp_path / "run", plan_of("classify", 40, **{"learning.ema": 0.05}), ready("classify"))
    state = training.fresh()
    state.learn()
    before = {name: tensor.clone() for name, tensor in state.average["net"].state_dict().items()}
    batch, ids = _batches.make(training.task, training.store, training.parts["train"], training.plan, k)
    training.step(state, batch, k, ids)
    learned, average = state.networks["net"].state_dict(), state.average["net"].state_dict()
    assert not alike(learned, before)
    for name, old in before.items():
        wanted = old.lerp(learned[name], 1 - decay) if old.is_floating_point() else learned[name]
        torch.testing.assert_close(average[name], wanted, msg=name)


def test_the_average_is_what_is_written(plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    plan = plan_of("classify", 4, **{"learning.ema": 0.5, "learning.keep": "last"})
    state = begin(tmp_path / "run", plan, ready("classify")).run(False)
    written = load_file(tmp_path / "run" / "weights" / "net.safetensors")
    assert alike(written, state.average["net"].state_dict())
    assert not alike(written, state.networks["net"].state_dict())


def test_minutes_become_steps_that_are_written_down(
    plan_of: PlanOf, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, asked = _pace.steps_for, list[float]()

    def few(training: Training, minutes: float) -> int:
        asked.append(minutes)
        # a busy machine is no reason to refuse; what fits the minutes is test_pace's
        return min(12, honest(training, 60.0))

    monkeypatch.setattr(_pace, "steps_for", few)
    plan = plan_of("classify", batch=2).model_copy(update={"minutes": 0.1, "steps": None})
    training = begin(tmp_path / "run", plan, ready("classify"))
    training.run(False)
    frozen = Plan.read(tmp_path / "run" / "plan.json")
    assert asked == [0.1] and frozen.steps == 12 and frozen.minutes == 0.1
    with open(tmp_path / "run" / "log.csv", newline="") as stream:
        assert int(list(csv.DictReader(stream))[-1]["step"]) == frozen.steps
    decided = {"precision": frozen.learning["precision"], "layout": frozen.learning["layout"]}
    assert frozen == plan.model_copy(update={"steps": frozen.steps, "learning": plan.learning | decided})
    assert "auto" not in decided.values()


def test_the_folder_is_a_whole_run(trained: Callable[[str], Run]) -> None:
    run = trained("segment")
    run.check_hashes()
    for name in ("plan.json", "split.csv", "fingerprint.json", "log.csv", "manifest.json", "weights/net.safetensors"):
        assert run.has(name), name
    # the shared run may have been evaluated by another test since: trained once, and before anything else
    events = [e["event"] for e in run.ledger()]
    assert events[0] == "train" and events.count("train") == 1
    assert {r["part"] for r in run.split()} == {"train", "val", "test"}


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    tree = {
        "step": 3, "none": None, "text": "ü", "rate": 0.1,
        "state": {0: {"step": torch.tensor(3.0), "m": torch.randn(2, 3)}, 1: {"empty": torch.zeros(0)}},
        "groups": [{"betas": (0.9, 0.999), "params": [0, 1], "on": True}],
        "half": torch.ones(2, dtype=torch.bfloat16), "count": torch.tensor(7),
    }  # fmt: skip
    _checkpoint.save(path, tree)
    back = _checkpoint.load(path)
    assert {k: v for k, v in back.items() if k not in ("state", "half", "count")} == {
        k: v for k, v in tree.items() if k not in ("state", "half", "count")
    }
    assert torch.equal(back["state"][0]["m"], tree["state"][0]["m"]) and back["half"].dtype == torch.bfloat16  # type: ignore[index]
    assert back["count"].dtype == torch.int64 and back["state"][1]["empty"].shape == (0,)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "no tree", "pickle"])
def test_t01_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    import pickle

    from safetensors.torch import save_file

    path = tmp_path / "c.safetensors"
    _checkpoint.save(path, {"a": torch.ones(100)})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "no tree":
        save_file({"0": torch.ones(2)}, path)
    else:
        path.write_bytes({"empty": b"", "text": b"hello there", "pickle": pickle.dumps([1])}[damage])
    with pytest.raises(HilumError) as error:
        _checkpoint.load(path)
    assert error.value.code == "HIL-T01"
