"""A small data set and run to spoil, and what a refusal must look like."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., tuple[int, str, str]]


def _tree(folder: Path) -> dict[str, bytes] | None:
    """Every file below a path, or None where there is nothing."""
    if not folder.exists():
        return None
    if folder.is_file():
        return {"": folder.read_bytes()}
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(hilum: Command, tmp_path: Path) -> Callable[..., str]:
    """refused(code, *words, out=name): the command is refused with one coded sentence and leaves `out` as it was."""

    def call(wanted: str, *words: object, out: Path | None = None) -> str:
        target = out or tmp_path / "out"
        before = _tree(target)
        code, shown, err = hilum(*words, "--out", target)
        assert code == 2, (shown, err)
        lines = err.strip().splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("hilum: ") and lines[0].endswith("]"), err
        assert f"[{wanted}]" in lines[0], err
        assert "Traceback" not in err and not shown
        assert _tree(target) == before
        return lines[0]

    return call


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a folder or file that a test may spoil."""

    def made(path: Path) -> Path:
        target = tmp_path / f"copy-{path.name}"
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)
        return target

    return made


@pytest.fixture
def plan_file(plan_of: Any, tmp_path: Path) -> Callable[..., Path]:
    """plan_file(task, **changes at the top): the path of a plan.json, unchecked, as an editor leaves it."""
    import json

    def made(name: str, **changes: Any) -> Path:
        data = json.loads(plan_of(name, 2).text())
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(data | changes))
        return path

    return made
