"""T02: a disk that fails at the n-th open, write, sync or rename leaves whole state behind."""

import builtins
import errno
import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError

from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.learn import _checkpoint, _guards, _pace
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared
from hilum.verbs import train as verb

Begin = Callable[..., Training]
PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]
Same = Callable[[Path, Path], None]
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
WRAPPED = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
# What safetensors makes of a full disk.


class Disk:
    """Counts what is asked of the disk under a folder (open for writing, write, sync, rename); the n-th fails."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path, fails: int = -1, code: int = errno.ENOSPC) -> None:
        self.root, self.fails, self.code, self.asked = root, fails, code, 0
        self._patch = patch
        opened, synced, renamed, made = io.open, os.fsync, os.replace, tempfile.mkstemp
        written, saved = Path.write_text, safetensors.torch.save_file

        def open_(file: Any, mode: str = "r", *words: Any, **named: Any) -> Any:
            if set(mode) & set("wax+"):
                self.ask(file)
            return opened(file, mode, *words, **named)

        def fsync(handle: int) -> None:
            self.ask(os.readlink(f"/proc/self/fd/{handle}"))
            synced(handle)

        def replace(old: Any, new: Any, **named: Any) -> None:
            self.ask(new)
            renamed(old, new, **named)

        def mkstemp(*words: Any, **named: Any) -> Any:
            self.ask(named["dir"])
            return made(*words, **named)

        def write_text(path: Path, text: str, *words: Any, **named: Any) -> int:
            try:
                self.ask(path)
            except OSError:
                with opened(path, "w") as stream:
                    stream.write(text[: len(text) // 2])
                raise
            return written(path, text, *words, **named)

        def save_file(tensors: Any, path: Any, *words: Any, **named: Any) -> None:
            saved(tensors, path, *words, **named)
            try:
                self.ask(path)
            except OSError:
                os.truncate(path, os.path.getsize(path) // 2)
                raise

        for where, name, new in (
            (builtins, "open", open_), (io, "open", open_), (os, "fsync", fsync), (os, "replace", replace),
            (tempfile, "mkstemp", mkstemp), (Path, "write_text", write_text),
            (safetensors.torch, "save_file", save_file),
        ):  # fmt: skip
            patch.setattr(where, name, new)

    def ask(self, path: Any) -> None:
        """One more thing; fails when it is its turn."""
        if not isinstance(path, int) and Path(os.fspath(path)).is_relative_to(self.root):
            self.asked += 1
            if self.asked == self.fails:
                raise OSError(self.code, os.strerror(self.code), str(path))


def test_t02_whatever_the_disk_refuses_while_training_the_state_before_is_whole(
    whole_or_absent: Callable[[Path], None],
    short: tuple[Plan, Path],
    ready: Ready,
    begin: Begin,
    same: Same,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, whole = short
    # the dry step writes nothing
    monkeypatch.setattr(_pace, "dry_step", lambda training: None)
    with monkeypatch.context() as patch:
        training = begin(tmp_path / "count", plan, ready("classify"))
        disk = Disk(patch, tmp_path)
        training.run(False)
        count = disk.asked
    same(tmp_path / "count", whole)
    assert count > 20
    resumed = set()
    for number in range(1, count + 1):
        out = tmp_path / f"fails{number}"
        training = begin(out, plan, ready("classify"))
        with monkeypatch.context() as patch:
            Disk(patch, tmp_path, number, ERRORS[number % len(ERRORS)])
            with pytest.raises((HilumError, OSError)) as error:
                training.run(False)
        # OSError is the plan's own first writing, which the command line makes a sentence (HIL-CORE-04)
        assert isinstance(error.value, OSError) or error.value.code == "HIL-T02", error.value
        whole_or_absent(out)
        state = out / "checkpoint.safetensors"
        if state.exists():
            step = _checkpoint.load(state)["step"]
            if step not in resumed or number == count:
                begin(out, plan, ready("classify")).run(True)
                same(out, whole)
            resumed.add(step)
        shutil.rmtree(out)
    assert resumed == {0, 2}


def test_t02_whatever_the_disk_refuses_around_training_is_taken_back_or_can_be_resumed(
    whole_or_absent: Callable[[Path], None],
    short: tuple[Plan, Path], data: Callable[[str], Path], ready: Ready, same: Same, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plan, whole = short
    plan.write(tmp_path / "plan.json")
    out, counting = tmp_path / "out" / "run", [True]

    def learned(folder: Path, *_: object, **__: object) -> None:
        """Stands for the loop: the files that it leaves, in its order."""
        for name in ("plan.json", "checkpoint.safetensors", "weights/net.safetensors", "log.csv"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(whole / name, folder / name)

    monkeypatch.setattr(verb, "launch", learned)
    monkeypatch.setattr(verb, "look", lambda *_: ready("classify"))
    number = 0
    while True:
        number += 1
        with monkeypatch.context() as patch:
            disk = Disk(patch, out, number, ERRORS[number % len(ERRORS)])
            try:
                verb.train(data("classify"), "classify", out, plan=tmp_path / "plan.json")
            except (HilumError, OSError) as error:
                assert isinstance(error, OSError) or error.code == "HIL-T02"
            counting = [disk.asked >= number]
        if not counting[0]:
            break
        if out.exists():
            whole_or_absent(out)
            verb.train(data("classify"), "classify", out, resume=True)
            same(out, whole)
        whole_or_absent(out.parent)
        shutil.rmtree(out, ignore_errors=True)
    assert number > 20
    Run(out).check_hashes()
    assert [e["event"] for e in Run(out).ledger()] == ["train"]


@pytest.fixture
def little() -> Iterator[Callable[[int], None]]:
    """little(bytes): from now on no file of this process grows beyond that, whoever writes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_t02_tensors_that_the_system_itself_refuses(
    whole_or_absent: Callable[[Path], None],
    short: tuple[Plan, Path],
    ready: Ready,
    begin: Begin,
    same: Same,
    little: Callable[[int], None],
    tmp_path: Path,
) -> None:
    plan, whole = short
    size = (whole / "checkpoint.safetensors").stat().st_size
    out = tmp_path / "run"

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if name == "train" and done == 1:
            little(size // 2)

    with pytest.raises(HilumError) as error:
        begin(out, plan, ready("classify"), progress).run(False)
    assert error.value.code == "HIL-T02" and "make room" in error.value.remedy
    little(resource.RLIM_INFINITY)
    whole_or_absent(out)
    assert _checkpoint.load(out / "checkpoint.safetensors")["step"] == 0
    begin(out, plan, ready("classify")).run(True)
    same(out, whole)


def test_t02_a_disk_that_is_really_full(data: Callable[[str], Path], short: tuple[Plan, Path], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    short[0].write(tmp_path / "plan.json")
    size = (short[1] / "checkpoint.safetensors").stat().st_size
    # room for one state and not for the second one beside it
    words = f"mount -t tmpfs -o size={(size + (200 << 10)) >> 10}k none {disk}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", words], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a disk of his own")
    command = f"{sys.executable} -m hilum.cli.main train {data('classify')} --task classify --plan {tmp_path}/plan.json"
    script = f"{words} && {{ {command} --out {disk}/run; echo code $?; find {disk} -name '.part*'; ls {disk}/run; }}"
    ended = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=120)
    assert "code 2" in ended.stdout and "Traceback" not in ended.stderr, ended.stderr
    assert "No space left on device" in ended.stderr and "[HIL-T02]" in ended.stderr
    assert "checkpoint.safetensors" in ended.stdout and ".part" not in ended.stdout


def test_t02_a_folder_that_can_not_be_written_is_a_sentence(
    data: Callable[[str], Path], hilum: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "run"
    code, _, heard = hilum("train", data("classify"), "--task", "classify", "--steps", 1, "--out", out)
    assert code == 2 and "[HIL-CORE-04]" in heard and "Traceback" not in heard


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), WRAPPED], ids=["own", "other"])
def test_t02_a_bad_batch_that_can_not_be_kept_is_still_named(
    failure: Exception,
    whole_or_absent: Callable[[Path], None],
    short: tuple[Plan, Path],
    ready: Ready,
    begin: Begin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = begin(tmp_path / "run", short[0], ready("classify"))
    honest = training.regime.step

    def step(state: Any, batch: Any, k: int, update: Any) -> Any:
        return honest(state, batch | {"image": batch["image"] * (float("nan") if k else 1.0)}, k, update)

    def full(tensors: Any, path: Any, **_: Any) -> None:
        raise failure

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if name == "train" and done == 1:
            monkeypatch.setattr(safetensors.torch, "save_file", full)

    training.progress = progress
    monkeypatch.setattr(training.regime, "step", step)
    with pytest.raises(HilumError) as error:
        training.run(False)
    assert error.value.code == "HIL-T06" and "could not be kept" in error.value.seen
    assert "No space left on device" in error.value.seen
    assert "healthy/" in error.value.seen or "lesion/" in error.value.seen
    whole_or_absent(tmp_path / "run")


def test_t02_features_of_a_generator_that_the_disk_refuses_are_a_sentence(
    plan_of: PlanOf, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: Any, path: Any, **_: Any) -> None:
        raise WRAPPED

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    run: Any = SimpleNamespace(path=tmp_path, plan=plan_of("generate"))
    with pytest.raises(HilumError) as error:
        verb._features(run, ready("generate").units(run.plan))
    assert error.value.code == "HIL-T02" and not list(tmp_path.iterdir())


def test_weights_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(HilumError), writing(tmp_path / "a.safetensors") as part:
        safetensors.torch.save_file({"a": torch.ones(3)}, part)
        raise HilumError("HIL-T02", "stop", "here")
    assert not list(tmp_path.iterdir())


def test_t02_a_run_without_a_state_is_not_told_to_go_on(tmp_path: Path) -> None:
    """It is taken back, so that --resume found nothing."""
    with pytest.raises(HilumError) as error, _guards.disk(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.code == "HIL-T02" and "resume" not in error.value.remedy
    (tmp_path / "checkpoint.safetensors").write_bytes(b"whole")
    with pytest.raises(HilumError, match="--resume"), _guards.disk(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
