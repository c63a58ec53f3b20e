"""train: learn from a data set and leave a run folder."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import terms
from hilum.core.atomic import write_json, writing
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run, write_rows
from hilum.core.sizes import parse_size
from hilum.core.system import NAME as SYSTEM
from hilum.data.dataset import accepted, open_dataset
from hilum.data.stamps import Stamps
from hilum.learn import _checkpoint, _device, _guards, _track, _versions, _weights
from hilum.learn._launch import launch
from hilum.learn._start import Beginning
from hilum.planning import fingerprint, machine
from hilum.planning.memory import cap
from hilum.planning.planner import Prepared, check_budget, edit, fitted, look
from hilum.prepare import augment
from hilum.tasks import _build, _task
from hilum.tasks._labels import read_as
from hilum.trust import learned
from hilum.verbs import _held
from hilum.verbs._same import finished, look_again, other_data, same_data, split_rows
from hilum.verbs.plan import DEFAULT_MINUTES, complete, planned

log = logging.getLogger(__name__)


def train(
    data: Path | str,
    task: str,
    out: Path | str,
    *,
    plan: Path | str | None = None,
    net: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    memory: str | None = None,
    start: Path | str | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    accept: Sequence[str] = (),
    track: str | None = None,
    groups: int | str | Path | None = None,
    progress: Progress = quiet,
) -> Run:
    """Plan (or take `plan`), train for the minutes or steps, and return the run. Default: 10 minutes.

    seed: 0 unless given. resume: go on in `out` from its last checkpoint, with the plan that lies there; a finished run
    stays as it is. memory: the most to be used ("4GB") by all processes together. start: a run, a bundle or a file of
    weights to begin from; settings {"encoder_weights": file} begins the encoder only. accelerator: auto, cpu or cuda.
    devices: how many processes share a batch. accept: ["T04"], also written HIL-T04, resumes with other versions than
    the run began with. track: "tensorboard", "mlflow" or both, with a comma: log.csv is written there too, in the run
    folder. groups: how many networks share the classes (segment only), or a YAML file {group: [class names]}; minutes
    or steps are then those of all together, and the run is a system.
    """
    _track.check(track)
    _device.check(accelerator, devices)
    out = Path(out)
    begin, rest = _beginning(start, settings)
    words: dict[str, Any] = {"accelerator": accelerator, "devices": devices, "track": track}
    words |= {"accept": accepted(accept, ("T04",))}
    if resume:
        given = (plan, net, minutes, steps, seed, settings, memory, start, groups)
        if any(value not in (None, {}) for value in given):
            raise HilumError(
                "HIL-T04",
                "--resume goes on with the plan in the run, but another option that decides the run is given",
                "Leave out --plan, --net, --set, --seed, --minutes, --steps, --memory, --start and --groups, or train "
                "anew elsewhere",
            )
    if plan is not None and seed is not None:
        raise HilumError(
            "HIL-PLAN-05", f"{plan} has a seed already, and --seed {seed} is given too",
            f"Leave --seed out; with --set plan.seed={seed} weights and batches are others, the split stays",
        )  # fmt: skip
    seed = seed or 0
    if groups is not None or (resume and (out / SYSTEM).is_file()):
        # it trains its networks by the functions below
        from hilum.verbs import _system

        if resume:
            return _system.resume(data, task, out, words, progress)
        if plan is not None or begin is not None:
            raise HilumError(
                "HIL-PLAN-09", "A system is planned by --groups, and its networks begin with fresh weights",
                "Leave out --plan, --start and encoder_weights; --set changes the plan",
            )  # fmt: skip
        asked = {"net": net, "minutes": minutes, "steps": steps, "seed": seed, "settings": rest, "memory": memory}
        asked |= {"accelerator": accelerator, "devices": devices}
        return _system.train(data, task, out, str(groups), asked, words, progress)
    if resume:
        return _resumed(data, task, out, words, progress)
    _held.free(out)
    if begin is not None:
        _weights.check(begin.path)
    made, ready = _new(data, task, plan, net, minutes, steps, seed, rest, memory, accelerator, devices, progress)
    made = _from(begin, made)
    return carried_out(out, made, ready.units(made), ready, words, progress, begin)


def _resumed(data: Path | str, task: str, out: Path, words: dict[str, Any], progress: Progress) -> Run:
    """Go on with a run; one that is finished stays as it is, with what was learned of it and done with it since."""
    made, ready, units = _again(data, task, out, progress)
    if _over(Run(out), made):
        progress("train", made.steps or 1, made.steps or 1, "finished before; nothing is changed")
        return Run(out)
    return carried_out(out, made, units, ready, words, progress, resume=True)


def _over(run: Run, made: Plan) -> bool:
    """Whether the run was trained to its last step and all was written that follows; the ledger's event comes last."""
    # an edited plan is another one, which is refused where the state is gone on from
    if not finished(run) or "plan.json" in run.differing():
        return False
    tree = _checkpoint.load(run.path / "checkpoint.safetensors")
    return bool(tree["memory"].get("stopped")) or int(tree["step"]) >= (made.steps or 1)


def carried_out(
    out: Path,
    made: Plan,
    units: list[tuple[Case, str]],
    ready: Prepared,
    words: dict[str, Any],
    progress: Progress,
    begin: Beginning | None = None,
    resume: bool = False,
) -> Run:
    """Train by the plan in the folder, from the start or, with `resume`, from its checkpoint. ready: the data of units.

    words: accelerator, devices, accept and track, as `train` takes them.
    """
    with held(out, resume):
        if not resume:
            _begin(out, made, ready, units, begin)
        # they were read before, to be planned for: what has changed since is not what the fingerprint is of
        ready.stamps.check(_learned_from(units))
        if resume:
            _goes_on(out, made, units, words)
        launch(out, made, units, progress, resume=resume, start=begin, **words)
        return _finished(out, made, units, resume, words, progress, ready.stamps)


def _learned_from(units: list[tuple[Case, str]]) -> list[Case]:
    """What training reads."""
    return [case for case, part in units if part in ("train", "val")]


@contextmanager
def held(out: Path, resume: bool, begun: str = "checkpoint.safetensors") -> Iterator[None]:
    """The run's folder, locked; a fresh run that never comes to its first checkpoint takes back what it wrote."""
    with _held.held(out, known=resume):
        try:
            yield
        except BaseException:
            if not resume and not any(out.glob(begun)):
                _take_back(out)
            raise


def _goes_on(out: Path, made: Plan, units: list[tuple[Case, str]], words: dict[str, Any]) -> None:
    """Write down what made the state that is gone on from: with --accept T04 it may be other versions than end it."""
    saved = _checkpoint.load(out / "checkpoint.safetensors")
    origin = saved.get("origin")
    # one that is refused is no part of the run's history
    device = "cuda" if _device.on_cuda(words["accelerator"]) else "cpu"
    _versions.check(origin, made, words["devices"], "T04" in words["accept"], device)
    _versions.check_cut(saved.get("cut"), _versions.cut(units))
    assert origin is not None
    Run(out).record("resume", {"made_by": {k: v for k, v in origin["versions"].items() if k != "devices"}})


def _finished(
    out: Path,
    made: Plan,
    units: list[tuple[Case, str]],
    resume: bool,
    words: dict[str, Any],
    progress: Progress,
    stamps: Stamps | None = None,
) -> Run:
    """What is written once the weights are there; the manifest last but for the ledger. stamps: of the data's files."""
    run = Run(out)
    _features(run, units)
    run.write_manifest()
    # on a machine without a card always PyTorch; else the fastest that agrees with it, most often the card
    runtime = "auto" if _device.on_cuda(words["accelerator"]) else "torch"
    # what a process holds for a card is not predicted
    room = made.machine.get("memory_cap", cap()) if runtime == "torch" else None
    learned_of = learned.write(run, units, progress=progress, runtime=runtime, room=room)
    if learned_of is None and made.task != "generate" and any(part == "val" for _, part in units):
        log.warning("nothing is known of the doubt of answers: no validation case gave one; try hilum calibrate")
    if stamps is not None:
        stamps.check(_learned_from(units))
    counts = {p: sum(part == p for _, part in units) for p in ("train", "val", "test")}
    done = int(_checkpoint.load(out / "checkpoint.safetensors")["step"])
    facts = {"steps": done, "resumed": resume, "cases": counts, "data": made.data["name"], "runtime": runtime}
    run.record("train", facts | {"versions": _versions.here(), "machine": _machine(words)})
    return run


def _machine(words: dict[str, Any]) -> dict[str, Any]:
    """What trained, which need not be what the plan was made on."""
    found = machine.facts(wanted=words["accelerator"])
    return {key: found[key] for key in ("cores", "total", "accelerator")} | {"devices": words["devices"]}


def _beginning(
    start: Path | str | None, settings: dict[str, Any] | None
) -> tuple[Beginning | None, dict[str, Any] | None]:
    """What brings weights in, and the settings for the plan: `encoder_weights` is a word for a start of the encoder
    only."""
    if settings is None or "encoder_weights" not in settings:
        return (None if start is None else Beginning(Path(start))), settings
    path = Path(str(settings["encoder_weights"]))
    if start is not None:
        seen = f"Both --start {start} and encoder_weights={path} are given"
        raise HilumError("HIL-LEARN-06", seen, "Give one of them")
    return Beginning(path, encoder=True), {k: v for k, v in settings.items() if k != "encoder_weights"}


def _from(begin: Beginning | None, made: Plan) -> Plan:
    """The plan that names the weights it begins with and inherits their terms."""
    if begin is None:
        return made
    if "start" not in made.learning:
        raise HilumError(
            "HIL-LEARN-06", f"A {made.regime} run can not begin from weights", "Train it from scratch, without --start"
        )
    source = _weights.origin(begin.path)
    joined = terms.inherited(source["terms"], str(made.data.get("terms", "unknown")))
    begun = {"name": source["name"], "sha256": source["sha256"]}
    return made.edited({"learning.start": begun, "data.terms": joined})


def _begin(
    out: Path, made: Plan, ready: Prepared, units: list[tuple[Case, str]], begin: Beginning | None = None
) -> None:
    """Write what a run starts from; the whole plan must be trainable before that."""
    augment.check(made.augment)
    task = _task.load(made)
    task.check_trainable()
    _build.trial(task)
    seen = fingerprint.seen(ready.facts["cases"], ready.parts)
    if begin is not None:
        flattering = _weights.chosen(begin.path, seen)
        seen = _weights.seen(begin.path, seen)
        report = begin(_build.build(task, _build.predicting(made)))
        log.warning("%s", report.sentence())
        known = {"source": _weights.origin(begin.path), "validation_images_learned_from": flattering}
        write_json(out / "start.json", known | report.facts())
    made.write(out / "plan.json")
    write_json(out / "fingerprint.json", ready.facts)
    write_json(out / "seen.json", seen)
    write_rows(out / "split.csv", split_rows(units))


def _take_back(out: Path) -> None:
    """Remove what a run that never came to its first checkpoint wrote into its empty folder."""
    files = ["plan.json", "fingerprint.json", "seen.json", "split.csv", "log.csv", "training.html", "start.json"]
    for name in [*files, SYSTEM]:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "parts", ignore_errors=True)


def _new(
    data: Path | str,
    task: str,
    plan: Path | str | None,
    net: str | None,
    minutes: float | None,
    steps: int | None,
    seed: int,
    settings: dict[str, Any] | None,
    memory: str | None,
    accelerator: str,
    devices: int,
    progress: Progress,
) -> tuple[Plan, Prepared]:
    """The plan of a fresh run, made now or given, and the data it is for."""
    if plan is None:
        ready = look(data, task, seed, progress)
        budget = DEFAULT_MINUTES if minutes is None and steps is None else minutes
        made = planned(ready, task, net, budget, steps, seed, settings, memory, accelerator, devices)
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
    made = _of_these(_counted_anew(made, ready, data, progress), ready, settings or {})
    if made.learning.get("start") is not None:
        # whatever the plan's own run began with, this one begins afresh unless --start says otherwise
        made = made.edited({"learning.start": None})
    most = None if memory is None else parse_size(memory)
    on_card = machine.facts(wanted=accelerator)["accelerator"] is not None
    return fitted(made, ready, most, on_card=on_card, devices=devices), ready


def _counted_anew(made: Plan, ready: Prepared, data: Path | str, progress: Progress) -> Plan:
    """The plan; one of before, which was of these data with the images that no pair names, as one without them."""
    if not ready.unpaired or made.data.get("fingerprint") == ready.facts["hash"]:
        return made
    names = [case.id for case in open_dataset(data).cases]
    try:
        whole = look(data, made.task, made.split_seed, progress, None, names)
    except HilumError:
        # of the images that are left aside; nobody asked for them
        return made
    same = whole.facts["hash"] == made.data.get("fingerprint")
    return made.edited({"data.fingerprint": ready.facts["hash"]}) if same else made


def _of_these(made: Plan, ready: Prepared, settings: dict[str, Any]) -> Plan:
    """A plan that may come from another data set, as one of these data: the run says what it really saw.

    Labels of other data are read as these name them, but for what `settings` say. For its own data a plan may have been
    edited by hand, and holds.
    """
    if made.data.get("fingerprint") != ready.facts["hash"]:
        own = ready.dataset.settings
        told = {key for key in ("data.labels", "data.ignore") if any(f"{s}.".startswith(f"{key}.") for s in settings)}
        ignored = {} if own.ignore is None else {"data.ignore": own.ignore}
        read = ignored if "data.labels" in told else read_as(own, made, ready.dataset.boxes)
        made = made.edited({key: value for key, value in read.items() if key not in told})
    here = {"name": ready.facts["data"], "grouping": ready.grouping, "fingerprint": ready.facts["hash"]}
    here |= {"terms": ready.facts["settings"]["terms"]}
    here |= ready.noted(made.task)
    stale = {"warnings", "coils", "slice"}
    if made.data.get("fingerprint") != ready.facts["hash"]:
        # notes are about the images that it was made for
        stale, here = stale | {"notes"}, here | {"layout": ready.facts["layout"]}
    kept = {k: v for k, v in made.data.items() if k not in stale}
    return complete(made.model_copy(update={"data": kept | here}))


def _again(data: Path | str, task: str, out: Path, progress: Progress) -> tuple[Plan, Prepared, list[tuple[Case, str]]]:
    """Plan, data and units of a run to resume; other data or another split are refused (T04)."""
    run = Run(out)
    made = complete(run.plan)
    if not run.has("checkpoint.safetensors"):
        raise HilumError("HIL-T05", f"{out} has no checkpoint to resume", "Train without --resume into a new folder")
    if made.task != task:
        raise HilumError("HIL-T04", f"{out} is a {made.task} run, not {task}", f"Use --task {made.task}")
    ready = look_again(run, data, progress)
    units = same_data(run, ready)
    if units is None:
        raise other_data(run, ready, data)
    return made, ready, units


def _features(run: Run, units: list[tuple[Case, str]]) -> None:
    """For generators: the features that generated images will be judged by, from the training images."""
    task = _task.load(run.plan)
    if task.CARD["infer"] != "sampler":
        return
    from safetensors.numpy import save_file

    from hilum.evaluation.features import fit

    vectors = np.stack([task.prepare(c)["image"].ravel() for c, part in units if part == "train"])
    with _guards.disk(run.path), writing(run.path / "features.safetensors") as path:
        save_file(fit(vectors), path)
