"""Does it help to start from weights of another data set, where few cases are labelled? Scratch against tuned.

    HILUM_DATA=... .venv/bin/python benchmarks/training/transfer.py [--only NAME] [--steps-scale 0.02]

Once: a network learns on `brain_tumour_mri` (MR slices). Then for every target and seed, with the same few cases and
the same steps: from scratch and tuned, both at the default learning rate and at a lower one, and tuned with layer-wise
rates. An arm is set against one from which it differs in one thing only. All test cases of the target are judged; which
training cases are labelled is drawn by the seed, so many of each class, and half as many for validation. A finished
cell is kept in benchmarks/cache/transfer and taken as it is. Writes results/transfer.md and .json; with another scale
only prints, for that is no measurement.

    .venv/bin/python benchmarks/training/transfer.py --page     # only writes the page
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import machine

from hilum.core.atomic import write_json, write_text
from hilum.core.run import write_rows
from hilum.evaluation.bootstrap import paired
from hilum.planning.planner import look

BENCHMARKS = Path(__file__).parents[1]
CACHE = BENCHMARKS / "cache" / "transfer"
HILUM = str(Path(sys.executable).parent / "hilum")
NET = ["--net", "resnet:depth=18:width=32", "--set", "plan.patch=[112,112]"]
# At the planned 224 pixels one step took seconds on two processors, and the whole several hours.
SOURCE, SOURCE_STEPS, STEPS, SEEDS = "brain_tumour_mri", 2000, 300, (0, 1, 2)
RATE, LOWER = 1e-3, 3e-4
# The default of classify, and what is usual for weights that know something.


@dataclass(frozen=True)
class Arm:
    """A way to learn. decay: of layer-wise rates, 1 for none. against: an arm that differs in one thing only."""

    rate: float
    start: bool
    decay: float
    against: str

    def words(self, source: Path) -> list[str]:
        """Of the command line."""
        more = ["--set", f"learning.layer_decay={self.decay:g}"] * (self.decay != 1)
        return [*["--start", str(source)] * self.start, "--set", f"learning.rate={self.rate:g}", *more]


ARMS = {
    "scratch": Arm(RATE, False, 1.0, ""),
    "scratch, rate 3e-4": Arm(LOWER, False, 1.0, "scratch"),
    "tuned, default rate": Arm(RATE, True, 1.0, "scratch"),
    "tuned": Arm(LOWER, True, 1.0, "scratch, rate 3e-4"),
    "tuned, layer-wise": Arm(LOWER, True, 0.7, "tuned"),
}
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auroc")


@dataclass(frozen=True)
class Target:
    """A data set to tune on. each: labelled training cases of every class. terms: as its origin states them."""

    data: str
    each: int
    terms: str


TARGETS = (Target("head_ct_haemorrhage", 16, "research"), Target("breast_ultrasound", 16, "research"))


def main() -> None:
    """Pretrain, run the cells that are asked for, write the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", default="", help="targets whose name holds this")
    words.add_argument("--steps-scale", type=float, default=1.0, help="times all steps; 1 is the measurement")
    words.add_argument("--page", action="store_true", help="only write the page")
    asked = words.parse_args()
    if asked.page:
        known = json.loads((BENCHMARKS / "results" / "transfer.json").read_text(encoding="utf-8"))
        write_text(BENCHMARKS / "results" / "transfer.md", _text(known, 1.0))
        return
    if "HILUM_DATA" not in os.environ:
        sys.exit("HILUM_DATA is not set. It names the folder of the data sets.")
    scale, root = asked.steps_scale, Path(os.environ["HILUM_DATA"])
    place = CACHE / f"{machine.code()}-{scale:g}"
    source = _trained(place / "pretrained", root / SOURCE, SOURCE_STEPS * scale, 0, [])
    found: list[dict[str, Any]] = []
    for target in (t for t in TARGETS if asked.only in t.data):
        cells = [_cell(place, root, target, arm, seed, STEPS * scale, source) for seed in SEEDS for arm in ARMS]
        found.append({"target": target.data, "labelled": target.each, "rows": _rows(cells)})
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": machine.commit(), "hardware": machine.hardware()}
    facts |= {"versions": machine.versions(), "targets": found}
    text = _text(facts, scale)
    print(text)
    if scale == 1 and not asked.only:
        write_text(BENCHMARKS / "results" / "transfer.md", text)
        write_json(BENCHMARKS / "results" / "transfer.json", facts)


def _run(*words: str) -> None:
    """A hilum command; its failure ends the benchmark with its own words."""
    done = subprocess.run([HILUM, *words], text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"hilum {' '.join(words)} failed: {done.stderr.strip()}")


def _trained(out: Path, data: Path, steps: float, seed: int, more: list[str]) -> Path:
    """The run in `out`, trained now or found; one that was cut short goes on."""
    if not (out / "manifest.json").is_file():
        if (out / "checkpoint.safetensors").is_file():
            _run("train", str(data), "--task", "classify", "--out", str(out), "--resume")
        else:
            budget = ["--steps", str(max(1, round(steps))), "--seed", str(seed)]
            _run("train", str(data), "--task", "classify", *NET, *budget, *more, "--out", str(out))
    return out


def _few(place: Path, root: Path, target: Target, seed: int) -> Path:
    """A table of the target's test part and the few labelled cases of this seed, with a dataset.yaml for its terms."""
    sheet = place / f"{target.data}-{seed}.csv"
    if sheet.with_suffix(".yaml").is_file():
        return sheet.with_suffix(".yaml")
    ready = look(root / target.data, "classify", 0)
    rng, rows, taken = np.random.default_rng(seed), [], dict[tuple[str, str], int]()
    most = {"train": target.each, "val": target.each // 2, "test": len(ready.dataset.cases)}
    for index in rng.permutation(len(ready.dataset.cases)):
        case = ready.dataset.cases[index]
        part, klass = ready.parts[case.id], case.klass or ""
        taken[part, klass] = taken.get((part, klass), 0) + 1
        if taken[part, klass] <= most[part]:
            row = {"case": case.id, "image": case.items["image"].path, "class": klass, "split": part}
            rows.append(row | {"patient": case.group})
    write_rows(sheet, sorted(rows, key=lambda row: str(row["case"])))
    write_text(sheet.with_suffix(".yaml"), f"folder: {json.dumps(str(sheet))}\nterms: {target.terms}\n")
    return sheet.with_suffix(".yaml")


def _cell(place: Path, root: Path, target: Target, arm: str, seed: int, steps: float, source: Path) -> dict[str, Any]:
    """One arm with one seed, trained and judged once: {"arm", "seed", "metrics", "values", "groups"}."""
    folder = place / f"{target.data}-{seed}-{arm.replace(', ', '-').replace(' ', '-')}"
    data = _few(place, root, target, seed)
    if not (folder / "evaluation" / "metrics.json").is_file():
        _trained(folder / "run", data, steps, seed, ARMS[arm].words(source))
        _run("evaluate", str(folder / "run"), str(data), "--out", str(folder / "evaluation"))
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    with open(folder / "evaluation" / "cases.csv", encoding="utf-8", newline="") as stream:
        cases = list(csv.DictReader(stream))
    return {
        "arm": arm, "seed": seed, "metrics": {m: metrics[m]["mean"] for m in METRICS if m in metrics},
        "values": {c["case"]: float(c["headline"]) if c["headline"] else None for c in cases},
        "groups": {c["case"]: c["group"] for c in cases},
    }  # fmt: skip


def _rows(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each arm: metrics of every seed, their mean, and the paired difference of accuracy to the arm `against`."""
    rows = []
    for arm, told in ARMS.items():
        own = [c for c in cells if c["arm"] == arm]
        row: dict[str, Any] = {"arm": arm, "rate": told.rate, "seeds": [c["metrics"] for c in own]}
        row["mean"] = {m: round(float(np.mean([c["metrics"][m] for c in own])), 4) for m in own[0]["metrics"]}
        if told.against:
            first = [c for c in cells if c["arm"] == told.against]
            names = list(own[0]["values"])
            one, two = ([np.mean([c["values"][n] for c in side]) for n in names] for side in (own, first))
            gap = paired(one, two, [own[0]["groups"][n] for n in names])
            row |= {"against": told.against, "difference": gap.difference, "low": gap.low, "high": gap.high}
            row |= {"p": gap.p, "cases": gap.n}
        rows.append(row)
    return rows


def _text(facts: dict[str, Any], scale: float) -> str:
    """The table in words; patients of these sets are unknown, so groups are by similarity of the images."""
    hardware, versions = facts["hardware"], ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    lines = [
        f"# Starting from other weights, with few labelled cases, {facts['date']}",
        "",
        f"{NET[1]}, 112 pixels a side, {round(SOURCE_STEPS * scale)} steps on {SOURCE}, then "
        f"{round(STEPS * scale)} steps on each target in every arm, {len(SEEDS)} seeds of the labelled cases and "
        "the batches; one pretraining for all. Same test part throughout, groups by similarity (patients are "
        "unknown). Difference: paired accuracy of the means over seeds, 95 % interval over groups. n: test images.",
        "",
        *_mixed(facts),
        f"| target (cases a class) | n | arm | learning rate | {' | '.join(METRICS)} | accuracy by seed | minus | "
        "difference | interval | p |",
        "| --- " * (len(METRICS) + 9) + "|",
    ]
    for target in facts["targets"]:
        n = next(row["cases"] for row in target["rows"] if "cases" in row)
        for row in target["rows"]:
            gap = row.get("difference")
            doubt = "-" if gap is None or row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}"
            cells = [f"{target['target']} ({target['labelled']})", str(n), row["arm"]]
            cells += [f"{row.get('rate', ARMS[row['arm']].rate):g}"]
            cells += [f"{row['mean'][m]:.3f}" if m in row["mean"] else "-" for m in METRICS]
            cells += [", ".join(f"{s['accuracy']:.3f}" for s in row["seeds"])]
            cells += ["-" if gap is None else row.get("against", "scratch")]
            cells += ["-" if gap is None else f"{gap:+.3f}", doubt, "-" if gap is None else f"{row['p']:.3f}"]
            lines.append("| " + " | ".join(cells) + " |")
    made = f"Commit {facts['commit']}; {hardware['processors']} ({', '.join(hardware['flags'])}); {versions}."
    return "\n".join([*lines, "", made, "", "Command: `benchmarks/training/transfer.py`", ""])


def _mixed(facts: dict[str, Any]) -> list[str]:
    """A sentence where arms were subtracted that differ in more than one thing, as they were at first."""
    rows = [row for target in facts["targets"] for row in target["rows"] if "difference" in row]
    if all("against" in row for row in rows):
        return []
    return [
        f"Scratch learned at the default rate of {RATE:g}, both tuned arms at {LOWER:g}: what tuned minus scratch "
        "measures is of start and rate together (with layer-wise rates: of all three), and not of the start alone. "
        "Scratch at the lower rate and tuned at the default one are not measured yet.",
        "",
    ]


if __name__ == "__main__":
    main()
