"""Table B of the zoo: how networks of one size learn in the same steps, on two sets of real images.

    HILUM_DATA=... .venv/bin/python benchmarks/zoo/learning.py [--only NAME] [--table NAME] [--limit MINUTES] [--list]
    HILUM_DATA=... .venv/bin/python benchmarks/zoo/learning.py --smoke --only unet    # does it all run?
    HILUM_DATA=... .venv/bin/python benchmarks/zoo/learning.py --at-once 8 --slow     # on a machine with a GPU

Every network has about 2 million parameters: its widths are searched for (widths.py) and written into the table. A cell
is one network with one seed: `hilum train --net ... --steps N` without its calibration (one.py), and `hilum evaluate`,
compared as `hilum compare` does, but for Holm (standing.py).
The steps are the same for all networks of a table, and so many that the slowest network's cell takes about ten minutes;
a network that can not make 250 steps in six of them is named and left out. For that the seconds of a step are measured
once for every network, on a machine that should be quiet, and kept beside the cells. With --slow those that were too
slow there are run too, which is for faster processors or a card. Finished cells are taken as they are, on any machine.
Seed 0 of all comes before seed 1, which goes through them backwards, and the tables take turns, so that what is there
after any number of minutes is fair. Cells trained beside each other learn the same; how long they took says nothing and
is not shown.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from threading import Event, Lock
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parent))
import cells
import machine
import standing
from cells import BENCHMARKS, SMOKE, Row, key, networks, place, read, write
from widths import Form, Found, Shape, search, words

from hilum.core.atomic import write_json
from hilum.core.errors import HilumError
from hilum.core.run import write_rows
from hilum.planning.planner import look
from hilum.verbs import compare

RECIPE = "1"
# Raised when defaults of training change: finished cells then count no more.
SHARE, FEWEST, MOST = 0.6, 250, 1000
# Of a cell's minutes that its steps may take, the rest opens, validates and judges. The fewest steps that a table may
# have: a network too slow for them is named, not waited for. The most steps.
TRAIN = (sys.executable, str(Path(__file__).with_name("one.py")), "train")
EVALUATE = (str(Path(sys.executable).parent / "hilum"), "evaluate")
CACHE = BENCHMARKS / "cache" / "zoo"
RUNNING: set["subprocess.Popen[str]"] = set()
STOPPED = Event()
# Ended together with this program, and no further ones begun.
LEARNED = re.compile("HIL-LEARN-02|HIL-T06")
# Refusals that say how a training went: it found nothing, or its loss became no number. They are results.
SETTINGS: Row = {
    "learning.rate": 0.001, "learning.precision": "float32", "learning.rounds": 10, "options.planner": "fitted",
}  # fmt: skip
# One rate for all networks, tuned for none; float32 on every machine.


@dataclass(frozen=True)
class Table:
    """data: a file in benchmarks/datasets. shape: with a patch that every network can divide. test: share of the cases
    that are judged, where the usual fifth is too few to tell networks apart."""

    name: str
    data: str
    shape: Shape
    batch: int
    about: str
    test: float | None = None

    @property
    def spec(self) -> list[Any]:
        """What of it decides a cell."""
        return [self.name, self.data, asdict(self.shape), self.batch, self.test]


TABLES = (
    Table(
        "retina_vessels", "retina_vessels.yaml", Shape(3, 2, (224, 224)), 2,
        "fundus photographs with vessels, 2-D (DRIVE, training part)", 0.5,
    ),
    Table(
        "hippocampus_mri", "hippocampus.yaml", Shape(1, 3, (32, 64, 32)), 2,
        "T1 MR crops with the anterior and posterior hippocampus, 3-D (Medical Segmentation Decathlon task 4)",
    ),
)  # fmt: skip
MORE = (
    Form("nnunet, residual encoder", "nnunet", {"blocks": [1, 3, 4, 6, 6, 6, 6, 6], "convs": 1}),
    Form("unet3plus, one head", "unet3plus", {"deep_supervision": False}),
    Form("unet, batch norm", "unet", {"norm": "batch"}),
    Form("attention_unet, no gates", "attention_unet", {"gates": 0}),
)
# Beside every network in its constructor's form. Most later networks have a norm: a gain over the U-Net of 2015, which
# has none, may be that alone. Attention U-Net's authors compare it with their own network without gates.


@dataclass(frozen=True)
class Scale:
    """How large a measurement is."""

    target: int = 2_000_000
    minutes: float = 10.0
    seeds: tuple[int, ...] = (0, 1)


SMALL = Scale(150_000, 0.15, (0,))


@dataclass(frozen=True)
class Cell:
    """One network with one seed in one table."""

    table: Table
    form: Form
    found: Found
    seed: int
    steps: int

    @property
    def file(self) -> str:
        """Name of the cell's file, without its folder and end; a hash of all that decides the cell is in it."""
        what = [RECIPE, self.table.spec, SETTINGS, self.form.net, self.found.options, self.steps, self.seed]
        name = re.sub(r"\W+", "_", self.form.label)
        return f"learn-{self.table.name}-{name}-seed{self.seed}-{key([*what, cells.code(self.form.net)])}"

    judged: ClassVar[tuple[str, ...]] = ()
    # More words of `hilum evaluate`.

    @property
    def words(self) -> list[str]:
        """Of `hilum train`, after the data. The split is that of seed 0; the seed is of weights and batches."""
        made = planned(self.table) | {"plan.seed": self.seed}
        sets = [f"{n}={v if isinstance(v, str) else json.dumps(v, separators=(',', ':'))}" for n, v in made.items()]
        net = ["--net", words(self.form.net, self.found.options), "--steps", str(self.steps)]
        return ["--task", "segment", *net, *(word for one in sets for word in ("--set", one))]


def main() -> None:
    """Run what is asked for and not done, then write the tables."""
    asked, began = arguments(), time.monotonic()
    results, size = (SMOKE, SMALL) if asked.smoke else (BENCHMARKS / "results", Scale())
    if asked.time:
        write(asked.out, timed(next(t for t in TABLES if t.name == asked.time), asked.only, size))
        return
    # a polite stop ends the training that runs too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tables = [t for t in TABLES if asked.table in t.name]
    if asked.list:
        listed(results, tables, asked.only, size, asked.slow)
        return
    if "HILUM_DATA" not in os.environ:
        sys.exit("HILUM_DATA is not set. It names the folder of the data sets.")

    def left() -> float:
        return float("inf") if asked.limit is None else asked.limit - (time.monotonic() - began) / 60

    for table in tables:
        if not budget_file(results, table, size).is_file() and left() >= size.minutes:
            print(f"{table.name}: seconds of a step are measured", flush=True)
            out = str(budget_file(results, table, size))
            subprocess.run([*again(asked), "--time", table.name, "--out", out], check=True)
    for table in tables:
        # once, and not by every cell at the same time
        source(table)
    shown = asked.only if asked.smoke else ""
    wanted = ordered(results, tables, asked.only, size, asked.slow)
    failed = done(results, wanted, size, left, lambda: put(results, shown, size), asked.at_once)
    put(results, shown, size)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def arguments() -> argparse.Namespace:
    """What is asked for; `--time` is how this file calls itself."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", default="", help="networks whose name begins with this")
    words.add_argument("--table", default="", help="tables whose name holds this")
    words.add_argument("--limit", type=float, help="minutes; a cell that needs more than are left is not begun")
    words.add_argument("--list", action="store_true", help="say what is done and what is not")
    words.add_argument("--slow", action="store_true", help="also networks too slow where the steps were timed")
    words.add_argument("--at-once", type=int, default=1, help="cells beside each other: for a machine with a GPU")
    words.add_argument("--smoke", action="store_true", help="small networks, few steps, one seed; into the cache")
    words.add_argument("--time", default="", help=argparse.SUPPRESS)
    words.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return words.parse_args()


def again(asked: argparse.Namespace) -> list[str]:
    """This file in a process of its own; what it holds in memory is then not counted with the trainings."""
    only = asked.only if asked.smoke else ""
    return [sys.executable, str(Path(__file__)), "--only", only, *(["--smoke"] if asked.smoke else [])]


def listed(results: Path, tables: list[Table], only: str, size: Scale, slow: bool) -> None:
    """Print what is done and what is not."""
    for table in tables:
        if not budget_file(results, table, size).is_file():
            print(f"{table.name}: its steps are not measured yet; {len(forms(table, only))} networks wait for them")
    for cell in ordered(results, tables, only, size, slow):
        print(f"{'done   ' if place(results, cell.file).is_file() else 'not yet'} {cell.file}")


def done(
    results: Path,
    wanted: Iterator[Cell],
    size: Scale,
    left: Callable[[], float],
    after: Callable[[], None],
    at_once: int = 1,
) -> list[str]:
    """Run the cells that are not there so long as minutes are left; the names of those that broke."""

    def one(cell: Cell) -> str | None:
        there = place(results, cell.file)
        if there.is_file():
            return None
        if left() < size.minutes:
            print(f"{cell.file}: not begun, {left():.0f} minutes are left")
            return None
        print(f"{cell.file}: begun", flush=True)
        try:
            write(there, run(cell, at_once))
            return None
        except subprocess.CalledProcessError as error:
            print(error.stderr, flush=True)
            return cell.file
        finally:
            with writing:
                after()

    writing, pool = Lock(), ThreadPoolExecutor(at_once)
    try:
        return [file for file in pool.map(one, wanted) if file]
    except BaseException:
        STOPPED.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(RUNNING):
            process.terminate()
        raise
    finally:
        pool.shutdown()


def forms(table: Table, only: str) -> list[Form]:
    """What a table compares: the networks of its dimension that can be built here, each as its constructor has it."""
    able = {n: c for n, c in networks().items() if len(table.shape.patch) in c["dims"] and not cells.missing(c)}
    return [f for f in (*(Form(n, n) for n in able), *MORE) if f.net in able and f.label.startswith(only)]


def able(table: Table, only: str, size: Scale) -> list[tuple[Form, Found]]:
    """The forms with their options; without those that refuse the patch at every width (timed() says why)."""
    found = []
    for form in forms(table, only):
        with contextlib.suppress(HilumError):
            found.append((form, sized(form, table.shape, size.target)))
    return found


def ordered(results: Path, tables: list[Table], only: str, size: Scale, slow: bool = False) -> Iterator[Cell]:
    """Every cell of the tables whose steps are known, in the order in which they are run.

    slow: also of networks that were too slow where the steps were timed; else these count once all their seeds are run.
    """
    for seed in size.seeds:
        lists = []
        for table in tables:
            known = read(budget_file(results, table, size))
            if known is not None:
                made = able(table, only, size)
                rows = [[Cell(table, form, found, s, known["steps"]) for s in size.seeds] for form, found in made]
                told = () if slow else known["slow"]
                kept = [row for row in rows if row[0].form.label not in told or _all_run(results, row)]
                own = [cell for row in kept for cell in row if cell.seed == seed]
                lists.append(own if seed % 2 == 0 else own[::-1])
        yield from (cell for cell in chain.from_iterable(zip_longest(*lists)) if cell is not None)


def _all_run(results: Path, row: list[Cell]) -> bool:
    return all(place(results, cell.file).is_file() for cell in row)


def sized(form: Form, shape: Shape, target: int) -> Found:
    """The options that give the size, searched for once."""
    here = Path(__file__).with_name("widths.py").read_text(encoding="utf-8")
    what = [form.net, form.options, asdict(shape), target, cells.code(form.net), here]
    path = CACHE / "widths" / f"{form.net}-{key(what)}.json"
    kept = read(path)
    if kept is None:
        found = search(form, shape, target)
        write_json(path, asdict(found))
        return found
    return Found(**kept)


def planned(table: Table) -> Row:
    """Settings of every cell of a table."""
    return SETTINGS | {"plan.patch": list(table.shape.patch), "plan.batch": table.batch}


def budget_file(results: Path, table: Table, size: Scale) -> Path:
    """Where the steps of a table are kept."""
    return place(results, f"steps-{table.name}-{key([RECIPE, table.spec, SETTINGS, size.target, size.minutes])}")


def timed(table: Table, only: str, size: Scale) -> Row:
    """Seconds of a training step of every network, and the steps that the slowest one's minutes hold."""
    import phases

    from hilum.verbs.plan import planned as plan_of

    seconds, refused = dict[str, float](), dict[str, str]()
    with machine.Watch() as watch:
        ready = look(source(table), "segment", 0)
        for form in forms(table, only):
            try:
                net = words(form.net, sized(form, table.shape, size.target).options)
                plan = plan_of(ready, "segment", net, None, MOST, 0, planned(table))
                found, _ = phases.of_plan(ready, plan, 4, 3)
            except HilumError as error:
                refused[form.label] = str(error)
                continue
            seconds[form.label] = round(sum(found[n] for n in ("forward", "loss", "backward", "optimiser")), 4)
            print(f"{form.label}: {seconds[form.label]:.3f} s a step", flush=True)
    if not seconds:
        sys.exit(f"no network of {table.name} could be timed: {refused}")
    fits = {n: s for n, s in seconds.items() if FEWEST * s <= SHARE * 60 * size.minutes} or seconds
    slowest = max(fits, key=lambda n: fits[n])
    steps = min(MOST, max(2, int(SHARE * 60 * size.minutes / seconds[slowest])))
    steps = steps // 10 * 10 if steps >= 20 else steps
    facts: Row = {"table": table.name, "steps": steps, "slowest": slowest, "seconds": seconds, "refused": refused}
    facts |= {"fewest": FEWEST, "slow": {n: s for n, s in seconds.items() if n not in fits}}
    return facts | {"minutes": size.minutes, "share": SHARE, "machine": watch.facts} | cells.facts()


@functools.cache
def source(table: Table) -> Path:
    """The data; where more are judged than usual, as a table with a split column, whole groups in one part."""
    plain = BENCHMARKS / "datasets" / table.data
    if table.test is None:
        return plain
    ready = look(plain, "segment", 0)
    members: dict[str, list[Any]] = {}
    for case in ready.dataset.cases:
        members.setdefault(case.group, []).append(case)
    rows, whole = list[Row](), len(ready.dataset.cases)
    for group in sorted(members, key=lambda g: hashlib.sha256(g.encode()).hexdigest()):
        share = len(rows) / whole
        part = "test" if share < table.test else "val" if share < table.test + 0.1 else "train"
        for case in members[group]:
            files = {role: str(item.path) for role, item in case.items.items()}
            rows.append({"case": case.id, **files, "patient": group, "split": part})
    sheet = CACHE / f"{table.name}.csv"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    write_rows(sheet, sorted(rows, key=lambda row: str(row["case"])))
    kept = ready.dataset.settings.model_dump(include={"labels", "terms", "modality"})
    write_json(sheet.with_suffix(".yaml"), {"folder": str(sheet)} | {n: v for n, v in kept.items() if v})
    return sheet.with_suffix(".yaml")


def run(cell: Cell, at_once: int = 1) -> Row:
    """Train, and judge the test part once. at_once: cells that run beside each other, this one among them."""
    work, data = CACHE / cell.file, str(source(cell.table))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    facts: Row = {"table": cell.table.name, "label": cell.form.label, "net": cell.form.net}
    facts |= {"options": cell.found.options, "parameters": cell.found.parameters, "flops": cell.found.flops}
    facts |= {"seed": cell.seed, "steps": cell.steps, "data": shown(cell.table)}
    facts["command"] = " ".join([standing.RUN, shown(cell.table), *cell.words, "--out", "run"])
    with machine.Watch() as watch:
        said = functools.partial(spoken, at_once=at_once)
        facts["failed"] = said(TRAIN, data, *cell.words, "--out", str(work / "run"))
        if facts["failed"] is None:
            timing = json.loads((work / "run" / "timing.json").read_text(encoding="utf-8"))
            write_json(work / "cost.json", {"peak_bytes": timing["peak_bytes"]})
            said(EVALUATE, str(work / "run"), data, "--out", str(work / "done"), *cell.judged)
            made = asdict(compare._cell(work, cell.form.label, cell.seed))
            facts |= {"timing": timing, "cell": {n: v for n, v in made.items() if n not in ("scores", "truth")}}
    shutil.rmtree(work)
    facts |= {"at once": at_once} if at_once > 1 else {}
    return facts | {"machine": watch.facts} | cells.facts()


def spoken(command: Sequence[str], *more: str, at_once: int = 1) -> str | None:
    """Run a command of hilum; the sentence of a training that learned nothing. Other failures are raised.

    at_once: processes that share the processors.
    """
    around = dict(os.environ)
    if at_once > 1:
        around["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // at_once))
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "env": around}
    if STOPPED.is_set():
        raise subprocess.CalledProcessError(143, [*command], stderr="stopped")
    with subprocess.Popen([*command, *more], **pipes) as process:  # type: ignore[call-overload]
        RUNNING.add(process)
        try:
            _, words = process.communicate()
        finally:
            RUNNING.discard(process)
    if not process.returncode:
        return None
    if command == TRAIN and LEARNED.search(words):
        return next(line.strip() for line in words.splitlines() if LEARNED.search(line))
    raise subprocess.CalledProcessError(process.returncode, [*command], stderr=words[-2000:])


def shown(table: Table) -> str:
    """The data as a reader may name them."""
    return f"benchmarks/datasets/{table.data}" if table.test is None else f"benchmarks/cache/zoo/{table.name}.yaml"


def put(results: Path, only: str, size: Scale) -> None:
    """Write table B from the cells that are there."""
    lines, content = ["## B. How they learn at equal size and equal steps", "", *standing.ABOUT, ""], dict[str, Any]()
    for table in TABLES:
        own = [c for c in ordered(results, [table], only, size)]
        found = [read(place(results, c.file)) | {"form": c.form.label} for c in own if place(results, c.file).is_file()]
        known = read(budget_file(results, table, size))
        own_kind = {n: c for n, c in networks().items() if len(table.shape.patch) in c["dims"]}
        lacking = {n: package for n, c in own_kind.items() if (package := cells.missing(c))}
        text, content[table.name] = standing.section(table, known, own, found, lacking)
        lines += [f"### {table.name}: {table.about}", "", *text, ""]
    command = "python benchmarks/zoo/learning.py" + " --smoke" * (results == SMOKE)
    cells.put(results, "learning", [*lines, f"Command: `{command}`."], {"recipe": RECIPE, "tables": content})


if __name__ == "__main__":
    main()
