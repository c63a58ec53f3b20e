"""Where a run computes: a device that is asked for and not there is refused, and not replaced by another one."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.learn import _device
from hilum.verbs.train import train


def test_a_cuda_device_that_is_not_there_is_refused_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HilumError, match="HIL-LEARN-01"):
        _device.on_cuda("cuda")
    assert _device.on_cuda("auto") is False and _device.on_cuda("cpu") is False


def test_fabric_gives_no_hints_of_its_own(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("classify", 2)
    made = _device.fabric(plan.model_copy(update={"learning": plan.learning | {"precision": "bfloat16"}}), "cpu")
    assert made.device.type == "cpu"
    assert not logging.getLogger("lightning_fabric.utilities.rank_zero").isEnabledFor(logging.INFO)


PAGES = """
import resource, torch
from hilum.learn import _device
from hilum.verbs.train import train
from hilum.planning import machine

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(25 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages()
before, held = pages(), _device.hold()
print(held, before, [pages() for _ in range(12)][-1])
kept = machine.resident()
_device.let_go()
print(kept - machine.resident())
"""


def test_pages_of_a_large_tensor_are_cleared_once_and_not_at_every_step_and_can_be_let_go() -> None:
    # in a process of its own: what is held is held by all that comes after
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("LD_PRELOAD", "MALLOC_", "GLIBC"))
    }
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True, env=plain)
        told = done.stdout.split()
        if told[0] == "False":
            pytest.skip("the C library of this machine can not be told to hold memory")
        # the heap lies at a random place, and seldom right below something else, where it can not grow: once more then
        if int(told[2]) < int(told[1]) / 4:
            break
    # the first few may still find their place; large pages make fewer faults, on both sides
    assert int(told[1]) > 20 and int(told[2]) < int(told[1]) / 4
    assert int(told[3]) > 60 << 20


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_job_of_slurm_does_not_say_how_many_processes_a_run_has(
    precision: str, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning took the tasks of the job for them, and `sbatch -n 4` ended in its traceback."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "job")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    plan = plan_of("classify", 2)
    made = _device.fabric(plan.model_copy(update={"learning": plan.learning | {"precision": precision}}), "cpu")
    assert (made.device.type, made.global_rank, made.world_size) == ("cpu", 0, 1)


def test_several_devices_are_refused_in_a_notebook(
    data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(HilumError, match=r"a notebook .*hilum train --devices 2 on the command line") as error:
        train(data("classify"), "classify", tmp_path / "run", steps=2, accelerator="cpu", devices=2)
    assert error.value.code == "HIL-LEARN-03" and not (tmp_path / "run").exists()
    _device.check("cpu", 1)
