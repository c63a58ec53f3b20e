"""compare: several networks on the same data, split, steps and seeds; what each reached and cost, what is supported."""

import csv
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.atomic import write_json
from hilum.core.errors import HilumError, going_on
from hilum.core.lock import NAME as LOCK
from hilum.core.lock import locked
from hilum.core.plan import Plan, parse_net
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.core.sizes import parse_size
from hilum.evaluation import _parts, report, voxels
from hilum.evaluation.comparison import Cell, compared
from hilum.evaluation.provenance import learned
from hilum.learn import _device, _guards, _pace
from hilum.pictures.page import Page
from hilum.planning.planner import Prepared, look
from hilum.tasks import _build, _task
from hilum.verbs._same import finished
from hilum.verbs.evaluate import evaluate
from hilum.verbs.plan import planned
from hilum.verbs.train import train

log = logging.getLogger(__name__)

PART = "test"
# Of the data, on which every cell is judged.
LOOKS = (
    "{} cells in this folder were judged on the {} part, and the best of them was chosen there: each cell's ledger "
    "counts its own looks alone, and says of how many cells it is one."
)
FAILED = "failed.json"
# Of a cell whose network did not train or gave no result. With the same steps it would end alike again; minutes are
# planned anew.
COLLAPSED = ("HIL-LEARN-02", "HIL-T06", "HIL-EVAL-01")
# How a cell ends where the network is at fault; nearly all else that ends one would end the others too.
REFUSED = (
    "HIL-T01", "HIL-T04", "HIL-T05", "HIL-RUN-02", "HIL-RUN-03", "HIL-RUN-04", "HIL-M05", "HIL-PLAN-01", "HIL-PLAN-02",
    "HIL-PLAN-03",
)  # fmt: skip
# How the saved state of a cell, or what lies beside it, is refused: the cell is begun anew.
LOST = "{} has no place in the table, as it did not train or gave no result with seed {}: {}. [{}]"


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
    memory: str | None = None,
    accelerator: str = "auto",
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Train and evaluate every network with every seed; finished cells in `out`/cells are taken as they are, and one
    whose training was cut off goes on from its last saved state.

    Returns (and writes compare.json, compare.html): rows per network with the mean over seeds, interval, paired
    difference to the best, p, p after Holm, and costs; sentences and notes; how firm the ranking is; AUROC of a
    classification; how sure the networks are, of classes or of voxels near foreground; how many cells were judged;
    failed: networks that did not train or gave no result, which have no row.

    seeds: how many, from `plan.seed` of the settings on (0 if not given). The data are split by `plan.split_seed` (0).
    memory, accelerator: of every training, as `train` takes them.
    """
    _device.check(accelerator)
    folder, settings = Path(out), dict(settings or {})
    first, split = settings.pop("plan.seed", 0), settings.pop("plan.split_seed", 0)
    _check(nets, seeds, (first, split), folder)
    if minutes is None and steps is None:
        steps = 200
    ready = look(data, task, split, progress)
    plans = {}
    for net in nets:
        for seed in range(first, first + seeds):
            # every plan is checked before the first cell is trained; the split is the same for all seeds
            own = settings | {"plan.seed": seed}
            plans[net, seed] = planned(ready, task, net, minutes, steps, split, own, memory, accelerator)
        _build.trial(_task.load(plans[net, first]))
    budget = {"task": task, "data": ready.dataset.name, "seeds": seeds, "minutes": minutes, "steps": steps}
    wanted = _task.load(plans[nets[0], first]).metrics[0]
    folder.mkdir(parents=True, exist_ok=True)
    # a cell that another process still trains looks like one that was cut off, which is gone on with
    words = budget | {"settings": settings, "memory": memory, "accelerator": accelerator}
    with locked(folder), going_on("repeat the call to go on"):
        cells, failed = _cells(data, ready, plans, words, folder, progress)
        # every one of them has looked at the same test part
        looks = _told(_finished(folder))
        content: dict[str, Any] = budget | {"split_seed": split} | compared(cells, wanted=wanted)
        content |= {"judged": {"part": PART, "cells": looks}, "failed": failed}
        told = [LOST.format(one["net"], one["seed"], one["seen"], one["code"]) for one in failed]
        told += [LOOKS.format(looks, PART)] if looks > 1 else []
        content["notes"] = _of_data(ready, plans[nets[0], first]) + content["notes"] + told
        _page(folder / "compare.html", content)
        write_json(folder / "compare.json", content)
    return content


def _of_data(ready: Prepared, plan: Plan) -> list[str]:
    """What the data are warned of, and how patients were kept apart, as every report says it. plan: of any cell."""
    # one of the warnings says that the parts share what was accepted
    grouped = [] if _parts.leaks(plan) else [report.GROUPING[ready.grouping]]
    return [*ready.warnings, *grouped]


def _cells(
    data: Path | str,
    ready: Prepared,
    plans: dict[tuple[str, int], Plan],
    words: dict[str, Any],
    folder: Path,
    progress: Progress,
) -> tuple[list[Cell], list[dict[str, Any]]]:
    """Every network with every seed, trained and judged where that is not done, and which networks did not train, whose
    cells are left out. words: what was asked for. Refused as by the first of them: no network did.
    """
    places = dict[tuple[str, int], Path]()
    for (net, seed), plan in plans.items():
        # what is asked and the data decide the cell: a plan for the same minutes, measured again, comes out otherwise.
        # The fingerprint says nothing of which cases are judged, and which belong together
        parts = [(case.id, case.group, part) for case, part in ready.units(plan)]
        asked = [net, seed, words["minutes"], words["steps"], words["settings"]]
        asked += [plan.data["fingerprint"], plan.versions, sorted(parts), *_machine(words)]
        places[net, seed] = _place(folder / "cells", f"{parse_net(net)[0]}-{seed}", asked, ready.facts["cases"])
    # one that turns out not to train is counted too: too many looks flatter nobody
    count = len({*(p for p in places.values() if not (p / FAILED).is_file()), *_finished(folder)})
    failed = dict[str, dict[str, Any]]()
    for number, ((net, seed), cell) in enumerate(places.items()):
        # of a network that did not train with one seed the others would be a choice
        if net not in failed and not (cell / "done" / "metrics.json").is_file():
            if not (cell / FAILED).is_file() or words["minutes"] is not None:
                _run_cell(data, plans[net, seed], words, cell, count, progress)
            if why := _known(cell / FAILED):
                failed[net] = {"net": net, "seed": seed} | why
        progress("compare", number + 1, len(plans), net)
    if all(net in failed for net, _ in places):
        why = next(iter(failed.values()))
        raise HilumError(why["code"], why["seen"], why["remedy"])
    return [_cell(p, *of) for of, p in places.items() if of[0] not in failed], list(failed.values())


def _machine(words: dict[str, Any]) -> list[dict[str, Any]]:
    """What of the machine was asked for by hand, as plans follow it; nothing where nothing was."""
    memory = {} if words["memory"] is None else {"memory": parse_size(words["memory"])}
    chosen = {} if words["accelerator"] == "auto" else {"accelerator": words["accelerator"]}
    return [memory | chosen] if memory or chosen else []


def _finished(folder: Path) -> set[Path]:
    """The cells of a comparison that were judged, of earlier calls too."""
    return {path.parent.parent for path in folder.glob("cells/*/done/metrics.json")}


def _told(cells: set[Path]) -> int:
    """How many cells were judged; the ledger of each says it, also of earlier calls and of one cut off meanwhile."""
    for cell in sorted(cells):
        if not (cell / "run" / "ledger.jsonl").is_file():
            continue
        run = Run(cell / "run")
        known = [event["cells"] for event in run.ledger() if event["event"] == "compare"]
        if max(known, default=0) < len(cells):
            run.record("compare", {"part": PART, "cells": len(cells)})
    return len(cells)


def _place(cells: Path, name: str, asked: list[Any], rows: list[dict[str, Any]]) -> Path:
    """Where a cell lies: by what was asked and the truth, of raw data also maps and masks. The fingerprint misses them.

    One that was finished before the truth, or maps and masks, were kept lies by what was kept then.
    """

    def place(words: list[Any]) -> Path:
        key = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]
        return cells / f"{name}-{key}"

    truth = [*asked, [[row["id"], row["truth"]] for row in rows]]
    measured = [row["operator"] for row in rows if "operator" in row]
    places = [place(words) for words in (asked, truth, [*truth, measured] if measured else truth)]
    return next((cell for cell in places if (cell / "done" / "metrics.json").is_file()), places[-1])


def apart(words: str) -> list[str]:
    """Names between commas; a comma inside of brackets belongs to an option: nnunet:strides=[1,[1,2,2]]."""
    names, depth = [""], 0
    for letter in words:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            names.append("")
        else:
            names[-1] += letter
    return [name.strip() for name in names if name.strip()]


def _check(nets: list[str], seeds: int, given: tuple[Any, Any], folder: Path) -> None:
    """Refuse an empty question, a seed that is none, a network named twice, and a folder of something else.

    given: the first seed, and the one of the split.
    """
    for key, seed in zip(("plan.seed", "plan.split_seed"), given, strict=True):
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise HilumError("HIL-EVAL-03", f"{key} is {seed!r}", "Give a whole number, 0 or more")
    if len(nets) < 1 or seeds < 1:
        raise HilumError("HIL-EVAL-03", f"{len(nets)} networks and {seeds} seeds", "Give at least one of each")
    if len(set(nets)) < len(nets):
        raise HilumError("HIL-EVAL-03", f"A network is named twice: {', '.join(nets)}", "Name each once; use --seeds")
    there = {p.name for p in folder.iterdir()} - {LOCK} if folder.is_dir() else set()
    if folder.is_file() or (there and "cells" not in there):
        raise HilumError("HIL-CORE-03", f"{folder} exists and is no comparison", "Choose another --out")


def _run_cell(data: Path | str, plan: Any, words: dict[str, Any], cell: Path, count: int, progress: Progress) -> None:
    """Train and evaluate one cell: one that was trained to its end is judged alone, half a training goes on.

    words: what was asked for. count: cells that are judged on the same part. Where the network does not train or gives
    no result, FAILED says why.
    """
    try:
        run = _trained(cell / "run") or _train_cell(data, plan, words, cell, progress)
        # of an earlier call
        (cell / FAILED).unlink(missing_ok=True)
        shutil.rmtree(cell / "done", ignore_errors=True)
        evaluate(cell / "run", data, cell / "done", progress=progress)
    except HilumError as error:
        if error.code not in COLLAPSED:
            raise
        words = {"code": error.code, "seen": error.seen.rstrip("."), "remedy": error.remedy}
        write_json(cell / FAILED, words)
        return
    run.record("compare", {"part": PART, "cells": count})


def _trained(folder: Path) -> Run | None:
    """The run of a cell, where its training has ended and nothing of it was changed: hours may lie in it."""
    try:
        run = Run(folder)
        run.check_hashes()
        return run if finished(run) else None
    except HilumError:
        return None


def _train_cell(data: Path | str, plan: Any, words: dict[str, Any], cell: Path, progress: Progress) -> Run:
    """The run of a cell, gone on with where its training was cut off, else begun anew."""
    before = _pace.forget_peak()
    run = _gone_on(data, words, cell, progress)
    if run is None:
        shutil.rmtree(cell, ignore_errors=True)
        cell.mkdir(parents=True)
        plan.write(cell / "wanted.json")
        run = train(
            data, words["task"], cell / "run", plan=cell / "wanted.json", memory=words["memory"],
            accelerator=words["accelerator"], progress=progress,
        )  # fmt: skip
    timing = run.json("timing.json")
    # the peak is of the process: where it did not grow, it is that of a network before, and where all steps were done
    # before, it is of none
    own = timing["step"] > 0 and timing["peak_bytes"] > before
    write_json(cell / "cost.json", {"peak_bytes": timing["peak_bytes"] if own else None})
    return run


def _gone_on(data: Path | str, words: dict[str, Any], cell: Path, progress: Progress) -> Run | None:
    """The run of a cell whose training was cut off and that went on to its end from the state that was saved; None
    where there is none, or where it can not be gone on from, which is told.
    """
    folder = cell / "run"
    # a network that did not train would not from there either, and a run that was done is one that was changed since
    if not (folder / _guards.STATE).is_file() or (cell / FAILED).is_file():
        return None
    try:
        if finished(Run(folder)):
            return None
        return train(data, words["task"], folder, resume=True, accelerator=words["accelerator"], progress=progress)
    except HilumError as error:
        if error.code not in REFUSED:
            raise
        log.warning("%s can not be gone on from and begins anew: %s", cell.name, error.seen.rstrip("."))
        return None


def _cell(folder: Path, net: str, seed: int) -> Cell:
    """What one finished cell says. Cells of earlier versions lack probabilities and the peak."""
    run = Run(folder / "run")
    with open(folder / "done" / "cases.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with open(folder / "run" / "log.csv", encoding="utf-8", newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    judged = [r for r in rows if r.get("truth")]
    found = _known(folder / "done" / "metrics.json")
    return Cell(
        net,
        seed,
        values={r["case"]: float(r["headline"]) if r["headline"] else None for r in rows},
        groups={r["case"]: r["group"] for r in rows},
        metrics=found["metrics"],
        steps=int(last["step"]),
        seconds=float(last["seconds"]),
        parameters=learned(run, "net"),
        batch=run.plan.batch,
        peak_bytes=_known(folder / "cost.json").get("peak_bytes"),
        scores={r["case"]: {k[2:]: float(v) for k, v in r.items() if k.startswith("p ")} for r in judged},
        truth={r["case"]: r["truth"] for r in judged},
        voxels=_of_voxels(rows),
        missing=tuple(r["case"] for r in rows if r.get("missing")),
        records=_known(folder / "done" / "matched.json"),
        # of before they were kept there are none
        alarms=tuple(found.get("alarms", ())),
    )


def _of_voxels(rows: list[dict[str, str]]) -> dict[str, dict[str, float | None]]:
    """{metric: {case: value}} of the probabilities of masks, where the evaluation has looked at them."""
    columns = {name: voxels.COLUMN.format(name) for name in voxels.NAMES}
    return {
        name: {r["case"]: float(r[column]) if r[column] else None for r in rows}
        for name, column in columns.items()
        if rows and column in rows[0]
    }


def _known(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _page(path: Path, content: dict[str, Any]) -> None:
    """One table, the differences to the best as intervals, how firm the order is, and AUROC where it can be told."""
    headline, rows, ordered = content["headline"], content["rows"], content["compared"] != "none"
    page = Page(f"{content['task']}: networks compared on {content['data']}")
    budget = f"{content['minutes']:g} minutes" if content["minutes"] else f"{content['steps']} steps"
    order = "Test part, best first." if ordered else "Test part."
    page.text(f"Same data, split and {budget} each; {content['seeds']} seeds. {order}")
    page.table(_shown(content), best={headline: content["better"]} if ordered else {})
    page.bars([(r["net"], r[headline], r["low"], r["high"]) for r in rows], label=headline)
    if content["sentences"]:
        page.heading("Which differences are supported")
        gaps = [(r["net"], r["difference"], r["difference low"], r["difference high"]) for r in rows[1:]]
        page.bars(gaps, label=f"{headline}: difference to {rows[0]['net']}, with 95 % interval")
    for sentence in content["sentences"] + content["notes"]:
        page.text(sentence)
    if content["ranking"]:
        shares = content["ranking"]["shares"].items()
        placed = [{"net": net} | {f"place {k}": round(s, 3) for k, s in enumerate(own, 1)} for net, own in shares]
        page.heading("How firm the order is").table(placed, caption="Share of resamples of the groups, seeds averaged.")
    if content["auroc"]:
        page.heading("AUROC").table([{k: v for k, v in r.items() if k != "supported"} for r in content["auroc"]])
        for sentence in content["auroc sentences"]:
            page.text(sentence)
    if content["sureness"]:
        lower = dict.fromkeys(("nll", "brier"), "lower")
        words = " ".join(content["sureness sentences"])
        page.heading("How sure the networks are").table(content["sureness"], best=lower, caption=words)
    _closing(page, content)
    page.write(path)


def _shown(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table, and one for every network that has no place in it."""
    hidden = ("peak bytes", "supported")
    rows = [{k: v for k, v in r.items() if k not in hidden} | {"peak MB": _megabytes(r)} for r in content["rows"]]
    lost = [{"net": one["net"], "no place": f"seed {one['seed']}: {one['code']}"} for one in content["failed"]]
    return rows + lost


def _megabytes(row: dict[str, Any]) -> int | None:
    return None if row["peak bytes"] is None else round(row["peak bytes"] / 1e6)


def _closing(page: Page, content: dict[str, Any]) -> None:
    """What the numbers are, and what they flatter."""
    what = "means of the values of single cases" if content["compared"] == "cases" else "of the whole part"
    if content["compared"] != "none":
        page.text(
            f"Differences are {what}, on the test part; the best network was chosen on the same part, so its lead is a "
            "little flattering."
        )
    page.text(
        "Seconds are of training; seconds a case are of reading, preparing and predicting one (latency_s); of masks an "
        "evaluation also makes wide masks and holds the scores of all voxels, and prediction alone takes less. Peak "
        "memory is of the whole process while it trained, the highest of all seeds; none is given where an earlier "
        "network had needed more."
    )
    card = catalogue.card("hilum.metrics", content["headline"].split("@")[0])
    better = "" if content["compared"] == "none" else f"{card['better']} is better; "
    page.text(f"{content['headline']}: {better}{card['source']}.")
