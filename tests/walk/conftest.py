"""One task from a folder to a bundle, through the command line; trained once and shared by the tests of a file.

A test file names TASK, PHANTOM, CASES, OPTIONS (of the phantom), STEPS and SETS (as --set takes them).
"""

import csv
import functools
import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.core import catalogue
from hilum.core.run import Run

METRICS_KEYS = {"task", "part", "cases", "groups", "missing", "state", "runtime", "metrics", "alarms"}
METRIC_KEYS = {"mean", "low", "high", "n", "better", "per_class"}


class Walk:
    """Data, plan and run of one task, and what every task must give."""

    def __init__(self, folder: Path, module: Any, hilum: Callable[..., tuple[int, str, str]]) -> None:
        self.hilum = hilum
        self.folder, self.task, self.cases = folder, str(module.TASK), int(module.CASES)
        self.data, self.run, self.plan = folder / "data", folder / "run", folder / "plan.json"
        catalogue.load("hilum.data.phantoms", module.PHANTOM).make(self.data, self.cases, **module.OPTIONS)
        sets = [w for key, value in module.SETS.items() for w in ("--set", f"{key}={json.dumps(value)}")]
        self.sets = sets
        self.done("plan", self.data, "--task", self.task, "--steps", module.STEPS, *sets, "--out", self.plan)
        self.done("train", self.data, "--task", self.task, "--plan", self.plan, "--out", self.run)

    def done(self, *words: object) -> str:
        """stdout of a command that must succeed."""
        code, out, err = self.hilum(*words)
        assert code == 0, err
        return out

    def inspected(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.done("inspect", self.data, "--json"))
        assert self.task in found["tasks"] and not found["problems"]
        assert len(found["rows"]) == found["cases"]
        assert "It fits" in self.done("inspect", self.data)
        return found

    def log(self) -> list[dict[str, float]]:
        """Rows of the learning curve."""
        with open(self.run / "log.csv", encoding="utf-8", newline="") as stream:
            return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]

    def part(self, name: str) -> list[str]:
        """Cases of a part."""
        return [row["case"] for row in Run(self.run).split() if row["part"] == name]

    def trained(self) -> None:
        """The run folder is whole, and no group lies in two parts."""
        run = Run(self.run)
        run.check_hashes()
        wanted, plan = json.loads(self.plan.read_text()), json.loads((self.run / "plan.json").read_text())
        for decided in ("precision", "layout"):
            found, asked = plan["learning"].pop(decided), wanted["learning"].pop(decided)
            assert found != "auto" and asked in ("auto", found)
        assert plan == wanted
        assert self.log()[-1]["step"] == plan["steps"]
        for role in plan["networks"]:
            assert run.weights(role)
        parts = defaultdict(set)
        for row in run.split():
            parts[row["group"]].add(row["part"])
        assert all(len(p) == 1 for p in parts.values())
        assert {row["part"] for row in run.split()} == {"train", "val", "test"}
        assert run.ledger()[0]["event"] == "train"
        assert run.ledger()[0]["runtime"] == ("auto" if torch.cuda.is_available() else "torch")

    @functools.cache  # noqa: B019 - lives as long as the module's tests
    def evaluated(self, part: str | None = None) -> dict[str, Any]:
        """metrics.json of a part, checked to the letter; the ledger counts the look."""
        out = self.folder / f"evaluation-{part}"
        looks = [e for e in Run(self.run).ledger() if e["event"] == "evaluate" and e["part"] == (part or "test")]
        shown = self.done("evaluate", self.run, self.data, "--out", out, *(("--part", part) if part else ()))
        assert "report.html" in shown
        content = self.judged(out)
        assert content["part"] == (part or "test") and content["missing"] == 0
        assert content["cases"] == len(self.part(part or "test"))
        assert Run(self.run).ledger()[-1]["look"] == len(looks) + 1
        return content

    def measured(self) -> list[str]:
        """The metrics of the test part, without the two of speed, which come last in every task."""
        names = list(self.evaluated()["metrics"])
        assert names[-2:] == ["latency_s", "throughput"]
        return names[:-2]

    def judged(self, out: Path) -> dict[str, Any]:
        """An evaluation folder, whole and in its fixed form."""
        content: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        assert content.keys() == METRICS_KEYS and content["task"] == self.task
        assert content["metrics"]
        for metric in content["metrics"].values():
            assert metric.keys() == METRIC_KEYS
            for row in (metric, *metric["per_class"].values()):
                assert (row["low"] is None) == (row["high"] is None)
                if row["low"] is not None:
                    assert row["low"] <= row["mean"] <= row["high"]
        page = (out / "report.html").read_text(encoding="utf-8")
        links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
        assert all(link.startswith(("data:", "#")) for link in links)
        assert "@import" not in page and not re.search(r"url\(\s*['\"]?http", page)
        assert page.count("data:image/png;base64,") >= 1 and "Not a medical device" in page
        with open(out / "cases.csv", encoding="utf-8", newline="") as stream:
            assert len(list(csv.DictReader(stream))) == content["cases"]
        return content

    def look_again(self) -> None:
        """A second look at the test part is counted, and shows in the ledger."""
        self.evaluated()
        before = sum(e["event"] == "evaluate" and e["part"] == "test" for e in Run(self.run).ledger())
        self.done("evaluate", self.run, self.data, "--out", self.folder / "second-look")
        assert Run(self.run).ledger()[-1]["look"] == before + 1

    def compared(self, nets: str, steps: int, *more: str) -> dict[str, Any]:
        """A comparison; repeated, it takes the finished cells."""
        words = ("compare", self.data, "--task", self.task, "--nets", nets, "--steps", steps, *more)
        out = self.folder / "comparison"
        assert "compare.html" in self.done(*words, "--out", out)
        content: dict[str, Any] = json.loads((out / "compare.json").read_text(encoding="utf-8"))
        assert {row["net"] for row in content["rows"]} == set(re.split(r",(?!\d)", nets))
        assert all(row["steps"] == steps and row["parameters"] > 0 for row in content["rows"])
        assert len(content["sentences"]) == len(content["rows"]) - 1
        cells = {p: p.stat().st_mtime_ns for p in (out / "cells").glob("*/run/weights/*.safetensors")}
        assert cells
        self.done(*words, "--out", out)
        assert {p: p.stat().st_mtime_ns for p in (out / "cells").glob("*/run/weights/*.safetensors")} == cells
        assert json.loads((out / "compare.json").read_text(encoding="utf-8")) == content
        return content

    @functools.cached_property
    def bundle(self) -> Path:
        """The run as a bundle, verified."""
        path = self.folder / "model.hilum"
        assert "verify" in self.done("bundle", self.run, "--out", path)
        assert "is whole" in self.done("verify", path)
        return path

    @functools.cache  # noqa: B019
    def predicted(self, *words: object) -> Path:
        """Predictions of the run; the bundle's are the same to the bit, and the same call goes on where it stood."""
        out, second = self.folder / f"found-{abs(hash(words))}", self.folder / f"bundled-{abs(hash(words))}"
        # which runtime is chosen hangs on how fast the machine is just then, and each rounds in its own way
        words = (*words, "--runtime", "torch")
        self.done("predict", self.run, *words, "--out", out)
        self.done("predict", self.bundle, *words, "--out", second)
        names = sorted(p.name for p in out.iterdir())
        assert names == sorted(p.name for p in second.iterdir()) and len(names) > 1
        for name in names:
            if name != "predictions.json" and not name.endswith(".dcm"):
                assert (out / name).read_bytes() == (second / name).read_bytes()
        record = self.record(out)
        assert not record["failed"] and "Not a medical device" in record["intended_use"]
        assert sorted(f for case in record["done"].values() for f in case["files"]) == [
            n for n in names if n not in ("predictions.json", "scores.csv", "measured.csv", "worklist.csv")
        ]
        times = {p: p.stat().st_mtime_ns for p in out.iterdir()}
        self.done("predict", self.run, *words, "--out", out)
        assert {p: p.stat().st_mtime_ns for p in out.iterdir()} == times
        return out

    def record(self, out: Path) -> dict[str, Any]:
        """predictions.json"""
        found: dict[str, Any] = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
        return found

    def elsewhere(self, module: Any, cases: int = 3, **options: Any) -> dict[str, Any]:
        """The bundle judged on other data: every labelled case, no part."""
        other, out = self.folder / "other", self.folder / "elsewhere"
        catalogue.load("hilum.data.phantoms", module.PHANTOM).make(other, cases, seed=9, **(module.OPTIONS | options))
        self.done("evaluate", self.bundle, other, "--out", out)
        content = self.judged(out)
        assert content["part"] == "all" and content["missing"] == 0
        return content


@pytest.fixture(scope="module")
def walk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hilum: Any) -> Walk:
    """The file's task, walked as far as training."""
    return Walk(tmp_path_factory.mktemp(str(request.module.TASK)), request.module, hilum)
