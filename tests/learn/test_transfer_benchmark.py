"""The benchmark of starting from other weights: what is subtracted differs in one thing, and pages say what was not."""

import importlib.util
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from hilum.learn import supervised

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "training" / "transfer.py"
TOGETHER = "start and rate together"


@pytest.fixture(scope="module")
def transfer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_transfer", FILE)
    assert spec is not None and spec.loader is not None
    module, before = importlib.util.module_from_spec(spec), list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_an_arm_differs_in_one_thing_from_the_one_it_is_set_against(transfer: ModuleType) -> None:
    """Tuned weights at a lower rate were set against scratch at the default one."""
    assert supervised.Learning().rate == transfer.RATE
    for name, arm in transfer.ARMS.items():
        if name != "scratch":
            own, other = asdict(arm), asdict(transfer.ARMS[arm.against])
            assert sum(own[key] != other[key] for key in ("rate", "start", "decay")) == 1, name
    words = transfer.ARMS["tuned, layer-wise"].words(Path("run"))
    assert words == ["--start", "run", "--set", "learning.rate=0.0003", "--set", "learning.layer_decay=0.7"]
    assert transfer.ARMS["scratch"].words(Path("run")) == ["--set", "learning.rate=0.001"]


def test_each_difference_is_to_the_arm_it_is_set_against(transfer: ModuleType) -> None:
    # of 20 cases so many are right
    right = dict(zip(transfer.ARMS, (10, 8, 13, 14, 9), strict=True))
    cells = [
        {
            "arm": arm, "seed": 0, "metrics": {"accuracy": n / 20},
            "values": {str(i): float(i < n) for i in range(20)}, "groups": {str(i): str(i) for i in range(20)},
        }
        for arm, n in right.items()
    ]  # fmt: skip
    rows = {row["arm"]: row for row in transfer._rows(cells)}
    assert "difference" not in rows["scratch"]
    for arm, against, gap in (
        ("scratch, rate 3e-4", "scratch", -2),
        ("tuned, default rate", "scratch", 3),
        ("tuned", "scratch, rate 3e-4", 6),
        ("tuned, layer-wise", "tuned", -5),
    ):
        assert rows[arm]["against"] == against and rows[arm]["difference"] == pytest.approx(gap / 20), arm
    facts = {"date": "2026-01-01", "commit": "x", "hardware": {"processors": "p", "flags": []}, "versions": {}}
    page = transfer._text(facts | {"targets": [{"target": "t", "labelled": 16, "rows": list(rows.values())}]}, 1.0)
    assert TOGETHER not in page and "| tuned | 0.0003 |" in page and "| scratch, rate 3e-4 | +0.300 |" in page


def test_pages_of_what_was_measured_at_two_rates_say_so(transfer: ModuleType) -> None:
    known = json.loads((ROOT / "benchmarks" / "results" / "transfer.json").read_text())
    page = (ROOT / "benchmarks" / "results" / "transfer.md").read_text()
    assert page == transfer._text(known, 1.0)
    mixed = any("difference" in row and "against" not in row for target in known["targets"] for row in target["rows"])
    howto = " ".join((ROOT / "docs" / "how-to" / "transfer.md").read_text().split())
    assert (TOGETHER in page) == (TOGETHER in howto) == mixed
