"""What the tests of training share: runs in this process, runs in a child that can be killed, and their weights."""

import csv
import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hilum.core.plan import Plan
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared
from hilum.verbs.train import train

SUPERVISED = {"learning.ema": 0.5, "learning.keep": "best", "learning.patience": 0.9}
# An average, the best weights and an early stop: all that a supervised run has to remember.


def _begin(folder: Path, plan: Plan, ready: Prepared, progress: Any = None, **words: Any) -> Training:
    folder.mkdir(parents=True, exist_ok=True)
    plan.write(folder / "plan.json")
    return Training(folder, plan, ready.units(plan), *([progress] if progress else []), **words)


@pytest.fixture(scope="session")
def begin() -> Callable[..., Training]:
    """begin(folder, plan, prepared data, progress): a run that is about to begin."""
    return _begin


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, torch.Tensor]]:
    """Everything that a finished run learned."""

    def read(folder: Path) -> dict[str, torch.Tensor]:
        return {
            f"{path.stem}.{name}": tensor
            for path in sorted((folder / "weights").glob("[!.]*.safetensors"))
            for name, tensor in load_file(path).items()
        }

    return read


@pytest.fixture(scope="session")
def curve() -> Callable[[Path], list[dict[str, str]]]:
    """log.csv but for the seconds, which no two runs share."""

    def read(folder: Path) -> list[dict[str, str]]:
        with open(folder / "log.csv", newline="", encoding="utf-8") as stream:
            return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]

    return read


@pytest.fixture(scope="session")
def same(
    weights: Callable[[Path], dict[str, torch.Tensor]], curve: Callable[[Path], Any]
) -> Callable[[Path, Path], None]:
    """Assert that two runs are one: weights bit for bit, and the curve."""

    def check(one: Path, other: Path) -> None:
        a, b = weights(one), weights(other)
        assert a and a.keys() == b.keys()
        for name, tensor in a.items():
            assert torch.equal(tensor, b[name]), name
        assert curve(one) == curve(other)

    return check


@pytest.fixture(scope="session")
def planned_run(plan_of: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """planned_run(task, steps): plan.json of a tiny run with everything that there is to remember."""

    def made(task: str, steps: int = 8) -> Path:
        path = tmp_path_factory.getbasetemp() / f"plan_{task}_{steps}.json"
        if not path.exists():
            plan_of(task, steps, **({} if task == "generate" else SUPERVISED)).write(path)
        return path

    return made


@pytest.fixture(scope="session")
def whole(
    data: Callable[[str], Path], planned_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """whole(task, steps): the folder of the uninterrupted run of that plan, made once; read only."""
    known: dict[tuple[str, int], Path] = {}

    def run(task: str, steps: int = 8) -> Path:
        if (task, steps) not in known:
            folder = tmp_path_factory.mktemp(f"whole_{task}") / "run"
            train(data(task), task, folder, plan=planned_run(task, steps))
            known[task, steps] = folder
        return known[task, steps]

    return run


@pytest.fixture(scope="session")
def child() -> Callable[..., BaseProcess]:
    """child(function, *arguments, **named): a started process of its own, with one thread.

    It is forked from a server that has imported the program but never computed, so that it starts at once.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["hilum.verbs.train", "hilum.learn.supervised", "torch", "hilum.learn._loop"])

    def start(function: Any, *arguments: Any, **named: Any) -> BaseProcess:
        process = server.Process(target=function, args=arguments, kwargs=named)
        with pytest.MonkeyPatch.context() as patch:
            # the server takes it on as it starts, with the first process, and no test is to find it afterwards
            patch.setenv("OMP_NUM_THREADS", "1")
            process.start()
        return process

    return start


@pytest.fixture(scope="module")
def short(
    plan_of: Callable[..., Plan], ready: Callable[[str], Prepared], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, Path]:
    """A plan of two steps and one round, and its uninterrupted run."""
    folder = tmp_path_factory.mktemp("short") / "run"
    plan = plan_of("classify", 2, **{"learning.rounds": 1, "learning.ema": 0.5})
    _begin(folder, plan, ready("classify")).run(False)
    return plan, folder


def _whole_or_absent(folder: Path) -> None:
    """Nothing partial is visible: every file can be read, and no temporary one is left."""
    for path in (p for p in folder.rglob("*") if p.is_file()):
        assert not path.name.startswith(".part-"), path
        if path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".json":
            assert path.read_text().endswith("}\n"), path
        elif path.suffix == ".html":
            assert "</html>" in path.read_text(), path


@pytest.fixture(scope="session")
def whole_or_absent() -> Callable[[Path], None]:
    """whole_or_absent(folder): what lies there is whole."""
    return _whole_or_absent
