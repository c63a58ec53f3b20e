"""Whole volumes on an ordinary machine: Hilum beside MONAI's sliding-window pipeline and nnU-Net's predictor.

    HILUM_DATA=... .venv/bin/python benchmarks/predict/figures.py [--only NAME] [--systems NAME] [--limit MINUTES]
    HILUM_DATA=... .venv/bin/python benchmarks/predict/figures.py --list
    .venv/bin/python benchmarks/predict/figures.py --smoke     # a small volume, into the cache: does it all run?

A scene is a trained run with images; its systems predict them in turns, forth and back, each in a process of its own,
measured from its start to its end: Python, reading and writing included. What was measured lies in the cache and is
taken as it is while the machine was not started anew and the code is the same, so that a scene that was cut short goes
on; a finished one lies in benchmarks/results/predict_cells and is taken as it is on any machine.
"""

import argparse
import os
import shutil
import signal
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "training")]
import agreement  # noqa: E402
import environments  # noqa: E402
import floor  # noqa: E402
import handed  # noqa: E402
import machine  # noqa: E402
import pages  # noqa: E402
import watched  # noqa: E402
import weights  # noqa: E402
from ready import PEERS, Row, plain, prepared, read  # noqa: E402
from scenes import REFERENCE, SCENES, SMOKE, Scene, System  # noqa: E402

from hilum.core.atomic import write_json  # noqa: E402
from hilum.core.run import Run  # noqa: E402

BENCHMARKS = HERE.parent
ABSENT = {
    "HIL-INFER-02": "no such runtime", "HIL-INFER-12": "its packages are not installed",
    "HIL-INFER-13": "it can not run this network", "HIL-INFER-14": "no graph of eight bits",
    "HIL-INFER-15": "not for these masks", "HIL-M10": "refused: its graph gives other classes than the network",
    "no peer runs": "no peer runs it",
    "No module named": "its packages are not installed",
}  # fmt: skip
# How a runtime says that it is not there or can not run this network; that is no failure of the benchmark.


def main() -> None:
    """Measure what is asked for and not there, then write the page."""
    asked = arguments()
    # a polite stop ends the prediction that runs too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = BENCHMARKS / "cache" / "smoke" if asked.smoke else BENCHMARKS / "results"
    wanted = [s for s in (SMOKE if asked.smoke else SCENES) if asked.only in s.name]
    if asked.list:
        for scene in wanted:
            print(f"{'done   ' if place(results, scene).is_file() else 'not yet'} {scene.file}")
        return
    if not asked.smoke and "HILUM_DATA" not in os.environ:
        sys.exit("HILUM_DATA is not set. It names the folder of the data sets.")
    until = time.monotonic() + 60 * (float("inf") if asked.limit is None else asked.limit)
    failed = []
    for scene in wanted:
        if asked.smoke or not place(results, scene).is_file():
            failed += measured(scene, asked, until, results)
        pages.write(results, asked.smoke)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def arguments() -> argparse.Namespace:
    """What is asked for."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", default="", help="scenes whose name holds this")
    words.add_argument("--systems", default="", help="systems whose name holds this; the scene is not finished then")
    words.add_argument("--limit", type=float, help="minutes; nothing that could need more than are left is begun")
    words.add_argument("--seconds", type=float, default=3600, help="that one prediction may take")
    words.add_argument("--cap", type=float, default=20, help="GB of memory that one prediction may take")
    words.add_argument("--python", action="append", default=[], help="PEER=PATH: an interpreter made elsewhere")
    words.add_argument("--list", action="store_true", help="say what is measured and what is not")
    words.add_argument("--smoke", action="store_true", help="a small volume; results go to the cache")
    asked = words.parse_args()
    asked.python = {peer: Path(path) for peer, _, path in (word.partition("=") for word in asked.python)}
    return asked


def place(results: Path, scene: Scene) -> Path:
    """The cell of a scene."""
    return results / "predict_cells" / f"{scene.file}.json"


def measured(scene: Scene, asked: argparse.Namespace, until: float, results: Path) -> list[str]:
    """Go on with a scene; the names of systems that failed. Its cell is written once all systems are measured."""
    if not asked.smoke and (need := weights.missing(scene.run)) * 60 > until - time.monotonic():
        print(f"{scene.name}: not begun, its training needs {need:.0f} minutes")
        return []
    work = prepared(scene, asked)
    todo = [(n, s) for n in range(scene.rounds) for s in (scene.systems if n % 2 == 0 else scene.systems[::-1])]
    failed, whole = [], True
    for number, system in todo:
        unit = work / f"{system.file}-{number}"
        if unit.with_suffix(".json").is_file() or (number and (system.once or given_up(work, system))):
            continue
        guess = last(work, system) or min(asked.seconds, expected(work))
        if asked.systems not in system.name or time.monotonic() + guess > until:
            whole = False
            continue
        found = predicted(system, work, unit, asked)
        how = found.get("stopped") or found.get("absent") or ("failed" if "failed" in found else "measured")
        say = f"{scene.name}: {system.name}: {how} ({found['seconds']:.1f} s, {found['peak'] / 2**20:.0f} MB)"
        print(say, flush=True)
        if "failed" in found:
            failed.append(system.name)
            print(found["failed"], flush=True)
            whole = False
            continue
        write_json(unit.with_suffix(".json"), found)
    if whole:
        write_json(place(results, scene), cell(scene, work))
    return failed


def predicted(system: System, work: Path, unit: Path, asked: argparse.Namespace) -> Row:
    """One system once. Its labels stay in the cache until the scene's folder is emptied."""
    if "bf16" in system.runtime and not floor.half():
        busy = {"others": 0.0, "load_start": 0.0, "load_most": 0.0}
        return {"seconds": 0.0, "peak": 0, "absent": "no bfloat16 in this processor", "machine": busy}
    out, command = unit / "out", ordered(system, run_of(system, work), work, unit, asked)
    # a system's first prediction finds no graphs, its later ones what that left
    graphs = work / "graphs" / system.file
    if unit.name.endswith("-0"):
        shutil.rmtree(graphs, ignore_errors=True)
    around = plain() | {"HILUM_CACHE": str(graphs)}
    with machine.Watch() as watch:
        found = watched.run(command, unit / "log.txt", int(asked.cap * 1e9), asked.seconds, around)
    if said := [words for word, words in ABSENT.items() if word in found.get("failed", "")]:
        found.pop("failed")
        found["absent"] = said[0]
    found |= {"machine": watch.facts, "commit": machine.commit(), "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"}
    facts = out / ("predictions.json" if system.side == "hilum" else "facts.json")
    if facts.is_file():
        found["told"] = cost(read(facts)) if system.side == "hilum" else read(facts)
    if system.side == "hilum" and "told" in found:
        found |= lacking(read(facts), found, len(read(work / "images.json")["images"]))
        # it lets the kernel count anew within a prediction, and knows peaks that fell between two samples
        found["peak"] = max(found["peak"], found["told"]["bytes"].get("measured", 0))
    return found


def lacking(record: Row, found: Row, images: int) -> Row:
    """{"failed": why} of a prediction of Hilum that ended by itself and lacks an image; else {}.

    A bad image costs Hilum that image only, and a peer its whole call: neither is to be measured on fewer.
    """
    if "stopped" in found or (len(record["done"]) == images and not record["failed"]):
        return {}
    return {"failed": f"{len(record['done'])} of {images} images: {record['failed'][:1]}"}


def ordered(system: System, run: Path, work: Path, unit: Path, asked: argparse.Namespace) -> list[str]:
    """The words that start a system; its folder is emptied, and holds a peer's job."""
    shutil.rmtree(unit, ignore_errors=True)
    out, known = unit / "out", read(work / "images.json")
    if system.side == "hilum":
        words = ["predict", str(run), _source(known["images"]), "--out", str(out)]
        return [weights.HILUM, *words, *(["--runtime", system.runtime] if system.runtime else [])]
    out.mkdir(parents=True)
    job = {"images": known["images"], "out": str(out), "model": str(work / "model")}
    write_json(unit / "job.json", job | {"runtime": system.runtime, "settings": system.settings})
    interpreter = environments.python(system.side, asked.python)
    return [str(interpreter), str(HERE / "peers" / f"{PEERS[system.side]}.py"), str(unit / "job.json")]


def cost(record: Row) -> Row:
    """What Hilum says of the cost: seconds of each stage over all cases, the most bytes, and the runtime."""
    costs = [done["cost"] for done in record["done"].values() if "cost" in done]
    seconds = dict[str, float]()
    for stage, spent in (pair for one in costs for pair in one["seconds"].items()):
        seconds[stage] = round(seconds.get(stage, 0.0) + spent, 4)
    held = {k: max(one["bytes"].get(k, 0) for one in costs) for k in ("predicted", "measured")} if costs else {}
    more = {k: costs[0][k] for k in ("runtime", "tried", "predicted_seconds") if costs and k in costs[0]}
    return {"seconds": seconds, "bytes": held} | more


def run_of(system: System, work: Path) -> Path:
    """In rows i what users have: the run with what it learned about its own answers, if that fits; else without."""
    trained = Path(read(work / "images.json")["trained"])
    first, second = Run(trained).plan, Run(work / "run").plan
    if system.row != "i" or (first.classes, first.spacing) != (second.classes, second.spacing):
        return work / "run"
    whole = handed.KEPT + handed.LEARNED
    return handed.changed(trained, work / "whole", overlap=second.options["overlap"], kept=whole)


def _source(known: list[str]) -> str:
    """A single file by its name, many by their folder."""
    return known[0] if len(known) == 1 else str(Path(known[0]).parent)


def last(work: Path, system: System) -> float | None:
    """Seconds that the system took the last time."""
    for path in sorted(work.glob(f"{system.file}-[0-9].json"), reverse=True):
        return float(read(path)["seconds"])
    return None


def expected(work: Path) -> float:
    """Seconds that a system not measured yet may take, about: ten times the floor, and its start."""
    known = read(work / "floor.json")
    return 10 * sum(one["flops"] for one in known["images"]) / float(known["peaks"]["float32"]["most"]) + 120


def given_up(work: Path, system: System) -> bool:
    """Whether its first round says that a second is of no use."""
    first = work / f"{system.file}-0.json"
    found = read(first) if first.is_file() else {}
    return "stopped" in found or "absent" in found


def cell(scene: Scene, work: Path) -> Row:
    """All that is known of a finished scene."""
    known, run = read(work / "images.json"), Run(work / "run")
    found: Row = {"scene": scene.name, "key": scene.key, "group": scene.group, "images": len(known["images"])}
    found |= {"unit": scene.unit, "classes": len(run.plan.classes), "spacing": run.plan.spacing}
    found |= {"trained": weights.described(Path(known["trained"])), "shape": list(scene.shape or ())}
    found |= {"trained classes": len(Run(Path(known["trained"])).plan.classes), "floor": read(work / "floor.json")}
    if (work / "quantised.json").is_file():
        found["quantised"] = read(work / "quantised.json")
    found["peers"] = {peer: read(work / f"{peer}.json") for peer in PEERS if (work / f"{peer}.json").is_file()}
    found["systems"] = {}
    for system in scene.systems:
        runs = [read(path) for path in sorted(work.glob(f"{system.file}-[0-9].json"))]
        found["systems"][system.name] = row_of(system, runs)
    _agree(scene, work, found)
    found |= {"hardware": machine.hardware(), "versions": environments.versions(Path(sys.executable))}
    found["commit"] = machine.commit()
    return found | {"date": datetime.now(UTC).isoformat(timespec="seconds")}


def row_of(system: System, runs: list[Row]) -> Row:
    """A system's median and peak; a round that did not end well counts in no median, and is told whichever it was."""
    ended = [run for run in runs if "stopped" not in run and "absent" not in run] or runs
    row: Row = {"side": system.side, "row": system.row, "runtime": system.runtime, "settings": system.settings}
    row |= {"runs": runs, "seconds": statistics.median(run["seconds"] for run in ended)}
    row |= {"peak": max(run["peak"] for run in runs)}
    return row | {word: run[word] for run in runs for word in ("stopped", "absent") if word in run}


def _agree(scene: Scene, work: Path, found: Row) -> None:
    """Add every system's agreement with the reference labels."""
    import numpy as np

    known, lookup = read(work / "images.json"), np.array(read(work / "model" / "settings.json")["values"])
    labels = {s.name: _labels(work / f"{s.file}-0" / "out", known["images"]) for s in scene.systems}
    reference = labels.get(REFERENCE) or labels.get("hilum")
    for system in scene.systems:
        if reference and labels[system.name]:
            own = None if system.side == "hilum" else lookup
            truth = [Path(name) for name in known["truth"]]
            made = agreement.compared(labels[system.name], reference, own, truth, found["classes"] == 1)
            found["systems"][system.name]["agreement"] = made


def _labels(folder: Path, names: list[str]) -> list[Path]:
    """A system's label files of all images, in order; nothing where one is missing."""
    found = []
    for name in names:
        # the mask alone, or beside other findings
        may = [folder / f"{Path(name).name.split('.')[0]}{w}{e}" for w in ("", "_mask") for e in (".nii.gz", ".png")]
        found += [path for path in may if path.is_file()][:1]
    return found if len(found) == len(names) else []


if __name__ == "__main__":
    main()
