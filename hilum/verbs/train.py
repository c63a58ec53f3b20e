"""train: learn from a data set and leave a run folder."""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import write_json, writing
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run, free_folder, new_folder, write_rows
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared, check_budget, edit, look
from hilum.prepare import augment
from hilum.tasks import _build, _task
from hilum.verbs.plan import complete, planned

DEFAULT_MINUTES = 10.0


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
    fresh = not out.exists()
    if resume:
        if plan is not None or net is not None or minutes is not None or steps is not None or settings:
            raise HilumError(
                "HIL-T04",
                "--resume goes on with the plan in the run, but --plan, --net, --set, --minutes or --steps is given",
                "Leave them out, or train anew into another folder",
            )
        made, units = _again(data, task, out, progress)
    else:
        free_folder(out)
        made, ready = _new(data, task, plan, net, minutes, steps, seed, settings, progress)
        units = ready.units(made)
        _begin(out, made, ready, units)
    try:
        training = Training(out, made, units, progress)
        state = training.run(resume)
    except BaseException:
        if not resume and not (out / "checkpoint.safetensors").exists():
            _take_back(out, fresh)
        raise
    _features(training, out)
    run = Run(out)
    run.write_manifest()
    counts = {p: len(c) for p, c in training.parts.items()}
    run.record("train", {"steps": state.steps, "resumed": resume, "cases": counts, "data": made.data["name"]})
    return run


def _begin(out: Path, made: Plan, ready: Prepared, units: list[tuple[Case, str]]) -> None:
    """Write what a run starts from; the whole plan must be trainable before anything is written."""
    augment.check(made.augment)
    _build.trial(_task.load(made))
    new_folder(out)
    made.write(out / "plan.json")
    write_json(out / "fingerprint.json", ready.facts)
    write_json(out / "seen.json", {row["hash"]: ready.parts[row["id"]] for row in ready.facts["cases"]})
    write_rows(out / "split.csv", split_rows(units))


def _take_back(out: Path, fresh: bool) -> None:
    """Remove what a run that never came to its first checkpoint wrote into a folder that was new or empty."""
    for name in ("plan.json", "fingerprint.json", "seen.json", "split.csv", "log.csv"):
        (out / name).unlink(missing_ok=True)
    if fresh and not any(out.iterdir()):
        out.rmdir()


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
) -> tuple[Plan, Prepared]:
    """The plan of a fresh run, made now or given, and the data it is for."""
    if plan is None:
        ready = look(data, task, seed, progress)
        budget = DEFAULT_MINUTES if minutes is None and steps is None else minutes
        made = planned(ready, task, net, budget, steps, seed, settings)
        return made, ready
    made = Plan.read(Path(plan))
    if made.task != task:
        raise HilumError("HIL-PLAN-05", f"{plan} is a plan for {made.task}, not {task}", f"Use --task {made.task}")
    made = edit(made, net, settings or {})
    check_budget(minutes, steps)
    if minutes is None and steps is None and made.minutes is None and made.steps is None:
        minutes = DEFAULT_MINUTES
    if minutes is not None or steps is not None:
        made = made.model_copy(update={"minutes": minutes, "steps": steps})
    ready = look(data, task, made.split_seed, progress)
    if ready.facts["dims"] != made.dims:
        raise HilumError(
            "HIL-PLAN-05", f"{plan} is for {made.dims}-D images, {data} holds {ready.facts['dims']}-D ones", "Plan anew"
        )
    # a plan may come from another data set; the run says what it really saw
    here = {"name": ready.facts["data"], "grouping": ready.grouping, "fingerprint": ready.facts["hash"]}
    return complete(made.model_copy(update={"data": made.data | here})), ready


def _again(data: Path | str, task: str, out: Path, progress: Progress) -> tuple[Plan, list[tuple[Case, str]]]:
    """Plan and units of a run to resume; other data or another split are refused (T04)."""
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
    return made, units


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
