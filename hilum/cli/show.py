"""How results look in a terminal: progress with the time left, tables, and what to do next."""

import contextlib
import logging
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.extras import install
from hilum.core.progress import Progress, quiet


@contextlib.contextmanager
def bars() -> Iterator[Progress]:
    """A progress function that draws a bar per job with the time left, on stderr; quiet where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield quiet
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:>18}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as drawn:
        jobs: dict[str, Any] = {}

        def progress(name: str, done: int, total: int, note: str = "") -> None:
            if name not in jobs or done == 1:
                if name in jobs:
                    drawn.remove_task(jobs[name])
                jobs[name] = drawn.add_task(name, total=total, note="")
            drawn.update(jobs[name], completed=done, total=total, note=note[:60])

        yield progress


def watched(progress: Progress, page: Path) -> Progress:
    """The same progress, which says once where the live page lies: when training has written it."""
    told = False

    def tell(name: str, done: int, total: int, note: str = "") -> None:
        nonlocal told
        if name == "prepare" and not told:
            told = True
            say(f"Watch it learn: open {page} in a browser.", flush=True)
        progress(name, done, total, note)

    return tell


def _table(rows: list[dict[str, Any]], title: str = "") -> None:
    """Rows as a table; the columns of all rows, in order of first appearance."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = list(dict.fromkeys(k for row in rows for k in row))
    table = Table(title=Text(plain(title)) if title else None)
    for column in columns:
        number = any(isinstance(r.get(column), int | float) for r in rows)
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*[Text(plain(_cell(row.get(c)))) for c in columns])
    # a file or a pipe has no width of its own: give tables room there
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def plain(words: str) -> str:
    """Text with everything that is not printable written out: names in data must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in words)


def say(words: str, end: str = "\n", flush: bool = False) -> None:
    """Print so: what is told here may quote a header, a name of a file, or a model from somebody else."""
    print(plain(words), end=end, flush=flush)


class OneLine(logging.Formatter):
    """What the library logs as one line without control bytes: it may quote a header or a name of a file."""

    def format(self, record: logging.LogRecord) -> str:
        """As of errors."""
        return plain(" ".join(super().format(record).split()))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def inspected(found: dict[str, Any]) -> None:
    """The table of cases, the problems, and what to type next."""
    rows = found["rows"]
    _table(rows[:20], f"{found['path']}: {found['cases']} cases")
    if len(rows) > 20:
        say(f"... and {len(rows) - 20} more (--json shows all).")
    if found["classes"]:
        say("Classes: " + ", ".join(f"{k} {v}" for k, v in found["classes"].items()))
    if found["labels"]:
        shown = found["labels"]["values"][:12]
        more = f" and {len(found['labels']['values']) - 12} more" if len(found["labels"]["values"]) > 12 else ""
        say("Label values (in cases): " + ", ".join(f"{v['value']} ({v['cases']})" for v in shown) + more)
    for remark in found["remarks"]:
        say(f"Look: {remark}")
    if found["labels"] and found["labels"]["proposal"]:
        say(
            f"Proposal, because {found['labels']['why']}; lines for a dataset.yaml:\n{found['labels']['proposal']}",
            end="",
        )
    if found["aside"]:
        names = ", ".join(str(one["what"]) for one in found["aside"][:5])
        more = f" and {len(found['aside']) - 5} more" if len(found["aside"]) > 5 else ""
        say(f"Beside the cases, not read as images: {names}{more} (--json lists all).")
    if found["problems"]:
        columns = ("case", "code", "seen", "remedy")
        _table([{c: p[c] for c in columns} for p in found["problems"][:50]], f"{len(found['problems'])} problems")
    if "page" in found:
        say(f"Pictures: open {found['page']}")
    if found["tasks"] and found["cases"] >= 3:
        following = f" Next: hilum train {shlex.quote(found['path'])} --task {found['tasks'][0]} --out run"
        # where labels are there but not everywhere, the first task is hardly the one that is wanted
        say(f"It fits: {', '.join(found['tasks'])}.{'' if found['lacking'] else following}")


def planned(plan: Any, data: Path, out: Path) -> None:
    """What the plan says, in a few lines."""
    net = next(iter(plan.networks.values()))
    rows = [
        {"setting": "task", "value": plan.task},
        {"setting": "network", "value": net.name},
        {"setting": "patch", "value": " x ".join(map(str, plan.patch))},
        {
            "setting": "spacing",
            "value": "pixels" if plan.spacing is None else " x ".join(f"{s:g}" for s in plan.spacing) + " mm",
        },
        {"setting": "batch", "value": str(plan.batch)},
        {"setting": "classes", "value": ", ".join(c.name for c in plan.classes) or "-"},
        {"setting": "groups", "value": plan.data.get("grouping", "")},
    ]
    _table(rows, str(out))
    say(
        f"Edit {out} if you like. Next: hilum train {shlex.quote(str(data))} --task {plan.task} "
        f"--plan {shlex.quote(str(out))} --out run"
    )


def evaluated(found: dict[str, Any], out: Path) -> None:
    """Metrics with intervals."""
    rows = []
    for name, metric in found["metrics"].items():
        row = {"metric": name, "mean": metric["mean"], "low": metric["low"], "high": metric["high"], "n": metric["n"]}
        rows.append(row | {"better": metric["better"]})
    _table(rows, f"{found['part']}: {found['cases']} cases in {found['groups']} groups, {found['missing']} missing")
    if any(r["low"] is None and r["mean"] is not None for r in rows):
        say("No interval where nothing varies or groups are too few, in all or of a class.", end=" ")
        say("Of ece, fid and recall never.")
    for name in (r["metric"] for r in rows if r["mean"] is None):
        why = catalogue.card("hilum.metrics", name.split("@")[0])["empty"]
        say(f"{name} is undefined on these cases ({why}).")
    say(f"Open {out}/report.html")


def compared(found: dict[str, Any], out: Path) -> None:
    """The comparison and what it supports."""
    ordered = found.get("compared") != "none"
    columns = ["net", found["headline"], "low", "high", "cases", *(["difference", "p holm"] if ordered else [])]
    columns += ["seeds", "steps", "seconds", "parameters"]
    rows = [{c: row.get(c) for c in columns} for row in found["rows"]]
    better = f" ({found['better']} is better)" if ordered else ""
    _table(rows, f"{found['task']} on {found['data']}, {found['headline']}{better}")
    if found["sureness"]:
        _table(found["sureness"], "How sure the networks are; lower is better")
    for sentence in found["sentences"] + found["notes"] + found["auroc sentences"] + found["sureness sentences"]:
        # some name cases and patients
        say(sentence)
    say(f"Open {out}/compare.html")


def predicted(found: dict[str, Any], out: Path) -> None:
    """What was written, what should happen with it, and what failed."""
    counts = Counter(done["verdict"]["decision"] for done in found["done"].values())
    for case, done in found["done"].items():
        warned = "".join(f" [warning: {w}]" for w in done["warnings"])
        say(f"{case}: {', '.join(done['files'])} [{done['verdict']['decision']}]{warned}")
    if found["failed"]:
        # of an input that is no case the sentence has the path
        rows = [f | {"case": Path(f["case"]).name if "input" in f else f["case"]} for f in found["failed"]]
        _table([{c: row[c] for c in ("case", "code", "why")} for row in rows], "No result")
    for sentence in found.get("promises", ()):
        say(sentence)
    told = ", ".join(f"{counts[decision]} {decision}" for decision in ("accept", "flag", "person"))
    # what is for a person is written as all else is
    advice = " Judge what is for a person without looking at what was found." if counts["person"] else ""
    say(f"Decisions: {told}; worklist.csv says why.{advice}")
    say(f"{len(found['done'])} done, {len(found['failed'])} failed, in {out}. {found['intended_use']}")


def resampled(found: dict[str, Any]) -> None:
    """From which grid to which, how, and what to know about it."""
    rows = []
    for side in ("from", "to"):
        grid = found[side]
        spacing = " x ".join(f"{s:g}" for s in grid["spacing"]) + " mm"
        shape = " x ".join(map(str, grid["shape"]))
        rows.append({"": side, "shape": shape, "spacing": spacing, "orientation": grid["orientation"]})
        rows[-1]["grid of"] = grid.get("path") or grid.get("like")
    _table(rows, found["written"])
    say(f"Method: {found['method']}.")
    for warning in found["warnings"]:
        say(f"Warning: {warning}")


def calibrated(found: dict[str, Any]) -> None:
    """Which doubt the gate accepts, and what the part was too small for; of a system, by network."""
    if "networks" in found:
        for name, one in found["networks"].items():
            say(f"{name}:")
            calibrated(one)
        return
    least = "" if found["acceptable"] is None else f", acceptable {found['acceptable']:g}"
    whose = _opinions(found["opinions"])
    say(f"Learned with error {found['error']:g}{least}, opinions {whose}; what is not given the next time stays so.")
    gate = found["gate"]
    if gate is not None and gate["accept"] is None:
        say("Accepted: nothing.")
    elif gate is not None:
        alone = " and a prediction set of one class" if found.get("sets") else ""
        say(
            f"Accepted: {gate['measure']} up to {gate['accept']:.3g}, where nothing else is odd. "
            f"{100 * gate['rate']:.0f} % of the validation cases that could be judged have a doubt below the limit"
            f"{alone}."
        )
        if found.get("promise"):
            say(found["promise"])
    for note in found["notes"]:
        say(note)


def _opinions(found: dict[str, Any]) -> str:
    """As --opinions has them; of an ensemble, which --with makes, how many networks."""
    counts = {"dropout": f"dropout:{found['count']}", "ensemble": f"of {found['count']} networks"}
    return counts.get(found["kind"], found["kind"])


def quantised(found: dict[str, Any]) -> None:
    """What eight bits cost; of a system, by network."""
    if "networks" in found:
        for name, one in found["networks"].items():
            say(f"{name}:")
            _cost(one)
    else:
        _cost(found)
    say("Use it with: hilum predict RUN IMAGES --out DIR --runtime openvino-int8")


def _cost(found: dict[str, Any]) -> None:
    """Of one network."""
    say(f"{100 * found['same']:.2f} % of voxels keep their class in {found['cases']} validation cases.")
    if "difference" in found:
        inside = "" if found["low"] is None else f" ({found['low']:+.4f} to {found['high']:+.4f})"
        say(
            f"{found['headline']}: {found['full']:.4f}, with eight bits {found['eight']:.4f}, "
            f"difference {found['difference']:+.4f}{inside}."
        )


def carded(found: dict[str, Any], out: Path) -> None:
    """How much the run could fill by itself, and who is to be asked for the rest."""
    _table(found["checklists"], "Filled from the run record")
    say(f"Of {found['facts']} facts on the card {found['unknown']} are not known; they are to be asked for:")
    for who, names in found["ask"].items():
        say(f"  {who}: {', '.join(names)}")
    say(f"Open {out}/model_card.html. {found['intended_use']}")


def networks(rows: list[dict[str, Any]]) -> None:
    """The zoo; says what is a reconstruction, what is missing, and what the numbers mean."""
    hidden = {"reconstruction", "needs", "not_measured", "flops", "activation_bytes", "paper"}
    shown = []
    for row in rows:
        notes = ["reconstruction"] if row["reconstruction"] else []
        notes += [f"needs {row['needs']}"] if row["needs"] else []
        notes += ["not measured"] if row.get("not_measured") else []
        cells = {k: v for k, v in row.items() if k not in hidden}
        if "flops" in row:
            for key, title in (("flops", "MFLOP"), ("activation_bytes", "layers MB")):
                cells[title] = None if row[key] is None else round(row[key] / 1e6)
        shown.append(cells | {"note": ", ".join(notes), "paper": row["paper"]})
    _table(shown)
    if any(row["reconstruction"] for row in rows):
        say("reconstruction: what was published leaves gaps; the head of hilum/zoo/NAME.py says how they are filled.")
    for package in sorted({row["needs"] for row in rows if row["needs"]}):
        say(f"needs {package}. {install(package)}.")
    for row in rows:
        if row.get("not_measured"):
            say(f"{row['name']} was not measured: {row['not_measured']}")
    if any("flops" in row for row in rows):
        say(
            "MFLOP: millions of floating point operations of one forward pass on one image of that size (a multiply and"
            " an add are two; norms and activations are left out).\nlayers MB: the outputs of all layers in 32 bits,"
            " about what training keeps for one image; weights and optimiser are not in it."
        )


def demonstrated(found: dict[str, Any]) -> None:
    """What the demo made, what to open, and what to type for one's own images."""
    _table(found["rows"], "What was made")
    say(f"Open {found['report']}")
    say("With your own images (images/ and labels/ of the same names in my_images):")
    if shutil.which("hilum") is None and (script := Path(sys.argv[0]).with_name("activate")).is_file():
        # make demo calls it by its place
        say(f"  source {shlex.quote(str(script))}")
    say("  hilum inspect my_images")
    say("  hilum train my_images --task segment --minutes 12 --out run")
    say("  hilum evaluate run my_images --out evaluation")
    say(found["intended_use"])
