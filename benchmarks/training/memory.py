"""Predicted against measured peak memory of training, in a process of its own for every plan.

    python benchmarks/training/memory.py            # results/training_memory.md and .json

Each row: `hilum train` on phantoms for a few steps; what `planning.memory.predict` says of its plan; the most that the
process held, looked at from outside: calibration lets the kernel count its peak anew, so that its last word is of that
alone.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "predict")]

import machine as here  # noqa: E402
import watched  # noqa: E402

from hilum.core import catalogue  # noqa: E402
from hilum.core.atomic import write_json, write_text  # noqa: E402
from hilum.core.plan import Plan  # noqa: E402
from hilum.planning import memory  # noqa: E402
from hilum.planning.planner import look  # noqa: E402

RESULTS = HERE.parents[1] / "results"
STEPS = 6
CAP, SECONDS = 16 << 30, 900.0
DATA: dict[str, tuple[str, int, dict[str, Any]]] = {
    "heads": ("heads", 8, {}),
    "slices": ("slices", 40, {"size": 128}),
    "spots": ("spots", 20, {"size": 256}),
    "pairs": ("pairs", 8, {"shape": (64, 64, 64)}),
    "kspace": ("kspace", 8, {"size": 128, "coils": 4, "slices": 4}),
}
# name, data, task, --net and --set
PLANS: list[tuple[str, str, str, str | None, list[str]]] = [
    ("segment, as planned", "heads", "segment", None, []),
    ("segment, small patch", "heads", "segment", None, ["plan.patch=[32,32,32]", "plan.batch=1"]),
    ("segment, batch 6", "heads", "segment", None, ["plan.batch=6"]),
    (
        "segment, wide",
        "heads",
        "segment",
        None,
        ["features=[32,64,128,256]", "strides=[1,2,2,2]", "kernels=null", "plan.patch=[64,64,64]"],
    ),
    ("classify, resnet", "slices", "classify", "resnet", ["plan.patch=[128,128]"]),
    ("classify, densenet", "slices", "classify", "densenet", ["plan.patch=[128,128]"]),
    ("classify, vit", "slices", "classify", "vit", ["plan.patch=[128,128]"]),
    ("detect", "spots", "detect", None, []),
    ("register", "pairs", "register", None, []),
    ("reconstruct", "kspace", "reconstruct", None, []),
]


def measured(words: list[str], folder: Path) -> int:
    """Peak bytes of a process that runs these words, and of what it starts."""
    found = watched.run(words, folder / "words.log", cap=CAP, seconds=SECONDS)
    if "stopped" in found or "failed" in found:
        raise RuntimeError(found.get("failed", found.get("stopped")))
    return int(found["peak"])


def row(name: str, data: Path, task: str, net: str | None, sets: list[str], out: Path) -> dict[str, Any]:
    """One training and its prediction."""
    words = [sys.executable, "-m", "hilum.cli.main", "train", str(data), "--task", task, "--steps", str(STEPS)]
    sets = [*sets, "learning.rounds=2"]
    words += ["--out", str(out), *(["--net", net] if net else []), *(w for s in sets for w in ("--set", s))]
    began = time.monotonic()
    peak = measured(words, out.parent)
    plan = Plan.read(out / "plan.json")
    said = memory.predict(plan, memory.kept(look(data, task, 0), plan))
    facts = {"plan": name, "patch": " x ".join(map(str, plan.patch)), "batch": plan.batch}
    mega = {"predicted MB": round(said.total / 2**20), "measured MB": round(peak / 2**20)}
    parts = {k: round(getattr(said, k) / 2**20) for k in ("cases", "weights", "activations", "workspace")}
    return facts | mega | {"off %": round(100 * (said.total / peak - 1), 1)} | parts | {
        "seconds": round(time.monotonic() - began)
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name holds this word; nothing is written")
    only = parser.parse_args().only
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, source, task, net, sets) in enumerate(PLANS):
            if only not in name:
                continue
            data = Path(folder) / source
            if not data.exists():
                phantom, count, options = DATA[source]
                catalogue.load("hilum.data.phantoms", phantom).make(data, count, **options)
            rows.append(row(name, data, task, net, sets, Path(folder) / f"run{number}"))
            print(rows[-1], flush=True)
    worst = max(abs(r["off %"]) for r in rows)
    print(f"worst: {worst} %")
    if not only:
        write(rows, worst)


def write(rows: list[dict[str, Any]], worst: float) -> None:
    """results/training_memory.md and .json."""
    origin = {
        "commit": here.commit(), "hardware": here.hardware(), "versions": here.versions(),
        "load": os.getloadavg()[0], "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": "python benchmarks/training/memory.py",
    }  # fmt: skip
    columns = list(rows[0])
    table = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    table += ["| " + " | ".join(str(r[c]) for c in columns) + " |" for r in rows]
    about = (
        f"`hilum train --steps {STEPS}` on phantoms, one process each, two rounds of validation. Predicted: "
        "`hilum.planning.memory.predict`. Measured: the most that the process and what it starts held, looked at "
        f"about every 50 ms until the end, so with calibration. Worst difference: {worst} %."
    )
    words = ", ".join(f"{k} {v}" for k, v in origin["versions"].items())
    end = f"Commit {origin['commit']}; {origin['hardware']['processors']}; load {origin['load']:.1f}; {words}."
    lines = [f"# Peak memory of training, {origin['date']}", "", about, "", *table, "", end, ""]
    write_text(RESULTS / "training_memory.md", "\n".join([*lines, f"Command: `{origin['command']}`", ""]))
    write_json(RESULTS / "training_memory.json", origin | {"rows": rows})


if __name__ == "__main__":
    main()
