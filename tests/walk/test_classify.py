"""classify, from class folders to probabilities."""

import csv
import sys
from typing import Any

import pytest

TASK, PHANTOM, CASES, OPTIONS, STEPS = "classify", "slices", 16, {"size": 32}, 40
THIS = sys.modules[__name__]
SETS = {"plan.batch": 8, "plan.augment": [], "width": 8, "learning.precision": "float32"}


def test_inspect_and_train(walk: Any) -> None:
    assert walk.inspected()["classes"] == {"healthy": CASES // 2, "lesion": CASES // 2}
    walk.trained()
    assert walk.log()[-1]["train loss"] < 0.5 * walk.log()[0]["train loss"]


def test_evaluate(walk: Any) -> None:
    wanted = {"accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll", "brier", "ece"}
    assert set(walk.measured()) == wanted
    assert walk.evaluated("train")["metrics"]["auroc"]["mean"] > 0.8
    walk.look_again()


def test_compare(walk: Any) -> None:
    found = walk.compared("resnet:width=8,vit:depth=1", 4, "--set", "plan.batch=4")
    assert found["headline"] == "accuracy"


def test_predict(walk: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = walk.predicted(walk.data / "healthy")
    assert len(walk.record(whole)["done"]) == CASES // 2
    table = tmp_path_factory.mktemp("table") / "cases.csv"
    table.write_text(f"case,image\nmine,{walk.data}/healthy/slice_000.png\n")
    listed = walk.predicted(table) / "mine.csv"
    assert listed.read_bytes() == (whole / "slice_000.csv").read_bytes()
    with open(listed, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["name"] for r in rows] == ["healthy", "lesion"] and {r["kind"] for r in rows} == {"probability"}
    assert sum(float(r["value"]) for r in rows) == pytest.approx(1, abs=1e-5)


def test_bundle(walk: Any) -> None:
    assert walk.elsewhere(THIS, cases=6)["cases"] == 6
