"""What a run learns on its validation part about its own answers: scaling, sets, what is usual, the gate's limits.

Whatever is stated about errors rests on answers that were scaled by fits which had not seen their patient. What the
part is too small for is left out, with a note that says so.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from hilum.core.atomic import write_text, writing
from hilum.core.calibration import Calibration, Gate, Scaling, Sets
from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Image
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer.predictor import Predictor
from hilum.tasks._task import headline_value
from hilum.trust import calibration, conformal, doubt, gate, outlier, quality, voxels

log = logging.getLogger(__name__)

ERROR, ACCEPTABLE = 0.1, 0.7
# Share of patients with a result that is accepted and wrong, or a set that lacks the truth; Dice from which a mask is
# right.
TRAIN, VAL = 300, 500
# Cases of each part, evenly chosen, that are looked at.
FOLDS, SEED = 5, 0
T = TypeVar("T")


@dataclass
class Seen:
    """What one part showed. rows: features of quality. views: {name: rows} for the outlier score, klass: their class.

    answers: probabilities (K,), or a Sight of a mask. truths: class index, or Voxels. values: headline metric.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    views: list[dict[str, Array]] = field(default_factory=list)
    klass: list[str | None] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    truths: list[Any] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


def learn(
    predictor: Predictor,
    units: Sequence[tuple[Case, str]],
    error: float = ERROR,
    acceptable: float = ACCEPTABLE,
    progress: Progress = quiet,
) -> tuple[Calibration | None, dict[str, Array]]:
    """The calibration of a run, and the arrays of the outlier score (empty without one); None without validation cases.

    units: the run's cases with their part. error: see ERROR; refused outside 0..1 (HIL-TRUST-05). acceptable: of masks,
    the headline metric from which they are right.
    """
    conformal.check_error(error)
    parts = {p: _evenly([c for c, part in units if part == p], most) for p, most in (("train", TRAIN), ("val", VAL))}
    if not parts["val"]:
        return None, {}
    total, done = sum(map(len, parts.values())), 0
    seen = {"train": Seen(), "val": Seen()}
    for part, cases in parts.items():
        for case in cases:
            try:
                _look(predictor, case, seen[part], answers=part == "val")
            except HilumError as fault:
                log.warning("case %s is left out of the calibration: %s", case.id, fault.code)
            done += 1
            progress("calibrate", done, total, case.id)
    if not seen["val"].groups:
        return None, {}
    return _fitted(predictor.plan.task, seen["train"], seen["val"], len(predictor.plan.classes), error, acceptable)


def write(
    run: Run,
    units: Sequence[tuple[Case, str]],
    error: float = ERROR,
    acceptable: float = ACCEPTABLE,
    progress: Progress = quiet,
) -> Calibration | None:
    """Learn and put it into a finished run folder: calibration.json, outlier.safetensors and the manifest anew.

    None, and nothing is written, for a generator and without validation cases. Arguments as for `learn`.
    """
    predictor = Predictor(run)
    if predictor.task.CARD["infer"] == "sampler":
        return None
    made, arrays = learn(predictor, units, error, acceptable, progress)
    if made is None:
        return None
    if arrays:
        from safetensors.numpy import save_file

        with writing(run.path / "outlier.safetensors") as path:
            save_file(arrays, path)
    else:
        (run.path / "outlier.safetensors").unlink(missing_ok=True)
    write_text(run.path / "calibration.json", made.model_dump_json(indent=1) + "\n")
    run.write_manifest()
    return made


def _evenly(cases: list[Case], most: int) -> list[Case]:
    """At most so many of the cases, spread over all."""
    if len(cases) <= most:
        return cases
    return [cases[i] for i in np.linspace(0, len(cases) - 1, most).astype(np.int64)]


def _look(predictor: Predictor, case: Case, seen: Seen, answers: bool) -> None:
    """Everything that one case shows; nothing is kept of a case that fails half-way."""
    task = predictor.task
    image = case.read("image") if "image" in case.items else None
    rows = [quality.features(image)] if isinstance(image, Image) else []
    if not answers:
        view = outlier.views(task, predictor.net, case)
        seen.rows += rows
        if view is not None:
            seen.views.append(view)
            seen.klass.append(case.klass)
        return
    opinion = predictor.opinion(case)
    judged = task.judge(opinion.result, case)
    view = outlier.views(task, predictor.net, case, opinion.prepared)
    if predictor.plan.task == "classify":
        seen.answers.append(judged.record[0])
        seen.truths.append(judged.record[1])
    elif predictor.plan.task == "segment":
        logits = np.asarray(opinion.logits[: 1 + len(predictor.plan.classes)], dtype=np.float32)
        target = task.prepare(case)["target"]
        seen.answers.append(doubt.sight(logits))
        seen.truths.append(voxels.sample(logits, target, logits=True))
        seen.values.append(headline_value(judged.values["dice"]))
    if view is not None:
        seen.views.append(view)
    seen.rows += rows
    seen.groups.append(case.group)


def _fitted(
    task: str, train: Seen, val: Seen, classes: int, error: float, acceptable: float
) -> tuple[Calibration, dict[str, Array]]:
    """All that the two parts are large enough for."""
    notes: list[str] = []
    usual = _or_note(lambda: quality.profile(train.rows), notes) or {}
    known = _outliers(train, val, notes)
    made = Calibration(cases=len(val.groups), groups=len(set(val.groups)), quality=usual)
    if task == "classify":
        made = _of_classes(made, val, error, notes)
    elif task == "segment":
        made = _of_masks(made, val, error, acceptable, notes)
    else:
        notes.append(f"How doubtful a result of {task} is, is not measured: a person judges every one.")
    if made.gate is not None and known:
        made = made.model_copy(update={"gate": made.gate.model_copy(update={"outlier": outlier.USUAL})})
    return made.model_copy(update={"notes": notes}), known


def _or_note(work: Callable[[], T], notes: list[str]) -> T | None:
    """What the work gives, or None and a note where the part is too small for it."""
    try:
        return work()
    except HilumError as error:
        notes.append(f"{error.seen}.")
        return None


def _outliers(train: Seen, val: Seen, notes: list[str]) -> dict[str, Array]:
    """The arrays of the outlier score."""
    if not train.views or not val.views:
        return {}
    stacked = [{name: np.stack([v[name] for v in part.views]) for name in part.views[0]} for part in (train, val)]
    named = train.klass if all(train.klass) else None
    return _or_note(lambda: outlier.fit(stacked[0], stacked[1], named), notes) or {}


def _of_classes(made: Calibration, val: Seen, error: float, notes: list[str]) -> Calibration:
    """Scaling, prediction sets and limits for class probabilities."""
    raw, truth, groups = np.stack(val.answers), np.array(val.truths), val.groups
    chosen = _or_note(lambda: calibration.choose(raw, truth, groups, FOLDS, SEED), notes)
    scaling = Scaling() if chosen is None else chosen.scaling
    if chosen is not None:
        notes.append(chosen.why)
    honest = raw
    if scaling.method != "none":
        honest = calibration.out_of_fold(raw, truth, groups, scaling.method, FOLDS, SEED)
    points = conformal.one_per_group(conformal.of_truth(conformal.lac(honest), truth), groups, SEED)
    threshold = conformal.quantile(points, error)
    sets = Sets(error=error, threshold=threshold if np.isfinite(threshold) else None, groups=len(points))
    notes.append(conformal.guarantee(error, len(points)))
    doubts = 1 - honest.max(axis=1)
    wrong = honest.argmax(axis=1) != truth
    limits = _limits(doubts, wrong, groups, error, "classify", "the class is wrong", notes)
    return made.model_copy(update={"scaling": scaling, "sets": sets, "gate": limits})


def _of_masks(made: Calibration, val: Seen, error: float, acceptable: float, notes: list[str]) -> Calibration:
    """One temperature for voxels, and limits by the expected Dice."""
    chosen = _or_note(lambda: voxels.choose(val.truths, val.groups, FOLDS, SEED), notes)
    scaling = Scaling() if chosen is None else chosen.scaling
    honest = [scaling] * len(val.groups)
    if chosen is not None:
        notes.append(chosen.why)
    if scaling.method != "none" and all(len(v.truth) for v in val.truths):
        honest = voxels.out_of_fold(val.truths, val.groups, FOLDS, SEED)
    doubts = np.array([doubt.of_mask(a, s) for a, s in zip(val.answers, honest, strict=True)])
    # without a defined Dice there is nothing in truth and mask: right
    wrong = np.array([v is not None and v < acceptable for v in val.values])
    means = f"Dice below {acceptable:g}"
    limits = _limits(doubts, wrong, val.groups, error, "segment", means, notes)
    return made.model_copy(update={"scaling": scaling, "gate": limits, "acceptable": acceptable})


def _limits(
    doubts: Array, wrong: Array, groups: Sequence[str], error: float, task: str, means: str, notes: list[str]
) -> Gate:
    found, why = gate.limits(doubts, wrong, groups, error, doubt.MEASURES[task], means)
    notes += why
    return found
