"""Whole volumes on a CUDA card: Hilum beside MONAI's sliding-window pipeline, each in a process of its own.

    HILUM_DATA=... .venv/bin/python benchmarks/predict/on_card.py [--only NAME] [--python monai=PATH] [--limit MINUTES]
    .venv/bin/python benchmarks/predict/on_card.py --page     # only write the page

As figures.py does it on processors: the same images, weights and peer. MONAI runs as its bundle for whole-body CT sets
it up on a card: image, windows and stitching there, autocast (float16), cuDNN's benchmark mode. Labels are compared
with those of `--runtime torch` on processors. nnU-Net's predictor is not among the peers here.
"""

import argparse
import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "training")]
import agreement  # noqa: E402
import environments  # noqa: E402
import handed  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
import ready  # noqa: E402
import watched  # noqa: E402
import weights  # noqa: E402
from figures import _labels, cost, lacking, ordered  # noqa: E402
from ready import Row, read  # noqa: E402
from scenes import MONAI, SCENES, Scene, System  # noqa: E402
from tables import _lines  # noqa: E402

from hilum.core import card  # noqa: E402
from hilum.core.atomic import write_json, write_text  # noqa: E402
from hilum.core.run import Run  # noqa: E402

RESULTS = HERE.parent / "results"
WANTED = ("body CT, 3 mm, 104 classes", "body CT, 1.5 mm, 104 classes", "hippocampus_mri", "retina_vessels")
REFERENCE = System("hilum torch, processors", "hilum", "reference", "torch", once=True)
SYSTEMS = (
    REFERENCE,
    System("hilum", "hilum", "i"),
    System("MONAI", "monai", "i", "torch-cuda-half", MONAI),
    System("hilum torch-cuda-half", "hilum", "ii", "torch-cuda-half"),
    System("hilum torch-cuda", "hilum", "ii", "torch-cuda"),
    System("MONAI torch-cuda", "monai", "ii", "torch-cuda", MONAI),
)
# MONAI's own windows overlap as Hilum's do, so that its usual row has an equal in float16 already.
STAGES = ("read", "read and prepare", "prepare", "network", "merge", "back", "back and write", "trust", "write")
ROUNDS, CAP, SECONDS = 2, 10**11, 600.0
# Bytes and seconds that one prediction may take.


def main() -> None:
    """Measure what is asked for, then write the page."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", default="", help="scenes whose name holds this")
    words.add_argument("--python", action="append", default=[], help="PEER=PATH: an interpreter made elsewhere")
    words.add_argument("--rounds", type=int, default=ROUNDS)
    words.add_argument("--limit", type=float, default=float("inf"), help="minutes; no prediction is begun after them")
    words.add_argument("--page", action="store_true", help="only write the page")
    asked = words.parse_args()
    asked.python = {peer: Path(path) for peer, _, path in (word.partition("=") for word in asked.python)}
    # a polite stop ends the prediction that runs too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not asked.page:
        if not card.there():
            sys.exit("There is no CUDA card here: figures.py measures on processors.")
        for scene in (s for s in SCENES if s.name in WANTED and asked.only in s.name):
            place, cell = RESULTS / "predict_card_cells" / f"{scene.file}.json", Row()
            known = place.is_file()
            for cell in measured(scene, asked):
                # one that is cut off takes no whole one's place
                write_json(weights.CACHE / f"card-{scene.file}.json" if known else place, cell)
            if not known or all(one["runs"] for one in cell["systems"].values()):
                write_json(place, cell)
    page()


def measured(scene: Scene, asked: argparse.Namespace) -> Iterator[Row]:
    """All systems in turns, forth and back; what is known after each."""
    work = weights.CACHE / f"card-{scene.file}"
    shutil.rmtree(work, ignore_errors=True)
    trained = weights.run(scene.run)
    run = handed.changed(trained, work / "run", scene.classes, scene.spacing, scene.overlap)
    model = handed.handed(run, work / "model")
    files, truth = ready.images(scene, trained, work)
    write_json(work / "images.json", {"images": files, "truth": truth, "trained": str(trained)})
    peer = ready.checked("monai", model, work, environments.python("monai", asked.python))
    cell: Row = {"scene": scene.name, "images": len(files), "unit": scene.unit, "classes": len(Run(run).plan.classes)}
    cell |= {"trained": weights.described(trained), "peer": peer, "systems": {}}
    cell |= {"hardware": machine.hardware(), "versions": environments.versions(Path(sys.executable))}
    cell |= {"commit": machine.commit(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    runs: dict[str, list[Row]] = {system.name: [] for system in SYSTEMS}
    until = time.monotonic() + 60 * asked.limit
    for number in range(asked.rounds):
        for system in SYSTEMS[:: 1 if number % 2 == 0 else -1]:
            if (number and system.once) or time.monotonic() > until:
                continue
            found = predicted(system, work, work / f"{system.file}-{number}", asked)
            print(f"{scene.name}: {system.name}: {found['seconds']:.1f} s {found.get('failed', '')}", flush=True)
            runs[system.name].append(found)
            medians(cell, runs)
            yield cell
    agree(cell, work, files, [Path(name) for name in truth])
    yield cell


def predicted(system: System, work: Path, unit: Path, asked: argparse.Namespace) -> Row:
    """One system once, from the start of its process to its end."""
    # of the copy that has the scene's classes and spacing
    out, command = unit / "out", ordered(system, work / "run", work, unit, asked)
    around = dict(os.environ) | {"HILUM_CACHE": str(work / "graphs")}
    with machine.Watch() as watch:
        found = watched.run(command, unit / "log.txt", CAP, SECONDS, around)
    facts = out / ("predictions.json" if system.side == "hilum" else "facts.json")
    if facts.is_file():
        told = read(facts)
        costs = [done["cost"] for done in told["done"].values()] if system.side == "hilum" else []
        found["told"] = cost(told) if system.side == "hilum" else told
        found |= lacking(told, found, len(read(work / "images.json")["images"])) if system.side == "hilum" else {}
        found["card"] = max((c["bytes"].get("card", 0) for c in costs), default=0) or found["told"].get("card")
        # it lets the kernel count anew within a prediction, and knows peaks that fell between two samples
        found["peak"] = max([found["peak"], *(c["bytes"].get("measured", 0) for c in costs)])
    return found | {"others": watch.facts["others"]}


def medians(cell: Row, runs: dict[str, list[Row]]) -> None:
    """Set the systems' medians and peaks."""
    for system in SYSTEMS:
        own = [one for one in runs[system.name] if "failed" not in one and "stopped" not in one]
        row: Row = {"side": system.side, "row": system.row, "runtime": system.runtime, "settings": system.settings}
        row["runs"] = runs[system.name]
        if own:
            row |= {"seconds": statistics.median(o["seconds"] for o in own), "peak": max(o["peak"] for o in own)}
            row["card"] = max((o["card"] for o in own if o.get("card")), default=None)
        cell["systems"][system.name] = row


def agree(cell: Row, work: Path, files: list[str], truth: list[Path]) -> None:
    """Set the systems' agreement with the reference."""
    lookup = np.array(read(work / "model" / "settings.json")["values"])
    reference = _labels(work / f"{REFERENCE.file}-0" / "out", files)

    def one(system: System) -> Row | None:
        labels = _labels(work / f"{system.file}-0" / "out", files)
        if not labels or not reference:
            return None
        ours = None if system.side == "hilum" else lookup
        return agreement.compared(labels, reference, ours, truth, cell["classes"] == 1)

    with ThreadPoolExecutor(len(SYSTEMS)) as pool:
        for system, found in zip(SYSTEMS, pool.map(one, SYSTEMS), strict=True):
            cell["systems"][system.name] |= {} if found is None else {"agreement": found}


def page() -> None:
    """results/predict_card.md from the cells that are there."""
    paths = [RESULTS / "predict_card_cells" / f"{s.file}.json" for s in SCENES if s.name in WANTED]
    cells = [read(path) for path in paths if path.is_file()]
    lines = [f"# Whole volumes on a card, {datetime.now(UTC):%Y-%m-%d}", "", *ABOUT, ""]
    for cell in cells:
        lines += [f"## {cell['scene']}", "", f"{cell['images']} images. Trained: {cell['trained']}.", ""]
        lines += [*_lines([line(n, s, cell) for n, s in cell["systems"].items() if s["runs"]]), "", *verdicts(cell)]
        lacking = [name for name, system in cell["systems"].items() if not system["runs"]]
        lines += ["", f"Not run: {', '.join(lacking)}."] if lacking else []
        versions = ", ".join(f"{n} {v}" for n, v in cell["versions"].items())
        hardware = f"{cell['hardware'].get('card')}, {cell['hardware']['processors']}"
        off = (
            f"MONAI's network is {cell['peer']['network']} with the same weights, {cell['peer']['difference']:.1e} off"
        )
        lines += ["", f"{hardware}. Commit {cell['commit']}. {versions}. {off}. Measured {cell['date'][:10]}.", ""]
    waiting = [name for name in WANTED if name not in {cell["scene"] for cell in cells}]
    lines += [f"Not measured yet: {'; '.join(waiting)}.", ""] if waiting else []
    lines += ["Command: `benchmarks/predict/on_card.py`, with as many `--rounds` as a row has seconds.", ""]
    write_text(RESULTS / "predict_card.md", "\n".join(lines))


def line(name: str, system: Row, cell: Row) -> Row:
    """One system's line."""
    if "seconds" not in system:
        return {"system": name, "seconds": system["runs"][0].get("stopped") or "failed"}
    told = system["runs"][0].get("told") or {}
    made: Row = {"system": name, "computed by": told.get("runtime") or system["runtime"]}
    made |= {
        "seconds": f"{system['seconds']:.1f}",
        "of rounds": ", ".join(f"{o['seconds']:.1f}" for o in system["runs"]),
    }
    made["MB"] = f"{system['peak'] / 2**20:.0f}"
    made["MB on the card"] = None if not system["card"] else f"{system['card'] / 2**20:.0f}"
    same = system.get("agreement")
    if same:
        made |= {"equal labels %": f"{100 * same['equal']:.3f}"}
        made["Dice between"] = None if same["dice"] is None else f"{same['dice']:.4f}"
    found = spent(system)
    made["where"] = ", ".join(f"{name} {took:.1f}" for name, took in found.items())
    made["rest"] = f"{system['runs'][0]['seconds'] - sum(found.values()):.1f}"
    return made | {"others": f"{max(o['others'] for o in system['runs']):g}"}


def spent(system: Row) -> dict[str, float]:
    """Seconds by stage, as the program itself told of its first round."""
    told = system["runs"][0].get("told") or {}
    seconds = told.get("seconds", told)
    return {name: seconds[name] for name in STAGES if seconds.get(name)}


def verdicts(cell: Row) -> list[str]:
    """How each of Hilum's systems stands beside MONAI's of the same row and runtime."""
    said, systems = [], cell["systems"]
    pairs = (("hilum", "MONAI"), ("hilum torch-cuda-half", "MONAI"), ("hilum torch-cuda", "MONAI torch-cuda"))
    for mine, other in pairs:
        a, b = systems[mine], systems[other]
        if "seconds" in a and "seconds" in b:
            times, memory = b["seconds"] / a["seconds"], a["peak"] / max(b["peak"], 1)
            stages = [sum(spent(one).values()) for one in (a, b)]
            # of one volume the start of the peer may be most of it, and says little of prediction
            first = f"{stages[1] / stages[0]:.2f} times as fast without the rest and " if all(stages) else ""
            told = f"- {mine} beside {other}: {first}{times:.2f} times {'with it' if first else 'as fast'}"
            told += f", {memory:.2f} of the memory of processes"
            said.append(told + (f", {a['card'] / b['card']:.2f} of the card's." if a["card"] and b["card"] else "."))
    return said


ABOUT = [
    "Research software. Not a medical device. Not for diagnosis, triage or treatment.",
    "",
    "Every prediction is a process of its own, measured from its start to its end: Python, CUDA, reading, writing.",
    "`MONAI` is as its users run it on a card, in float16; `hilum` is without options, which takes what agrees with",
    "float32. torch-cuda: float32 without TF32 on both sides. Hilum's runs are without what they learned about their",
    "own answers, which a head with other classes could not use. MB: what the process and all that it starts hold. MB",
    "on the card: the most that its tensors held. `equal labels`: beside `hilum --runtime torch` on processors; MONAI",
    "resamples otherwise and weighs the voxels of a window otherwise, and its labels differ about as much on",
    "processors (predict.md, with a control that tells what the weights do alone).",
    "`where`: seconds as the program tells them; MONAI does not wait for the card, so that its `network` and `merge`",
    "are the time of telling it what to do, and the waiting is in what follows. `rest`: of the first round what is in",
    "none of these, mostly the start of Python, its libraries and CUDA; MONAI loads what it finds installed, so that",
    "in an environment that is not its own (`--python`, as here) this is long, and is no measure of prediction.",
    "`others`: processors that others used.",
]

if __name__ == "__main__":
    main()
