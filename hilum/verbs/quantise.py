"""quantise: a run gets a graph of eight bits, ranges from training cases, accuracy measured on validation ones."""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import write_json, writing
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.evaluation.bootstrap import paired
from hilum.infer import quantise as eight
from hilum.infer.predictor import Predictor
from hilum.planning.planner import look
from hilum.tasks._task import headline_value
from hilum.verbs._same import same_data

JUDGED = 50
# Most validation cases that both forms are judged on.
NAME = "openvino-int8"


def quantise(model: Path | str, data: Path | str, *, progress: Progress = quiet) -> dict[str, Any]:
    """Write graphs/openvino_int8.* into a run of masks and return what is in its .json: how much eight bits cost.

    data: what the run was trained on. Returned: windows (that gave the ranges), cases (judged, of the validation part),
    headline (metric), full and eight (its means), difference with low and high (95 %, eight less full), same (share of
    voxels with the same class). Refused: bundles and other data (HIL-TRUST-20), other tasks (HIL-INFER-15).
    """
    run = Run(Path(model))
    if run.is_bundle:
        raise HilumError("HIL-TRUST-20", f"{model} is a bundle", "Quantise the run, and bundle it again")
    predictor = Predictor(run)
    if not predictor.streams:
        raise HilumError(
            "HIL-INFER-15", f"{model} is not a run of masks by class ({predictor.plan.task})",
            "Eight bits are made and measured for those only; use --runtime auto",
        )  # fmt: skip
    units = same_data(run, look(data, run.plan.task, run.plan.split_seed, progress))
    if units is None:
        raise HilumError("HIL-TRUST-20", f"{data} is not what {model} was trained on", "Give the same, unchanged data")
    parts = {part: [case for case, own in units if own == part] for part in ("train", "val")}
    if not parts["val"]:
        raise HilumError("HIL-TRUST-21", f"{model} has no validation part", "Train with one")
    examples = eight.sample(predictor, parts["train"], progress=progress)
    for name, content in eight.graph(predictor, examples).items():
        with writing(run.path / "graphs" / name) as path:
            path.write_bytes(content)
    run.write_manifest()
    found = {"windows": len(examples)} | _compared(predictor, parts["val"][:JUDGED], progress)
    write_json(run.path / "graphs" / "openvino_int8.json", found)
    run.write_manifest()
    run.record("quantise", found)
    return found


def _compared(full: Predictor, cases: list[Case], progress: Progress) -> dict[str, Any]:
    """Both forms on the same cases."""
    small, name = Predictor(Run(full.run.path), NAME), full.task.metrics[0]
    rows: list[list[float]] = []
    same, groups = [], []
    for number, case in enumerate(cases, 1):
        answers = [one.answer(case) for one in (full, small)]
        judged = [full.task.judge(a.result, case).values.get(name) for a in answers]
        values = [headline_value(v) for v in judged if v is not None]
        same.append(float((answers[0].result["mask"].array == answers[1].result["mask"].array).mean()))
        known = [v for v in values if v is not None]
        if len(known) == 2:
            rows.append(known)
            groups.append(case.group)
        progress("judge", number, len(cases), case.id)
    found: dict[str, Any] = {"cases": len(cases), "headline": name, "same": round(float(np.mean(same)), 6)}
    if rows:
        before, after = ([float(pair[side]) for pair in rows] for side in (0, 1))
        gap = paired(after, before, groups)
        found |= {"full": float(np.mean(before)), "eight": float(np.mean(after)), "difference": gap.difference}
        found |= {"low": gap.low, "high": gap.high}
    return found
