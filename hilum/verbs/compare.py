"""compare: several networks on the same data, split, steps and seeds; intervals and paired differences."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.atomic import write_json
from hilum.core.errors import HilumError
from hilum.core.plan import parse_net
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.evaluation.bootstrap import paired
from hilum.pictures.page import Page
from hilum.planning.planner import look
from hilum.tasks import _build, _task
from hilum.verbs.evaluate import evaluate
from hilum.verbs.plan import planned
from hilum.verbs.train import train


def compare(
    data: Path | str,
    task: str,
    nets: list[str],
    out: Path | str,
    *,
    seeds: int = 1,
    minutes: float | None = None,
    steps: int | None = None,
    settings: dict[str, Any] | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Train and evaluate every network with every seed; finished cells in `out`/cells are taken as they are.

    Returns (and writes compare.json, compare.html): per network the mean over seeds, interval, paired difference to
    the best, p, steps, seconds, parameters.
    """
    if len(nets) < 1 or seeds < 1:
        raise HilumError("HIL-EVAL-03", f"{len(nets)} networks and {seeds} seeds", "Give at least one of each")
    if len(set(nets)) < len(nets):
        raise HilumError("HIL-EVAL-03", f"A network is named twice: {', '.join(nets)}", "Name each once; use --seeds")
    if minutes is None and steps is None:
        steps = 200
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / "cells").is_dir()):
        raise HilumError("HIL-CORE-03", f"{out} exists and is no comparison", "Choose another --out")
    ready = look(data, task, 0, progress)
    plans = {}
    for net in nets:
        for seed in range(seeds):
            # every plan is checked before the first cell is trained; the split is the same for all seeds
            plans[net, seed] = planned(ready, task, net, minutes, steps, 0, (settings or {}) | {"plan.seed": seed})
        _build.trial(_task.load(plans[net, 0]))
    cells = []
    for number, ((net, seed), plan) in enumerate(plans.items()):
        # what is asked and the data decide the cell: a plan for the same minutes, measured again, comes out a bit other
        asked = [net, seed, minutes, steps, settings or {}, plan.data["fingerprint"], plan.versions]
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        cell = folder / "cells" / f"{parse_net(net)[0]}-{seed}-{key}"
        if not (cell / "done" / "metrics.json").is_file():
            _run_cell(data, task, plan, cell, progress)
        cells.append(_cell(cell, net, seed))
        progress("compare", number + 1, len(plans), net)
    table = _table(cells, nets)
    content = {"task": task, "data": ready.dataset.name, "seeds": seeds, "minutes": minutes, "steps": steps} | table
    _page(folder / "compare.html", content)
    write_json(folder / "compare.json", content)
    return content


def _run_cell(data: Path | str, task: str, plan: Any, cell: Path, progress: Progress) -> None:
    """Train and evaluate one cell; a half-finished one is begun anew."""
    shutil.rmtree(cell, ignore_errors=True)
    cell.mkdir(parents=True)
    plan.write(cell / "wanted.json")
    train(data, task, cell / "run", plan=cell / "wanted.json", progress=progress)
    evaluate(cell / "run", data, cell / "done", progress=progress)


def _cell(cell: Path, net: str, seed: int) -> dict[str, Any]:
    """What one finished cell says."""
    run = Run(cell / "run")
    with open(cell / "done" / "cases.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with open(cell / "run" / "log.csv", encoding="utf-8", newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    values = {r["case"]: float(r["headline"]) if r["headline"] else None for r in rows}
    groups = {r["case"]: r["group"] for r in rows}
    metrics = json.loads((cell / "done" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    from math import prod

    count = sum(prod(t.shape) for t in run.weights("net").values())
    return {
        "net": net, "seed": seed, "values": values, "groups": groups, "metrics": metrics,
        "steps": int(last["step"]), "seconds": float(last["seconds"]), "parameters": count,
    }  # fmt: skip


def _table(cells: list[dict[str, Any]], nets: list[str]) -> dict[str, Any]:
    """Rows per network, best first, with the paired difference of case values (mean over seeds) to the best."""
    headline = next(iter(cells[0]["metrics"]))
    better = cells[0]["metrics"][headline]["better"]
    rows, means = [], {}
    for net in nets:
        own = [c for c in cells if c["net"] == net]
        means[net] = _mean_values(own)
        scores = [c["metrics"][headline]["mean"] for c in own if c["metrics"][headline]["mean"] is not None]
        first = own[0]["metrics"][headline]
        row = {"net": net, headline: sum(scores) / len(scores) if scores else None}
        if len(own) == 1:
            row |= {"low": first["low"], "high": first["high"]}
        else:
            row |= {"lowest seed": min(scores, default=None), "highest seed": max(scores, default=None)}
        rows.append(
            row
            | {
                "seeds": len(own),
                "steps": own[0]["steps"],
                "seconds": round(sum(c["seconds"] for c in own) / len(own), 1),
                "parameters": own[0]["parameters"],
            }
        )
    sign = -1 if better == "higher" else 1
    rows.sort(key=lambda r: float("inf") if r[headline] is None else sign * r[headline])
    best, sentences = rows[0]["net"], []
    for row in rows[1:]:
        sentences.append(_difference(row, means[row["net"]], means[best], cells[0]["groups"], best))
    return {"headline": headline, "better": better, "rows": rows, "sentences": sentences}


def _mean_values(cells: list[dict[str, Any]]) -> dict[str, float | None]:
    """{case: mean over seeds}, None where any seed has none."""
    out: dict[str, float | None] = {}
    for case in cells[0]["values"]:
        own = [c["values"].get(case) for c in cells]
        out[case] = None if None in own else sum(own) / len(own)
    return out


def _difference(
    row: dict[str, Any], own: dict[str, Any], best: dict[str, Any], groups: dict[str, str], best_net: str
) -> str:
    """Fill the paired columns of a row and say in words what they support."""
    shared = [c for c in own if c in best]
    found = paired([own[c] for c in shared], [best[c] for c in shared], [groups[c] for c in shared])
    row |= {"difference": found.difference, "difference low": found.low, "difference high": found.high, "p": found.p}
    if found.difference is None or found.low is None or found.high is None:
        return f"{row['net']} against {best_net}: no paired comparison is possible on these cases."
    supported = found.low > 0 or found.high < 0
    verdict = "a difference is supported" if supported else "no difference is supported"
    return (
        f"{row['net']} against {best_net}: {found.difference:+.4f} "
        f"(95 % interval {found.low:+.4f} to {found.high:+.4f}, p {found.p:.3f}); {verdict}."
    )


def _page(path: Path, content: dict[str, Any]) -> None:
    headline = content["headline"]
    page = Page(f"{content['task']}: networks compared on {content['data']}")
    budget = f"{content['minutes']:g} minutes" if content["minutes"] else f"{content['steps']} steps"
    page.text(f"Same data, split and {budget} each; {content['seeds']} seeds. Test part, best first.")
    page.table(content["rows"], best={headline: content["better"]})
    page.bars([(r["net"], r[headline], r.get("low"), r.get("high")) for r in content["rows"]], label=headline)
    for sentence in content["sentences"]:
        page.text(sentence)
    card = catalogue.card("hilum.metrics", headline.split("@")[0])
    page.text(
        "Differences are means of the values of single cases, on the test part; the best network was chosen on the "
        "same part, so its lead is a little flattering."
    )
    page.text(f"{headline}: {card['better']} is better; {card['source']}.")
    page.write(path)
