"""quantise: a run gets a graph of eight bits, ranges from training cases, accuracy measured on validation ones."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import json_text
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.evaluation.bootstrap import paired
from hilum.infer import quantise as eight
from hilum.infer._asked import EIGHT, check_eight
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes._stored import Stored
from hilum.tasks._task import headline_value
from hilum.verbs._same import own_data, writable

JUDGED = 50
# Most validation cases that both forms are judged on.
OWN = re.compile(r"graphs/openvino_int8\.(xml|bin|json)")


def quantise(model: Path | str, data: Path | str, *, progress: Progress = quiet) -> dict[str, Any]:
    """Write graphs/openvino_int8.* into a run of masks and return what is in its .json: how much eight bits cost.

    data: what the run was trained on. Returned: windows (that gave the ranges), cases (judged, of the validation part),
    headline (metric), full and eight (its means), difference with low and high (95 %, eight less full), same (share of
    voxels with the same class); of a system {"networks": {group: the same}}. Refused: bundles, one network of a system
    and other data (HIL-TRUST-20), other tasks and ensembles (HIL-INFER-15).
    """
    run = Run(Path(model))
    writable(run, "Quantise")
    if run.system is not None:
        # it asks for its networks one by one here
        from hilum.verbs import _system

        return {"networks": _system.quantised(run, data, progress)}
    return of_one(run, data, progress)


def of_one(run: Run, data: Path | str, progress: Progress) -> dict[str, Any]:
    """The same of one network, by itself or of a system."""
    taken_up(run)
    predictor = Predictor(run)
    check_eight(run, predictor.task, making=True)
    units = own_data(run, data, "HIL-TRUST-20", "Give the same, unchanged data", progress)
    parts = {part: [case for case, own in units if own == part] for part in ("train", "val")}
    if not parts["val"]:
        raise HilumError("HIL-TRUST-21", f"{run.path} has no validation part", "Train with one")
    examples = eight.sample(predictor, parts["train"], progress=progress)
    made = eight.graph(predictor, examples)
    small = Small(run, made)
    found = {"windows": len(examples)} | _compared(predictor, small, parts["val"][:JUDGED], progress)
    files = made | {"openvino_int8.json": json_text(found).encode()}
    run.put({f"graphs/{name}": content for name, content in files.items()})
    run.record("quantise", found)
    return found


def taken_up(run: Run) -> None:
    """A run whose quantising was cut off between its files can be quantised again; until then it is without."""
    if run.resumable(OWN):
        for name in [name for name in run.names() if OWN.fullmatch(name)]:
            (run.path / name).unlink()
        run.write_manifest()


class Small(Predictor):
    """A predictor by a graph that is not in its run yet: {file name: bytes}."""

    def __init__(self, run: Run, graph: Mapping[str, bytes]) -> None:
        super().__init__(run, EIGHT)
        self._graph = graph

    def _stored(self, net: Any, window: Any) -> Stored:
        return Stored(self._graph.get)


def _compared(full: Predictor, small: Predictor, cases: list[Case], progress: Progress) -> dict[str, Any]:
    """Both forms on the same cases."""
    name = full.task.metrics[0]
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
