"""What `make bench` says of where and of what its numbers are: commit, processors, precision."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MINE = ("run", "precision", "machine", "rows", "results")


@pytest.fixture(scope="module")
def script() -> Iterator[Callable[[str], Any]]:
    """Imports a script by its name; afterwards none is left among the modules."""
    before = list(sys.path)
    sys.path[:0] = [str(BENCHMARKS / folder) for folder in ("", "training", "reading")]
    for name in MINE:
        sys.modules.pop(name, None)
    yield importlib.import_module
    sys.path[:] = before
    for name in MINE:
        sys.modules.pop(name, None)


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.mark.parametrize(("name", "where", "below"), [("machine", "REPOSITORY", ""), ("results", "HERE", "benchmarks")])
def test_a_commit_is_marked_where_any_script_was_changed(
    name: str, where: str, below: str, script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts of predict and trust sign their pages by what looked at the folders training and reading alone."""
    files = ["hilum/a.py", "benchmarks/run.py", "benchmarks/predict/b.py", "benchmarks/trust/c.py"]
    files += ["benchmarks/datasets/d.yaml", "benchmarks/results/e.md"]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    module = script(name)
    monkeypatch.setattr(module, where, tmp_path / below)
    assert len(module.commit()) >= 7 and not module.commit().endswith("+")
    for file in files:
        (tmp_path / file).write_text("2\n")
        assert module.commit().endswith("+") == ("results" not in file), file
        (tmp_path / file).write_text("1\n")


def test_bfloat16_is_not_timed_where_it_would_be_imitated(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    precision, written = script("precision"), list[dict[str, Any]]()
    monkeypatch.setattr(precision, "NETS", {})
    monkeypatch.setattr(precision, "write_json", lambda path, facts: written.append(facts))
    place = {"processors": "2 x P", "flags": ["avx512_bf16"]}
    monkeypatch.setattr("hilum.planning.machine.native_half", lambda device="cpu": False)
    precision.measure("x", place)
    assert written == [] and "2 x P: no bfloat16 in this processor" in capsys.readouterr().out
    monkeypatch.setattr("hilum.planning.machine.native_half", lambda device="cpu": True)
    precision.measure("x", place)
    assert (written[0]["hardware"], written[0]["flags"]) == ("2 x P", ["avx512_bf16"])


def test_figures_stand_beside_the_processors_that_made_them(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The table named those of the machine that wrote it, also for cells that were found."""
    run = script("run")
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "_hardware", lambda: "2 x Writer")
    (tmp_path / "results").mkdir()
    metrics = {"metrics": {"dice": {"mean": 0.9, "low": None, "n": 3, "per_class": {}}}, "groups": 3}
    row = {"name": "a", "command": "c", "floor": "-", "commit": "x", "load": 1.0, "train_seconds": 9}
    row |= {"metrics": metrics, "folder": "f", "plan": {"minutes": 1, "steps": 2, "versions": {"torch": "2.1"}}}
    known = row | {"hardware": "2 x Old", "python": "3.11.7"}
    run._write([known, known | {"name": "b"}], "")
    page = (tmp_path / "results" / "first_figures.md").read_text()
    assert "Trained on 2 x Old, Python 3.11.7, torch 2.1 (all)." in page
    run._write([known, row | {"name": "b"}], "")
    page = (tmp_path / "results" / "first_figures.md").read_text()
    assert "2 x Old, Python 3.11.7, torch 2.1 (a). On processors that were not written down, torch 2.1 (b)." in page
    assert "Writer" not in page
