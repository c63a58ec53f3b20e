"""Speed of training: where a step's time goes, and steps per second beside MONAI's usual pipeline.

    HILUM_DATA=... .venv/bin/python benchmarks/training/speed.py [--seconds 75] [--rounds 3]

Steps per second on hippocampus_mri with patch 40 x 56 x 40 and batch 2: `hilum train --steps N` (its own loop, without
the seconds of validating and saving) and MONAI's DynUNet with CacheDataset and its best loader, the same topology,
widths and kinds of augmentation (Hilum's as often as in a long run), runs alternating, each first in every second
round. The loader of MONAI is its fastest of ThreadDataLoader and DataLoader with 0, 1 and 2 workers, found first in
short runs. MONAI's clock starts after five steps, Hilum's with the first. Where the processor has bfloat16 both take
it, and a third run of each round is MONAI in float32: so its own trainers compute there, whose `amp` is for CUDA.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "predict"))
sys.path.insert(0, str(Path(__file__).parent))
import environment
import floor
import machine
import phases
from rows import DYNUNET
from tables import _lines

from hilum.core.atomic import write_json, write_text
from hilum.core.run import Run
from hilum.planning import cost
from hilum.planning.machine import native_half
from hilum.planning.planner import Prepared, look, make_plan

BENCHMARKS = Path(__file__).parents[1]
HILUM = str(Path(sys.executable).parent / "hilum")
LOADERS = ("thread", "0", "1", "2")
TOPOLOGY = {
    "plan.patch": DYNUNET["patch"], "plan.batch": DYNUNET["batch"], "features": DYNUNET["filters"],
    "strides": DYNUNET["strides"], "kernels": [3, 3, 3, 3], "deep_supervision": True,
}  # fmt: skip
PHASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("segment 3-D, 40 x 56 x 40, batch 2", "hippocampus.yaml", "segment", {"plan.patch": [40, 56, 40]}),
    ("segment 2-D, 256 x 256, batch 4", "dermoscopy.yaml", "segment", {"plan.patch": [256, 256]}),
    ("classify 160 px, batch 16", "chest_xray", "classify", {"plan.patch": [160, 160]}),
)
Table = list[dict[str, Any]]


def main() -> None:
    """Phases, loaders, alternating runs; then results/training_speed.md and .json."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=75, help="of each run")
    words.add_argument("--rounds", type=int, default=3, help="alternating pairs of runs")
    words.add_argument("--steps", type=int, default=12, help="that each phase is timed over")
    words.add_argument("--smoke", action="store_true", help="write to the cache")
    asked = words.parse_args()
    if "HILUM_DATA" not in os.environ:
        sys.exit("HILUM_DATA is not set. It names the folder of the data sets.")
    with tempfile.TemporaryDirectory() as temporary, machine.Watch() as watch:
        parts = [_phases(*row, asked.steps, asked.seconds, Path(temporary)) for row in PHASES]
        pairs, notes = _pairs(asked.seconds, asked.rounds, Path(temporary))
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": machine.commit(), "hardware": machine.hardware()}
    facts |= {"versions": machine.versions(), "machine": watch.facts}
    _write(asked, parts, pairs, notes, facts)


def _source(data: str) -> Path:
    return BENCHMARKS / "datasets" / data if data.endswith(".yaml") else Path(os.environ["HILUM_DATA"]) / data


def _phases(
    name: str, data: str, task: str, settings: dict[str, Any], steps: int, seconds: float, scratch: Path
) -> dict[str, Any]:
    """One line: milliseconds of each phase, and how long the real loop waits."""
    print(name, flush=True)
    found, plan = phases.measured(_source(data), task, settings, 24, steps)
    share = found.pop("convolutions")
    each = sum(found[n] for n in ("forward", "loss", "backward", "optimiser"))
    plan.model_copy(update={"steps": max(8, int(seconds / each / 3))}).write(scratch / "plan.json")
    rate = hilum(_source(data), task, ["--plan", str(scratch / "plan.json")], scratch)
    row: dict[str, Any] = {
        "what": f"{name}, {next(iter(plan.networks.values())).name}",
        "step ms": round(1000 * each, 1),
    }
    row |= {f"{n} ms": round(1000 * v, 1) for n, v in found.items()}
    row |= {"batch / step": round((found["sample"] + found["augment"]) / each, 3)}
    row["of a step convolutions"] = round(share, 3)
    return row | {"loop: ms a step": round(1000 * rate["step_seconds"], 1), "loop: share waiting": rate["wait"]}


def _steps(settings: dict[str, Any], steps: int) -> list[str]:
    return ["--steps", str(steps), *[w for k, v in settings.items() for w in ("--set", f"{k}={json.dumps(v)}")]]


def hilum(source: Path, task: str, words: list[str], scratch: Path) -> dict[str, Any]:
    """`hilum train`: seconds of a step (waiting for batches included) and the share of waiting."""
    out = scratch / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [HILUM, "train", str(source), "--task", task, "--out", str(out), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    timing = json.loads((out / "timing.json").read_text())
    spent, run = timing["wait"] + timing["step"], Run(out)
    steps, weights = run.plan.steps or 1, sum(t.numel() for t in run.weights("net").values())
    found = {"step_seconds": spent / steps, "wait": round(timing["wait"] / spent, 4), "weights": weights}
    return found | {"steps": steps, "flops": cost.step(run.plan).flops}


def monai(ready: Prepared, loader: str, seconds: float, scratch: Path, half: bool = True) -> dict[str, Any]:
    """MONAI's pipeline for some seconds. half: in bfloat16, where the processor has it."""
    out = scratch / "monai"
    shutil.rmtree(out, ignore_errors=True)
    cases = [
        {
            "case": c.id,
            "part": ready.parts[c.id],
            "image": str(c.items["image"].path),
            "label": str(c.items["label"].path),
        }
        for c in ready.dataset.cases
        if ready.parts[c.id] == "train"
    ]
    facts = {"cases": cases, "classes": [1, 2], "seed": 0, "minutes": seconds / 60, "out": str(out)}
    write_json(out / "job.json", facts | {"settings": DYNUNET | {"loader": loader, "half": half}})
    script = Path(__file__).parent / "peers" / "dynunet_speed.py"
    subprocess.run([str(environment.python()), str(script), str(out / "job.json")], check=True)
    done: dict[str, Any] = json.loads((out / "facts.json").read_text())
    return done


def _pairs(seconds: float, rounds: int, scratch: Path) -> tuple[Table, list[str]]:
    """Alternating runs, and sentences about the loaders, the networks and the middle ratio."""
    source = _source("hippocampus.yaml")
    ready = look(source, "segment", 0)
    tried = {name: monai(ready, name, max(2.0, seconds / 4), scratch)["step_seconds"] for name in LOADERS}
    best = min(tried, key=lambda name: tried[name])
    # a short run would augment seldom
    usual = make_plan(ready, "segment", steps=1_000_000, settings=TOPOLOGY).augment
    settings = TOPOLOGY | {"plan.augment": [one.model_dump() for one in usual]}
    steps = max(8, int(seconds / hilum(source, "segment", _steps(settings, 8), scratch)["step_seconds"]))
    rows, done = Table(), dict[str, Any]()
    runs = {
        "hilum": lambda: hilum(source, "segment", _steps(settings, steps), scratch),
        "monai": lambda: monai(ready, best, seconds, scratch),
    } | ({"float32": lambda: monai(ready, best, seconds, scratch, half=False)} if native_half() else {})
    for number in range(rounds):
        with machine.Watch() as watch:
            for name in list(runs)[:: 1 if number % 2 == 0 else -1]:
                done[name] = runs[name]()
        a, b = done["hilum"], done["monai"]
        rows.append({
            "round": number + 1, "hilum steps/s": round(1 / a["step_seconds"], 3), "hilum waits": a["wait"],
            "MONAI steps/s": round(1 / b["step_seconds"], 3), "MONAI waits": round(b["wait"], 4),
            "ratio": round(b["step_seconds"] / a["step_seconds"], 3), **_beside(a, done.get("float32")),
            "load": watch.facts["load_start"], "others": watch.facts["others"],
        })  # fmt: skip
        print(rows[-1], flush=True)
    middle = statistics.median(r["ratio"] for r in rows)
    bits = "bfloat16" if b["bfloat16"] else "float32"
    most = floor.peaks()[bits]["most"]
    least, theirs = a["flops"] / most, statistics.median(1 / r["MONAI steps/s"] for r in rows)
    words = ", ".join(f"{n} {1 / s:.3f}" for n, s in tried.items())
    return rows, [
        f"Median ratio of steps per second, Hilum over MONAI: {middle:.2f} (target 1.5: {_met(middle)}).",
        *_in_float32(rows),
        f"MONAI's loaders in short runs, steps/s: {words} (thread: ThreadDataLoader, numbers: worker processes).",
        f"Weights: Hilum {a['weights']}, MONAI {b['weights']}. MONAI computed in {bits}.",
        f"A step is {a['flops'] / 1e9:.0f} GFLOP, forwards and backwards; the fastest product in {bits} made "
        f"{most / 1e9:.0f} GFLOP/s here. A step of nothing else would take {least:.2f} s and be "
        f"{theirs / least:.2f} times as fast as MONAI's median.",
    ]


def _beside(ours: dict[str, Any], plain: dict[str, Any] | None) -> dict[str, float]:
    """The columns of MONAI in float32, where it was run beside."""
    if plain is None:
        return {}
    found = {"MONAI float32 steps/s": 1 / plain["step_seconds"]}
    found["ratio to float32"] = plain["step_seconds"] / ours["step_seconds"]
    return {name: round(value, 3) for name, value in found.items()}


def _in_float32(rows: Table) -> list[str]:
    found = [row["ratio to float32"] for row in rows if "ratio to float32" in row]
    if not found:
        return []
    middle = statistics.median(found)
    return [
        f"Over MONAI in float32, as its own trainers compute on processors: {middle:.2f} (target 1.5: {_met(middle)}). "
        "The difference is bfloat16, which Hilum takes by itself and a user of MONAI has to write."
    ]


def _met(ratio: float) -> str:
    return "met" if ratio >= 1.5 else "not met"


def _write(asked: Any, parts: Table, pairs: Table, notes: list[str], facts: dict[str, Any]) -> None:
    hardware = facts["hardware"]
    busy = facts["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    about = (__doc__ or "").split("\n\n")[2]
    lines = [
        f"# Speed of training, {facts['date']}", "", " ".join(about.split()), "", *_lines(pairs), "",
        *[w for note in notes for w in (note, "")], "## Where a step's time goes", "",
        "Median milliseconds, of sample and augment the mean; the batch thread is a bottleneck only where",
        "`batch / step` nears 1.", "",
        *_lines(parts), "", f"Commit {facts['commit']}; {hardware['processors']} ({', '.join(hardware['flags'])}); "
        f"load {busy['load_start']} at the start, {busy['load_most']} at most, other programs used {busy['others']} "
        f"processors; {versions}.", "",
        f"Command: `benchmarks/training/speed.py --seconds {asked.seconds:g} --rounds {asked.rounds}` "
        f"({busy['seconds']:.0f} s).", "",
    ]  # fmt: skip
    folder = BENCHMARKS / "results" if not asked.smoke else BENCHMARKS / "cache" / "smoke"
    write_text(folder / "training_speed.md", "\n".join(lines))
    write_json(folder / "training_speed.json", facts | {"pairs": pairs, "phases": parts, "notes": notes})
    print("\n".join(lines))


if __name__ == "__main__":
    main()
