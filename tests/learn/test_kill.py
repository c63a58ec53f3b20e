"""T01, T03, T15: a run that is killed, at any moment, goes on from whole state to the uninterrupted run's weights."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hilum.core.errors import HilumError, Stopped
from hilum.core.run import Run
from hilum.learn import _batches, _checkpoint, _guards
from hilum.verbs.train import train

Same = Callable[[Path, Path], None]
Made = Callable[..., Path]
Child = Callable[..., BaseProcess]
PATIENCE = 120.0
# Seconds that a test waits for what must come.
GRACE = 10.0
# Seconds that a scheduler waits before it kills.


def crowd() -> float:
    """How many times slower this machine is than an idle one, from its load."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def until(there: Callable[[], object], process: BaseProcess | None = None) -> bool:
    """Whether it came before the process ended."""
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end, "it never came"
        if process is not None and not process.is_alive():
            return False
        time.sleep(0.001)
    return True


def halted(process: BaseProcess) -> None:
    """Stop the process where it is, and wait until it stands still."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    stat = Path(f"/proc/{process.pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] in "TZ")


def killed(process: BaseProcess) -> None:
    process.kill()
    process.join(PATIENCE)
    assert process.exitcode in (-signal.SIGKILL, 0)


def goes_on(folder: Path, task: str, data: Path, plan: Path) -> Path:
    """What a person does after a crash: resume; where no state was saved yet, begin anew elsewhere."""
    if (folder / "checkpoint.safetensors").exists():
        _checkpoint.load(folder / "checkpoint.safetensors")
        train(data, task, folder, resume=True)
        return folder
    with pytest.raises(HilumError) as error:
        train(data, task, folder, resume=True)
    assert error.value.code in ("HIL-T05", "HIL-RUN-01", "HIL-RUN-02")
    anew = folder.with_name("anew")
    shutil.rmtree(anew, ignore_errors=True)
    train(data, task, anew, plan=plan)
    return anew


@pytest.mark.parametrize("task", ["classify", "generate"])
def test_t01_t03_killed_at_seeded_moments_ends_in_the_same_weights(
    task: str, data: Made, planned_run: Made, whole: Made, child: Child, same: Same, tmp_path: Path
) -> None:
    plan, rng, out = planned_run(task), random.Random(f"kill {task}"), tmp_path / "run"
    for number in range(2):
        process = child(train, data(task), task, out, plan=None if number else plan, resume=bool(number))
        # seeded: after so many new checkpoints, and so many milliseconds more
        state, count = out / "checkpoint.safetensors", rng.randrange(1, 3)
        seen = {state.stat().st_mtime_ns} if number else set()

        def news(state: Path = state, seen: set[int] = seen, count: int = count, known: int = number) -> bool:
            if state.exists():
                seen.add(state.stat().st_mtime_ns)
            return len(seen) >= count + known

        until(news, process)
        time.sleep(rng.random() * 0.05)
        killed(process)
        _checkpoint.load(state)
    assert not (out / "manifest.json").exists()
    same(goes_on(out, task, data(task), plan), whole(task))
    Run(out).check_hashes()
    assert not list(out.rglob(".part-*")) and not (out / ".lock").exists()


def test_t01_t03_killed_before_and_while_a_state_is_written(
    data: Made, planned_run: Made, whole: Made, child: Child, same: Same, tmp_path: Path
) -> None:
    plan, out = planned_run("classify"), tmp_path / "run"
    state = out / "checkpoint.safetensors"
    process = child(train, data("classify"), "classify", out, plan=plan)
    until(lambda: (out / "plan.json").exists(), process)
    killed(process)
    early = goes_on(out, "classify", data("classify"), plan)
    shutil.rmtree(out)
    for _ in range(30):
        # caught between the first byte of a new state and its rename, with an older state there
        process = child(train, data("classify"), "classify", out, plan=plan)
        until(state.exists, process)
        while process.is_alive():
            if list(out.glob(".part-*.safetensors")):
                halted(process)
                if list(out.glob(".part-*.safetensors")):
                    break
                os.kill(process.pid or 0, signal.SIGCONT)
        caught = process.is_alive()
        killed(process)
        if caught:
            break
        shutil.rmtree(out)
    else:
        pytest.fail("never caught while writing")
    assert list(out.glob(".part-*.safetensors")) and not (out / "weights").exists()
    same(goes_on(out, "classify", data("classify"), plan), whole("classify"))
    same(early, whole("classify"))
    assert not list(out.rglob(".part-*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_t15_a_signal_saves_and_ends_with_its_code(
    number: signal.Signals, code: int, data: Made, planned_run: Made, whole: Made, same: Same, tmp_path: Path
) -> None:
    out, words = tmp_path / "run", [sys.executable, "-m", "hilum.cli.main", "train", str(data("segment"))]
    words += ["--task", "segment", "--out", str(out), "--plan", str(planned_run("segment"))]
    env = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "300"}
    process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until((out / "checkpoint.safetensors").exists)
    began = time.monotonic()
    process.send_signal(number)
    _, heard = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, heard
    assert time.monotonic() - began < GRACE * crowd()
    step = _checkpoint.load(out / "checkpoint.safetensors")["step"]
    assert f"hilum: stopped by signal {number.value} after step {step}; the state is saved" in heard
    assert 1 <= step < 8 and "Traceback" not in heard and not (out / ".lock").exists()
    train(data("segment"), "segment", out, resume=True)
    same(out, whole("segment"))


@pytest.mark.parametrize("task", ["classify", "generate"])
@pytest.mark.parametrize("asked", [4, 8])
def test_t15_a_signal_in_a_validation_breaks_it_off_and_a_resumed_run_does_it_first(
    asked: int, task: str, data: Made, planned_run: Made, same: Same, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was heeded after the round, for which a scheduler may not wait. 8 is the last step."""
    made, told, checked = list[_guards.Signals](), [0], list[tuple[int, int]]()
    real = _batches.check

    class Noted(_guards.Signals):
        def __enter__(self) -> _guards.Signals:
            made.append(self)
            return self

    def check(*words: Any) -> Iterator[Any]:
        for number, batch in enumerate(real(*words)):
            checked.append((told[0], number))
            if told[0] == asked and number == 1:
                # a real one would end the process of the tests where they do not run in its main thread
                made[-1].seen = signal.SIGTERM
            yield batch

    def tell(name: str, done: int, total: int, note: str = "") -> None:
        told[0] = done if name == "train" else told[0]

    # rounds of a run this short would be of one batch
    monkeypatch.setattr(_batches, "check_count", lambda plan, cases: min(2, cases))
    monkeypatch.setattr(_guards, "Signals", Noted)
    whole, parts, plan = tmp_path / "whole", tmp_path / "parts", planned_run(task)
    train(data(task), task, whole, plan=plan)
    monkeypatch.setattr(_batches, "check", check)
    with pytest.raises(Stopped) as stop:
        train(data(task), task, parts, plan=plan, progress=tell)
    assert stop.value.code == 143 and checked[-1] == (asked, 1)
    assert _checkpoint.load(parts / "checkpoint.safetensors")["step"] == asked
    with open(parts / "log.csv", encoding="utf-8") as stream:
        assert [int(row["step"]) for row in csv.DictReader(stream)] == list(range(2, asked, 2))
    told[0], seen = 0, len(checked)
    train(data(task), task, parts, resume=True, progress=tell)
    assert checked[seen] == (0, 0), "the round comes before any step"
    same(parts, whole)
    Run(parts).check_hashes()


def test_t15_a_signal_before_the_first_step_leaves_nothing(data: Made, planned_run: Made, tmp_path: Path) -> None:
    out, words = tmp_path / "run", [sys.executable, "-m", "hilum.cli.main", "train", str(data("segment"))]
    words += ["--task", "segment", "--out", str(out), "--plan", str(planned_run("segment"))]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until((out / ".lock").exists)
    process.terminate()
    _, heard = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143 and "hilum: stopped by signal 15 before" in heard and "Traceback" not in heard
    assert not out.exists()


def test_t15_a_second_signal_ends_at_once_and_one_that_is_passed_on_is_no_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, now = signal.getsignal(signal.SIGTERM), [100.0]
    # handlers are those of the main thread, in which tests need not run
    main = threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(_guards, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with _guards.Signals() as signals:
        assert (signal.getsignal(signal.SIGTERM) == signals._note) == main
        for number in (signal.SIGTERM, signal.SIGINT):
            signals._note(number, None)
            now[0] += 0.5
        assert signals.seen == 15
        now[0] += 2
        with pytest.raises(Stopped) as stop:
            signals._note(signal.SIGTERM, None)
        # a scheduler that repeats itself is told what it asked for
        assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
