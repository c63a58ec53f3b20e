"""Settings of training tried at equal minutes, judged on the validation part only: what defaults and peers stand on.

    HILUM_DATA=... .venv/bin/python benchmarks/training/trials.py plans FOLDER      # here: plans, and seconds of a step
    python benchmarks/training/trials.py run FOLDER OUT [--only NAME] [--jobs 8] [--accelerator cuda] [--minutes 8]
    .venv/bin/python benchmarks/training/trials.py table OUT --hardware "one NVIDIA H200" --planned-on "2 x AMD EPYC"

Minutes of this machine's processors become steps by a measured time of a step (forward, loss, backward, optimiser; 0.87
of the minutes, the rest validates and saves); those steps are then trained wherever it is quick, in float32, several
trials side by side. The test part is never read. A trial is one line of JSON in OUT/trials.jsonl.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import machine
from rows import DYNUNET

from hilum.core.atomic import write_json, write_text

BENCHMARKS = Path(__file__).parents[1]
SHARE = 0.87
LIGHT = ("rotate_scale", "noise", "contrast", "gamma")
Change = dict[str, Any]
# Of a plan, as --set writes it; "light": only these augmentations are left.
WIDE: dict[int, Change] = {
    w: {"features": [w * m for m in (1, 2, 4, 8)], "plan.patch": [40, 56, 40]} for w in (12, 16, 24, 32)
}
SEGMENT: dict[str, Change] = {
    "as planned": {}, "rate 4e-3": {"learning.rate": 4e-3}, "rate 2e-3": {"learning.rate": 2e-3},
    "light augmentation": {"light": True}, "no augmentation": {"plan.augment": []},
    "cosine": {"learning.schedule": "cosine"}, "average 0.05": {"learning.ema": 0.05},
    "sgd 1e-2": {"learning.optimiser": "sgd", "learning.rate": 1e-2, "learning.momentum": 0.99},
}  # fmt: skip
HIPPOCAMPUS = SEGMENT | {
    "rate 1.6e-2": {"learning.rate": 1.6e-2}, "width 12": WIDE[12], "width 24": WIDE[24], "width 32": WIDE[32],
    "batch 1": {"plan.batch": 1}, "width 24, rate 4e-3": WIDE[24] | {"learning.rate": 4e-3},
}  # fmt: skip
ALL = HIPPOCAMPUS | {"width 16": WIDE[16]}
LONG = ("as planned", "rate 4e-3", "light augmentation", "width 16", "width 24", "width 24, rate 4e-3", "cosine")
CLASSIFY: dict[str, Change] = {
    "as planned": {}, "mixup 0.2": {"options.mixup": 0.2}, "smoothing 0.1": {"options.smoothing": 0.1},
    "rate 3e-4": {"learning.rate": 3e-4}, "rate 3e-3": {"learning.rate": 3e-3}, "width 32": {"width": 32},
    "light augmentation": {"light": True}, "decay 0.05": {"learning.weight_decay": 0.05},
    "mixup 0.2, rate 3e-3": {"options.mixup": 0.2, "learning.rate": 3e-3},
    "side 224, width 32": {"plan.patch": [224, 224], "width": 32},
}  # fmt: skip
SETS: dict[str, tuple[str, str, float, dict[str, Change]]] = {
    "hippocampus 12": ("hippocampus.yaml", "segment", 12, HIPPOCAMPUS),
    "hippocampus 45": ("hippocampus.yaml", "segment", 45, {n: ALL[n] for n in LONG}),
    "retina": ("retina_vessels.yaml", "segment", 20, SEGMENT),
    "nuclei": ("nuclei_instances.yaml", "segment", 20, SEGMENT),
    "dermoscopy": ("dermoscopy.yaml", "segment", 20, SEGMENT),
    "breast": ("breast_ultrasound", "classify", 20, CLASSIFY),
    "chest": ("chest_xray", "classify", 20, CLASSIFY),
    "brain tumour": ("brain_tumour_mri", "classify", 20, CLASSIFY),
}  # fmt: skip
PEER = {
    f"{o} {r:g}{' flips' * f}": {"optimiser": o, "rate": r, "flip": f}
    for o, r in (("sgd", 1e-2), ("sgd", 3e-2), ("adamw", 1e-3), ("adamw", 3e-3), ("adamw", 1e-2)) for f in (False, True)
}  # fmt: skip
SHOWN = ("dice", "auroc", "accuracy", "nll", "pixel_auroc_pooled", "hd95_mm")
WARNING = (
    "Validation parts are small and most trials have one seed: a few thousandths of Dice, or a few hundredths of an "
    "AUROC, mean little. `As planned` is the plan of the defaults before these trials, the other lines are changes of "
    "it; what was taken from them is in docs/explanation/planning.md."
)
PEER_SECONDS = 2.66
# Of a step of MONAI's DynUNet on the two cores that the trials were planned on (AMD EPYC, 2026-11-26): 0.376 a second.
# Trials that are planned anew elsewhere want it measured there, by speed.py.


def source(data: str) -> Path:
    """A description in benchmarks/datasets, or a folder below HILUM_DATA."""
    return BENCHMARKS / "datasets" / data if data.endswith(".yaml") else Path(os.environ["HILUM_DATA"]) / data


@functools.cache
def looked(path: Path, task: str, seed: int, *_: Any) -> Any:
    """The data in parts, once for every process."""
    from hilum.planning import planner

    return planner.look(path, task, seed)


def plans(folder: Path) -> None:
    """One plan.json for every trial of Hilum, its steps from the measured time of a step."""
    import phases

    known: dict[str, float] = {}
    for name, (data, task, minutes, changes) in SETS.items():
        for words, change in changes.items():
            kept, ready = {k: v for k, v in change.items() if k != "light"}, looked(source(data), task, 0)
            plan = phases.planned(ready, task, None, minutes, None, 0, kept)
            # trials of one network and patch are given the same seconds
            costs = f"{data} {plan.patch} {plan.batch} {plan.networks['net']}"
            if costs not in known:
                found, _ = phases.of_plan(ready, plan, 8, 4)
                known[costs] = sum(found[n] for n in ("forward", "loss", "backward", "optimiser"))
            seconds = known[costs]
            if "light" in change:
                plan = plan.model_copy(update={"augment": [a for a in plan.augment if a.name in LIGHT]})
            steps = int(SHARE * 60 * minutes / seconds)
            # equal arithmetic wherever it is trained
            learning = plan.learning | {"precision": "float32"}
            plan.model_copy(update={"steps": steps, "minutes": None, "learning": learning}).write(
                folder / f"{name}--{words}.json"
            )
            print(f"{name}: {words}: {seconds:.3f} s a step, {steps} steps", flush=True)


def hilum(name: str, words: str, plan: Path, seed: int, accelerator: str) -> dict[str, Any]:
    """Train one plan and judge it on the validation part."""
    import torch

    from hilum.core.run import Run
    from hilum.evaluation.evaluator import judge_all
    from hilum.infer.predictor import Predictor
    from hilum.verbs import train as verb

    torch.set_num_threads(1 if accelerator == "cuda" else torch.get_num_threads())
    verb.look = looked
    data, task, *_ = SETS[name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"plan.seed": seed}
        verb.train(source(data), task, f"{scratch}/run", plan=plan, settings=settings, accelerator=accelerator)
        trained = time.monotonic() - began
        run = Run(Path(scratch) / "run")
        ready = looked(source(data), task, run.plan.split_seed)
        done = judge_all(Predictor(run), [c for c, part in ready.units(run.plan) if part == "val"])
        steps, found = run.plan.steps, {m: row["mean"] for m, row in done.metrics.items()}
    facts = {"set": name, "trial": words, "seed": seed, "steps": steps, "cases": len(done.judged)}
    return facts | {"metrics": found, "seconds": round(trained, 1)}


def peer(name: str, words: str, minutes: float, seconds: float, seed: int, accelerator: str) -> dict[str, Any]:
    """Train MONAI's DynUNet with one choice of settings, at so many seconds a step; its own validation judges it."""
    steps = int(SHARE * 60 * minutes / seconds)
    ready = looked(source("hippocampus.yaml"), "segment", 0)
    cases = [
        {"case": c.id, "part": ready.parts[c.id]} | {r: str(c.items[r].path) for r in ("image", "label")}
        for c in ready.dataset.cases
        if ready.parts[c.id] != "test"
    ]
    with tempfile.TemporaryDirectory() as scratch:
        facts = {"cases": cases, "classes": [1, 2], "seed": seed, "minutes": minutes, "out": scratch}
        more = {"steps": steps, "device": accelerator, "loader": "2"}
        job = Path(scratch) / "job.json"
        job.write_text(json.dumps(facts | {"settings": DYNUNET | PEER[words] | more}))
        python, script = os.environ.get("PEER_PYTHON", sys.executable), Path(__file__).parent / "peers" / "dynunet.py"
        subprocess.run([python, str(script), str(job)], check=True, capture_output=True)
        done = json.loads((Path(scratch) / "facts.json").read_text())
    row = {"set": name, "trial": words, "seed": seed, "steps": done["steps"], "cases": done["checked"]}
    where = {} if accelerator == "cuda" else {"hardware": machine.hardware()["processors"]}
    return row | {"metrics": {"dice": done["validation"]}, "seconds": done["seconds"]} | where


def run(
    folder: Path, out: Path, only: str, jobs: int, accelerator: str, minutes: float, seeds: int, seconds: float
) -> None:
    """Every trial that is not in OUT yet, so long as the minutes last; the first seed of all before the second."""
    out.mkdir(parents=True, exist_ok=True)
    log, until = out / "trials.jsonl", time.monotonic() + 60 * minutes
    there = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    have = {(r["set"], r["trial"], r["seed"]) for r in there}
    wanted: list[tuple[Any, tuple[Any, ...]]] = []
    for seed in range(100, 100 + seeds):
        for name, (*_, changes) in SETS.items():
            rows = [(hilum, (name, w, folder / f"{name}--{w}.json", seed, accelerator)) for w in changes]
            if name.startswith("hippocampus"):
                title = f"DynUNet {name.split()[1]}" + (f", {seconds:g} s a step" if seconds != PEER_SECONDS else "")
                rows += [(peer, (title, w, float(name.split()[1]), seconds, seed, accelerator)) for w in PEER]
            wanted += [r for r in rows if _asked(only, r[1]) and (*r[1][:2], seed) not in have]
    with ProcessPoolExecutor(jobs) as pool:
        waiting = {pool.submit(_timely, until, work, *given): given[:2] for work, given in wanted}
        for done in as_completed(waiting):
            try:
                row = done.result()
            except Exception as error:
                print(*waiting[done], type(error).__name__, str(error)[-800:], flush=True)
                continue
            if row is not None:
                print(json.dumps(row), flush=True)
                with log.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")


def _asked(only: str, given: tuple[Any, ...]) -> bool:
    """Whether a word of `only` is in `SET: TRIAL.`, whose point names the whole trial."""
    return any(word in f"{given[0]}: {given[1]}." for word in only.split("|"))


def _timely(until: float, work: Any, *given: Any) -> dict[str, Any] | None:
    return work(*given) if time.monotonic() < until else None


def table(out: Path, hardware: str, planned: str) -> None:
    """results/training_trials.md and .json, the best of every set first. planned: where steps were timed."""
    rows = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    lines = [f"# Trials of training settings, {date}", "", about, ""]
    lines += [f"Trained on {hardware}; seconds of a step measured on {planned}.", ""]
    lines += [WARNING, ""]
    waiting = [name for name in SETS if not any(r["set"] == name for r in rows)]
    lines += [f"Not run: {', '.join(waiting)}.", ""] if waiting else []
    for name in dict.fromkeys(r["set"] for r in rows):
        here = [r for r in rows if r["set"] == name]
        shown = [m for m in SHOWN if m in here[0]["metrics"]]
        lines += [f"## {name}: {here[0]['cases']} validation cases", ""]
        places = sorted({r["hardware"] for r in here if "hardware" in r})
        lines += [f"These were trained on {', '.join(places)}.", ""] if places else []
        lines += [f"| settings | steps | seeds | {' | '.join(shown)} |", "| --- " * (3 + len(shown)) + "|"]
        trials = list(dict.fromkeys(r["trial"] for r in here))
        means = {t: {m: _mean([r["metrics"][m] for r in here if r["trial"] == t]) for m in shown} for t in trials}
        for trial in sorted(trials, key=lambda t: -means[t][shown[0]]):
            runs = [r for r in here if r["trial"] == trial]
            values = " | ".join(f"{means[trial][m]:.4f}" for m in shown)
            lines.append(f"| {trial} | {runs[0]['steps']} | {len(runs)} | {values} |")
        lines.append("")
    lines += [f"Commit {machine.commit()}; commands: `benchmarks/training/trials.py plans`, `run` and `table`.", ""]
    write_text(BENCHMARKS / "results" / "training_trials.md", "\n".join(lines))
    facts = {"date": date, "hardware": hardware, "steps by": planned, "rows": rows}
    write_json(BENCHMARKS / "results" / "training_trials.json", facts)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    """Plans, trials or the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=["plans", "run", "table"])
    words.add_argument("folders", type=Path, nargs="+")
    words.add_argument("--only", default="", help="words in `SET: TRIAL.`, a bar between them")
    words.add_argument("--jobs", type=int, default=8)
    words.add_argument("--accelerator", default="cuda")
    words.add_argument("--minutes", type=float, default=8)
    words.add_argument("--seeds", type=int, default=2)
    words.add_argument("--peer-seconds", type=float, default=PEER_SECONDS, help="of a step of DynUNet, for its steps")
    words.add_argument("--hardware", default="", help="what the trials ran on, for the table")
    words.add_argument("--planned-on", default=machine.hardware()["processors"], help="where `plans` was run")
    asked = words.parse_args()
    if asked.what == "plans":
        asked.folders[0].mkdir(parents=True, exist_ok=True)
        plans(asked.folders[0])
    elif asked.what == "table":
        table(asked.folders[0], asked.hardware, asked.planned_on)
    else:
        many = (asked.jobs, asked.accelerator, asked.minutes, asked.seeds, asked.peer_seconds)
        run(*asked.folders[:2], asked.only, *many)


if __name__ == "__main__":
    main()
