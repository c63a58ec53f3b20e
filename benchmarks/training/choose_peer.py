"""Which optimiser, rate and flips serve MONAI's DynUNet best: short trainings, judged on the validation part only.

    HILUM_DATA=... .venv/bin/python benchmarks/training/choose_peer.py [--minutes 6]

The winner is written into rows.py by hand; results/training_peer_choice.json keeps what was tried. Finished trials are
kept in the cache, so that a run that was stopped goes on.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import environment
import machine
from rows import DYNUNET

from hilum.core.atomic import write_json
from hilum.planning.planner import look

BENCHMARKS = Path(__file__).parents[1]
TRIED = list(itertools.product((("sgd", 1e-2), ("sgd", 3e-2), ("adamw", 1e-3), ("adamw", 3e-3)), (False, True)))


def main() -> None:
    """Train every candidate on the train part and print its best validation Dice."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=6)
    words.add_argument("--smoke", action="store_true", help="write to the cache")
    asked = words.parse_args()
    if "HILUM_DATA" not in os.environ:
        sys.exit("HILUM_DATA is not set. It names the folder of the data sets.")
    ready = look(BENCHMARKS / "datasets" / "hippocampus.yaml", "segment", 0)
    cases = [
        {"case": c.id, "part": ready.parts[c.id]} | {r: str(c.items[r].path) for r in ("image", "label")}
        for c in ready.dataset.cases
        if ready.parts[c.id] != "test"
    ]
    rows = []
    for (optimiser, rate), flip in TRIED:
        out = BENCHMARKS / "cache" / "choice" / f"{asked.minutes:g}-{optimiser}-{rate:g}-{flip}"
        if not (out / "facts.json").is_file():
            settings = DYNUNET | {"optimiser": optimiser, "rate": rate, "flip": flip}
            facts = {"cases": cases, "classes": [1, 2], "seed": 100, "minutes": asked.minutes, "out": str(out)}
            write_json(out / "job.json", facts | {"settings": settings})
            script = Path(__file__).parent / "peers" / "dynunet.py"
            with machine.Watch() as watch:
                subprocess.run([str(environment.python()), str(script), str(out / "job.json")], check=True)
            write_json(out / "half.json", watch.facts)
        found = json.loads((out / "facts.json").read_text())
        busy = json.loads((out / "half.json").read_text())
        rows.append({"optimiser": optimiser, "rate": rate, "flip": flip, "validation dice": found["validation"]})
        rows[-1] |= {"steps": found["steps"], "load": busy["load_start"], "others": busy["others"]}
        print(rows[-1], flush=True)
    rows.sort(key=lambda row: -row["validation dice"])
    about = {"minutes": asked.minutes, "date": f"{datetime.now(UTC):%Y-%m-%d}", "hardware": machine.hardware()}
    folder = BENCHMARKS / "cache" / "smoke" if asked.smoke else BENCHMARKS / "results"
    write_json(folder / "training_peer_choice.json", about | {"rows": rows})


if __name__ == "__main__":
    main()
