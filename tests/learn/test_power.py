"""T01: when the power goes, the state is the old one or the new one, whole."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hilum.core.atomic import write_json
from hilum.core.plan import Plan
from hilum.learn import _checkpoint
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared

Begin = Callable[..., Training]
PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]
Same = Callable[[Path, Path], None]


class Power:
    """A disk that keeps, when the power goes, only what was synced: contents by file, names by folder.

    The names that changed since the folder was synced may be there or not.
    """

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.contents: dict[int, bytes] = {}
        self.names: dict[Path, int] = {}
        self.pending: dict[Path, int] = {}
        self.states: list[dict[Path, bytes]] = []
        synced, renamed = os.fsync, os.replace

        def fsync(handle: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            if path.is_relative_to(root):
                self.remember()
                if path.is_dir():
                    for name in [n for n in self.pending if n.parent == path]:
                        self.names[name] = self.pending.pop(name)
                else:
                    self.contents[path.stat().st_ino] = path.read_bytes()
            synced(handle)

        def replace(old: Any, new: Any) -> None:
            if Path(new).is_relative_to(root):
                self.remember()
                self.pending[Path(new)] = os.stat(old).st_ino
            renamed(old, new)
            self.remember()

        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", replace)

    def remember(self) -> None:
        """What would be found if the power went now: without and with the names that were not synced."""
        for names in (self.names, self.names | self.pending):
            found = {name: self.contents.get(number, b"") for name, number in names.items()}
            if found not in self.states[-2:]:
                self.states.append(found)


def test_t01_when_the_power_goes_the_state_is_the_old_one_or_the_new_one(
    whole_or_absent: Callable[[Path], None],
    short: tuple[Plan, Path],
    ready: Ready,
    begin: Begin,
    same: Same,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, whole = short
    out = tmp_path / "run"
    training = begin(out, plan, ready("classify"))
    with monkeypatch.context() as patch:
        power = Power(patch, out)
        training.run(False)
    assert len(power.states) > 5 and any(power.states[-1])
    steps = []
    for number, state in enumerate(power.states):
        folder = tmp_path / f"after{number}"
        for path, content in state.items():
            place = folder / path.relative_to(out)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        whole_or_absent(folder)
        steps.append(
            _checkpoint.load(folder / "checkpoint.safetensors")["step"]
            if (folder / "checkpoint.safetensors").exists()
            else None
        )
    assert [s for s, before in zip(steps, [None, *steps], strict=False) if s != before] == [0, 2]
    for step in (0, 2):
        folder = tmp_path / f"after{steps.index(step)}"
        begin(folder, plan, ready("classify")).run(True)
        same(folder, whole)


def test_t01_the_model_of_lost_power_finds_a_missing_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: a rename without a sync before it leaves an empty file in one of the states."""
    path = tmp_path / "run" / "a.json"
    with monkeypatch.context() as patch:
        power = Power(patch, tmp_path / "run")
        write_json(path, {"a": 1})
        (tmp_path / "run" / "b").write_text("{}")
        os.replace(tmp_path / "run" / "b", path)
    contents = [state[path] for state in power.states if path in state]
    assert set(contents) == {b"", b'{\n  "a": 1\n}\n'}
