"""Table A of the zoo: what every network that segments costs at card size, each in a process of its own.

    .venv/bin/python benchmarks/zoo/cost.py [--only NAME] [--limit MINUTES] [--seconds 300] [--again] [--list]
    .venv/bin/python benchmarks/zoo/cost.py --smoke     # tiny forms, into the cache: does it all run?

Card size: the first `golden` entry of the CARD, on an image of its `shape`. Parameters are counted from the module,
FLOPs of one prediction of one image on the meta device. Then random images in float32: a prediction of one image, and
training steps (forward, cross-entropy + Dice, backward, AdamW). A network that needs more memory than is free, or
longer than `--seconds`, is printed as such. A finished cell is taken as it is; --again measures those anew that did
not fit.
"""

import argparse
import contextlib
import json
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import cells
import machine
from cells import BENCHMARKS, SMOKE, Row, key, networks, place, read, write
from tables import _lines

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.sizes import size_words
from hilum.planning.memory import cap
from hilum.verbs import zoo

RECIPE = "2"
# Raised when this file measures otherwise than before: finished cells then count no more.
BATCH = {2: 2, 3: 1}
# Images of a training step, by the number of axes.
PASSES = {"image": (5, 15.0), "step": (5, 60.0)}
# Most repetitions, and seconds after which no further one is begun.
QUIET = 0.2
# Processors used by others, on average, up to which the machine counts as quiet.


def main() -> None:
    """Measure what is asked for and not there, then write the table."""
    asked, began, failed = arguments(), time.monotonic(), list[str]()
    if asked.one:
        measure(asked.one, entry(asked.one, asked.smoke), asked.out)
        return
    # a polite stop ends the measurement that runs too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = SMOKE if asked.smoke else BENCHMARKS / "results"
    for name, card in networks().items():
        if asked.only not in name:
            continue
        cell = file(results, name, asked.smoke)
        found, lacks = read(cell), cells.missing(card)
        done = found is not None and not (asked.again and "stopped" in found)
        if asked.list:
            print(f"{'done   ' if done else 'not yet'} {cell.name}{f' (needs {lacks})' if lacks else ''}")
        if asked.list or done or lacks:
            continue
        left = float("inf") if asked.limit is None else 60 * asked.limit - (time.monotonic() - began)
        if asked.seconds > left:
            print(f"{name}: not begun, it could take {asked.seconds:.0f} s and {left:.0f} are left")
            continue
        made = child(name, cell, asked.seconds, asked.smoke)
        how = made.get("stopped") or made.get("failed") or "measured"
        print(f"{name}: {how} ({made['machine']['seconds']:.0f} s)", flush=True)
        if "failed" in made:
            failed.append(name)
            continue
        write(cell, made)
        put(results, asked.smoke)
    if not asked.list:
        put(results, asked.smoke)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def arguments() -> argparse.Namespace:
    """What is asked for; `--one` is how this file calls itself."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", default="", help="networks whose name holds this")
    words.add_argument("--limit", type=float, help="minutes; a network that could need more than are left is not begun")
    words.add_argument("--seconds", type=float, default=300, help="that one network may take")
    words.add_argument("--again", action="store_true", help="measure those anew that did not fit time or memory")
    words.add_argument("--list", action="store_true", help="say what is measured and what is not")
    words.add_argument("--smoke", action="store_true", help="tiny forms; results go to the cache")
    words.add_argument("--one", default="", help=argparse.SUPPRESS)
    words.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return words.parse_args()


def entry(name: str, smoke: bool) -> Row:
    """kwargs and shape."""
    card = networks()[name]
    return dict(card["tiny"] if smoke else card["golden"][0])


def file(results: Path, name: str, smoke: bool, processors: str | None = None) -> Path:
    """The cell of a network on this machine, or on one with those processors."""
    form = entry(name, smoke)
    what = [RECIPE, form["kwargs"], form.get("shape"), zoo.SIDES, BATCH, cells.code(name)]
    return place(results, f"cost-{name}-{key([*what, processors or machine.hardware()['processors']])}")


def child(name: str, cell: Path, seconds: float, smoke: bool) -> Row:
    """One network in a process of its own; what it had found where it was ended."""
    part = cell.with_suffix(".part")
    part.unlink(missing_ok=True)
    words = [sys.executable, str(Path(__file__)), "--one", name, "--out", str(part), *(["--smoke"] if smoke else [])]
    stopped = None
    part.parent.mkdir(parents=True, exist_ok=True)
    with machine.Watch() as watch:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            stopped = f"over {seconds:.0f} s"
        finally:
            process.kill()
    found = {"network": name} | (read(part) or {})
    part.unlink(missing_ok=True)
    if stopped is None and process.returncode < 0:
        stopped = f"ended by signal {-process.returncode}, most likely for memory"
    if stopped:
        found["stopped"] = stopped
    elif process.returncode:
        found["failed"] = said.strip().splitlines()[-1] if said.strip() else f"status {process.returncode}"
    return found | {"machine": watch.facts} | cells.facts()


def measure(name: str, form: Row, out: Path) -> None:
    """Count and time one network, and write after each part, so that what ends this process loses little."""
    import torch

    kwargs, card = form["kwargs"], networks()[name]
    limit = held()
    with torch.device("meta"):
        net = catalogue.load("hilum.zoo", name).Net(**kwargs)
    size = zoo._size(card, form, net)
    batch = BATCH[kwargs["spatial_dims"]]
    found: Row = {"network": name, "form": form.get("plan", ""), "kwargs": kwargs, "evidence": form.get("evidence", "")}
    found |= {"size": [kwargs["in_channels"], *size], "batch": batch, "memory_limit": limit}
    found |= {"threads": torch.get_num_threads()} | counted(net, (1, kwargs["in_channels"], *size))
    if found["parameters"] != form.get("parameters", found["parameters"]):
        sys.exit(f"{name} has {found['parameters']} parameters, its card says {form['parameters']}")
    write(out, found)
    torch.manual_seed(0)
    found["base"] = peak(forget=True)
    net = catalogue.load("hilum.zoo", name).Net(**kwargs)
    image = torch.randn(batch, kwargs["in_channels"], *size)
    try:
        for what, work in (("image", predicting(net, image[:1])), ("step", training(net, image))):
            begun = peak(forget=True)
            spent = timed(work, *PASSES[what])
            found |= {f"{what}_seconds": round(statistics.median(spent[1:] or spent), 4), f"{what}_times": len(spent)}
            found |= {f"{what}_peak": peak(), f"{what}_before": begun}
            write(out, found)
    except (MemoryError, RuntimeError) as error:
        if not short(error):
            raise
        write(out, found | {"stopped": f"needs more memory than {size_words(limit)}"})


def held() -> int:
    """Keep this process to most of the memory that is free, and let it be the first that the system ends."""
    limit = cap()
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    return limit


def short(error: BaseException) -> bool:
    """Whether memory ran out."""
    words = str(error).lower()
    told = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "bad alloc")
    return isinstance(error, MemoryError) or any(word in words for word in told)


def counted(net: Any, shape: tuple[int, ...]) -> Row:
    """parameters, and flops of one forward pass on an image of that shape; None where the meta device can not."""
    import torch

    from hilum.zoo._cost import flops, parameters

    try:
        many: int | None = flops(net.eval(), torch.empty(shape, device="meta"))
    except (HilumError, NotImplementedError, RuntimeError):
        many = None
    return {"parameters": parameters(net), "flops": many}


def predicting(net: Any, image: Any) -> Callable[[], None]:
    """One forward pass as a prediction makes it."""
    import torch

    net.eval()

    def once() -> None:
        with torch.inference_mode():
            net(image)

    return once


def training(net: Any, images: Any) -> Callable[[], None]:
    """One training step on random masks of the size that the network answers in."""
    import torch

    from hilum.losses.deep_supervision import deep_supervised
    from hilum.losses.matching import matching

    optimiser, targets = torch.optim.AdamW(net.parameters(), lr=1e-4), list[Any]()

    def once() -> None:
        net.train()
        optimiser.zero_grad(set_to_none=True)
        outputs = net(images)
        outputs = outputs if isinstance(outputs, dict) else {"out": [outputs]}
        levels = outputs["out"]
        if not targets:
            targets.extend(torch.randint(max(2, x.shape[1]), (len(x), *x.shape[2:])) for x in levels)
        if "masks" not in outputs:
            total = deep_supervised(loss, levels, targets)
        else:
            # the first level is what the queries paint together, and learns as they do
            total = matching(outputs["classes"], outputs["masks"], targets[0])
            total = total + deep_supervised(loss, levels[1:], targets[1:]) if levels[1:] else total
        total.backward()
        optimiser.step()

    return once


def loss(logits: Any, target: Any) -> Any:
    """Cross-entropy + Dice; of one output the binary cross-entropy alone."""
    from torch.nn import functional

    from hilum.losses.dice_ce import dice_ce

    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], target.float())
    return dice_ce(logits, target, batch=True)


def timed(work: Callable[[], None], most: int, seconds: float) -> list[float]:
    """Seconds of each repetition; the first, which pays for allocation, counts only where it is the only one."""
    spent = list[float]()
    while len(spent) <= most and sum(spent) < seconds:
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return spent


def peak(forget: bool = False) -> int:
    """The most bytes that this process has held, since it was last forgotten (Linux)."""
    if forget:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        for line in lines:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def put(results: Path, smoke: bool) -> None:
    """Write table A from the cells that are there."""
    lines, rows = ["## A. What they cost at card size", "", *ABOUT, ""], list[Row]()
    for processors, found in grouped(results, smoke):
        table = [line(name, card, found.get(name)) for name, card in networks().items()]
        lines += [f"On {processors}:", "", *_lines(table), "", *conditions(list(found.values())), ""]
        rows += found.values()
    lines += ["Command: `python benchmarks/zoo/cost.py" + " --smoke" * smoke + "`. Random inputs, seed 0."]
    if not rows:
        lines = [*lines[:4], "Not measured yet."]
    cells.put(results, "cost", lines, {"recipe": RECIPE, "rows": rows})


def grouped(results: Path, smoke: bool) -> Iterator[tuple[str, dict[str, Row]]]:
    """(processors, {network: cell}) of every kind of machine that has valid cells."""
    there: dict[str, dict[str, Row]] = {}
    for path in sorted((results / "zoo_cells").glob("cost-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        name, processors = found["network"], found["hardware"]["processors"]
        if name in networks() and path == file(results, name, smoke, processors):
            there.setdefault(processors, {})[name] = found
    yield from there.items()


def line(name: str, card: Row, cell: Row | None) -> Row:
    """One row of the table."""
    row: Row = {"network": name + (" (reconstruction)" if card["reconstruction"] else "")}
    if cell is None:
        lacks = cells.missing(card)
        return row | {"note": f"needs {lacks}" if lacks else "not measured yet"}
    flops = cell.get("flops")
    row |= {"input": " x ".join(map(str, cell.get("size", []))) or None, "parameters": cell.get("parameters")}
    row |= {"GFLOPs": None if flops is None else f"{flops / 1e9:.1f}", "s / image": _seconds(cell, "image")}
    row |= {"batch": cell.get("batch"), "s / step": _seconds(cell, "step")}
    row |= {"MB predicting": _mega(cell, "image"), "MB training": _mega(cell, "step")}
    row |= {"steps timed": max(1, cell["step_times"] - 1) if "step_times" in cell else None}
    notes = [cell.get("stopped", ""), cell.get("form", ""), _busy(cell)]
    return row | {"count": cell.get("evidence") or None, "note": "; ".join(word for word in notes if word) or "-"}


def _seconds(cell: Row, what: str) -> str | None:
    found = cell.get(f"{what}_seconds")
    return None if found is None else f"{found:.3g}"


def _mega(cell: Row, what: str) -> int | None:
    return round(cell[f"{what}_peak"] / 2**20) if f"{what}_peak" in cell else None


def _busy(cell: Row) -> str:
    """A word where others used the machine meanwhile."""
    others = cell["machine"]["others"]
    return f"others used {others:g} processors" if others > QUIET else ""


def conditions(found: list[Row]) -> list[str]:
    """Commit, versions, threads and load, of all cells."""
    versions = sorted({", ".join(f"{k} {v}" for k, v in c["versions"].items()) for c in found})
    others = [c["machine"]["others"] for c in found]
    words = [f"Commit {', '.join(sorted({c['commit'] for c in found}))}", "; ".join(versions)]
    words += [f"flags {', '.join(found[0]['hardware']['flags']) or 'none'}"]
    words += [f"threads: {', '.join(sorted({str(c['threads']) for c in found if 'threads' in c}))}"]
    bases = [c["base"] / 2**20 for c in found if "base" in c]
    words += [f"Python and torch alone {statistics.median(bases):.0f} MB"] if bases else []
    words += [f"load at most {max(c['machine']['load_most'] for c in found):g}"]
    busy = sum(o > QUIET for o in others)
    words += [f"the machine was busy during {busy} of {len(found)} cells (others used {max(others):g} at most)"]
    dates = sorted({c["date"][:10] for c in found})
    return [f"{'; '.join(words)}; measured {dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}."]


ABOUT = [
    "The form that the name alone builds, with the channels, classes and size of the first `golden` entry of its card:",
    "the size of the paper or of its training; the card says where none is known. Each in a process of its own.",
    "Parameters are counted from the module, GFLOPs (a multiply and an add are two) of one forward pass on one image.",
    "`s / image`: prediction of one image; `s / step`: forward, cross-entropy + Dice (queries: matching), backward and",
    "AdamW on the batch; medians, float32. Memory: the peak of the whole process, Python and torch included. Inputs",
    "differ in size as the cards do, so rows are to be read beside their inputs. `count` says where the card's count",
    "comes from. DenseASPP is here with depth=121; its published scores are of depth=161, four times as large.",
]


if __name__ == "__main__":
    main()
