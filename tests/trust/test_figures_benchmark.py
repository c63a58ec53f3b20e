"""The benchmark of doubt measures what a run does: every re-split chooses its scaling; missed targets are named."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

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
    masks = {"error after referral": 0.1, "cut": 0.01}
    assert figures.OLDER_MASKS in figures.targets(masks)
    assert figures.OLDER_MASKS not in figures.targets(masks | {"revision": figures.REVISION})
    later = figures.targets(masks | {"revision": figures.REVISION + 1})
    assert later[-1].startswith(f"Measured by revision {figures.REVISION + 1} of this program")


def test_every_row_says_which_program_measured_it(
    figures: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = SimpleNamespace(task="segment", minutes=1.0, steps=2, seed=0)
    facts = {"date": "2026-01-01", "commit": "x", "hardware": {"processors": "p"}, "versions": {}}
    for name, value in (
        ("BENCHMARKS", tmp_path),
        ("Run", lambda path: SimpleNamespace(plan=plan)),
        ("KINDS", {"segment": lambda name, folder: {"data": name, "error after referral": 0.1, "cut": 0.01}}),
        ("conditions", lambda runs: facts),
    ):
        monkeypatch.setattr(figures, name, value)
    monkeypatch.setattr(sys, "argv", ["figures.py", "masks=run"])
    figures.main()
    (row,) = json.loads((tmp_path / "results" / "trust_figures.json").read_text())["rows"]
    assert row["revision"] == figures.REVISION
    assert "Measured before" not in (tmp_path / "results" / "trust_figures.md").read_text()


def test_the_mean_of_many_resplits_is_held_to_more_than_the_band_of_one(figures: ModuleType) -> None:
    row = {"test": 179, "coverage": 0.85, "band low": 0.816, "band high": 0.966, "calibration patients": 90}
    promised = "As the mean of 500 re-splits, inside of 0.900 to 0.911, give or take 0.005"
    said = figures.targets(row)
    assert said[1:3] == ["Coverage 0.850, inside of 0.816 to 0.966: met.", f"{promised}: not met."]
    for coverage, word in ((0.896, "met"), (0.915, "met"), (0.894, "not met"), (0.917, "not met")):
        assert f"{promised}: {word}." in figures.targets(row | {"coverage": coverage}), coverage


def test_the_page_is_as_it_is_written(figures: ModuleType, tmp_path: Path) -> None:
    results = FILE.parents[1] / "results"
    shutil.copyfile(results / "trust_figures.json", tmp_path / "trust_figures.json")
    figures.write([], tmp_path)
    assert (tmp_path / "trust_figures.md").read_text() == (results / "trust_figures.md").read_text()
