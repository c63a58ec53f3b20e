"""evaluate: a run or bundle against labelled data; metrics.json, cases.csv and report.html."""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.atomic import write_json
from hilum.core.errors import HilumError
from hilum.core.findings import Verdict
from hilum.core.image import Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run, write_rows
from hilum.data.dataset import Dataset, attribute, has_role, listed, open_dataset
from hilum.data.groups import group_cases
from hilum.data.layouts.studies import FoundSource
from hilum.data.splits import PARTS
from hilum.evaluation import _met_before, _parts, _sets, checks, raters, report, trust
from hilum.evaluation.evaluator import Evaluation, judge_all, judge_generated
from hilum.evaluation.guided import Guided
from hilum.evaluation.promises import Promises
from hilum.evaluation.provenance import state
from hilum.evaluation.voxels import Voxels
from hilum.planning._parts import linked, paired
from hilum.planning.fingerprint import check_boxes, content_hash
from hilum.tasks import _task
from hilum.tasks._instances import numbered
from hilum.tasks._labels import check_objects, read_as, unnamed
from hilum.tasks._task import Judged
from hilum.trust import doubt
from hilum.trust.system import trusted
from hilum.trust.trusted import Trusted
from hilum.verbs._held import free, held
from hilum.verbs._same import corrected, look_again, other_data, same_data

log = logging.getLogger(__name__)

WIDE = 16
# Most classes of which wide masks are judged too: each is brought to the image's own grid once more.
SYSTEM = (
    "This model is a system of several networks, each with a calibration of its own: whether their gates and intervals "
    "keep what they promise is not judged here."
)
UNKNOWN = f"Nothing is known of the doubt of these answers. {Verdict().reasons[0]}"


UNNAMED = (
    "The labels of these data do not name {}, which the model finds too: that is not judged here, and the headline is "
    "of the others."
)
DRAWN = (
    "HIL-DATA-11: {} of {} labels that are judged by are SEGs that Hilum wrote, every segment drawn by an algorithm: "
    "unless a person has looked them through, this tells agreement with a network, and not with the truth."
)
FURTHER = "The labels of these data also name values of what the model does not find ({}): they count as background."


@dataclass(frozen=True)
class Asked:
    """What is judged. part: its name. grouping: of data that are not the run's, how groups were told; else "".

    labels: changes of the plan by which labels are read, of `read_as`.
    """

    cases: list[Case]
    part: str
    grouping: str = ""
    labels: dict[str, Any] = field(default_factory=dict)


def evaluate(
    model: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    part: str | None = None,
    runtime: str = "torch",
    coarse: Path | str | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Judge and write; returns the contents of metrics.json.

    Same data as the run: its test part (or `part`). Other data: every labelled case, labels by the names of classes.
    runtime, coarse: as of `predict`; what is judged is the model by that runtime, and where the other says to look.
    """
    free(Path(out))
    run = Run(Path(model))
    run.check_hashes()
    if not run.is_bundle and not os.access(run.path, os.W_OK):
        raise HilumError(
            "HIL-EVAL-04", f"{run.path} can not be written to, and a run counts how often it was judged",
            "Give yourself the right to write there; a copy or a bundle would be judged without being counted",
        )  # fmt: skip
    # before anything is judged: a calibration that ends meanwhile is of other answers than these
    judged = state(run)
    other = None if coarse is None else Run(Path(coarse))
    if other is not None:
        other.check_hashes()
    predictor = trusted(run, runtime, wide=other is None and len(run.plan.classes) <= WIDE, coarse=other)
    asked = _asked(run, data, part, progress)
    if other is not None:
        _check_guide(other, asked)
    predictor.expect(len(asked.cases))
    if asked.labels:
        # of the task alone: it tells how truth is read, and nothing of what is predicted
        predictor.task.plan = predictor.plan.edited(asked.labels)
    with held(Path(out), whole=True):
        return _judged(predictor, asked, Path(out), judged, progress, other)


def _check_guide(coarse: Run, asked: Asked) -> None:
    """Refuse a coarse model that learned from what is judged (HIL-T09): it would know where to look.

    Of the parts that the run itself learned from, no figure is a result anyway.
    """
    if asked.part in ("train", "val") or not (learned := coarse.learned_from()):
        return
    known = [case.id for case in asked.cases if content_hash(case) in learned]
    if known:
        raise HilumError(
            "HIL-T09",
            f"{coarse.path} has learned from {len(known)} of the cases that are judged, the first is {known[0]!r}",
            "Train both models on the same data with the same --seed, so that they share their parts",
        )  # fmt: skip


def _judged(
    predictor: Trusted, asked: Asked, folder: Path, judged: str, progress: Progress, coarse: Run | None = None
) -> dict[str, Any]:
    """Evaluate what was asked for into `folder`. judged: of `state`."""
    cases, part = asked.cases, asked.part
    kept, read, sure = Promises(predictor.task, predictor.calibration), raters.Raters(predictor.task), Voxels(predictor)
    guide = [] if coarse is None else [Guided(predictor, coarse)]
    if predictor.task.CARD["infer"] == "sampler":
        from safetensors.numpy import load

        done = judge_generated(predictor, cases, load(predictor.run.read("features.safetensors")))
    else:
        mirrors = checks.Mirrors(predictor.task)
        # what the result was made from is large: whoever needs it comes first
        done = judge_all(predictor, cases, progress, (sure, mirrors, kept, read, *guide))
        predictor.keep = False
        kept.judged(done.judged, done.results)
        done.alarms += [words for words in (mirrors.sentence(),) if words is not None]
    done.notes += [one.sentence() for one in guide]
    _named(predictor, asked, done)
    content = _recorded(predictor, asked, done, judged, guide[0].summary() if guide else {})
    believed = _believed(predictor, done, kept, sure, cases)
    content["alarms"] = _alarmed(predictor, asked, done)
    names = [c.name for c in predictor.plan.classes] if predictor.plan.task == "classify" else []
    write_rows(folder / "cases.csv", _case_rows(done, names, sure.column))
    if matched := _sets.kept(done):
        write_json(folder / "matched.json", matched)
    if believed is not None:
        write_json(folder / "trust.json", believed)
    beside = read.summary(done.missing)
    if beside is not None:
        write_json(folder / "raters.json", beside)
    facts = {"cases": len(cases), "independent groups": content["groups"], "computed by": content["runtime"]}
    report.write(folder / "report.html", predictor, done, cases, part, facts, believed, beside, asked.grouping)
    # metrics.json last: where it lies, the evaluation is whole
    write_json(folder / "metrics.json", content)
    return content


def _alarmed(predictor: Trusted, asked: Asked, done: Evaluation) -> list[str]:
    """All that a good number may hide, what the frame alone tells too; logged, as not everybody opens the report."""
    frame = checks.frame_alone(predictor, asked.cases)
    if frame is not None:
        (done.alarms if frame["gives away"] else done.notes).append(frame["sentence"])
    # the report has this one by the name of the part
    flattering = _parts.objection(asked.part)
    alarms = [*([] if flattering is None else [flattering]), *done.alarms]
    for words in alarms:
        log.warning("%s", words)
    return alarms


def _named(predictor: Trusted, asked: Asked, done: Evaluation) -> None:
    """Say which classes of the model the labels do not name, and which values of theirs are none of the model's.

    And how many of the labels a network drew, and of other data whether their patients are known to the run.
    """
    if asked.grouping:
        alarms, notes = _met_before.sentences(predictor.run, asked.cases, asked.grouping)
        done.alarms += alarms
        done.notes += notes
    if silent := unnamed(predictor.task.plan):
        done.alarms.append(UNNAMED.format(listed([c.name for c in predictor.plan.classes if c.name in silent])))
    if others := asked.labels.get("data.others"):
        done.notes.append(FURTHER.format(listed([str(value) for value in others])))
    named = [[item for role, item in case.items.items() if role.endswith("label")] for case in asked.cases]
    drawn = sum(any(isinstance(item, FoundSource) for item in own) for own in named)
    if drawn and predictor.plan.task in ("segment", "detect", "register"):
        done.alarms.append(DRAWN.format(drawn, len(named)))


def _recorded(
    predictor: Trusted, asked: Asked, done: Evaluation, judged: str, guided: dict[str, Any]
) -> dict[str, Any]:
    """What metrics.json will hold. The run counts that it was judged. judged: in which state, of `state`.

    guided: of `Guided.summary`, where another model says where to look.
    """
    run, by = predictor.run, predictor.computed_by
    content: dict[str, Any] = {
        "task": run.plan.task,
        "part": asked.part,
        "cases": len(asked.cases),
        "groups": len({c.group for c in asked.cases}),
        "missing": len(done.missing),
        # of what was judged: a run can be calibrated anew, and a file can be shown with another run
        "state": judged,
        "runtime": "torch" if by is None else by.name,
        "metrics": done.metrics,
    } | guided
    if not run.is_bundle:
        looks = 1 + sum(e["event"] == "evaluate" and e["part"] == asked.part for e in run.ledger())
        facts = {"part": asked.part, "cases": len(asked.cases), "look": looks}
        facts |= {name: content[name] for name in ("state", "runtime", *guided)}
        run.record("evaluate", facts)
    return content


def _believed(
    predictor: Trusted, done: Evaluation, kept: Promises, sure: Voxels, cases: list[Case]
) -> dict[str, Any] | None:
    """What trust.json says; None for a run that has learned nothing about its own answers, and for a system."""
    known = predictor.calibration
    if predictor.run.system is not None:
        done.notes.append(SYSTEM)
    elif known is None and predictor.task.CARD["infer"] != "sampler":
        done.notes.append(UNKNOWN)
    if known is None:
        return None
    # runs from before a number was kept have the usual one
    least = doubt.acceptable(predictor.plan.task, None) if known.acceptable is None else known.acceptable
    answers = trust.answers(predictor.plan.task, done.judged, done.results, least)
    further = kept.summary(known) | sure.summary()
    sites = {case.id: attribute(case, "site") for case in cases}
    return trust.summary(known, answers, [c.name for c in predictor.plan.classes], further, sites)


def _asked(run: Run, data: Path | str, part: str | None, progress: Progress) -> Asked:
    """The cases to judge and the name of the part: the run's own split for its own data, else all.

    Same data is recognised by the contents of the images. Other data that holds images of the run is refused: what
    was learned from would be judged.
    """
    plan = run.plan
    if part is not None and part not in PARTS:
        raise HilumError("HIL-EVAL-02", f"There is no part {part!r}", f"Parts: {', '.join(PARTS)}")
    roles = catalogue.card("hilum.tasks", plan.task)["roles"]
    dataset = open_dataset(data)
    seen: dict[str, str] = run.json("seen.json") if run.has("seen.json") else {}
    hashes = {c.id: content_hash(c) for c in dataset.cases} if seen else {}
    shared = {name: seen[own] for name, own in hashes.items() if own is not None and own in seen}
    labelled = [c for c in dataset.cases if all(any(has_role(c, r) for r in role.split("|")) for role in roles)]
    if shared or not labelled:
        dataset = open_dataset(data, roles)
    if shared:
        return _of_run(run, dataset, shared, data, part or "test", progress)
    if part is not None:
        raise HilumError(
            "HIL-EVAL-02", f"{data} is not the run's own data, so it has no {part} part", "Leave --part out"
        )
    if len(labelled) < len(dataset.cases):
        lacking = len(dataset.cases) - len(labelled)
        log.warning("%d of %d cases have no truth to judge by and are left out", lacking, len(dataset.cases))
    labels = read_as(dataset.settings, plan, dataset.boxes)
    if plan.task == "segment" and numbered(plan.data.get("labels")):
        check_objects(labelled, dataset.settings, plan.edited(labels))
    if plan.task == "detect":
        _boxes_inside(dataset.only(c.id for c in labelled))
    grouped, grouping = group_cases(dataset.only(c.id for c in labelled), progress)
    if plan.task == "register":
        # pairs that share an image are no independent ones
        grouped = linked(grouped)
    units = _task.kind(plan.task).units(grouped, {c.id: "test" for c in grouped.cases}, plan.split_seed)
    return Asked([c for c, _ in units], "all", grouping, labels)


def _boxes_inside(dataset: Dataset) -> None:
    """Refuse boxes beyond their images (HIL-T10) as training does. An image that can not be read counts as missing."""
    rows: dict[str, dict[str, Any]] = {}
    for case in dataset.cases:
        if case.boxes is not None:
            with contextlib.suppress(HilumError):
                rows[case.id] = {"shape": case.read("image").shape}
    check_boxes(dataset.only(rows), list(rows.values()))


def _of_run(
    run: Run, dataset: Dataset, shared: dict[str, str], data: Path | str, chosen: str, progress: Progress
) -> Asked:
    """A part of the run's own data; data that are not quite the run's are refused. shared: {case: part}."""
    units = _own(run, dataset, shared, data, progress)
    if units is None:
        raise HilumError(
            "HIL-T09",
            f"{data} shares {len(shared)} images with the data of the run, the first is {next(iter(shared))!r}",
            "Give the run's own, unchanged data, or leave these images out",
        )
    if not (own := [c for c, p in units if p == chosen]):
        there = ", ".join(sorted({p for _, p in units}))
        raise HilumError(
            "HIL-EVAL-02", f"{data} holds images of the run ({there}), but none of its {chosen} part",
            f"Give the run's own, whole data, or --part {there.split(', ')[0]}",
        )  # fmt: skip
    return Asked(_task.load(run.plan).asked(own), chosen)


def _own(
    run: Run, dataset: Dataset, shared: dict[str, str], data: Path | str, progress: Progress
) -> list[tuple[Case, str]] | None:
    """The run's own units with their parts, or None when the data is not exactly the run's. shared: {case: part}."""
    plan = run.plan
    if not run.is_bundle:
        ready = look_again(run, data, progress)
        if corrected(run, ready):
            # what it learned, and where its gate stands, came from the truth before
            raise other_data(run, ready, data, "HIL-T09", "Give the run's own, unchanged data, or train anew")
        return same_data(run, ready)
    if plan.task == "register":
        # images that no pair names were left aside, but by runs of before, which know them
        dataset = paired(dataset, shared)
    if any(content_hash(c) is not None for c in dataset.cases if c.id not in shared):
        return None
    # a bundle carries no names: the part is known by the image, and of one of one value not: it is no test case then
    parts = {c.id: shared.get(c.id, "train") for c in dataset.cases}
    grouped, _ = group_cases(dataset, progress)
    grouped = linked(grouped) if plan.task == "register" else grouped
    return _task.kind(plan.task).units(grouped, parts, plan.split_seed)


def _case_rows(
    done: Evaluation, classes: list[str], further: Callable[[str], dict[str, float | None]] = lambda _: {}
) -> list[dict[str, Any]]:
    """One row per case: headline, every case metric by class, and of a classification (classes) the probabilities.

    further: columns of a case by its name.
    """
    headline = done.case_values()
    rows: list[dict[str, Any]] = []
    for judged_case in done.judged:
        row: dict[str, Any] = {"case": judged_case.case, "group": judged_case.group, "missing": ""}
        row["headline"] = _text(headline[judged_case.case])
        looked = done.results.get(judged_case.case)
        if looked is not None and "doubt" in looked.meta:
            row |= {"doubt": _text(looked.meta["doubt"]), "decision": looked.verdict.decision}
        for metric, values in judged_case.values.items():
            row |= {f"{metric} {key}".strip(): _text(value) for key, value in values.items()}
        row |= {name: _text(value) for name, value in further(judged_case.case).items()}
        rows.append(row | _chances(judged_case, classes))
    for (case, why), worst in zip(done.missing, done.lost, strict=True):
        row = {"case": case.id, "group": case.group, "missing": why, "headline": _text(headline[case.id])}
        rows.append(row | _chances(worst, classes))
    return rows


def _chances(judged: Judged, classes: list[str]) -> dict[str, Any]:
    """The true class and the probability of each, to the last digit: rounding would make ties."""
    if not classes or judged.record is None:
        return {}
    chances, truth = judged.record
    return {"truth": classes[truth]} | {f"p {n}": repr(float(p)) for n, p in zip(classes, chances, strict=True)}


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
