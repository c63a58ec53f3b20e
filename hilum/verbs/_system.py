"""Training a system: one plan for several networks that share out the classes, trained one after the other."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.core.atomic import write_json
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.core.progress import Progress
from hilum.core.run import Run, write_rows
from hilum.core.system import NAME, Group, SystemPlan
from hilum.infer._asked import check_eight
from hilum.learn import _device, _versions
from hilum.planning import groups
from hilum.planning.planner import Prepared, check_budget, look
from hilum.tasks import _build, _task
from hilum.trust import ensemble, learned
from hilum.verbs import _held, calibrate, quantise
from hilum.verbs import train as single
from hilum.verbs._same import finished, look_again, other_data, same_data, split_rows
from hilum.verbs.plan import DEFAULT_MINUTES, complete, planned

Units = list[tuple[Case, str]]
CHECKPOINT = "checkpoint.safetensors"
BEGUN = f"parts/*/{CHECKPOINT}"
# What is there once anything has been learned.
SHARED_OUT = ("classes", "data.labels", "data.ignore", "data.others", "options.reduce")
# Of a plan: what follows from the data and the groups (`groups.whole`, `groups.of_group`), whatever was set.


def train(
    data: Path | str,
    task: str,
    out: Path,
    wanted: str,
    asked: dict[str, Any],
    words: dict[str, Any],
    progress: Progress,
) -> Run:
    """Plan and train a system in `out`. wanted: how many groups, or a file of them. asked: net, minutes, steps, seed,
    settings, memory and devices, as for one run; minutes and steps are those of all networks together. words: of the
    launch.
    """
    if task != "segment":
        raise HilumError("HIL-PLAN-09", f"--groups shares out classes of voxels, a {task} run has none", "Leave it out")
    _refuse_shared_out(asked["settings"])
    _held.free(out)
    check_budget(asked["minutes"], asked["steps"])
    ready = look(data, task, asked["seed"], progress)
    made = groups.grouped(ready, wanted)
    whole = _planned(ready, task, made, **asked)
    plans = _plans(whole, made, ready)
    # the networks differ in their last layer only
    _build.trial(_task.load(plans[made.groups[0].name]))
    with single.held(out, resume=False, begun=BEGUN):
        whole.write(out / "plan.json")
        write_json(out / NAME, made.model_dump())
        write_json(out / "fingerprint.json", ready.facts)
        write_rows(out / "split.csv", split_rows(ready.units(whole)))
        return _trained(Run(out), made, plans, ready, words, progress)


def _refuse_shared_out(settings: dict[str, Any] | None) -> None:
    """Refuse a setting that sharing out the classes would silently take back (HIL-PLAN-09)."""
    for key, value in (settings or {}).items():
        # a key without a dot is an option of the network
        path = key.removeprefix("plan.") if "." in key else ""
        inner = [f"{path}.{name}" for name in value] if isinstance(value, dict) else []
        if any(f"{one}.".startswith(f"{own}.") for one in (path, *inner) for own in SHARED_OUT):
            raise HilumError(
                "HIL-PLAN-09", f"{key} is set, but with --groups it follows from the data and the groups",
                "State classes, `labels` and `ignore` in the dataset.yaml, and leave this setting out",
            )  # fmt: skip


def resume(data: Path | str, task: str, out: Path, words: dict[str, Any], progress: Progress) -> Run:
    """Go on with a system: networks that are done stay, one that was cut short goes on, the others follow.

    Other data, another split, task or plan, and unless accepted other versions, are refused (HIL-T04), and one of which
    no network has begun (HIL-T05).
    """
    run = Run(out)
    made, whole = run.system, complete(run.plan)
    assert made is not None
    if not any(_begun(run, group) for group in made.groups):
        raise HilumError("HIL-T05", f"{out} has no checkpoint to resume", "Train without --resume into a new folder")
    if whole.task != task:
        raise HilumError("HIL-T04", f"{out} is a {whole.task} run, not {task}", f"Use --task {whole.task}")
    ready = look_again(run, data, progress)
    if same_data(run, ready) is None:
        raise other_data(run, ready, data)
    plans = _plans(whole, made, ready)
    with single.held(out, resume=True):
        _check_plan(run, plans)
        _check_versions(run, made, words)
        return _trained(run, made, plans, ready, words, progress, resumed=True)


def _check_plan(run: Run, plans: dict[str, Plan]) -> None:
    """Refuse a plan.json by which the networks that have begun were not planned (HIL-T04).

    plans: what it makes of each. A system that is finished is held to its manifest.
    """
    told = dict.fromkeys(
        words
        for name, plan in plans.items()
        if (run.path / "parts" / name / CHECKPOINT).is_file()
        for words in _changed(complete(run.part(name).plan), plan)
    )
    if "plan.json" in run.differing() if finished(run) else told:
        seen = "; ".join(told) or "it was changed since"
        raise HilumError(
            "HIL-T04", f"plan.json of {run.path} is not the plan that its networks were trained by: {seen}",
            "Put it back, or train anew into another folder",
        )  # fmt: skip


def _changed(own: Plan, now: Plan) -> list[str]:
    """How the plan that a network began with differs from the one that it would get now.

    What training decides does not count (the steps of minutes, what looks wrong with images, what was `auto`), and of
    the data what only one of them names: an older plan does not know what came later.
    """
    old, new = (plan.model_dump(mode="json", exclude={"versions"}) for plan in (own, now))
    shared = (old["data"].keys() & new["data"].keys()) - {"warnings"}
    for side in (old, new):
        side["data"] = {key: side["data"][key] for key in sorted(shared)}
        side["steps"] = None if now.steps is None else side["steps"]
        side["learning"] = {k: v for k, v in side["learning"].items() if now.learning.get(k) != "auto"}
    return _versions.differences(old, new)


def _check_versions(run: Run, made: SystemPlan, words: dict[str, Any]) -> None:
    """Refuse to train the networks that are left otherwise than those that are done, unless it is accepted (HIL-T04).

    Whether one that has begun may go on is asked of its checkpoint.
    """
    done = [group for group in made.groups if _done(run, group)]
    if len(done) == len(made.groups) or "T04" in words["accept"]:
        return
    device = "cuda" if _device.on_cuda(words["accelerator"]) else "cpu"
    for group in done:
        event = [e for e in run.part(group.name).ledger() if e["event"] == "train"][-1]
        told = _versions.since(event, words["devices"], device)
        if told:
            raise HilumError(
                "HIL-T04", f"The network {group.name} was trained otherwise: {'; '.join(told)}",
                "Go back to that, or accept that the networks are not of one kind: --accept T04",
            )  # fmt: skip


def calibrated(
    run: Run, data: Path | str, words: dict[str, Any], others: Sequence[Path | str], progress: Progress
) -> dict[str, Any]:
    """Calibrate every network of a system anew; {group: its calibration}. others: systems of the same groups."""
    for part in _parts(run):
        learned.taken_up(part)
    run.check_hashes()
    more = _partners(run, [Run(Path(other)) for other in others])
    found = dict[str, Any]()
    for part in _parts(run):
        name = part.path.name
        found[name] = calibrate.of_one(part, data, **words, others=more[name], progress=_named(progress, name))
    facts = {"groups": list(found), "error": words["error"]}
    run.record("calibrate", facts | ({"with": [Path(other).resolve().name for other in others]} if others else {}))
    return found


def _partners(run: Run, others: Sequence[Run]) -> dict[str, list[Path]]:
    """{group: the networks of the others that are averaged with it}; all are checked before the first is changed."""
    for other in others:
        other.check_hashes()
        if other.system is None or {g.name for g in other.system.groups} != {p.path.name for p in _parts(run)}:
            raise HilumError(
                "HIL-TRUST-07", f"{other.path} is no system of the same groups as {run.path}",
                "Train it with the same --groups, and another seed",
            )  # fmt: skip
    found = {part.path.name: [other.part(part.path.name) for other in others] for part in _parts(run)}
    for part in _parts(run) if others else []:
        ensemble.check(part, found[part.path.name])
    return {name: [one.path for one in own] for name, own in found.items()}


def quantised(run: Run, data: Path | str, progress: Progress) -> dict[str, Any]:
    """Eight bits for every network of a system; {group: what they cost}."""
    for part in _parts(run):
        quantise.taken_up(part)
    run.check_hashes()
    for part in _parts(run):
        # before the first of them is changed
        check_eight(part, _task.load(part.plan), making=True)
    found = {p.path.name: quantise.of_one(p, data, _named(progress, p.path.name)) for p in _parts(run)}
    run.record("quantise", {"groups": list(found)})
    return found


def _parts(run: Run) -> list[Run]:
    """The networks of a system, in the order of merging."""
    made = run.system
    assert made is not None
    return [run.part(group.name) for group in made.groups]


def _planned(
    ready: Prepared,
    task: str,
    made: SystemPlan,
    *,
    net: str | None,
    minutes: float | None,
    steps: int | None,
    seed: int,
    settings: dict[str, Any] | None,
    memory: str | None,
    accelerator: str,
    devices: int,
) -> Plan:
    """One plan for all, fitted to the group with the most classes; its budget is that of the whole system."""
    count = len(made.groups)
    if minutes is None and steps is None:
        minutes = DEFAULT_MINUTES
    if steps is not None and steps < count:
        raise HilumError("HIL-PLAN-06", f"{steps} steps can not be shared by {count} networks", f"Give {count} or more")
    each = None if minutes is None else minutes / count
    largest = max(made.groups, key=lambda g: len(g.classes))
    narrow = groups.narrowed(ready, largest.classes)
    few = None if steps is None else steps // count
    with _shared(count):
        base = planned(narrow, task, net, each, few, seed, settings, memory, accelerator, devices)
    if not any(key.startswith("plan.augment") for key in settings or {}):
        # the planned group may not know that another one has a left and a right
        base = groups.unmirrored(base, ready, made)
    return groups.whole(base, ready, made).model_copy(update={"minutes": minutes, "steps": steps})


@contextmanager
def _shared(count: int) -> Iterator[None]:
    """A budget that is too small for one network is said of the --minutes or --steps that all of them share."""
    try:
        yield
    except HilumError as error:
        if error.code != "HIL-PLAN-06":
            raise
        remedy = f"{error.remedy.rstrip('.')}; times {count}, as {count} networks share what is given"
        raise HilumError(error.code, f"Of each network: {error.seen}", remedy) from error


def _plans(whole: Plan, made: SystemPlan, ready: Prepared) -> dict[str, Plan]:
    """{group: plan of its network}, with its share of the budget: minutes alike, steps to the last one."""
    rules = groups.values_of(made.classes(), ready.facts["settings"]["labels"])
    count, plans = len(made.groups), {}
    for number, group in enumerate(made.groups):
        own: dict[str, Any] = {"minutes": None if whole.minutes is None else whole.minutes / count, "steps": None}
        if whole.minutes is None and whole.steps is not None:
            own["steps"] = whole.steps // count + (number < whole.steps % count)
        plans[group.name] = groups.of_group(whole, group, rules).model_copy(update=own)
    return plans


def _trained(
    run: Run,
    made: SystemPlan,
    plans: dict[str, Plan],
    ready: Prepared,
    words: dict[str, Any],
    progress: Progress,
    resumed: bool = False,
) -> Run:
    """Every network that is not there yet, then what only a whole system has; the manifest last but for the ledger."""
    for group in made.groups:
        if not _done(run, group):
            with _shared(len(made.groups)):
                _one(run.path / "parts" / group.name, plans[group.name], ready, words, _named(progress, group.name))
    parts = [run.part(g.name) for g in made.groups]
    if run.has("manifest.json") and run.ledger():
        return run
    # every network saw the same images: what looked wrong with them stands in the plan of each
    told = {name: value for name, value in parts[0].plan.data.items() if name == "warnings"}
    steps = sum(p.plan.steps or 0 for p in parts)
    whole = run.plan.model_copy(update={"steps": steps, "data": run.plan.data | told})
    whole.write(run.path / "plan.json")
    write_json(run.path / "seen.json", parts[0].json("seen.json"))
    run.write_manifest()
    events = [[e for e in part.ledger() if e["event"] == "train"][-1] for part in parts]
    facts = {"steps": sum(e["steps"] for e in events), "resumed": resumed, "cases": events[0]["cases"]}
    run.record("train", facts | {"data": whole.data["name"], "groups": _classes(made.groups)})
    return run


def _one(folder: Path, plan: Plan, ready: Prepared, words: dict[str, Any], progress: Progress) -> None:
    """Train one network, or go on with it from its last checkpoint."""
    if not (folder / CHECKPOINT).exists():
        # cut short before there was anything to go on from
        shutil.rmtree(folder, ignore_errors=True)
        single.carried_out(folder, plan, ready.units(plan), ready, words, progress)
        return
    run = Run(folder)
    units = same_data(run, ready)
    if units is None:
        raise HilumError("HIL-T04", f"{folder} was trained on other data than its system", "Train the system anew")
    single.carried_out(folder, complete(run.plan), units, ready, words, progress, resume=True)


def _begun(run: Run, group: Group) -> bool:
    """Whether there is anything of the network to go on from, or it is done."""
    return (run.path / "parts" / group.name / CHECKPOINT).is_file() or _done(run, group)


def _done(run: Run, group: Group) -> bool:
    """Whether the network was trained to its end and calibrated."""
    return (run.path / "parts" / group.name / "manifest.json").is_file() and finished(run.part(group.name))


def _named(progress: Progress, group: str) -> Progress:
    """The same progress, each job with the name of its group before it."""

    def tell(name: str, done: int, total: int, note: str = "") -> None:
        progress(f"{group}: {name}", done, total, note)

    return tell


def _classes(made: Sequence[Group]) -> dict[str, list[str]]:
    return {g.name: [c.name for c in g.classes] for g in made}
