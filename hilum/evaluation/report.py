"""report.html: what was measured, on what, how sure it is, and what the cases look like. One file, no network."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Array, Case
from hilum.core.origin import trained_by
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.evaluation import _card_trust, _lost, _parts, raters_section, trust
from hilum.evaluation.bootstrap import INTERVALS
from hilum.evaluation.evaluator import Evaluation, confusion, picked
from hilum.evaluation.provenance import NOT_KNOWN, answering, imported
from hilum.learn._curve import curves
from hilum.pictures.draw import colours
from hilum.pictures.page import Page
from hilum.tasks import _build, _show
from hilum.tasks._labels import judged_channels, stored
from hilum.trust.trusted import Trusted

VOXELS = "Of volumes without a physical spacing, mm in the names of metrics means voxels, and ml thousands of them."
GROUPING = {
    "patient": "Patients are known: no patient is in two parts.",
    "similarity": "Patients are unknown: look-alikes were kept in one part, which does not prove independence.",
    "case": "Patients are unknown, and every case was taken as its own group.",
}
APART = {
    "patient": "Patients of these data are known: each is one group.",
    "similarity": "Patients of these data are unknown: look-alikes are one group, which does not prove independence.",
    "case": "Patients of these data are unknown, and every case was taken as its own group.",
}
# The same of data that have no parts.
PIXELS = (
    "These images have no physical spacing: in the names of metrics mm means pixels here, and ml thousands of pixels."
)


def write(
    path: Path,
    predictor: Trusted,
    done: Evaluation,
    cases: list[Case],
    part: str,
    settings: dict[str, Any],
    believed: dict[str, Any] | None = None,
    beside: dict[str, Any] | None = None,
    grouping: str = "",
) -> Path:
    """Write the page. settings: further facts for the first table (groups, ...).

    believed: of `trust.summary`. beside: of `raters.measured`. grouping: how groups were told (`group_cases`) of data
    that are not the run's.
    """
    run, plan = predictor.run, predictor.plan
    page = Page(f"{plan.task}: {plan.data.get('name', '')}")
    page.text(_sentence(done, part, len(cases)))
    _noted(page, done, plan, part)
    page.heading("Numbers").table(_rows(done), caption=f"Mean and {INTERVALS}.")
    page.bars([_bar(n, m) for n, m in done.metrics.items() if (_range(n) == [0, 1])])
    if plan.task == "classify":
        _confusion(page, done, [c.name for c in plan.classes])
    # as it was when the answers were given
    known = predictor.calibration
    if known is not None and believed is not None:
        trust.section(page, known, believed)
    if beside is not None:
        raters_section.section(page, beside)
    if done.warnings:
        rows = [{"warning": w, "cases": len(names), "first": names[0]} for w, names in done.warnings.items()]
        page.heading("Warnings that came with the images").table(rows)
    _curves(page, run)
    _pictures(page, predictor, done, cases)
    page.heading("What it was made from").table(_facts(predictor, part, settings), columns=["fact", "value"])
    page.text(APART.get(grouping, "") if grouping else _grouped(plan))
    page.details("Plan (plan.json)", plan.text())
    page.details(
        "Ledger", "\n".join(json.dumps(e, ensure_ascii=False) for e in run.ledger()) or "a bundle carries none"
    )
    return page.write(path)


def _grouped(plan: Plan) -> str:
    """What no two parts of the run's own data share; where leaks were accepted, that they are there."""
    leaks = _parts.leaks(plan)
    return GROUPING.get(str(plan.data.get("grouping")), "") if leaks is None else f"The parts are not apart. {leaks}"


def _noted(page: Page, done: Evaluation, plan: Plan, part: str) -> None:
    """What must be known to read the numbers: what may flatter first, then notes."""
    flattering = _parts.objection(part)
    alarms = [] if flattering is None else [flattering]
    for words in [*alarms, *_lost.sentences(done), *done.alarms, *plan.data.get("warnings", [])]:
        page.note("warning", words)
    if plan.spacing is None and any(name.endswith(("mm", "ml")) for name in done.metrics):
        page.text(PIXELS if plan.dims == 2 else VOXELS)
    for note in done.notes:
        page.text(note)


def _range(name: str) -> list[float | None]:
    """The range in the metric's CARD."""
    return list(catalogue.card("hilum.metrics", name.split("@")[0])["range"])


def _sentence(done: Evaluation, part: str, cases: int) -> str:
    row = done.metrics[done.headline]
    if row["mean"] is None:
        return f"{done.headline} is undefined on these {cases} cases."
    doubt = "no interval, as nothing varies or groups are too few" if row["low"] is None else (
        f"95 % interval {row['low']:.3f} to {row['high']:.3f}"
    )  # fmt: skip
    where = "all labelled cases" if part == "all" else f"the {part} part"
    count = f"{cases}" if row["n"] == cases else f"{row['n']} of {cases}"
    return f"{done.headline} {row['mean']:.3f} ({doubt}) on {where}, {count} cases."


def _rows(done: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for name, metric in done.metrics.items():
        for key, values in [("", metric), *metric["per_class"].items()]:
            row = {"metric": name, "class": key or "all", "mean": values["mean"], "low": values["low"]}
            rows.append(row | {"high": values["high"], "n": values["n"], "better": metric["better"]})
    return rows


def _bar(name: str, metric: dict[str, Any]) -> tuple[str, float | None, float | None, float | None]:
    return name, metric["mean"], metric["low"], metric["high"]


def _confusion(page: Page, done: Evaluation, names: list[str]) -> None:
    table = confusion(done, names)
    rows = [
        {"truly": n} | {f"found {m}": int(v) for m, v in zip(names, r, strict=True)}
        for n, r in zip(names, table, strict=True)
    ]
    lost = f"Cases without a result, which accuracy counts as wrong, are not in it: {len(done.missing)}."
    page.heading("Which class was taken for which", 3).table(rows, caption=lost if done.missing else "")


def _curves(page: Page, run: Run) -> None:
    """Losses, figures and learning rate against the step, as the run's own page drew them."""
    if not run.has("log.csv"):
        return
    rows = list(csv.DictReader(io.StringIO(run.read("log.csv").decode("utf-8"))))
    drawings = Page("")
    for title, lines in curves([{k: float(v) for k, v in row.items() if v} for row in rows]).items():
        drawings.curve(lines, "step", title, title)
    page.heading("How it learned").abreast(drawings)


def _pictures(page: Page, predictor: Trusted, done: Evaluation, cases: list[Case]) -> None:
    """Best, median and worst case, and where their masks are doubtful; of generated images the first ones."""
    page.heading("What it looks like")
    if predictor.task.CARD["infer"] == "sampler":
        results = predictor.generate(min(24, max(8, len(cases))), 0)
        shown = [p for i, r in enumerate(results) for p in predictor.task.show(r, Case(f"generated {i}", "", {}))]
        page.text("Generated images. Whether one repeats a training image was not checked.").pictures(shown)
        return
    if predictor.task.CARD["infer"] == "windows":
        # as `_show.masks` has them
        shades = colours(value for _, value in predictor.task.legend)
        page.legend([(name, shades[value]) for name, value in predictor.task.legend])
    by_id, values, predictor.maps = {c.id: c for c in cases}, done.case_values(), True
    for word, name in picked(done):
        case = by_id[name]
        try:
            result = predictor(case)
            pictures = predictor.task.show(result, case) + _maps(predictor, result, case)
        except HilumError as error:
            page.note("warning", str(error))
            continue
        number = values.get(name)
        words = f"{word}: {done.headline} {number:.3f}" if number is not None else word
        for picture, caption in pictures:
            page.picture(picture, f"{words}, {caption}")


def _maps(predictor: Trusted, result: Result, case: Case) -> list[tuple[Array, str]]:
    """Where the mask is doubtful, and where several opinions lay apart, as one picture; none of other tasks."""
    found = {n: result[n].image.array[0] for n in ("doubt", "disagreement") if n in result.findings}
    if not found:
        return []
    words = "where the mask is doubtful: entropy as a share of the most there can be"
    # the slice that was shown before
    focus = result["mask"].array
    if "label" in case.items:
        focus = judged_channels(case, stored(case), predictor.task.plan)[0]
    return [(_show.maps(case.read("image"), focus, found), words)]


def _trained(run: Run) -> str:
    """Steps that were done, and of how many where training ended early."""
    plan = run.plan
    if imported(plan):
        return NOT_KNOWN
    ended = [event["steps"] for event in run.ledger() if event["event"] == "train" and event.get("steps")]
    done = ended[-1] if ended else plan.steps
    early = "" if done == plan.steps else f", ended before {plan.steps}"
    budget = f", planned for {plan.minutes:g} minutes" if plan.minutes else ""
    return f"{done} steps of {plan.batch}{early}{budget}"


def _facts(predictor: Trusted, part: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    plan = predictor.plan
    network = next(iter(plan.networks.values()))
    # as it was when the answers were given
    known = predictor.calibration
    count = answering(predictor.run, _build.predicting(plan), known)
    versions = trained_by(predictor.run).get("versions") or plan.versions
    facts = {
        "task": plan.task,
        "network": f"{network.name}, {count:,} parameters",
        "answer": _card_trust.combined(predictor.run, known).removeprefix("not applicable: "),
        "training": _trained(predictor.run),
        "part": part,
        "terms of the data": predictor.run.terms_of_data or "unknown",
        "seed": NOT_KNOWN if imported(plan) else plan.seed,
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
    } | settings  # fmt: skip
    return [{"fact": k, "value": v} for k, v in facts.items()]
