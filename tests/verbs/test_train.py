"""train: what --resume leaves alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.verbs.train import train

Folder = Callable[[str], Path]


@pytest.fixture
def finished(trained: Callable[[str], Run], tmp_path: Path) -> Path:
    """A run of its own, calibrated by its owner as an ensemble of two."""
    out = tmp_path / "run"
    shutil.copytree(trained("classify").path, out)
    weights = (out / "weights" / "net.safetensors").read_bytes()
    Run(out).put({"weights/net.2.safetensors": weights, "calibration.json": b"{}\n"})
    return out


def files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_that_is_resumed_keeps_its_calibration_and_its_ensemble(finished: Path, data: Folder) -> None:
    before, told = files(finished), list[tuple[object, ...]]()
    run = train(data("classify"), "classify", finished, resume=True, progress=lambda *words: told.append(words))
    assert run.path == finished and files(finished) == before
    assert told[-1] == ("train", 2, 2, "finished before; nothing is changed")
    run.check_hashes()


@pytest.mark.parametrize("steps", [1, 3])
def test_t04_a_finished_run_is_not_made_another_by_its_plan(steps: int, finished: Path, data: Folder) -> None:
    plan = Plan.read(finished / "plan.json")
    plan.model_copy(update={"steps": steps}).write(finished / "plan.json")
    with pytest.raises(HilumError, match=rf"steps: 2, now {steps}.*HIL-T04"):
        train(data("classify"), "classify", finished, resume=True)
