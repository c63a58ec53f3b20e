"""Results against truth, case by case, then metrics with intervals.

A case without a result counts as the worst, where there is a worst; `_lost` says where not. Where its truth can not be
read either, that is the worst end of each metric, and a number of a whole set leaves it out.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Array, Case
from hilum.core.progress import Progress, quiet
from hilum.evaluation import _rarest, _undefined
from hilum.evaluation.bootstrap import Estimate, interval, interval_of_set
from hilum.infer.faults import FAULTS, fault
from hilum.infer.predictor import Predictor
from hilum.metrics import _names, latency_s, throughput
from hilum.tasks._labels import unnamed
from hilum.tasks._task import Judged, headline_value

log = logging.getLogger(__name__)

RESAMPLES = 2000
SETS = ("kid", "fid", "recall")
# How generated images are compared with real ones, the headline first; fid and recall where images are enough.
BIASED = ("fid", "recall", "ece")
# What they measure moves where there are fewer cases, or the same ones twice: draws give no interval around it.
BESIDE = ("before registration", "zero-filled")
# Keys of case metrics that are no class: what there is without the model, judged on the cases that gave a result.


@dataclass
class Evaluation:
    """judged: every case that gave a result. missing: (case, why). metrics: as in metrics.json.

    lost: the missing ones, judged as the worst answer there is. warnings: {sentence: cases} that travelled along.
    results: by case, verdict and meta only. alarms: sentences about what a good number may hide.
    """

    judged: list[Judged]
    missing: list[tuple[Case, str]]
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    headline: str = ""
    notes: list[str] = field(default_factory=list)
    lost: list[Judged] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)

    def case_values(self) -> dict[str, float | None]:
        """{case: headline value}, for pictures and paired comparison; missing cases have the worst, None without."""
        return {j.case: self._one(j) for j in self.judged + self.lost}

    def _one(self, judged: Judged) -> float | None:
        name = self.headline
        if name in judged.values:
            return headline_value(judged.values[name])
        if judged.record is None or _names.card(name)["takes"] == "features":
            return None
        return set_function(name)([judged.record])


def judge_all(
    predictor: Predictor,
    cases: Sequence[Case],
    progress: Progress = quiet,
    watch: Sequence[Callable[[Case, Result], None]] = (),
) -> Evaluation:
    """Predict and judge every case; one that fails is missing, with its reason, and counts worst.

    Faults of a runtime are raised: nothing is judged then. Every call of the predictor but the first is timed:
    latency_s and throughput. watch: called with every case and its result, for what needs the findings and not the
    judgement.
    """
    judged: list[Judged] = []
    missing = []
    warnings: dict[str, list[str]] = {}
    results: dict[str, Result] = {}
    for number, case in enumerate(cases):
        try:
            began = time.perf_counter()
            result = predictor(case)
            seconds = latency_s.measure(began, time.perf_counter()) if judged else None
            found = predictor.task.judge(result, case)
            for watcher in watch:
                watcher(case, result)
            judged.append(replace(found, values=found.values | {"latency_s": {"": seconds}}))
            # the findings of all cases would not fit into memory
            results[case.id] = replace(result, findings={})
            for warning in result.warnings:
                warnings.setdefault(warning, []).append(case.id)
        except Exception as error:
            lost_by = fault(error, case)
            if lost_by.code in FAULTS:
                raise
            missing.append((case, str(lost_by)))
            log.warning("case %s gave no result: %s", case.id, lost_by.code)
        progress("evaluate", number + 1, len(cases), case.id)
    if not judged:
        raise HilumError(
            "HIL-EVAL-01", f"None of {len(cases)} cases gave a result ({missing[0][1]})", "Mend the images"
        )
    lost = [_missed(predictor, c) for c, _ in missing]
    headline = predictor.task.metrics[0]
    done = Evaluation(judged, missing, headline=headline, lost=lost, warnings=warnings, results=results)
    for name in predictor.task.metrics:
        measured = measure(name, done)
        if measured is not None:
            done.metrics[name] = measured
    if done.headline not in done.metrics:
        done.notes.append(f"{done.headline} could not be measured: no case has the labels for it.")
        done.headline = next(iter(done.metrics))
    done.metrics |= _speed(done)
    done.notes += _undefined.unmeasured(done.metrics)
    done.notes += _undefined.absent(done.metrics, judged + lost, predictor.task.plan)
    return done


def _speed(done: Evaluation) -> dict[str, dict[str, Any]]:
    """Rows of latency_s and throughput, from the same calls of the predictor."""
    timed = [(s, j.group) for j in done.judged if (s := j.values["latency_s"][""]) is not None]
    estimate = interval_of_set([s for s, _ in timed], [g for _, g in timed], throughput.measure, RESAMPLES // 4)
    latency = measure("latency_s", done)
    assert latency is not None
    return {"latency_s": latency, "throughput": _row("throughput", estimate, {})}


def _missed(predictor: Predictor, case: Case) -> Judged:
    """The worst judgement of a case without a result; by the ends of the metrics where its truth can not be read."""
    try:
        worst = predictor.task.missed(case)
    except HilumError:
        worst = None
    names, silent = predictor.task.metrics, dict.fromkeys(unnamed(predictor.task.plan))
    ends = {n: {"": _names.ends(n)[0]} for n in names if _names.card(n)["level"] == "case"}
    ends = {n: end | silent if _names.card(n)["takes"] == "masks" else end for n, end in ends.items()}
    return worst or Judged(case.id, case.group, ends)


def judge_generated(predictor: Predictor, cases: Sequence[Case], basis: dict[str, Any], seed: int = 0) -> Evaluation:
    """As many generated images as there are real ones, compared as sets on the stored features."""
    from hilum.evaluation.features import project

    task = predictor.task
    real = project(np.stack([task.prepare(c)["image"].ravel() for c in cases]), basis)
    predictor.generate(1, seed)  # warms up
    began = time.perf_counter()
    results = predictor.generate(len(cases), seed)
    seconds = latency_s.measure(began, time.perf_counter())
    made = [task.judge(r, Case(f"generated_{i:04d}", f"generated_{i:04d}", {})) for i, r in enumerate(results)]
    generated = project(np.stack([j.record for j in made]), basis)
    groups, measured = [c.group for c in cases], dict[str, dict[str, Any]]()
    for metric in SETS:
        module = catalogue.load("hilum.metrics", metric)

        def both(rows: list[Any], module: Any = module) -> float | None:
            index = np.array(rows)
            found: float | None = module.measure(generated[index], real[index])
            return found

        every = list(range(len(cases)))
        estimate = (
            Estimate(both(every), None, None, len(cases), len(set(groups)))
            if metric in BIASED
            else interval_of_set(every, groups, both, RESAMPLES // 4, halves=True)
        )
        name = f"{metric}@pca{generated.shape[1]}"
        if metric == SETS[0] or estimate.mean is not None:
            measured[name] = _row(name, estimate, {})
    name = next(iter(measured))
    done = Evaluation(made, [], measured | _speed_of_batches(seconds, len(cases)), name)
    done.notes += _undefined.unmeasured(done.metrics)
    kid = catalogue.load("hilum.metrics", SETS[0]).measure
    reference = kid(np.asarray(basis["train"]), real)
    if reference is not None:
        done.notes.append(f"{name} of real training images against the same real images: {reference:.4f} (the floor).")
    return done


def _speed_of_batches(seconds: float, count: int) -> dict[str, dict[str, Any]]:
    """Rows of latency_s and throughput where `count` images were made in batches: one number, no interval."""
    each = seconds / count
    values = {"latency_s": each, "throughput": throughput.measure([each] * count)}
    return {name: _row(name, Estimate(value, None, None, count, 1), {}) for name, value in values.items()}


def measure(name: str, done: Evaluation) -> dict[str, Any] | None:
    """One metric's row of metrics.json; None when no case could have it."""
    card = _names.card(name)
    everyone = done.judged + done.lost
    if card["level"] == "set":
        counted = [j for j in everyone if j.record is not None]
        records = [j.record for j in counted]
        module, function = catalogue.load("hilum.metrics", _names.split(name)[0]), set_function(name)
        if hasattr(module, "summarise"):
            # boxes are matched once per case, not once per resample
            records, function = [module.prepare(r) for r in records], module.summarise
        function = _rarest.whole(name, function, records)
        rested, groups = _rarest.groups(name, counted), [j.group for j in counted]
        if _names.split(name)[0] in BIASED:
            return _row(name, Estimate(function(records), None, None, len(records), rested), {})
        estimate = interval_of_set(records, groups, function, RESAMPLES // 4, rests_on=rested)
        return _row(name, _rarest.spared(_rarest.enough(estimate, rested), name, counted), {})
    rows, results = [j.values.get(name, {}) for j in everyone], len(done.judged)
    if not any(rows[:results]):
        return None
    groups = [j.group for j in everyone]
    estimate = interval([headline_value(r) for r in rows], groups, resamples=RESAMPLES, ends=card["range"])
    per_class = {}
    for key in dict.fromkeys(k for r in rows for k in r if k):
        own = [r.get(key) for r in rows[:results]] + [_of_lost(key, r) for r in rows[results:]]
        per_class[key] = _numbers(honest(interval(own, groups, resamples=RESAMPLES, ends=card["range"]), name))
    return _row(name, estimate, per_class)


def _of_lost(key: str, row: dict[str, float | None]) -> float | None:
    """A class of a case without a result: without a reading of its classes it has one value for all of them.

    That it failed says nothing about what stands beside the model.
    """
    return row.get(key, None if key in BESIDE else row.get(""))


def set_function(name: str) -> Callable[[list[Any]], float | None]:
    """The metric of a list of records."""
    card, measured = _names.card(name), _names.function(name)
    if card["takes"] == "scores":
        return lambda records: measured(np.stack([r[0] for r in records]), np.array([r[1] for r in records]))
    return lambda records: measured(records)


def _numbers(estimate: Estimate) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(float(value), 6)

    return {
        "mean": rounded(estimate.mean),
        "low": rounded(estimate.low),
        "high": rounded(estimate.high),
        "n": estimate.n,
    }


def honest(estimate: Estimate, name: str) -> Estimate:
    """An interval of no width is no certainty: n equal values only rule out what would have shown in n groups.

    At an end of the metric's range the exact binomial limit for g groups without an exception takes its place (5 of 5
    right: 0.48 to 1); elsewhere there is no interval.
    """
    if estimate.mean is None or estimate.low is None or estimate.low != estimate.high:
        return estimate
    low, high = _names.card(name)["range"]
    share = 0.025 ** (1 / max(1, estimate.groups))
    if (low, high) == (0, 1) and estimate.mean == 1:
        return replace(estimate, low=share)
    if (low, high) == (0, 1) and estimate.mean == 0:
        return replace(estimate, high=1 - share)
    return replace(estimate, low=None, high=None)


def _row(name: str, estimate: Estimate, per_class: dict[str, Any]) -> dict[str, Any]:
    return _numbers(honest(estimate, name)) | {
        "better": _names.card(name)["better"],
        "per_class": per_class,
    }


def picked(done: Evaluation) -> list[tuple[str, str]]:
    """(word, case id) of the best, the median and the worst case by the headline metric."""
    values = {c: v for c, v in done.case_values().items() if v is not None}
    missing = {c.id for c, _ in done.missing}
    order = sorted((c for c in values if c not in missing), key=lambda c: values[c])  # type: ignore[arg-type, return-value]
    if not order:
        return [("", j.case) for j in done.judged[:3]]
    card = _names.card(done.headline)
    if card["better"] == "lower":
        order = order[::-1]
    words = [("worst", order[0]), ("median", order[len(order) // 2]), ("best", order[-1])]
    return list({case: (word, case) for word, case in words}.values())


def confusion(done: Evaluation, names: list[str]) -> Array:
    """(K, K) counts, rows true, columns found; for tasks whose records are (probabilities, true place)."""
    table = np.zeros((len(names), len(names)), dtype=np.int64)
    for judged in done.judged:
        probabilities, truth = judged.record
        table[truth, int(np.argmax(probabilities))] += 1
    return table
