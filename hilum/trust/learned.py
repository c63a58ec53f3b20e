"""What a run learns on its validation part about its own answers: scaling, promises, what is usual, the gate's limits.

Whatever is stated about errors rests on answers that were scaled by fits which had not seen their patient. What the
part is too small for is left out, with a note that says so.
"""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from hilum.core.calibration import DOUBT, Calibration, Gate, Opinions, Sets
from hilum.core.evenly import evenly
from hilum.core.image import Array, Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer.faults import FAULTS, fault
from hilum.infer.predictor import Predictor
from hilum.metrics import _names
from hilum.tasks import _build
from hilum.tasks._task import Judged, headline_value
from hilum.trust import (
    _unseen,
    conformal,
    doubt,
    ensemble,
    foreseen,
    gate,
    inputs,
    outlier,
    pieces,
    promises,
    quality,
    voxels,
)
from hilum.trust._unseen import FOLDS, SEED, or_note
from hilum.trust.several import Several

log = logging.getLogger(__name__)

ERROR = 0.1
# Share of patients with a result that is accepted and wrong, or a set that lacks the truth.
TRAIN, VAL = 300, 500
# Cases of each part, evenly chosen, that are looked at.
RAW = 60
# Training cases of raw data, each of which must be made a picture first.


@dataclass
class Seen:
    """What one part showed. rows: features of quality by role, of training images alone. views: {name: rows} for the
    outlier score, klass: their class.

    Of the validation part alone, case by case: answers, probabilities (K,), a Sight of a mask, `foreseen.evidence` of a
    picture, or a doubt; truths, Voxels of masks; judged; held, of masks; groups; gains, of `pieces`. crowded: how many
    had no room.
    """

    rows: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    views: list[dict[str, Array]] = field(default_factory=list)
    klass: list[str | None] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    truths: list[Any] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    held: list[promises.Held] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    gains: list[dict[str, float]] = field(default_factory=list)
    crowded: int = 0


def _flattered(run: Run) -> list[str]:
    """That the weights which a run began with had learned from its validation images."""
    begun = run.json("start.json") if run.has("start.json") else {}
    count = begun.get("validation_images_learned_from", 0)
    if not count:
        return []
    return [
        f"The weights that this run began with had learned from {count} of its validation images: limits and promises "
        "are learned of images it knew, and are too good for new ones."
    ]


def learn(
    predictor: Predictor,
    units: Sequence[tuple[Case, str]],
    error: float = ERROR,
    acceptable: float | None = None,
    progress: Progress = quiet,
) -> tuple[Calibration | None, dict[str, Array]]:
    """The calibration of a run, and the arrays of the outlier score (empty without one); None without validation cases.

    units: the run's cases with their part. error: see ERROR; refused outside 0..1 (HIL-TRUST-05). acceptable: see
    `doubt.acceptable`.
    """
    conformal.check_error(error)
    least = doubt.acceptable(predictor.plan.task, acceptable)
    parts = {p: [c for c, part in units if part == p] for p in ("train", "val")}
    if not parts["val"]:
        return None, {}
    parts["train"] = predictor.task.asked(parts["train"])
    kinds = _kinds(predictor, parts["train"])
    raw = any("kspace" in case.items for case in parts["train"])
    parts = {p: evenly(parts[p], most) for p, most in (("train", RAW if raw else TRAIN), ("val", VAL))}
    predictor.task.keep_largest(())
    predictor.expect(len(parts["train"]) + len(parts["val"]))
    # what computes is chosen by the answers, of which training images give none
    val, train = (_seen(predictor, parts[part], part == "val", progress) for part in ("val", "train"))
    if not val.groups:
        return None, {}
    words = _crowded(val, len(parts["val"]))
    single, more = pieces.chosen(val.gains, val.groups)
    if single:
        # all else is learned of masks as they will be
        predictor.task.keep_largest(single)
        # what was seen of a case is large: not twice
        del val
        val = _seen(predictor, parts["val"], True, progress)
    made, arrays = _fitted(predictor, train, val, error, least)
    words += [*more, *_flattered(predictor.run)]
    return made.model_copy(update={"single": single, "modalities": kinds, "notes": words + made.notes}), arrays


def _kinds(predictor: Predictor, cases: Sequence[Case]) -> dict[str, list[str]]:
    """What kind of images the training images are, by role; see `inputs.kinds`."""
    run, rules = predictor.run, predictor.plan.normalisation
    facts = run.json("fingerprint.json") if run.has("fingerprint.json") else {}
    return inputs.kinds(cases, facts, hounsfield=all(rule.scheme == "ct" for rule in rules))


def _seen(predictor: Predictor, cases: Sequence[Case], answers: bool, progress: Progress) -> Seen:
    """What all cases of a part show; a case that fails is left out, and faults of a runtime are raised."""
    seen = Seen()
    for number, case in enumerate(cases, 1):
        try:
            _look(predictor, case, seen, answers)
        except Exception as error:
            lost_by = fault(error, case)
            if lost_by.code in FAULTS:
                raise
            log.warning("case %s is left out of the calibration: %s", case.id, lost_by.code)
            seen.crowded += lost_by.code == "HIL-INFER-01"
        progress("calibrate", number, len(cases), case.id)
    return seen


def _crowded(val: Seen, count: int) -> list[str]:
    """A sentence where the largest images are missing: nothing is then promised of their like."""
    if not val.crowded:
        return []
    return [
        f"{val.crowded} of {count} validation cases, the largest, are left out, as their scores need too much memory: "
        "what is promised is promised of smaller images. `hilum calibrate` takes all, if the machine holds them."
    ]


def write(
    run: Run,
    units: Sequence[tuple[Case, str]],
    error: float = ERROR,
    acceptable: float | None = None,
    opinions: Opinions | None = None,
    others: Sequence[Run] = (),
    progress: Progress = quiet,
    runtime: str = "torch",
    room: int | None = None,
) -> Calibration | None:
    """Learn and put it into a finished run folder: calibration.json, outlier.safetensors and the manifest anew.

    opinions: whose mean the answers are from now on; of an ensemble the weights in the run, where no others are given.
    others: runs that make one with this run, whose weights are copied. runtime: what computes, as of `predict`. room:
    bytes that the process may hold with the scores of a case, which is left out where it needs more. None, and nothing
    is written, for a generator and without validation cases. Else as for `learn`.
    """
    if others:
        ensemble.check(run, others)
        opinions = Opinions(kind="ensemble", count=1 + len(others))
    opinions = opinions or Opinions()
    predictor = Several(run, opinions, others, runtime)
    predictor.room = room
    if predictor.task.CARD["infer"] == "sampler":
        return None
    made, arrays = learn(predictor, units, error, acceptable, progress)
    if made is None:
        return None
    made = made.model_copy(update={"opinions": opinions, "runtime": predictor.runtime_used})
    files = ensemble.weights(run, others)
    if arrays:
        from safetensors.numpy import save

        files["outlier.safetensors"] = save(arrays)
    files["calibration.json"] = (made.model_dump_json(indent=1) + "\n").encode()
    # what was there before goes when all that is new is whole
    run.put(files)
    _without(run, files.keys() | _members(run, opinions))
    return made


def taken_up(run: Run) -> None:
    """A run whose calibration was cut short between its files can be calibrated again: nothing else in it may differ.

    Half of one calibration and half of another are none: until `write` the run is without.
    """
    if run.resumable(_own(run)):
        rest = "after training" if run.system_folder is None else "the other networks of the system have it"
        log.warning("the calibration of %s was cut short: what is not asked for now is as %s", run.path, rest)
        _without(run, set())


def _own(run: Run) -> re.Pattern[str]:
    """Names of the files that a calibration consists of."""
    role = re.escape(_build.predicting(run.plan))
    return re.compile(rf"calibration\.json|outlier\.safetensors|weights/{role}\.\d+\.safetensors")


def _members(run: Run, opinions: Opinions) -> set[str]:
    """Names of the weights in the run by which the others of an ensemble answer."""
    role, count = _build.predicting(run.plan), opinions.count if opinions.kind == "ensemble" else 1
    return {f"weights/{role}.{number}.safetensors" for number in range(2, count + 1)}


def _without(run: Run, kept: Collection[str]) -> None:
    """Remove what a calibration consists of, but for these files; the one that asks for the others first."""
    own = _own(run)
    gone = sorted(name for name in run.names() if own.fullmatch(name) and name not in kept)
    for name in gone:
        (run.path / name).unlink()
    if gone:
        run.write_manifest()


def _look(predictor: Predictor, case: Case, seen: Seen, answers: bool) -> None:
    """Everything that one case shows; nothing is kept of a case that fails half-way."""
    task = predictor.task
    case, images = inputs.read(case)
    if not answers:
        if "kspace" in case.items:
            images = {inputs.ZERO_FILLED: inputs.zero_filled(task, case)}
        rows = {role: quality.features(image) for role, image in images.items()}
        view = outlier.views(task, predictor.net, case, known=rows.get("image"), features=predictor.features)
        for role, row in rows.items():
            seen.rows.setdefault(role, []).append(row)
        if view is not None:
            seen.views.append(view)
            seen.klass.append(case.klass)
        return
    opinion = predictor.opinion(case)
    judged = task.judge(opinion.result, case)
    view = outlier.views(task, predictor.net, case, opinion.prepared, features=predictor.features)
    if predictor.plan.task == "classify":
        answer: Any = judged.record[0]
    elif predictor.plan.task == "segment":
        logits = np.asarray(opinion.logits[: 1 + len(predictor.plan.classes)], dtype=np.float32)
        answer = doubt.of_opinion(opinion, task, case)
        voxel = voxels.sample(logits, task.prepare(case)["target"], logits=True)
        held = promises.held(task, opinion, case)
        seen.gains.append({} if getattr(task, "numbered", False) else pieces.gains(task, opinion.result["mask"], case))
        seen.truths.append(voxel)
        seen.held.append(held)
    elif predictor.plan.task == "reconstruct":
        answer = foreseen.evidence(task, opinion)
    else:
        answer = doubt.of_result(predictor.plan.task, opinion.result, case)
    if view is not None:
        seen.views.append(view)
    seen.answers.append(answer)
    seen.judged.append(judged)
    seen.groups.append(case.group)


def _fitted(
    predictor: Predictor, train: Seen, val: Seen, error: float, least: float | None
) -> tuple[Calibration, dict[str, Array]]:
    """All that the two parts are large enough for. least: of `doubt.acceptable`."""
    notes: list[str] = []
    task, headline = predictor.plan.task, predictor.task.metrics[0]
    usual = _usual(train.rows, notes)
    known = _outliers(train, val, notes)
    made = Calibration(cases=len(val.groups), groups=len(set(val.groups)), acceptable=least, doubt=DOUBT)
    made = made.model_copy(update={"quality": usual.pop("image", {}), "sides": usual})
    judged = val.judged
    guesses, single = None, None
    if task == "classify":
        made, judged, single = _of_classes(made, val, error, notes)
        doubts = np.array([doubt.of_class(one.record[0]) for one in judged])
    elif task == "segment":
        made, doubts = _of_masks(made, val, [c.name for c in predictor.plan.classes], error, notes)
        # what is expected of a mask is its Dice
        guesses = 1 - doubts if headline == "dice" else None
    elif task == "reconstruct":
        reached = _reached(val, headline)
        model, guesses, words = foreseen.learned(headline, val.answers, reached, val.groups, FOLDS, SEED)
        made = made.model_copy(update={"foreseen": model})
        notes.append(words)
        doubts = np.array([foreseen.doubt(g) for g in guesses])
        guesses = None if model is None else guesses
    else:
        doubts = np.array([np.nan if a is None else a for a in val.answers], dtype=np.float64)
    made = _of_headline(made, headline, val, guesses, error, notes)
    losses = [doubt.loss(task, one, least) for one in judged]
    made = made.model_copy(update={"gate": _gate(task, doubts, losses, val.groups, error, least, notes, single)})
    if made.gate is not None and known:
        made = made.model_copy(update={"gate": made.gate.model_copy(update={"outlier": outlier.USUAL})})
    return made.model_copy(update={"notes": notes}), known


def _reached(val: Seen, name: str) -> list[float | None]:
    """The metric of every case, None where it is not defined."""
    return [headline_value(j.values[name]) if name in j.values else None for j in val.judged]


def _usual(rows: Mapping[str, list[dict[str, float]]], notes: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """What is usual of the training images, by role; an image that is in several pairs counts once."""
    found = {}
    for role, given in rows.items():
        once = [dict(row) for row in dict.fromkeys(tuple(row.items()) for row in given)]
        profile = or_note(partial(quality.profile, once), notes)
        if profile is not None:
            found[role] = profile
    return found


def _outliers(train: Seen, val: Seen, notes: list[str]) -> dict[str, Array]:
    """The arrays of the outlier score."""
    if not train.views or not val.views:
        return {}
    stacked = [{name: np.stack([v[name] for v in part.views]) for name in part.views[0]} for part in (train, val)]
    named = train.klass if all(train.klass) else None
    return or_note(lambda: outlier.fit(stacked[0], stacked[1], named), notes) or {}


def _of_classes(
    made: Calibration, val: Seen, error: float, notes: list[str]
) -> tuple[Calibration, list[Judged], Array]:
    """Scaling and prediction sets for class probabilities; of those scaled out of fold, the cases as judged by them,
    and whether their sets hold one class, (n,)."""
    truth, groups = np.array([j.record[1] for j in val.judged]), val.groups
    scaling, honest = _unseen.of_classes(np.stack(val.answers), truth, groups, notes)
    points = conformal.one_per_group(conformal.of_truth(conformal.lac(honest), truth), groups, SEED)
    threshold = conformal.quantile(points, error)
    sets = Sets(error=error, threshold=threshold if np.isfinite(threshold) else None, groups=len(points))
    made = made.model_copy(update={"scaling": scaling, "sets": sets})
    notes.append(conformal.guarantee(error, len(points), fitted=promises.fitted(made)))
    # scaling may change the answer: what is delivered, and so what is right or wrong, is the scaled one
    scaled = [replace(j, record=(row, j.record[1])) for j, row in zip(val.judged, honest, strict=True)]
    single: Array = conformal.sets(honest, threshold).sum(axis=1) == 1
    return made, scaled, single


def _of_masks(
    made: Calibration, val: Seen, names: Sequence[str], error: float, notes: list[str]
) -> tuple[Calibration, Array]:
    """One temperature for voxels, wide masks and intervals, and the doubt of each case, scaled out of fold."""
    scaling, honest = _unseen.of_masks(val.truths, val.groups, notes)
    wide, words = promises.wide(val.held, val.groups, names, error)
    measured, more = promises.of_measured(val.held, val.groups, error, SEED)
    notes += words + more
    doubts = np.array([doubt.of_mask(a, s) for a, s in zip(val.answers, honest, strict=True)])
    return made.model_copy(update={"scaling": scaling, "wide": wide, "measured": measured}), doubts


def _of_headline(
    made: Calibration, name: str, val: Seen, guesses: Array | None, error: float, notes: list[str]
) -> Calibration:
    """How good a new result is, by the headline metric, where cases have it. guesses: see `promises.of_metric`."""
    if _names.card(name)["level"] != "case":
        return made
    values = _reached(val, name)
    if guesses is not None:
        values = [v if np.isfinite(g) else None for v, g in zip(values, guesses, strict=True)]
    found = promises.of_metric(name, values, val.groups, error, SEED, guesses)
    count = len({g for g, v in zip(val.groups, values, strict=True) if v is not None})
    if count:
        besides = "" if guesses is None else promises.fitted(made)
        notes.append(conformal.guarantee(error, count, f"{name} is within the stated limits", besides))
    return made if found is None else made.model_copy(update={"measured": {**made.measured, name: found}})


def _gate(
    task: str,
    doubts: Array,
    losses: Sequence[tuple[float, bool] | None],
    groups: Sequence[str],
    error: float,
    least: float | None,
    notes: list[str],
    single: Array | None = None,
) -> Gate | None:
    """Limits from the cases whose doubt and truth are known; None, with a note, where there are none."""
    kept = [i for i, one in enumerate(losses) if one is not None and np.isfinite(doubts[i])]
    if not kept:
        untold = all(one is None for one in losses)
        lacks = "No truth says which results are wrong" if untold else "How doubtful a result is, is not measured"
        notes.append(f"{lacks}: a person judges every one.")
        return None
    wrong = np.array([losses[i][1] for i in kept])  # type: ignore[index]
    means = doubt.WRONG[task].format(least)
    own = None if single is None else single[kept]
    found, why = gate.limits(doubts[kept], wrong, [groups[i] for i in kept], error, doubt.MEASURES[task], means, own)
    notes += why
    return found
