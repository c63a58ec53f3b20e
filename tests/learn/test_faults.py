"""T03 to T05, T11 to T13, T16: what changes around a run (plan, data, versions, folder, clock), and counted looks."""

import csv
import json
import locale
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.core import run as run_folder
from hilum.core.atomic import write_text
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.core.lock import locked
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.io import raster
from hilum.learn import _checkpoint, _guards, _loop, _versions
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared
from hilum.verbs import _held
from hilum.verbs.evaluate import evaluate
from hilum.verbs.plan import complete
from hilum.verbs.train import train

Begin = Callable[..., Training]
Folder = Callable[[str], Path]
Made = Callable[..., Path]
PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]
Same = Callable[[Path, Path], None]
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _every_round_is_saved(monkeypatch: Patch) -> None:
    """A busy machine saves slowly, and slow savings are spared."""
    monkeypatch.setattr(_loop, "QUICK", float("inf"))


def at(step: int, act: Callable[[], object]) -> Callable[..., None]:
    """A listener that acts once after that step."""

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if name == "train" and done == step:
            act()

    return progress


@pytest.fixture
def stopped(planned_run: Made, ready: Ready, begin: Begin, tmp_path: Path) -> Path:
    """A classify run that was cut off after step 5 of 8."""

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    plan = Plan.read(planned_run("classify"))
    with pytest.raises(Killed):
        begin(tmp_path / "run", plan, ready("classify"), at(5, kill)).run(False)
    return tmp_path / "run"


def test_t04_another_plan_is_refused_and_the_difference_shown(stopped: Path, begin: Begin, ready: Ready) -> None:
    plan = Plan.read(stopped / "plan.json")
    other = plan.edited({"learning.rate": 0.5, "batch": 4})
    with pytest.raises(HilumError) as error:
        begin(stopped, other, ready("classify")).run(True)
    assert error.value.code == "HIL-T04"
    assert "learning.rate: 0.001, now 0.5" in error.value.seen and "batch: 2, now 4" in error.value.seen


def test_t04_other_versions_and_other_code_are_refused_unless_accepted(
    stopped: Path, begin: Begin, ready: Ready, monkeypatch: Patch
) -> None:
    plan, here = Plan.read(stopped / "plan.json"), _versions.here()
    monkeypatch.setattr(_versions, "here", lambda: here | {"torch": "1.0", "code": "abc"})
    with pytest.raises(HilumError) as error:
        begin(stopped, plan, ready("classify")).run(True)
    assert error.value.code == "HIL-T04" and f'torch: "{here["torch"]}", now "1.0"' in error.value.seen
    assert 'now "abc"' in error.value.seen and "--accept T04" in error.value.remedy
    begin(stopped, plan, ready("classify"), accept=["T04"]).run(True)
    assert _checkpoint.load(stopped / "checkpoint.safetensors")["step"] == 8


def test_t04_another_version_of_what_networks_are_built_of_is_refused(plan_of: PlanOf, monkeypatch: Patch) -> None:
    """segresnet, mednext and swin_unetr are built of MONAI's parts."""

    def named(**others: str | None) -> dict[str, str]:
        def of(name: str) -> str:
            if others.get(name, "") is None:
                raise PackageNotFoundError(name)
            return others.get(name) or version(name)

        monkeypatch.setattr(_versions, "version", of)
        _versions.here.cache_clear()
        return _versions.here()

    plan = plan_of("classify")
    try:
        named(monai="1.4.0")
        made = _versions.origin(plan)
        assert {"monai", "lightning-fabric", "scikit-image"} <= made["versions"].keys()
        named(monai="1.5.0")
        with pytest.raises(HilumError, match=r'monai: "1\.4\.0", now "1\.5\.0"') as error:
            _versions.check(made, plan, 1, False)
        assert error.value.code == "HIL-T04"
        # states of before do not name it, and where it is gone or came it had no share
        before = {name: v for name, v in made["versions"].items() if name not in _versions.LATER}
        _versions.check(made | {"versions": before}, plan, 1, False)
        assert "monai" not in named(monai=None)
        _versions.check(made, plan, 1, False)
    finally:
        _versions.here.cache_clear()


def test_t04_an_edited_split_csv_of_an_unfinished_run_is_refused(
    trained: Callable[[str], Run], data: Folder, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained("classify").path, run)
    # a finished one would stay as it is
    (run / "manifest.json").unlink()
    rows, events = Run(run).split(), len(Run(run).ledger())
    swapped = {"train": "val", "val": "train"}
    run_folder.write_rows(run / "split.csv", [row | {"part": swapped.get(row["part"], row["part"])} for row in rows])
    with pytest.raises(HilumError, match=r"split\.csv was edited") as error:
        train(data("classify"), "classify", run, resume=True, accept=["T04"])
    assert error.value.code == "HIL-T04" and len(Run(run).ledger()) == events
    run_folder.write_rows(run / "split.csv", rows)
    train(data("classify"), "classify", run, resume=True)


def test_t04_cases_in_other_parts_than_the_state_was_made_with_are_refused(
    stopped: Path, begin: Begin, ready: Ready
) -> None:
    run = begin(stopped, Plan.read(stopped / "plan.json"), ready("classify"))
    units = [(case, part) for part, cases in run.parts.items() for case in cases]
    assert _versions.cut(units) != _versions.cut([(case, "train") for case, _ in units])
    run.cut = _versions.cut(units[:-1])
    with pytest.raises(HilumError, match=r"split\.csv is not the one") as error:
        run.run(True)
    assert error.value.code == "HIL-T04"
    # states of before do not say it
    _versions.check_cut(None, run.cut)


def test_t04_another_kind_of_device_is_refused_unless_accepted(plan_of: PlanOf, short: tuple[Plan, Path]) -> None:
    plan = plan_of("classify")
    made = _versions.origin(plan, 1, "cuda")
    with pytest.raises(HilumError) as error:
        _versions.check(made, plan, 1, False, "cpu")
    assert error.value.code == "HIL-T04" and 'device: "cuda", now "cpu"' in error.value.seen
    _versions.check(made, plan, 1, True, "cpu")
    _versions.check(made, plan, 1, False, "cuda")
    # states of before say nothing of it
    _versions.check({k: v for k, v in made.items() if k != "device"}, plan, 1, False, "cpu")
    assert _checkpoint.load(short[1] / "checkpoint.safetensors")["origin"]["device"] in ("cpu", "cuda")


def test_t04_settings_that_came_since_are_no_difference(plan_of: PlanOf) -> None:
    """--accept T04, which goes on with another Hilum, was refused by settings that the older one did not have."""
    plan = complete(plan_of("classify"))
    made = _versions.origin(plan)
    for gone in ("wrappers", "store_bytes"):
        del made["plan"][gone]
    del made["plan"]["learning"]["patience"]
    _versions.check(made, plan, 1, False)
    other = plan.model_copy(update={"learning": plan.learning | {"rate": 0.5}})
    with pytest.raises(HilumError, match=r"learning\.rate"):
        _versions.check(made, other, 1, True)


def test_t03_an_early_stop_comes_at_the_same_step_after_a_kill(
    plan_of: PlanOf, ready: Ready, begin: Begin, same: Same, curve: Callable[[Path], list[dict[str, str]]],
    tmp_path: Path,
) -> None:  # fmt: skip
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    # a network that learns nothing is not better in any round after the first
    words = {"learning.patience": 0.4, "learning.rate": 1e-12, "learning.keep": "best", "learning.ema": 0.5}
    plan, seen = plan_of("classify", 12, **words), ready("classify")
    begin(tmp_path / "whole", plan, seen).run(False)
    with pytest.raises(Killed):
        begin(tmp_path / "parts", plan, seen, at(4, kill)).run(False)
    for _ in range(2):
        # the second time it is done, and stays as it is
        begin(tmp_path / "parts", plan, seen).run(True)
        same(tmp_path / "whole", tmp_path / "parts")
    assert int(curve(tmp_path / "whole")[-1]["step"]) < 12


def test_t03_deterministic_algorithms_are_on_while_learning_and_give_the_same_run(
    plan_of: PlanOf, ready: Ready, begin: Begin, same: Same, tmp_path: Path
) -> None:
    seen: list[bool] = []

    def progress(*_: object) -> None:
        seen.append(torch.are_deterministic_algorithms_enabled())

    plan = plan_of("classify", 4, **{"learning.deterministic": True})
    for name in ("one", "other"):
        begin(tmp_path / name, plan, ready("classify"), progress).run(False)
    same(tmp_path / "one", tmp_path / "other")
    assert seen and all(seen) and not torch.are_deterministic_algorithms_enabled()


def test_t03_an_operation_without_a_deterministic_form_is_refused(
    plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path, monkeypatch: Patch
) -> None:
    def step(*_: object) -> None:
        torch.zeros(4).put_(torch.tensor([0, 0]), torch.ones(2))

    plan = plan_of("classify", 4, **{"learning.deterministic": True})
    run = begin(tmp_path / "run", plan, ready("classify"))
    monkeypatch.setattr(run.regime, "step", step)
    with pytest.raises(HilumError) as error:
        run.run(False)
    assert error.value.code == "HIL-LEARN-07" and "put_" in error.value.seen
    assert not torch.are_deterministic_algorithms_enabled()


def test_t04_a_split_column_that_says_otherwise_is_refused(
    trained: Callable[[str], Run], data: Folder, tmp_path: Path
) -> None:
    run, folder, swapped = tmp_path / "run", tmp_path / "slices", {"val": "test", "test": "val"}
    shutil.copytree(trained("classify").path, run)
    shutil.copytree(data("classify"), folder)
    rows = [{"case": row["case"], "split": row["part"]} for row in Run(run).split()]
    run_folder.write_rows(folder / "cases.csv", rows)
    train(folder, "classify", run, resume=True)
    rows = [row | {"split": swapped.get(row["split"], row["split"])} for row in rows]
    run_folder.write_rows(folder / "cases.csv", rows)
    with pytest.raises(HilumError) as error:
        train(folder, "classify", run, resume=True)
    assert error.value.code == "HIL-T04" and "unchanged data" in error.value.remedy
    moved = [row["case"] for row in Run(run).split() if row["part"] == "val"]
    assert "lie in another part" in error.value.seen and f"{moved[0]} (val, now test)" in error.value.seen


def test_t04_t05_the_command_refuses_to_resume_with_other_options_or_nothing(
    trained: Callable[[str], Run], data: Folder, hilum: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    words = ["train", data("classify"), "--task", "classify", "--resume", "--out"]
    run = trained("classify").path
    for more in (
        ["--steps", 9], ["--set", "learning.rate=0.1"], ["--net", "resnet"], ["--seed", 5], ["--minutes", 1],
        ["--memory", "2GB"], ["--plan", run / "plan.json"], ["--start", run],
    ):  # fmt: skip
        code, _, heard = hilum(*words, run, *more)
        assert code == 2 and "[HIL-T04]" in heard
    code, _, heard = hilum(*words, tmp_path / "none")
    assert code == 2 and "[HIL-RUN-01]" in heard and not (tmp_path / "none").exists()
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    before = sorted(p.name for p in (tmp_path / "run").iterdir())
    code, _, heard = hilum(*words, tmp_path / "run")
    assert code == 2 and "[HIL-T05]" in heard and sorted(p.name for p in (tmp_path / "run").iterdir()) == before


def test_t04_what_the_data_have_more_less_and_otherwise_is_said(
    trained: Callable[[str], Run], data: Folder, tmp_path: Path
) -> None:
    run, folder = tmp_path / "run", tmp_path / "slices"
    shutil.copytree(trained("classify").path, run)
    shutil.copytree(data("classify"), folder)
    first, second, third = sorted((folder / "healthy").glob("*.png"))[:3]
    first.unlink()
    raster.write(second, Image(raster.read(second).array[:, ::-1]))
    (folder / "healthy" / "more.png").write_bytes(third.read_bytes())
    write_text(folder / "dataset.yaml", "ignore: 255\n")
    with pytest.raises(HilumError) as error:
        train(folder, "classify", run, resume=True)
    assert error.value.code == "HIL-T04"
    for words in (
        f"1 is gone (healthy/{first.stem})", f"1 has changed (healthy/{second.stem})", "1 is more (healthy/more)",
        "ignore: null, now 255",
    ):  # fmt: skip
        assert words in error.value.seen


@pytest.mark.parametrize("word", ["T04", "HIL-T04", "hil-t04"])
def test_t04_is_accepted_as_the_table_of_errors_calls_it(
    word: str, trained: Callable[[str], Run], data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained("classify").path, run)
    # a finished one would stay as it is
    (run / "manifest.json").unlink()
    monkeypatch.setattr(_versions, "here", lambda: {"torch": "0.1"})
    with pytest.raises(HilumError, match="HIL-T04"):
        train(data("classify"), "classify", run, resume=True)
    with pytest.raises(HilumError, match=r"T09 is accepted in a dataset\.yaml.*HIL-PLAN-03"):
        train(data("classify"), "classify", run, resume=True, accept=["T09"])
    train(data("classify"), "classify", run, resume=True, accept=[word])


@pytest.mark.parametrize("how", ["change", "vanish"])
def test_t11_a_file_that_changes_or_vanishes_stops_the_run_by_name(
    how: str, data: Folder, planned_run: Made, whole: Made, same: Same, tmp_path: Path
) -> None:
    folder, out = tmp_path / "slices", tmp_path / "run"
    shutil.copytree(data("classify"), folder)
    train_case = next(row["case"] for row in Run(whole("classify")).split() if row["part"] == "train")
    path = next(p for p in folder.rglob("*") if p.is_file() and p.with_suffix("").as_posix().endswith(train_case))
    kept = path.read_bytes()

    def touch() -> None:
        path.write_bytes(kept + b"x") if how == "change" else path.unlink()

    with pytest.raises(HilumError) as error:
        train(folder, "classify", out, plan=planned_run("classify"), progress=at(4, touch))
    assert error.value.code == "HIL-T11" and str(path) in error.value.seen and "--resume" in error.value.remedy
    assert _checkpoint.load(out / "checkpoint.safetensors")["step"] < 5
    if how == "vanish":
        with pytest.raises(HilumError) as error:
            train(folder, "classify", out, resume=True)
        assert error.value.code == "HIL-T04"
    path.write_bytes(kept)
    train(folder, "classify", out, resume=True)
    same(out, whole("classify"))


def test_t11_a_file_that_a_batch_misses_is_said_to_have_vanished(
    data: Folder, planned_run: Made, tmp_path: Path
) -> None:
    """Of cases that do not lie in memory the files are read again and again, long before a round asks."""
    # of 40 steps a round comes every ten: what the second batch misses is met before it
    folder, plan = tmp_path / "slices", json.loads(planned_run("classify", 40).read_text())
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"store_bytes": 1}))
    shutil.copytree(data("classify"), folder)

    def remove() -> None:
        for path in folder.rglob("*.png"):
            path.unlink()

    with pytest.raises(HilumError) as error:
        train(folder, "classify", tmp_path / "run", plan=tmp_path / "plan.json", progress=at(1, remove))
    assert error.value.code == "HIL-T11" and "has vanished" in error.value.seen and "--resume" in error.value.remedy


def test_t11_a_file_that_changes_while_cases_are_prepared_is_noticed(
    data: Folder, planned_run: Made, whole: Made, tmp_path: Path
) -> None:
    folder = tmp_path / "slices"
    shutil.copytree(data("classify"), folder)
    train_case = next(row["case"] for row in Run(whole("classify")).split() if row["part"] == "train")

    def change(name: str, done: int, total: int, note: str = "") -> None:
        if name == "prepare" and done == 1:
            path = folder / f"{train_case}.png"
            path.write_bytes(path.read_bytes() + b"x")

    with pytest.raises(HilumError, match="HIL-T11"):
        train(folder, "classify", tmp_path / "run", plan=planned_run("classify"), progress=change)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("job", ["look at the images", "calibrate"])
def test_t11_a_file_that_changes_before_or_after_the_steps_is_noticed(
    job: str, data: Folder, planned_run: Made, whole: Made, same: Same, tmp_path: Path
) -> None:
    """It had been fingerprinted, and was learned from as it was later; only `--resume` said that it is another one."""
    folder, out = tmp_path / "slices", tmp_path / "run"
    shutil.copytree(data("classify"), folder)
    path = folder / next(f"{row['case']}.png" for row in Run(whole("classify")).split() if row["part"] == "train")
    kept = path.read_bytes()

    def change(name: str, done: int, total: int, note: str = "") -> None:
        if (name, done) == (job, total):
            path.write_bytes(kept + b"x")

    with pytest.raises(HilumError) as error:
        train(folder, "classify", out, plan=planned_run("classify"), progress=change)
    assert error.value.code == "HIL-T11" and f"{path} has changed" in error.value.seen
    if job == "look at the images":
        assert not out.exists()
        return
    assert not [event for event in Run(out).ledger() if event["event"] == "train"]
    path.write_bytes(kept)
    train(folder, "classify", out, resume=True)
    same(out, whole("classify"))


def test_t11_a_signal_saves_nothing_that_was_learned_since_a_file_changed(
    data: Folder, planned_run: Made, whole: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out, made = tmp_path / "slices", tmp_path / "run", list[_guards.Signals]()

    class Noted(_guards.Signals):
        def __enter__(self) -> _guards.Signals:
            made.append(self)
            return self

    monkeypatch.setattr(_guards, "Signals", Noted)
    shutil.copytree(data("classify"), folder)
    train_case = next(row["case"] for row in Run(whole("classify")).split() if row["part"] == "train")
    path = next(p for p in folder.rglob("*") if p.is_file() and p.with_suffix("").as_posix().endswith(train_case))

    def change_and_ask() -> None:
        path.write_bytes(path.read_bytes() + b"x")
        # a real one would end the process of the tests where they do not run in its main thread
        made[-1].seen = signal.SIGTERM

    # no round ends at step 5, so that only the signal would save
    with pytest.raises(HilumError) as error:
        train(folder, "classify", out, plan=planned_run("classify"), progress=at(5, change_and_ask))
    assert error.value.code == "HIL-T11" and str(path) in error.value.seen
    assert _checkpoint.load(out / "checkpoint.safetensors")["step"] == 4


def halted(process: BaseProcess) -> None:
    """Stop the process where it is, and wait until it stands still."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    stat, end = Path(f"/proc/{process.pid}/stat"), time.monotonic() + 60
    while stat.read_text().rpartition(")")[2].split()[0] not in "TZ":
        assert time.monotonic() < end
        time.sleep(0.001)


def test_t12_two_runs_in_one_folder_and_a_lock_left_by_a_kill(
    data: Folder, planned_run: Made, whole: Made, same: Same, child: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    out, plan = tmp_path / "run", planned_run("classify")
    first = child(train, data("classify"), "classify", out, plan=plan)
    end = time.monotonic() + 120
    while not (out / "checkpoint.safetensors").exists() and time.monotonic() < end:
        time.sleep(0.001)
    try:
        # its few steps would be done before the others are refused
        halted(first)
        for words in ({"resume": True}, {"plan": plan}):
            with pytest.raises(HilumError) as error:
                train(data("classify"), "classify", out, **words)  # type: ignore[arg-type]
            assert error.value.code == ("HIL-T12" if "resume" in words else "HIL-CORE-03")
            assert first.is_alive() and ("plan" in words or str(first.pid) in error.value.seen)
    finally:
        first.kill()
        first.join(60)
    assert (out / ".lock").exists()
    train(data("classify"), "classify", out, resume=True)
    same(out, whole("classify"))
    assert not (out / ".lock").exists()


@pytest.mark.parametrize(("ended", "code"), [(False, "HIL-T12"), (True, "HIL-CORE-03")])
def test_t12_a_run_that_comes_second_takes_nothing_of_the_first(
    ended: bool, code: str, data: Folder, planned_run: Made, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Both saw an empty folder; the other one was faster by a hair, or is even done."""
    out, plan, honest = tmp_path / "run", planned_run("classify"), _held.new_folder
    other = locked(out)

    def just_after(path: Path) -> Path:
        honest(path)
        other.__enter__()
        (out / "plan.json").write_text("the other's")
        if ended:
            other.__exit__(None, None, None)
        return path

    monkeypatch.setattr(_held, "new_folder", just_after)
    with pytest.raises(HilumError) as error:
        train(data("classify"), "classify", out, plan=plan)
    assert error.value.code == code and (out / "plan.json").read_text() == "the other's"
    if not ended:
        assert (out / ".lock").exists()
        other.__exit__(None, None, None)
    assert [p.name for p in out.iterdir()] == ["plan.json"]


def test_t12_a_lock_is_free_when_its_holder_is_done(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(HilumError) as error, locked(tmp_path):
        pass
    assert error.value.code == "HIL-T12"
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text().isdigit()
    assert not list(tmp_path.iterdir())


def test_t13_a_clock_that_jumps_back_changes_nothing(
    data: Folder, planned_run: Made, whole: Made, same: Same, tmp_path: Path, monkeypatch: Patch
) -> None:
    now = [2e9]

    def earlier() -> float:
        now[0] -= 3600
        return now[0]

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(earlier(), tz)

    monkeypatch.setattr(time, "time", earlier)
    monkeypatch.setattr(run_folder, "datetime", Backwards)
    out = tmp_path / "run"
    train(data("classify"), "classify", out, plan=planned_run("classify"))
    assert now[0] < 2e9
    same(out, whole("classify"))
    # durations come from a clock that only goes forward
    with open(out / "log.csv", newline="", encoding="utf-8") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
    assert seconds == sorted(seconds) and seconds[0] > 0
    Run(out).record("twice", {})
    first, second = Run(out).ledger()
    assert second["when"] < first["when"]


def test_t13_spaces_and_letters_of_all_kinds_in_every_path(
    data: Folder, planned_run: Made, whole: Made, same: Same, tmp_path: Path
) -> None:
    folder, plan = tmp_path / "große Bilder 影像" / "mine, and yours", tmp_path / "mein Plan ü.json"
    shutil.copytree(data("classify"), folder)
    shutil.copy(planned_run("classify"), plan)
    out = tmp_path / "Läufe 1;2" / "run (é) %s {x}"
    train(folder, "classify", out, plan=plan)
    same(out, whole("classify"))
    Run(out).check_hashes()


def with_commas(folder: Path, patch: Patch) -> None:
    """Make a locale with decimal commas, as fresh machines have none, where the system has what it is made of."""
    made, maker = folder / "de_DE.UTF-8", Path("/usr/bin/localedef")
    if maker.exists():
        folder.mkdir()
        words = [str(maker), "-c", "-i", "de_DE", "-f", "UTF-8", str(made)]
        subprocess.run(words, capture_output=True, timeout=60, check=False)
    if (made / "LC_NUMERIC").is_file():
        # the system looks there first, and no longer into its archive of locales
        patch.setenv("LOCPATH", str(folder))


def test_t13_decimal_commas_of_the_system_stay_outside(
    planned_run: Made, ready: Ready, begin: Begin, whole: Made, same: Same, tmp_path: Path, monkeypatch: Patch
) -> None:
    before = locale.setlocale(locale.LC_ALL)
    with monkeypatch.context() as patch:
        with_commas(tmp_path / "locales", patch)
        for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "fr_FR.utf8"):
            try:
                locale.setlocale(locale.LC_ALL, name)
                break
            except locale.Error:
                continue
        else:
            pytest.skip("no locale with decimal commas is here, and none can be made")
    try:
        assert locale.localeconv()["decimal_point"] == ","
        begin(tmp_path / "run", Plan.read(planned_run("classify")), ready("classify")).run(False)
    finally:
        locale.setlocale(locale.LC_ALL, before)
    same(tmp_path / "run", whole("classify"))


def test_t16_looks_at_every_part_are_counted_and_stay_in_the_chain(
    trained: Callable[[str], Run], data: Folder, tmp_path: Path
) -> None:
    """Choosing a threshold on val is no look at test; both are counted."""
    run = tmp_path / "run"
    shutil.copytree(trained("classify").path, run)
    (run / "ledger.jsonl").unlink()
    for number, part in enumerate(["val", "test", "val", "test", "val"]):
        evaluate(run, data("classify"), tmp_path / str(number), part=part)
    seen = [(e["part"], e["look"]) for e in Run(run).ledger()]
    assert seen == [("val", 1), ("test", 1), ("val", 2), ("test", 2), ("val", 3)]
    lines = (run / "ledger.jsonl").read_text().splitlines(keepends=True)
    (run / "ledger.jsonl").write_text("".join(lines[:1] + lines[2:]))
    with pytest.raises(HilumError) as error:
        Run(run).ledger()
    assert error.value.code == "HIL-RUN-04"


def test_n15_all_cases_whose_label_the_given_plan_does_not_know_are_named(
    data: Folder, plan_of: PlanOf, tmp_path: Path
) -> None:
    """With --plan the first was refused, without its name."""
    plan = plan_of("segment", 2)
    value = plan.classes[-1].value
    classes = [c.model_dump() for c in plan.classes if c.value != value]
    plan.edited({"classes": classes, "data.labels": {c["name"]: c["value"] for c in classes}}).write(
        tmp_path / "plan.json"
    )
    with pytest.raises(HilumError) as error:
        train(data("segment"), "segment", tmp_path / "run", plan=tmp_path / "plan.json")
    assert error.value.code == "HIL-N15" and not (tmp_path / "run").exists()
    found = {path.name for path in (data("segment") / "labels").iterdir() if path.name in error.value.seen}
    # those of the training and the validation part
    assert len(found) > 1 and f"{len(found)} of {len(found)} cases can not be learned from" in error.value.seen
    assert f"values [{value}] that are no class of the plan" in error.value.seen


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_t10_all_cases_of_a_class_that_the_given_plan_does_not_know_are_named(
    task: str, data: Folder, plan_of: PlanOf, ready: Ready, begin: Begin, tmp_path: Path
) -> None:
    plan = plan_of(task, 2)
    others = [{"value": c.value, "name": f"other {n}"} for n, c in enumerate(plan.classes)]
    training = begin(tmp_path / "run", plan.edited({"classes": others}), ready(task))
    cases = training.parts["train"] + training.parts["val"]
    with pytest.raises(HilumError) as error:
        training.run(False)
    assert error.value.code == "HIL-T10" and f"of {len(cases)} cases can not be learned from" in error.value.seen
    odd = [c.id for c in cases if c.boxes is None or len(c.boxes)]
    assert len(odd) > 1 and all(f"Case {name} has" in error.value.seen for name in odd[: _guards.SHOWN])


def test_of_many_refusals_ten_are_written_out() -> None:
    faults = [HilumError("HIL-N15", f"The label of case {n} is odd", "Mend it") for n in range(12)]
    assert _guards.together(faults[:1], 20) is faults[0]
    found = _guards.together(faults, 20)
    assert found.seen.startswith("12 of 20 cases can not") and "case 9 is odd; and 2 more" in found.seen
    assert "case 10" not in found.seen and found.remedy == "Mend it"
