"""Trained systems on real images, beside peers: the figures table of training, cell by cell.

    HILUM_DATA=... .venv/bin/python benchmarks/training/figures.py [--only NAME] [--limit MINUTES] [--list]
    HILUM_DATA=... .venv/bin/python benchmarks/training/figures.py --minutes-scale 0.02   # does it all run?

A cell is one row (rows.py) with one seed: Hilum and its peers, one after the other on the same machine, judged on the
same test part by the same code, once. Finished cells lie in benchmarks/results/training_cells and are taken as they
are, on any machine; a cell that was cut short goes on after its last finished training, if the machine was not started
anew meanwhile. The table is written again after every cell.
"""

import argparse
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import environment
import judge
import machine
import tables
from rows import RECIPE, Cell, Peer, cells

from hilum.core.atomic import write_json, write_text
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.data.dataset import open_dataset
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared, look
from hilum.tasks._labels import class_plans

BENCHMARKS = Path(__file__).parents[1]
CACHE = BENCHMARKS / "cache" / "training"
HILUM = str(Path(sys.executable).parent / "hilum")


def main() -> None:
    """Run what is asked for and not done, then write the tables."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", default="", help="rows whose name holds this")
    words.add_argument("--limit", type=float, help="minutes; a cell that needs more than are left is not started")
    words.add_argument("--list", action="store_true", help="say what is done and what is not")
    words.add_argument("--seeds", type=int, default=99, help="at most so many of each row")
    words.add_argument("--minutes-scale", type=float, default=1.0, help="of every budget; results go to the cache")
    asked = words.parse_args()
    # a polite stop ends the training that runs too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    results = BENCHMARKS / "results" if asked.minutes_scale == 1 else BENCHMARKS / "cache" / "smoke"
    wanted = [c for c in cells(asked.only, asked.minutes_scale) if c.seed in c.row.seeds[: asked.seeds]]
    if asked.list:
        for cell in wanted:
            needed = sum(cell.needs(system) for system in cell.order)
            print(f"{'done   ' if _file(results, cell).is_file() else 'not yet'} {needed:5.0f} min  {cell.file}")
        return
    if "HILUM_DATA" not in os.environ:
        sys.exit("HILUM_DATA is not set. It names the folder of the data sets.")
    failed = []
    for cell in wanted:
        left = float("inf") if asked.limit is None else asked.limit - (time.monotonic() - began) / 60
        if _file(results, cell).is_file():
            continue
        needed = sum(cell.needs(system) for system in _missing(cell))
        # a cell that is longer than the whole limit may be done in two sittings
        if needed > left and (needed <= (asked.limit or 0) or cell.needs(_missing(cell)[0]) > left):
            print(f"{cell.file}: not started, it needs about {needed:.0f} minutes and {left:.0f} are left")
            continue
        print(f"{cell.file}: started, {needed:.0f} minutes at most", flush=True)
        try:
            if train(cell, began + 60 * (asked.limit or float("inf"))):
                _write(_file(results, cell), judged(cell))
        except subprocess.CalledProcessError as error:
            failed.append(cell.file)
            print(f"{cell.file}: {error}", flush=True)
        tables.write(results, asked.minutes_scale)
    tables.write(results, asked.minutes_scale)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _file(results: Path, cell: Cell) -> Path:
    return results / "training_cells" / f"{cell.file}.json"


def _write(path: Path, content: dict[str, Any]) -> None:
    """JSON with one line for each long list, so that thousands of values stay readable and small."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict) and key == "systems":
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def train(cell: Cell, until: float) -> bool:
    """Train the systems of a cell that are not trained yet; False where the time is up before the last one."""
    work = _work(cell)
    source = _source(cell, work)
    for system in _missing(cell):
        if time.monotonic() + 60 * cell.needs(system) > until:
            print(f"{cell.file}: the rest is put off, go on without starting the machine anew")
            return False
        out = work / _name(system)
        shutil.rmtree(out, ignore_errors=True)
        if system is None:
            # as a user trains it
            _timed([HILUM, *_words(cell, str(source)), "--out", str(out / "run")], out)
        else:
            _peer(cell, system, _ready(cell, source), out)
    return True


def _name(system: Peer | None) -> str:
    return "hilum" if system is None else system.script


def _work(cell: Cell) -> Path:
    """The cell's folder in the cache; emptied where another machine, start or code left it."""
    work = CACHE / cell.file
    stamp = {"here": machine.here(), "code": machine.code()}
    if not (work / "stamp.json").is_file() or json.loads((work / "stamp.json").read_text()) != stamp:
        shutil.rmtree(work, ignore_errors=True)
        write_json(work / "stamp.json", stamp)
    return work


def _missing(cell: Cell) -> list[Peer | None]:
    """Systems of the cell that are not trained yet, in their order."""
    work = _work(cell)
    return [system for system in cell.order if not (work / _name(system) / "half.json").is_file()]


@functools.lru_cache(1)
def _looked(source: Path, task: str, seed: int) -> Prepared:
    return look(source, task, seed)


def _ready(cell: Cell, source: Path) -> Prepared:
    """The data in parts, the same as Hilum makes them."""
    return _looked(source, cell.row.task, cell.split_seed)


def _source(cell: Cell, work: Path) -> Path:
    """The data as `hilum train` takes it."""
    row = cell.row
    if row.data.endswith(".yaml"):
        return BENCHMARKS / "datasets" / row.data
    folder = Path(os.environ["HILUM_DATA"]) / row.data
    if not row.without:
        return folder
    left_out = [case.id for case in open_dataset(folder).cases if case.klass == row.without]
    write_json(work / "dataset.yaml", {"folder": str(folder), "leave_out": left_out})
    return work / "dataset.yaml"


def _timed(command: list[str], out: Path, environ: dict[str, str] | None = None) -> None:
    """Run a command, its words into a log beside `out`; half.json says how it went and that it is done."""
    log = out.parent / f"{out.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with machine.Watch() as watch, open(log, "w", encoding="utf-8") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environ)
    if done.returncode:
        print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]))
        raise subprocess.CalledProcessError(done.returncode, [Path(command[0]).name, *command[1:3]])
    write_json(out / "half.json", watch.facts)


def _words(cell: Cell, source: str) -> list[str]:
    """The command of Hilum. The split has its own seed, which is the same for all seeds but of the draws."""
    settings = [f"plan.seed={cell.seed}"] * (cell.seed != cell.split_seed) + list(cell.row.settings)
    words = ["train", source, "--task", cell.row.task, "--minutes", f"{cell.minutes:g}"]
    return [*words, "--seed", str(cell.split_seed), *[w for s in settings for w in ("--set", s)]]


def _peer(cell: Cell, system: Peer, ready: Prepared, out: Path) -> None:
    """A peer's script on the same parts. It is not told the truth of the test part."""
    rows = []
    for case in _ordered(ready):
        part = ready.parts[case.id]
        row = {"case": case.id, "group": case.group, "part": part}
        row |= {r: str(i.path) for r, i in case.items.items() if r != "label" or part != "test"}
        rows.append(row | ({"class": case.klass} if case.klass and part != "test" else {}))
    task_classes = sorted({c.klass for c in ready.dataset.cases if c.klass})
    classes = task_classes or [c["value"] for c in class_plans(ready.facts)]
    facts = {"cases": rows, "classes": classes, "seed": cell.seed, "minutes": cell.minutes, "out": str(out)}
    write_json(out / "job.json", facts | {"settings": system.settings})
    python = environment.python() if system.own else Path(sys.executable)
    script = Path(__file__).parent / "peers" / f"{system.script}.py"
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    _timed([str(python), str(script), str(out / "job.json")], out, environ)


def _ordered(ready: Prepared) -> list[Case]:
    return sorted(ready.dataset.cases, key=lambda c: c.id)


def judged(cell: Cell) -> dict[str, Any]:
    """Judge every system of a trained cell on the test part, and say all that is needed to believe it."""
    work = _work(cell)
    ready = _ready(cell, _source(cell, work))
    every = _ordered(ready)
    cases = [c for c in every if ready.parts[c.id] == "test"]
    trained = Run(work / "hilum" / "run")
    parts = {row["case"]: row["part"] for row in trained.split()}
    if parts != dict(ready.parts):
        raise RuntimeError(f"{cell.file}: Hilum was trained on another split than its peers")
    predictor = Predictor(trained)
    began = time.monotonic()
    systems = {"hilum": judge.hilum(predictor, cases, cell.row.kind)}
    judging = time.monotonic() - began
    plan = trained.plan
    timing = trained.json("timing.json") if trained.has("timing.json") else {}
    systems["hilum"] |= _half(work / "hilum") | {"steps": plan.steps, "timing": timing}
    systems["hilum"] |= {"judge_seconds": round(judging, 1), "plan": _short(plan)}
    for system in cell.row.peers:
        facts = json.loads((work / system.script / "facts.json").read_text())
        for name in system.systems:
            folder = work / system.script / name.replace(" ", "_")
            files = [folder / f"{every.index(c):05d}.npz" for c in cases]
            found = judge.peer(predictor, cases, files, cell.row.kind)
            systems[name] = found | _half(work / system.script) | facts | {"settings": system.settings}
    shown = (
        f"benchmarks/datasets/{cell.row.data}" if cell.row.data.endswith(".yaml") else f"$HILUM_DATA/{cell.row.data}"
    )
    facts = {"row": cell.row.name, "seed": cell.seed, "key": cell.key, "recipe": RECIPE, "minutes": cell.minutes}
    facts |= {"command": " ".join(["hilum", *_words(cell, shown), "--out", "run"]), "without": cell.row.without}
    facts |= {"grouping": ready.grouping, "fingerprint": ready.facts["hash"], "commit": machine.commit()}
    facts |= {"hardware": machine.hardware(), "versions": machine.versions()}
    facts |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), "classes": [c.name for c in plan.classes]}
    counts = {p: sum(q == p for q in parts.values()) for p in ("train", "val", "test")}
    facts |= {"counts": counts, "cases": [c.id for c in cases], "groups": [c.group for c in cases]}
    if cell.row.kind == "scores":
        facts["truth"] = [[c.name for c in plan.classes].index(str(c.klass)) for c in cases]
    return facts | {"systems": systems}


def _half(folder: Path) -> dict[str, Any]:
    """Wall seconds and load of one system's whole process."""
    facts: dict[str, Any] = json.loads((folder / "half.json").read_text())
    return {"machine": facts}


def _short(plan: Any) -> dict[str, Any]:
    """What of the plan decides the training."""
    nets = {role: net.model_dump() for role, net in plan.networks.items()}
    return {"patch": plan.patch, "batch": plan.batch, "networks": nets, "learning": plan.learning,
            "augment": [a.model_dump() for a in plan.augment], "options": plan.options}  # fmt: skip


if __name__ == "__main__":
    main()
