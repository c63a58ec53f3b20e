"""Several processes that share every batch learn what one learns; they stop together and leave nobody behind."""

import inspect
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.core.errors import HilumError, Stopped
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.learn import _batches, _checkpoint, _device, _launch
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared
from hilum.verbs.train import train

Folder = Callable[[str], Path]
PlanOf = Callable[..., Plan]
PATIENCE = 240.0
CLOSE = 1e-4
SLURM = {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "job"}
# Of a job with one task, which every process inherits.


@pytest.mark.parametrize("task", ["segment", "detect", "register", "reconstruct"])
def test_two_processes_learn_what_one_learns(
    task: str, data: Folder, plan_of: PlanOf, weights: Callable[[Path], dict[str, torch.Tensor]],
    curve: Callable[[Path], list[dict[str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name, value in SLURM.items() if task == "detect" else ():
        # each of two processes would be the first of one
        monkeypatch.setenv(f"SLURM_{name}", value)
    # half precision would hide a wrong mean behind its own rounding; adamw makes whole steps of the rounding of
    # gradients that are nothing, those of a bias before a normalisation
    words = {"learning.precision": "float32", "learning.optimiser": "sgd", "learning.rate": 0.01}
    plan_of(task, 3, **words).write(tmp_path / "plan.json")
    told: list[tuple[str, int]] = []
    for devices in (1, 2):
        train(
            data(task), task, tmp_path / str(devices), plan=tmp_path / "plan.json", accelerator="cpu",
            devices=devices, progress=lambda name, done, *_: told.append((name, done)),
        )  # fmt: skip
    assert told.count(("train", 3)) == 2
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=CLOSE), name
    rows = [curve(tmp_path / str(n)) for n in (1, 2)]
    assert len(rows[0]) == len(rows[1]) == 3
    for a, b in zip(*rows, strict=True):
        for name, value in a.items():
            # a voxel on the edge between two classes may fall to the other side
            near = CLOSE if "loss" in name else 1e-3
            assert float(b[name] or "nan") == pytest.approx(float(value or "nan"), abs=near, rel=near, nan_ok=True), (
                name
            )
    Run(tmp_path / "2").check_hashes()


@pytest.mark.parametrize(("task", "devices"), [("classify", 3), ("classify", 0), ("classify", -2), ("generate", 2)])
def test_what_can_not_be_shared_is_refused(
    task: str, devices: int, data: Folder, plan_of: PlanOf, tmp_path: Path
) -> None:
    plan_of(task, 2).write(tmp_path / "plan.json")
    with pytest.raises(HilumError) as error:
        train(data(task), task, tmp_path / "run", plan=tmp_path / "plan.json", devices=devices, accelerator="cpu")
    assert error.value.code == "HIL-LEARN-03" and not (tmp_path / "run").exists()


def kin(pid: int) -> dict[int, str]:
    """Live processes below that one, with what they run."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        found[int(child)] = words
        found |= kin(int(child))
    return found


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("how", ["asked", "killed"])
def test_t07_t15_all_processes_end_together(how: str, data: Folder, plan_of: PlanOf, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # far more steps than will be done
    plan_of("classify", 4000).write(tmp_path / "plan.json")
    words = [sys.executable, "-W", "error", "-m", "hilum.cli.main", "train", data("classify"), "--task", "classify"]
    words += ["--out", out, "--plan", tmp_path / "plan.json", "--devices", "2", "--accelerator", "cpu"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "300"}
    process = subprocess.Popen(
        list(map(str, words)), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + PATIENCE
    while not (out / "checkpoint.safetensors").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()[1]
    family = kin(process.pid)
    training = [pid for pid, what in family.items() if "spawn_main" in what]
    assert len(training) == 2
    began = time.monotonic()
    if how == "asked":
        process.terminate()
    else:
        os.kill(training[1], signal.SIGKILL)
    _, heard = process.communicate(timeout=PATIENCE)
    # ten seconds of a machine that has nothing else to do
    assert time.monotonic() - began < 10 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert "Traceback" not in heard, heard
    if how == "asked":
        assert process.returncode == 143 and "hilum: stopped by signal 15 after step " in heard, heard
    else:
        assert process.returncode == 2 and "Training process 1 ended" in heard and "[HIL-T07]" in heard, heard
    # helpers such as decoding workers end by themselves when their parent is gone, a moment later
    end = time.monotonic() + 10
    while any(alive(pid) for pid in family) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [what for pid, what in family.items() if alive(pid)]
    assert not (out / ".lock").exists() and not list(out.rglob(".part-*"))
    assert _checkpoint.load(out / "checkpoint.safetensors")["step"] >= (1 if how == "asked" else 0)


def test_t15_a_process_that_is_interrupted_does_not_end_as_if_it_were_done(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def __init__(self, *_: object, **__: object) -> None:
            raise KeyboardInterrupt

    class Fabric:
        global_rank = 1

    monkeypatch.setattr(_launch, "Training", Interrupted)
    words: dict[str, Any] = dict.fromkeys(inspect.signature(_launch._one).parameters)
    with pytest.raises(SystemExit) as stop:
        _launch._one(**words | {"fabric": Fabric(), "tellers": [None, None]})
    assert stop.value.code == 130


class Ended(Exception):
    """Like torch's, for a process that ended by itself."""

    exit_code: int
    error_index = 1


def test_what_progress_raises_ends_the_processes_and_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    class Child:
        ended = 0

        def terminate(self) -> None:
            Child.ended += 1

    def progress(*_: Any) -> None:
        raise ValueError("enough")

    monkeypatch.setattr(_launch.multiprocessing, "active_children", lambda: [Child()])
    with _launch.Listener(1, progress) as listener:
        # more than a pipe holds: who speaks would wait for ever if nobody heard
        for step in range(3000):
            listener.writers[0].send(("progress", ("train", step, 3000, "x" * 64)))
        listener.close()
        found = _launch._reason(Ended("it was ended"), listener)
    assert isinstance(found, ValueError) and Child.ended == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [(-9, "HIL-T07"), (1, "HIL-T07"), (-15, 143), (143, 143), (-2, 130), (130, 130), (None, "HIL-LEARN-04")],
)
def test_why_they_ended_is_said_as_one_process_would(code: int | None, expected: str | int) -> None:
    error = Ended("Traceback\nRuntimeError: it broke")
    if code is not None:
        error.exit_code = code
    with _launch.Listener(2, lambda *_: None) as listener:
        found: Any = _launch._reason(error, listener)
        assert (found.code if isinstance(found, HilumError | Stopped) else None) == expected
        listener.writers[1].send(("error", ("HIL-T06", "The loss became nan", "Lower it")))
        listener.close()
        assert str(_launch._reason(error, listener)) == "The loss became nan. Lower it. [HIL-T06]"


class First:
    """A Fabric of one process that believes to be the first of two."""

    world_size, global_rank = 2, 0

    def __init__(self, honest: Any) -> None:
        self._honest = honest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)


def test_t15_running_statistics_are_those_of_all_processes_after_every_step(
    plan_of: PlanOf, ready: Callable[[str], Prepared], begin: Callable[..., Training], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A signal may come after any step, and what the first process has is saved then."""
    training = begin(tmp_path / "run", plan_of("classify", 4, **{"learning.ema": 0.5}), ready("classify"))
    state = training.fresh()
    state.learn()
    training.fabric = First(training.fabric)

    def running(module: torch.nn.Module) -> list[torch.Tensor]:
        return [buffer for name, buffer in module.named_buffers() if "running_" in name]

    known = {id(buffer) for buffer in running(state.networks["net"])}

    def average(tensors: list[torch.Tensor], _: Any) -> None:
        for tensor in tensors:
            if id(tensor) in known:
                tensor.fill_(7.0)

    monkeypatch.setattr(_device, "average", average)
    batch, ids = _batches.make(training.task, training.store, training.parts["train"], training.plan, 0)
    training.step(state, batch, 0, ids)
    assert known and all(bool((buffer == 7).all()) for buffer in running(state.networks["net"]))
    # the averaged network follows them, and not those of the first process
    assert all(bool((buffer > 6).all()) for buffer in running(state.average["net"]))


def test_only_the_first_process_clears_away_what_a_killed_one_left(
    short: tuple[Plan, Path], ready: Callable[[str], Prepared], begin: Callable[..., Training], tmp_path: Path
) -> None:
    part = tmp_path / "run" / ".part-a.html"
    shutil.copytree(short[1], part.parent)
    part.write_text("half a page")
    for leads in (False, True):
        training = begin(part.parent, short[0], ready("classify"))
        training.leads = leads
        assert training._restore(training.fresh()) == 2 and part.exists() != leads


def test_more_processes_than_cuda_devices_are_refused(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("classify")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(HilumError, match="--devices 1, or --accelerator cpu") as error:
        _device.fabric(plan, "cuda", 2)
    assert error.value.code == "HIL-LEARN-03"
