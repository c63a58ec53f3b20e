"""The benchmark of doubt measures what a run does: every re-split chooses its scaling; missed targets are named."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "trust" / "figures.py"


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trust_figures", FILE)
    assert spec is not None and spec.loader is not None
    module, before = importlib.util.module_from_spec(spec), list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.mark.parametrize(("heat", "scales"), [(1.0, False), (4.0, True)])
def test_every_resplit_chooses_its_scaling(
    figures: ModuleType, monkeypatch: pytest.MonkeyPatch, heat: float, scales: bool
) -> None:
    """Of probabilities that are right as they are a temperature was fitted all the same, and 'none' was on the page."""
    monkeypatch.setattr(figures, "SPLITS", 8)
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.02, 0.98, 400)
    truth = (rng.random(400) < chance).astype(int)
    odds = heat * np.log(chance / (1 - chance))
    raw = np.stack([1 / (1 + np.exp(odds)), 1 / (1 + np.exp(-odds))], axis=1)
    found = figures._resplit(raw, truth, np.arange(400).astype(str), 150)
    assert found["re-splits that scale"] == 1 if scales else found["re-splits that scale"] < 0.5
    assert found["band low"] <= found["coverage"] <= found["band high"]
    assert found["delivered coverage"] >= found["coverage"] and found["set size"] >= 1


def test_a_very_good_network_is_not_judged_by_its_likeliest_class(
    figures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threshold promises 90 %; the likeliest class, always right here, is in every set that is delivered."""
    monkeypatch.setattr(figures, "SPLITS", 8)
    sure = np.random.default_rng(0).uniform(0.6, 1, 400)
    truth = np.random.default_rng(1).integers(0, 2, 400)
    raw = np.where(np.arange(2) == truth[:, None], sure[:, None], 1 - sure[:, None])
    found = figures._resplit(raw, truth, np.arange(400).astype(str), 150)
    assert found["delivered coverage"] == 1 and found["band low"] <= found["coverage"] <= found["band high"]


def test_too_few_test_cases_are_a_missed_condition(figures: ModuleType) -> None:
    row = {"test": 126, "coverage": 0.9, "band low": 0.8, "band high": 0.99}
    assert figures.targets(row)[0] == "Test cases 126, 150 asked: not met."
    assert figures.targets(row | {"test": 150})[0] == "Test cases 150, 150 asked: met."
    assert not any("Test cases" in words for words in figures.targets({"test": 39}))


def test_a_row_of_an_older_program_says_so(figures: ModuleType) -> None:
    row = {"coverage": 0.9, "band low": 0.8, "band high": 0.95, "test": 179}
    assert figures.OLDER in figures.targets(row)
    assert figures.OLDER not in figures.targets(row | {"delivered coverage": 0.9})
