"""Does it help to start from weights of another data set, where few cases are labelled? Scratch against tuned.

    HILUM_DATA=... .venv/bin/python benchmarks/training/transfer.py [--only NAME] [--steps-scale 0.02]

Once: a network learns on `brain_tumour_mri` (MR slices). Then for every target and seed, with the same few cases and
the same steps: from scratch, tuned, and tuned with layer-wise rates. All test cases of the target are judged; which
training cases are labelled is drawn by the seed, so many of each class, and half as many for validation. A finished
cell is kept in benchmarks/cache/transfer and taken as it is. Writes results/transfer.md and .json; with another scale
only prints, for that is no measurement.
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
TUNED = ["--set", "learning.rate=0.0003"]
ARMS: dict[str, list[str]] = {
    "scratch": [],
    "tuned": ["--start", *TUNED],
    "tuned, layer-wise": ["--start", *TUNED, "--set", "learning.layer_decay=0.7"],
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
    asked = words.parse_args()
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
    folder = place / f"{target.data}-{seed}-{arm.replace(', ', '-')}"
    data = _few(place, root, target, seed)
    if not (folder / "evaluation" / "metrics.json").is_file():
        more = [w for word in ARMS[arm] for w in ([word, str(source)] if word == "--start" else [word])]
        _trained(folder / "run", data, steps, seed, more)
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
    """For each arm: metrics of every seed, their mean, and the paired difference of accuracy to scratch."""
    rows = []
    for arm in ARMS:
        own = [c for c in cells if c["arm"] == arm]
        row: dict[str, Any] = {"arm": arm, "seeds": [c["metrics"] for c in own]}
        row["mean"] = {m: round(float(np.mean([c["metrics"][m] for c in own])), 4) for m in own[0]["metrics"]}
        if arm != "scratch":
            first = [c for c in cells if c["arm"] == "scratch"]
            names = list(own[0]["values"])
            one, two = ([np.mean([c["values"][n] for c in side]) for n in names] for side in (own, first))
            gap = paired(one, two, [own[0]["groups"][n] for n in names])
            row |= {"difference": gap.difference, "low": gap.low, "high": gap.high, "p": gap.p, "cases": gap.n}
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
        f"| target (cases a class) | n | arm | {' | '.join(METRICS)} | accuracy by seed | minus scratch | "
        "interval | p |",
        "| --- " * (len(METRICS) + 7) + "|",
    ]
    for target in facts["targets"]:
        n = next(row["cases"] for row in target["rows"] if "cases" in row)
        for row in target["rows"]:
            gap = row.get("difference")
            doubt = "-" if gap is None or row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}"
            cells = [f"{target['target']} ({target['labelled']})", str(n), row["arm"]]
            cells += [f"{row['mean'][m]:.3f}" if m in row["mean"] else "-" for m in METRICS]
            cells += [", ".join(f"{s['accuracy']:.3f}" for s in row["seeds"])]
            cells += ["-" if gap is None else f"{gap:+.3f}", doubt, "-" if gap is None else f"{row['p']:.3f}"]
            lines.append("| " + " | ".join(cells) + " |")
    made = f"Commit {facts['commit']}; {hardware['processors']} ({', '.join(hardware['flags'])}); {versions}."
    return "\n".join([*lines, "", made, "", "Command: `benchmarks/training/transfer.py`", ""])


if __name__ == "__main__":
    main()
