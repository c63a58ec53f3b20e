"""What the machine says of itself, and a speed that is measured in about a second."""

from pathlib import Path

import pytest

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
