"""kill -9 at random moments: does every resumed run end in the weights of the uninterrupted one, bit for bit?

    .venv/bin/python benchmarks/training/kill.py [--moments 50] [--steps 60] [--only segment] [--card]

Three runs on phantoms: segmentation and classification (averaged weights, the best ones kept, early stop) and a GAN
with two optimisers (wgan_gp). A moment is a share of the uninterrupted run's duration, drawn with a seed, or, for one
moment in four, the first time after it that a new state is being written. The process that trains is killed then; every
second one is killed once more while it goes on. Then it goes on to its end. Equal: every weight and every row of
log.csv. Where it was killed before the first state it is begun anew, and after the end nothing is left to compute: both
are the same without resuming, and `resumed` counts the others. Repeat the command to go on where it stopped; moments
measured by other code are measured anew. Kills are counted, second ones too: the columns add to more than the moments.
--card: on a CUDA device, with `learning.deterministic`, into a table of its own.
"""

import argparse
import csv
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import machine

from hilum.core import catalogue
from hilum.core.atomic import write_json, write_text
from hilum.core.errors import HilumError
from hilum.learn import _checkpoint, _versions
from hilum.planning.planner import look
from hilum.verbs.plan import planned
from hilum.verbs.train import train

BENCHMARKS = Path(__file__).parents[1]
REMEMBERS = {"learning.ema": 0.2, "learning.keep": "best", "learning.patience": 0.9, "learning.rounds": 20}
RUNS: dict[str, tuple[str, int, dict[str, Any], dict[str, Any]]] = {
    "segment": ("heads", 4, {}, {"plan.batch": 2, "plan.patch": [24, 24, 24], **REMEMBERS}),
    "classify": ("slices", 16, {"size": 32}, {"plan.batch": 4, **REMEMBERS}),
    "generate": ("slices", 16, {"size": 32}, {"plan.batch": 4, "learning.rounds": 20}),
}
# Task: phantom, cases, its options, changes of the plan. Networks are tiny: what is tested does not grow with them.


def prepare(task: str, steps: int, work: Path, where: str) -> tuple[Path, Path]:
    """The data and the plan of a run."""
    phantom, cases, options, changes = RUNS[task]
    data = work / phantom / str(cases)
    if not data.exists():
        catalogue.load("hilum.data.phantoms", phantom).make(data, cases, **options)
    ready = look(data, task, 0)
    plan = planned(ready, task, None, None, steps, 0, {})
    for role, net in plan.networks.items():
        tiny = dict(catalogue.card("hilum.zoo", net.name)["tiny"]["kwargs"])
        for given in ("in_channels", "out_channels", "spatial_dims", "image_size"):
            tiny.pop(given, None)
        changes = changes | {f"networks.{role}.options": tiny}
    if where == "cuda":
        # without it sums on a card are added up in any order, killed or not
        changes = changes | {"learning.deterministic": True}
    path = work / f"{task}.json"
    planned(ready, task, None, None, steps, 0, changes, accelerator=where).write(path)
    return data, path


def child(*words: Any, **named: Any) -> BaseProcess:
    """A process of its own that trains on one thread; its errors are ours to see."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["torch", "hilum.verbs.train", "hilum.learn._loop"])
    process = server.Process(target=train, args=words, kwargs=named)
    process.start()
    return process


def learned(folder: Path) -> str:
    """Hash of the weights and of the curve without its seconds."""
    digest = hashlib.sha256()
    for path in sorted((folder / "weights").iterdir()):
        digest.update(path.read_bytes())
    with open(folder / "log.csv", newline="", encoding="utf-8") as stream:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]
    return digest.hexdigest() + hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def killed(process: BaseProcess, out: Path, after: float, writing: bool) -> str:
    """Kill it after so many seconds (or in the next writing of a state), and say what it was at."""
    end = time.monotonic() + after
    while process.is_alive() and time.monotonic() < end:
        time.sleep(0.0005)
    while writing and process.is_alive():
        if list(out.glob(".part-*.safetensors")):
            os.kill(process.pid or 0, signal.SIGSTOP)
            time.sleep(0.002)
            if list(out.glob(".part-*.safetensors")):
                break
            os.kill(process.pid or 0, signal.SIGCONT)
    process.kill()
    process.join()
    if process.exitcode == 0:
        return "after the end"
    if list(out.rglob(".part-*.safetensors")):
        return "while a state was written"
    return "between two states" if (out / "checkpoint.safetensors").exists() else "before the first state"


def moment(
    task: str, number: int, data: Path, plan: Path, whole: tuple[str, float], work: Path, where: str
) -> dict[str, Any]:
    """A run that is killed and goes on: when, at what, and whether it ends in the same weights. where: cpu or cuda."""
    rng, out = random.Random(f"{task} {number}"), work / "run"
    begun, resumed = {"plan": plan, "accelerator": where}, {"resume": True, "accelerator": where}
    shutil.rmtree(out, ignore_errors=True)
    share, writing = rng.random(), rng.random() < 0.25
    found = [killed(child(data, task, out, **begun), out, share * whole[1], writing)]
    steps = []
    if number % 2 and (out / "checkpoint.safetensors").exists():
        steps.append(_checkpoint.load(out / "checkpoint.safetensors")["step"])
        found.append(killed(child(data, task, out, **resumed), out, rng.random() * whole[1], writing))
    if (out / "checkpoint.safetensors").exists():
        steps.append(_checkpoint.load(out / "checkpoint.safetensors")["step"])
        last = child(data, task, out, **resumed)
    else:
        try:
            train(data, task, out, resume=True, accelerator=where)
        except HilumError as error:
            steps.append(error.code)
        shutil.rmtree(out, ignore_errors=True)
        last = child(data, task, out, **begun)
    last.join()
    same = last.exitcode == 0 and learned(out) == whole[0] and not list(out.rglob(".part-*"))
    return {"task": task, "moment": number, "share": share, "killed": found, "resumed from": steps, "same": same}


def uninterrupted(task: str, data: Path, plan: Path, work: Path, where: str) -> tuple[str, float]:
    """What the run learns when nobody kills it, and its seconds."""
    began, out = time.monotonic(), work / "whole"
    shutil.rmtree(out, ignore_errors=True)
    process = child(data, task, out, plan=plan, accelerator=where)
    process.join()
    assert process.exitcode == 0
    return learned(out), time.monotonic() - began


def main() -> None:
    """Measure what is not measured yet, and write the table."""
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--moments", type=int, default=50)
    words.add_argument("--steps", type=int, default=60)
    words.add_argument("--only", default="")
    words.add_argument("--card", action="store_true")
    given = words.parse_args()
    where = "cuda" if given.card else "cpu"
    os.environ["OMP_NUM_THREADS"] = "1"
    here, own = _versions.here(), hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    key = f"{here['code']}-{here['torch']}-{own}-{given.steps}{'-card' if given.card else ''}"
    cache, rows = BENCHMARKS / "cache" / "training" / "kill" / key, []
    for task in (name for name in RUNS if given.only in name):
        with tempfile.TemporaryDirectory() as folder:
            kept = [cache / f"{task}-{number}.json" for number in range(given.moments)]
            if missing := [n for n, path in enumerate(kept) if not path.exists()]:
                data, plan = prepare(task, given.steps, Path(folder), where)
                whole = uninterrupted(task, data, plan, Path(folder), where)
            for number in missing:
                found = moment(task, number, data, plan, whole, Path(folder), where)
                write_json(kept[number], found)
                print(task, number, *found["killed"], "same" if found["same"] else "DIFFERENT", flush=True)
        rows.append(counted(task, [json.loads(path.read_text()) for path in kept], given.steps))
    if not rows:
        sys.exit(f"--only {given.only}: no such run; there are {', '.join(RUNS)}")
    write(rows, given)
    sys.exit(any(row["different"] for row in rows))


def counted(task: str, found: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """One row of the table."""
    where = Counter(place for one in found for place in one["killed"])
    places = ("before the first state", "between two states", "while a state was written", "after the end")
    same = sum(one["same"] for one in found)
    resumed = sum(any(isinstance(step, int) and step < steps for step in one["resumed from"]) for one in found)
    row: dict[str, Any] = {"run": task, "moments": len(found)} | {f"killed {p}": where[p] for p in places}
    return row | {"resumed": resumed, "same weights": same, "different": len(found) - same}


def write(rows: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """results/training_kill.md and .json."""
    command = f"benchmarks/training/kill.py --moments {given.moments} --steps {given.steps}{' --card' * given.card}"
    here = machine.hardware()
    facts = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": machine.commit(), **here,
        "versions": machine.versions(), "load": os.getloadavg()[0], "command": command,
    }  # fmt: skip
    table = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    table += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    versions = ", ".join(f"{k} {v}" for k, v in machine.versions().items())
    lines = [f"# Training killed and resumed, {facts['date']}", "", about, "", *table, ""]
    hardware = " and ".join(here[name] for name in ("processors", "card")[: 1 + given.card])
    lines += [f"Commit {facts['commit']}; {hardware}, load {facts['load']:.1f}; {versions}.", ""]
    lines += [f"Command: `{command}`.", ""]
    name = "training_kill_card" if given.card else "training_kill"
    if not given.only:
        # a part of the runs takes no whole page's place
        write_text(BENCHMARKS / "results" / f"{name}.md", "\n".join(lines))
        write_json(BENCHMARKS / "results" / f"{name}.json", facts | {"rows": rows})
    print("\n".join(lines))


if __name__ == "__main__":
    main()
