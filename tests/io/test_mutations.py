"""A seeded sample of the damaged files that `make bench` reads in full: nothing crashes, hangs or escapes."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "reading"


@pytest.fixture(scope="module")
def mutations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reading_mutations", FOLDER / "mutations.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_damaged_files_are_refused_or_read_and_never_worse(mutations: ModuleType, tmp_path: Path) -> None:
    found = mutations.run(700, 2, tmp_path, peers=False)
    assert found["odd"] == []
    rows = mutations.shares(found)
    assert {row["format"] for row in rows} == {".dcm", ".jpg", ".mha", ".nii", ".nii.gz", ".nrrd", ".png", ".tif"}
    assert sum(row["files"] for row in rows) > 600
    # where checksums cover the pixels, next to nothing gets through
    assert all(row["refused"] > 0.8 for row in rows if row["format"] == ".png")
    assert all(row["refused"] + row["warned"] > 0.25 for row in rows)


def test_the_same_seed_gives_the_same_damage(mutations: ModuleType) -> None:
    whole = bytes(range(256)) * 20
    made = [mutations.mutate.damaged(whole, "a.nii", 3, number) for number in range(40)]
    assert made == [mutations.mutate.damaged(whole, "a.nii", 3, number) for number in range(40)]
    assert len(set(made)) > 35
