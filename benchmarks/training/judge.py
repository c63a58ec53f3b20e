"""Every system's results of the test part, judged case by case by the same code: that of the task in Hilum."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.findings import Mask, Result, Score, Scores
from hilum.core.image import Case
from hilum.evaluation.evaluator import headline_value
from hilum.infer.predictor import Predictor
from hilum.metrics import pixel_auroc_pooled
from hilum.tasks._labels import judged_channels, stored

KEPT = ("dice", "hd95_mm", "pixel_auroc", "ap50_instances", "pq")


def hilum(predictor: Predictor, cases: Sequence[Case], kind: str) -> dict[str, Any]:
    """Predict and judge; a case without a result counts as the worst answer."""
    results: list[Result | None] = []
    for case in cases:
        try:
            results.append(predictor(case))
        except HilumError:
            results.append(None)
    return judged(predictor, cases, results, kind)


def peer(predictor: Predictor, cases: Sequence[Case], files: Sequence[Path], kind: str) -> dict[str, Any]:
    """Judge what a peer wrote. files: one .npz for each case."""
    return judged(predictor, cases, [_result(predictor, file) for file in files], kind)


def judged(predictor: Predictor, cases: Sequence[Case], results: Sequence[Result | None], kind: str) -> dict[str, Any]:
    """values: {metric: [one for each case]}, or scores: [[one for each class]]; pooled: over all cases; missing."""
    task, values, scores, records = predictor.task, dict[str, list[Any]](), [], []
    for case, result in zip(cases, results, strict=True):
        found = task.missed(case) if result is None else task.judge(result, case)
        if kind == "scores":
            scores.append([round(float(v), 5) for v in found.record[0]])
            continue
        row: dict[str, float | None] = {}
        for metric in [m for m in KEPT if m in found.values]:
            row[metric] = headline_value(found.values[metric])
            row |= {f"{metric} {k}": v for k, v in found.values[metric].items() if len(found.values[metric]) > 1}
        if kind == "pixels":
            row |= _counts(predictor, case, result)
            records.append(found.record)
        for name, value in row.items():
            values.setdefault(name, []).append(None if value is None else round(float(value), 6))
    out: dict[str, Any] = {"missing": sum(r is None for r in results)}
    if kind == "scores":
        return out | {"scores": scores}
    pooled = {}
    if kind == "pixels":
        tp, wrong = sum(values["tp"]), sum(values["fp"]) + sum(values["fn"])
        area = pixel_auroc_pooled.measure(records)
        pooled = {"auroc": None if area is None else round(area, 6), "f1": round(2 * tp / max(1, 2 * tp + wrong), 6)}
    return out | {"values": values, "pooled": pooled}


def _counts(predictor: Predictor, case: Case, result: Result | None) -> dict[str, float | None]:
    """Pixels inside the field of view: rightly found, wrongly found, missed."""
    truth = judged_channels(case, stored(case), predictor.plan)[0]
    found = np.zeros(truth.shape, dtype=bool) if result is None else result["mask"].array != 0
    return {
        "tp": int((found & (truth == 1)).sum()),
        "fp": int((found & (truth == 0)).sum()),
        "fn": int((~found & (truth == 1)).sum()),
    }


def _result(predictor: Predictor, file: Path) -> Result:
    """A peer's file as a finding."""
    plan = predictor.plan
    with np.load(file) as stored_arrays:
        arrays = dict(stored_arrays)
    if "mask" not in arrays:
        rows = zip(plan.classes, arrays["score"], strict=True)
        return Result({"scores": Scores(tuple(Score(c.name, float(v)) for c, v in rows))})
    # with one class any value but 0 is it, and may number an object
    mask = arrays["mask"].astype(np.int32)
    score = arrays["score"] if "score" in arrays else (mask > 0).astype(np.float32)
    classes = {c.value: c.name for c in plan.classes}
    return Result({"mask": Mask(mask, classes, instances=len(classes) == 1, probability=score)})
