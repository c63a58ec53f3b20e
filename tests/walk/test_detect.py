"""detect, from boxes.csv to boxes in pixels."""

import csv
import sys
from typing import Any

import pytest

TASK, PHANTOM, CASES, OPTIONS, STEPS = "detect", "spots", 14, {"size": 64}, 90
THIS = sys.modules[__name__]
SETS = {"width": 16, "plan.augment": [], "learning.rate": 0.005, "learning.precision": "float32"}


def test_inspect_and_train(walk: Any) -> None:
    assert walk.inspected()["cases"] == CASES
    walk.trained()
    assert walk.log()[-1]["train class"] < 0.6 * walk.log()[0]["train class"]


def test_evaluate(walk: Any) -> None:
    assert set(walk.measured()) == {"ap50", "map", "froc"}
    assert walk.evaluated("train")["metrics"]["ap50"]["mean"] > 0.15
    walk.look_again()


def test_compare(walk: Any) -> None:
    # false alarms in scans without lesions count
    assert walk.compared("fcos,fcos:width=8", 3, "--set", "plan.batch=2")["compared"] == "set"


def test_predict(walk: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = walk.predicted(walk.data / "images")
    assert len(walk.record(whole)["done"]) == CASES
    table = tmp_path_factory.mktemp("table") / "cases.csv"
    table.write_text(f"case,image\nmine,{walk.data}/images/spots_001.png\n")
    assert (walk.predicted(table) / "mine.csv").read_bytes() == (whole / "spots_001.csv").read_bytes()
    rows = []
    for path in whole.glob("spots_*.csv"):
        with open(path, encoding="utf-8", newline="") as stream:
            rows += list(csv.DictReader(stream))
    assert rows and {r["class"] for r in rows} == {"lesion"}
    for row in rows:
        assert 0 <= float(row["score"]) <= 1
        for axis in "01":
            assert 0 <= float(row[f"low{axis}"]) <= float(row[f"high{axis}"]) <= 64


def test_bundle(walk: Any) -> None:
    assert walk.elsewhere(THIS, cases=4)["cases"] == 4
