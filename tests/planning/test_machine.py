"""What the machine says of itself, and a speed that is measured in about a second."""

from pathlib import Path

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.planning import machine


def test_facts_are_plausible() -> None:
    facts = machine.facts()
    assert facts["cores"] >= 1 and 0 < facts["memory"] <= facts["total"] and facts["gflops"] is None
    assert machine.resident() > 50 << 20


@pytest.mark.parametrize("dims", [2, 3])
def test_speed_is_measured_once(dims: int) -> None:
    facts = machine.facts(dims)
    assert facts["gflops"] > 0 and facts["precision"] in ("float32", "bfloat16")
    measured = machine.speed.cache_info().misses
    assert machine.facts(dims)["gflops"] == facts["gflops"]
    assert machine.speed.cache_info().misses == measured


def test_t07_a_card_without_room_for_measuring_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(machine, "_best", full)
    machine.speed.cache_clear()
    with pytest.raises(HilumError, match=r"Memory ran out while the speed.*--accelerator cpu.*HIL-T07"):
        machine.speed(2)


def test_a_container_counts_less_than_its_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{600 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {100 << 20}\n")
    assert machine.cores() == 1 and machine.memory() == (1 << 30, 524 << 20)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.memory()[0] > 1 << 30


def test_the_least_limit_of_all_groups_above_this_process_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm and systemd-run put theirs below the root, which was the only place that was looked at."""
    root, own = tmp_path / "cgroup", tmp_path / "own"
    monkeypatch.setattr(machine, "CGROUP", root)
    monkeypatch.setattr(machine, "OWN", own)
    (task := root / "job" / "step" / "task").mkdir(parents=True)
    for folder, limit, used in ((task.parents[1], 1 << 30, 600 << 20), (task.parents[0], 800 << 20, 100 << 20)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
    (task / "memory.max").write_text("max\n")
    own.write_text("1:name=systemd:/other\n0::/job/step/task\n")
    assert machine.memory() == (800 << 20, 424 << 20)
    # not this process
    own.write_text("0::/other\n")
    assert machine.memory()[0] > 1 << 30
    (job := root / "memory" / "slurm" / "job_1").mkdir(parents=True)
    (job / "memory.limit_in_bytes").write_text(f"{1 << 30}\n")
    (job / "memory.usage_in_bytes").write_text(f"{600 << 20}\n")
    (job / "memory.stat").write_text(f"inactive_file 0\ntotal_inactive_file {100 << 20}\n")
    own.write_text("9:cpuset,memory:/slurm/job_1/step_0\n0::/\n")
    assert machine.memory() == (1 << 30, 524 << 20)
    own.write_text("9:memory:/../slurm/job_1\n")
    assert machine.memory()[0] > 1 << 30
