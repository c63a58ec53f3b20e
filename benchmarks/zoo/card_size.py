"""Table C of the zoo: networks at the size of their cards, trained on a GPU. Without one, the page alone is written.

    HILUM_DATA=... .venv/bin/python benchmarks/zoo/card_size.py [--only NAME] [--table NAME] [--limit MINUTES] [--list]

As table B (learning.py: same data, patches, loss and settings), but every network as its name alone builds it for the
patch, STEPS steps and one seed. On two processors most of these would take days. Finished cells are taken as they are.
"""

import argparse
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import cells
import learning
import standing
import widths
from cells import BENCHMARKS, Row, key, networks, place, read

from hilum.core.errors import HilumError
from hilum.zoo._cost import parameters

RECIPE, STEPS = "1", 1000
SIZE = learning.Scale(minutes=10.0, seeds=(0,))
# Minutes that must be left for a cell to be begun.


class Cell(learning.Cell):
    """One network at card size."""

    judged = ("--runtime", "torch-cuda")

    @property
    def file(self) -> str:
        name = re.sub(r"[^a-z0-9]+", "_", self.form.label)
        return f"card-{self.table.name}-{name}-{key([RECIPE, super().file])}"

    @property
    def words(self) -> list[str]:
        return [*super().words, "--accelerator", "cuda"]


def main() -> None:
    """Train what is asked for and not done, then write the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", default="", help="networks whose name begins with this")
    words.add_argument("--table", default="", help="tables whose name holds this")
    words.add_argument("--limit", type=float, default=float("inf"), help="minutes")
    words.add_argument("--at-once", type=int, default=1, help="cells beside each other")
    words.add_argument("--list", action="store_true", help="say what is done and what is not")
    asked, began = words.parse_args(), time.monotonic()
    results = BENCHMARKS / "results"
    wanted = [c for table in learning.TABLES if asked.table in table.name for c in ordered(table, asked.only)]
    if asked.list:
        for cell in wanted:
            print(f"{'done   ' if place(results, cell.file).is_file() else 'not yet'} {cell.file}")
        return
    if not torch.cuda.is_available():
        put(results)
        sys.exit("There is no GPU here; networks of this size are not trained without one. Finished cells are shown.")
    if "HILUM_DATA" not in os.environ:
        sys.exit("HILUM_DATA is not set. It names the folder of the data sets.")
    # a polite stop ends the training that runs too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    left = lambda: asked.limit - (time.monotonic() - began) / 60  # noqa: E731
    failed = learning.done(results, iter(wanted), SIZE, left, lambda: put(results), asked.at_once)
    put(results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def ordered(table: learning.Table, only: str = "") -> Iterator[Cell]:
    """The cells of a table; without networks that refuse the patch."""
    for form in learning.forms(table, only):
        with contextlib.suppress(HilumError):
            yield Cell(table, form, own_size(form, table.shape), 0, STEPS)


def own_size(form: widths.Form, shape: widths.Shape) -> widths.Found:
    """The options that the planner would give, so that the run has them whatever is planned for it, and their cost."""
    start, fixed = widths.starts(form, shape)
    options = fixed | (start if form.net in widths.PLANNED else {})
    built = widths.build(form.net, options, shape)
    return widths.Found(options, parameters(built), widths._flops(built, shape))


def put(results: Path) -> None:
    """Write table C from the cells that are there; where there are none the page says so itself."""
    lines, content = ["## C. How they learn at card size", "", *ABOUT, ""], dict[str, Row]()
    for table in learning.TABLES:
        own = list(ordered(table))
        there = [c for c in own if place(results, c.file).is_file()]
        found = [(read(place(results, c.file)) or {}) | {"form": c.form.label} for c in there]
        if not found:
            continue
        able = {c.form.label for c in own}
        refused = {f.label: "it refuses the patch" for f in learning.forms(table, "") if f.label not in able}
        kind = {n: c for n, c in networks().items() if len(table.shape.patch) in c["dims"]}
        lacking = {n: package for n, c in kind.items() if (package := cells.missing(c))}
        patch = " x ".join(map(str, table.shape.patch))
        cards = sorted({cell["hardware"].get("card", "processors") for cell in found})
        told = f"On {' and '.join(cards)}: patch {patch}, batch {table.batch}, {STEPS} steps, one seed."
        budget: Row = {"steps": STEPS, "refused": refused, "slow": {}, "fewest": 0}
        text, content[table.name] = standing.section(table, budget, own, found, lacking, told)
        lines += [f"### {table.name}: {table.about}", "", *text, ""]
    if content:
        lines += ["Command: `python benchmarks/zoo/card_size.py`."]
        cells.put(results, "card", lines, {"recipe": RECIPE, "tables": content})


ABOUT = [
    "As table B, but each network at the size of its paper, as its name alone builds it for the patch: what is larger",
    "may win for that reason alone, and steps are equal, not time.",
]

if __name__ == "__main__":
    main()
