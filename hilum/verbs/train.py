"""train: learn from a data set and leave a run folder."""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import write_json, writing
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run, new_folder, write_rows
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared, edit, look
from hilum.tasks import _build, _task
from hilum.verbs.plan import complete, planned


def train(
    data: Path | str,
    task: str,
    out: Path | str,
    *,
    plan: Path | str | None = None,
    net: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    progress: Progress = quiet,
) -> Run:
    """Plan (or take `plan`), train for the minutes or steps, and return the run. Default: 10 minutes.

    resume: go on in `out` from its last checkpoint, with the plan that lies there.
    """
    out = Path(out)
    if resume:
        made, units, facts = _again(data, task, out, progress)
    else:
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise HilumError(
                "HIL-CORE-03", f"{out} exists and is not an empty folder", "Choose another --out, or --resume"
            )
        made, units, facts = _new(data, task, plan, net, minutes, steps, seed, settings, progress)
        for role in made.networks:
            # the whole plan must be buildable before anything is written
            _build.build(_task.load(made), role)
        new_folder(out)
        made.write(out / "plan.json")
        write_json(out / "fingerprint.json", facts)
        write_rows(out / "split.csv", split_rows(units))
    training = Training(out, made, units, progress)
    state = training.run(resume)
    _features(training, out)
    run = Run(out)
    run.write_manifest()
    counts = {p: len(c) for p, c in training.parts.items()}
    run.record("train", {"steps": state.steps, "resumed": resume, "cases": counts, "data": made.data["name"]})
    return run


def _new(
    data: Path | str,
    task: str,
    plan: Path | str | None,
    net: str | None,
    minutes: float | None,
    steps: int | None,
    seed: int,
    settings: dict[str, Any] | None,
    progress: Progress,
) -> tuple[Plan, list[tuple[Case, str]], dict[str, Any]]:
    """Plan, units and fingerprint of a fresh run."""
    if plan is None:
        ready = look(data, task, seed, progress)
        budget = 10.0 if minutes is None and steps is None else minutes
        made = planned(ready, task, net, budget, steps, seed, settings)
        return made, ready.units(made), ready.facts
    made = Plan.read(Path(plan))
    if made.task != task:
        raise HilumError("HIL-PLAN-05", f"{plan} is a plan for {made.task}, not {task}", f"Use --task {made.task}")
    made = edit(made, net, settings or {})
    if minutes is not None or steps is not None:
        made = made.model_copy(update={"minutes": minutes, "steps": steps})
    made = complete(made)
    ready = look(data, task, made.split_seed, progress)
    return made, ready.units(made), ready.facts


def _again(
    data: Path | str, task: str, out: Path, progress: Progress
) -> tuple[Plan, list[tuple[Case, str]], dict[str, Any]]:
    """Plan, units and fingerprint of a run to resume; other data or another split are refused (T04)."""
    run = Run(out)
    made = complete(run.plan)
    if not run.has("checkpoint.safetensors"):
        raise HilumError("HIL-T05", f"{out} has no checkpoint to resume", "Train without --resume into a new folder")
    if made.task != task:
        raise HilumError("HIL-T04", f"{out} is a {made.task} run, not {task}", f"Use --task {made.task}")
    ready = look(data, task, made.split_seed, progress)
    units = same_data(run, ready)
    if units is None:
        raise HilumError("HIL-T04", f"{data} is not what {out} was trained on", "Resume with the same, unchanged data")
    return made, units, ready.facts


def same_data(run: Run, ready: Prepared) -> list[tuple[Case, str]] | None:
    """The run's units when its data is the same (fingerprint and split), else None."""
    if not run.has("split.csv") or run.plan.data.get("fingerprint") != ready.facts["hash"]:
        return None
    units = ready.units(run.plan)
    wanted = [{k: str(v) for k, v in row.items()} for row in split_rows(units)]
    return units if wanted == [{k: v for k, v in row.items() if k in wanted[0]} for row in run.split()] else None


def split_rows(units: list[tuple[Case, str]]) -> list[dict[str, Any]]:
    """Rows of split.csv: case, group, part, class, and fixed and moving for pairs."""
    pairs = any("fixed" in c.attributes for c, _ in units)
    rows = []
    for case, part in units:
        row = {"case": case.id, "group": case.group, "part": part, "class": case.klass or ""}
        if pairs:
            row |= {"fixed": case.attributes.get("fixed", ""), "moving": case.attributes.get("moving", "")}
        rows.append(row)
    return rows


def _features(training: Training, out: Path) -> None:
    """For generators: the features that generated images will be judged by, from the training images."""
    if training.task.CARD["infer"] != "sampler":
        return
    from safetensors.numpy import save_file

    from hilum.evaluation.features import fit

    vectors = np.stack([training.store(c)["image"].ravel() for c in training.parts["train"]])
    with writing(out / "features.safetensors") as part:
        save_file(fit(vectors), part)
