"""A data set, a task and a budget become a plan."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from hilum.core import catalogue
from hilum.core.errors import HilumError, near
from hilum.core.image import Case
from hilum.core.plan import NetworkPlan, Plan, checked, parse_net
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import Dataset, left_aside, open_dataset
from hilum.data.groups import clash, group_cases, looks
from hilum.data.labels import counted
from hilum.data.leaks import Leaks
from hilum.data.splits import Known
from hilum.data.stamps import Stamps
from hilum.planning import _intensity, _parts, _patch, _shape
from hilum.planning._intensity import normalisation
from hilum.planning._warned import absent, outweighed
from hilum.planning.fingerprint import fingerprint
from hilum.planning.machine import in_precision
from hilum.planning.memory import cap
from hilum.prepare import augment
from hilum.tasks import _build, _task
from hilum.tasks._labels import said_once

log = logging.getLogger(__name__)

LEAST_MINUTES = 0.05
# Three seconds: below this not even the timing of a step fits.
MOST_MINUTES = 525_600
# A year; it also refuses what is no number.
PUBLISHED_MINUTES = 1440
# A day: from here nnU-Net's own plan sees enough steps on processors too.
BY_HAND = ("plan.batch", "plan.patch", "plan.store_bytes")
# Settings that a plan which needs too much memory keeps: it is refused then.
FACTS = ("name", "grouping", "fingerprint", "terms", "warnings", "coils", "slice")
# Of what a plan says of its data, under `data`: these follow from the data, and no setting says otherwise.
TUNED = {("segment", "nnunet"): 8e-3}
# Rates of learning that the rules chose, by task and network: no other network was tried at them.


@dataclass(frozen=True)
class Prepared:
    """A data set ready to be learned from. units: (case or pair, part). leaks: what is accepted, with its warnings.

    unpaired: how many images were left aside, as pairs are listed and none names them. stamps: of the files, before any
    of them was looked at.
    """

    dataset: Dataset
    parts: dict[str, str]
    facts: dict[str, Any]
    grouping: str
    leaks: Leaks = field(default_factory=Leaks)
    unpaired: int = 0
    stamps: Stamps = field(default_factory=Stamps, compare=False)

    def units(self, plan: Plan) -> list[tuple[Case, str]]:
        """What the task learns from and is judged on."""
        return _task.kind(plan.task).units(self.dataset, self.parts, plan.split_seed)

    def learned(self) -> Iterator[tuple[Case, list[int]]]:
        """Cases of the training part, each with the shape of its image."""
        shapes = {row["id"]: row["shape"] for row in self.facts["cases"]}
        return ((case, shapes[case.id]) for case in self.dataset.cases if self.parts[case.id] == "train")

    @property
    def warnings(self) -> list[str]:
        """What the data are warned of and training goes on with; it stands in the plan and in reports."""
        return [*self.leaks.warnings, *self.facts.get("warnings", [])]

    def noted(self, task: str) -> dict[str, Any]:
        """What a plan keeps of these data where there is any: `warnings`, and `coils`, the most that raw data have.

        Of a task that learns from whole slices also `slice`, the size of the largest that training or validation sees.
        """
        coils = max((row.get("coils", 1) for row in self.facts["cases"]), default=1)
        found: dict[str, Any] = {"warnings": self.warnings} if self.warnings else {}
        found |= {"coils": coils} if coils > 1 else {}
        if _task.kind(task).cut:
            return found
        sizes = [row["shape"][-2:] for row in self.facts["cases"] if self.parts[row["id"]] != "test"]
        return found | {"slice": max(sizes, key=math.prod, default=None)}


def look(
    path: Any,
    task: str,
    seed: int,
    progress: Progress = quiet,
    known: Known | None = None,
    among: Iterable[str] = (),
) -> Prepared:
    """Open, check the roles, group, split, look for leaks and fingerprint a data set.

    known: the groups and parts of a run that was made with these data; it keeps them, and is warned where data without
    them are refused (`groups.clash`). among: names of its images: those that no listed pair names any more are looked
    at all the same.
    """
    card = catalogue.card("hilum.tasks", task)
    whole = open_dataset(path, card["roles"])
    opened = _parts.paired(whole, among) if "moving" in card["predicts_from"] else whole
    spelt = clash(opened)
    if spelt and known is None:
        raise spelt
    stamps = Stamps(opened.cases)
    seen = looks(opened, progress)
    grouped, grouping = group_cases(opened, progress, seen)
    if known:
        dataset, parts, found = _parts.kept(opened, grouped, seed, seen, known)
    else:
        dataset, parts, found = _parts.cut(opened, grouped, seed, grouping, seen)
    facts = _facts(dataset, parts, progress, known is not None, task)
    facts["warnings"] += absent(dataset, parts, facts, task) + outweighed(dataset, parts) + left_aside(dataset)
    if spelt:
        facts["warnings"].append(f"{spelt.code}: the run keeps its groups and classes, but {spelt.seen}")
    ready = Prepared(dataset, parts, facts, grouping, found, len(whole.cases) - len(opened.cases), stamps)
    for warning in ready.warnings:
        log.warning("%s", warning)
    return ready


def _facts(dataset: Dataset, parts: dict[str, str], progress: Progress, kept: bool, task: str) -> dict[str, Any]:
    """The fingerprint; where a label stops it, all labels are looked at, so that every bad one is named (N15)."""
    try:
        return fingerprint(dataset, parts, progress, kept, task)
    except HilumError as error:
        if error.code in ("HIL-N09", "HIL-N15", "HIL-I08"):
            counted(dataset, progress)
        raise


@said_once()
def make_plan(
    ready: Prepared,
    task: str,
    *,
    net: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    memory: int | None = None,
    machine: dict[str, Any] | None = None,
    devices: int = 1,
) -> Plan:
    """The plan by the task's rules, then edited by --net and --set. Every part is checked before it is handed out.

    machine: what `machine.facts` found; the plan is then shaped to its speed, and to most of `memory` bytes or,
    without, of what is available. Without it the rules alone decide, the same everywhere. devices: processes that share
    every batch and this memory. Refused: memory for a card, where nothing keeps it (HIL-PLAN-07).
    """
    check_budget(minutes, steps)
    settings = settings or {}
    card = catalogue.card("hilum.tasks", task)
    if ready.facts["dims"] not in card["dims"]:
        raise HilumError(
            "HIL-PLAN-05", f"{task} works on {card['dims']}-D data, this is {ready.facts['dims']}-D", "Use slices"
        )
    fixed = _fixed(ready, task, minutes, steps, seed)

    def build(budget: _task.Budget) -> Plan:
        ruled = _by_rules(ready, task, budget, fixed, settings)
        plan = edit(ruled, net, settings)
        return plan if plan.networks == ruled.networks or "plan.patch" in settings else _patch.taken(plan)

    def by_speed(minutes: float | None) -> _shape.Shaped:
        budget = _task.Budget(minutes or _minutes_of(steps), published=_published(settings, minutes, machine))
        return _shape.by_minutes(build, budget, speed)

    speed = _speed(machine, minutes)
    shaped = by_speed(minutes)
    if shaped.plan.split_seed != seed:
        raise HilumError(
            "HIL-PLAN-02", f"plan.split_seed is {shaped.plan.split_seed}, but the data were split by {seed} already",
            f"Give --seed {shaped.plan.split_seed} for that split, and --set plan.seed=N for other weights",
        )  # fmt: skip
    if {"patch", "spacing"} & set(map(_room, settings)):
        _shape.patch_fits(shaped.plan, ready.facts)
    plan = _checked(shaped.plan)
    _shape.enough_time(shaped, minutes, by_speed)
    if machine is not None:
        plan = _on(machine, replace(shaped, plan=plan), build, ready, memory, settings, devices, speed)
    # a published plan keeps its augmentation; tasks without one, and what memory made smaller, are as any other
    published = plan.options.get("planner") == "published"
    if not (published or any(key.startswith("plan.augment") for key in settings)):
        plan = _seen_seldom(plan, ready, plan.machine.get("seconds_per_step"))
    for note in plan.data.get("notes", []):
        log.info("%s", note)
    return _seen_whole(plan, ready)


def _seen_whole(plan: Plan, ready: Prepared) -> Plan:
    """The plan, with a warning of what none of its samples shows; see `Task.unseen`."""
    words = _task.load(plan).unseen(ready.learned)
    for warning in words:
        log.warning("%s", warning)
    told = {"warnings": list(dict.fromkeys([*plan.data.get("warnings", []), *words]))}
    return plan.model_copy(update={"data": plan.data | told}) if words else plan


def _seen_seldom(plan: Plan, ready: Prepared, seconds: float | None) -> Plan:
    """The plan with less augmentation where the images will be seen a few times only."""
    passes = _shape.passes(plan, ready, seconds)
    if passes is None:
        return plan
    return plan.model_copy(update={"augment": augment.weakened(plan.augment, passes)})


def _speed(machine: dict[str, Any] | None, minutes: float | None) -> _shape.Speed | None:
    """The machine's speed, where minutes must become a network."""
    if machine is None or minutes is None or machine.get("gflops") is None:
        return None

    def of(plan: Plan) -> float:
        return float(_measured(machine, plan)["gflops"])

    return of


def _measured(machine: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """What the machine can do in the plan's precision: a task may compute in float32 where others do not."""
    return in_precision(machine, plan.dims, str(plan.learning.get("precision", "auto")))


def fitted(plan: Plan, ready: Prepared, memory: int | None = None, on_card: bool = False, devices: int = 1) -> Plan:
    """A plan made elsewhere, for these data on this machine: its store limited to what fits, `memory` written down as
    the cap of this run, nothing else changed.

    on_card: it will compute on an accelerator, whose memory is not predicted. devices: processes that share the memory.
    Refused: more memory than most of `memory` bytes, or of what is available, and `memory` on a card (HIL-PLAN-07); far
    too large a patch, or one that no box of a class fits into (08).
    """
    _shape.patch_fits(plan, ready.facts)
    plan = _seen_whole(plan, ready)
    here = {k: v for k, v in plan.machine.items() if k != "memory_cap"}
    plan = plan.model_copy(update={"machine": here if memory is None else here | {"memory_cap": memory}})
    if on_card:
        _shape.refuse_cap(memory)
        return plan
    return _shape.given_fits(plan, ready, cap(memory), max(1, devices))


def _published(settings: dict[str, Any], minutes: float | None, machine: dict[str, Any] | None) -> bool:
    """Whether to plan as published: as `options.planner` says, else on CUDA and where there are many hours."""
    if "options.planner" in settings:
        return bool(settings["options.planner"] == "published")
    return bool((machine or {}).get("accelerator")) or (minutes or 0) >= PUBLISHED_MINUTES


def _fixed(ready: Prepared, task: str, minutes: float | None, steps: int | None, seed: int) -> dict[str, Any]:
    """What no rule of the task changes."""
    facts = ready.facts
    about = {
        "name": facts["data"],
        "layout": facts["layout"],
        "grouping": ready.grouping,
        "labels": facts["settings"]["labels"],
        "ignore": facts["settings"]["ignore"],
        "terms": facts["settings"]["terms"],
        "fingerprint": facts["hash"],
    }
    if facts.get("others"):
        about["others"] = facts["others"]
    return {
        "task": task,
        "dims": facts["dims"],
        "roles": catalogue.card("hilum.tasks", task)["roles"],
        "channels": facts["channels"],
        "normalisation": normalisation(facts, task),
        "data": about | ready.noted(task),
        "minutes": minutes,
        "steps": steps,
        "seed": seed,
        "split_seed": seed,
        "versions": {name: version(name) for name in ("hilum", "torch", "numpy")},
    }


def _by_rules(
    ready: Prepared, task: str, budget: _task.Budget, fixed: dict[str, Any], settings: dict[str, Any]
) -> Plan:
    """The plan that the task's rules make of a budget. Of the settings, which come later, they know the spacing: the
    patch and what hangs on it are for that one.
    """
    plan = _ruled(ready, ready.facts, task, budget, fixed, settings)
    by_hand = {k.removeprefix("plan."): v for k, v in settings.items() if "." in k and _room(k) == "spacing"}
    wanted = plan.edited(by_hand).spacing if by_hand else plan.spacing
    if not plan.spacing or not wanted or wanted == plan.spacing or len(wanted) != len(plan.spacing):
        # where there is none, and of another length, it is refused later
        return plan
    return _ruled(ready, ready.facts | {"spacing": wanted}, task, budget, fixed, settings)


def _room(key: str) -> str:
    """What of a plan a setting changes."""
    return key.removeprefix("plan.").split(".")[0]


def _ruled(
    ready: Prepared, facts: dict[str, Any], task: str, budget: _task.Budget, fixed: dict[str, Any],
    settings: dict[str, Any],
) -> Plan:  # fmt: skip
    part = _task.kind(task).rules(facts, budget)
    regime = part.get("regime", catalogue.card("hilum.tasks", task)["regime"])
    roles = catalogue.card("hilum.learn", regime)["defaults"]
    part["networks"] = {role: {"name": name} for role, name in roles.items()} | part["networks"]
    notes = part.pop("notes", [])
    if "plan.normalisation" not in settings and "normalisation" not in part:
        notes = [*_intensity.notes(ready.facts), *notes]
    if ready.unpaired:
        notes = [*notes, f"{ready.unpaired} images are left aside, as pairs.csv does not name them"]
    data = fixed | {"regime": regime} | part
    if notes:
        data["data"] = {**data["data"], "notes": notes}
    return checked(Plan, data, "the plan")


def _checked(plan: Plan) -> Plan:
    """The plan with the task's options written out, all that it names being known."""
    catalogue.card("hilum.learn", plan.regime)
    made = _task.load(plan)
    made.check_trainable()
    for role, wanted in plan.networks.items():
        _build.check(made, wanted, role)
    return plan.model_copy(update={"options": made.options.model_dump()})


def _on(
    machine: dict[str, Any],
    shaped: _shape.Shaped,
    build: _shape.Build,
    ready: Prepared,
    memory: int | None,
    settings: dict[str, Any],
    devices: int,
    speed: _shape.Speed | None,
) -> Plan:
    """The plan kept under the cap of memory (on processors), and what it was fitted to written into it."""
    plan, seconds = shaped.plan, shaped.seconds
    if machine.get("accelerator"):
        _shape.refuse_cap(memory)
    else:
        by_hand = {key.removeprefix("plan.") for key in settings if key in BY_HAND}
        if settings.get("options.planner") == "published":
            by_hand.add("planner")
        found = _shape.by_memory(build, shaped, ready, cap(memory), by_hand, max(1, devices))
        # what memory made smaller has shorter steps
        plan, seconds = _checked(found), None if speed is None else _shape.step_seconds(found, speed)
    measured = machine if speed is None else _measured(machine, plan)
    known = {k: v for k, v in measured.items() if k != "memory"} | {"seconds_per_step": seconds}
    if memory is not None:
        known["memory_cap"] = memory
    return plan.model_copy(update={"machine": known})


def check_budget(minutes: float | None, steps: int | None) -> None:
    """Refuse both at once, and what can not be meant: less than a step, or more than a year."""
    if minutes is not None and steps is not None:
        raise HilumError("HIL-PLAN-06", f"Both --minutes {minutes:g} and --steps {steps} are given", "Give one of them")
    if minutes is not None and not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise HilumError(
            "HIL-PLAN-06", f"{minutes:g} minutes can not be trained", f"Give {LEAST_MINUTES} to {MOST_MINUTES}"
        )
    if steps is not None and steps < 1:
        raise HilumError("HIL-PLAN-06", f"{steps} steps are too few", "Give at least 1")


def _minutes_of(steps: int | None) -> float:
    """A budget for the rules when only steps are given: half a second each."""
    return 30.0 if steps is None else steps / 120


def _as_system(plan: Plan, regime: str, defaults: dict[str, str]) -> Plan:
    """The plan with a regime of several networks, at that regime's defaults unless it is the plan's own already."""
    if plan.regime == regime:
        return plan
    return plan.edited({"regime": regime, "networks": {role: {"name": name} for role, name in defaults.items()}})


def edit(plan: Plan, net: str | None, settings: dict[str, Any]) -> Plan:
    """--net name:key=value and --set key=value. Bare keys are options of the predicting network, dotted ones paths.

    A network of another name learns at the default rate where the one before had its own (TUNED) and none is given.
    """
    role = _build.predicting(plan)
    changes: dict[str, Any] = {}
    if net is not None:
        name, options = parse_net(net)
        systems = {n: c["defaults"] for n, c in catalogue.cards("hilum.learn").items() if c["defaults"]}
        if name in systems:
            plan, name = _as_system(plan, name, systems[name]), systems[name]["net"]
        known_nets = [*catalogue.cards("hilum.zoo"), *systems]
        if name not in known_nets:
            raise HilumError("HIL-CORE-02", f"There is no network named {name!r}", near(name, known_nets))
        known = plan.networks.get(role)
        kept = _kept(known, name)
        changes[f"networks.{role}"] = {"name": name, "options": kept | options}
    for key, value in settings.items():
        _refuse_fact(key)
        _refuse_budget(key)
        if key == "encoder_weights":
            # a plan that is sent on must not look for files; training takes the word out before it plans
            seen = "encoder_weights names a file, which is no part of a plan"
            raise HilumError("HIL-PLAN-02", seen, "Give it to: hilum train --set encoder_weights=FILE")
        if key.startswith("plan."):
            path = key.removeprefix("plan.")
            if path not in Plan.model_fields:
                raise HilumError("HIL-PLAN-02", f"The plan has no {path!r}", near(path, list(Plan.model_fields)))
            changes[path] = value
        else:
            changes[key if "." in key else f"networks.{role}.options.{key}"] = value
    _refuse_patch(plan, changes)
    made = plan.edited(changes)
    return made if {"learning", "learning.rate"} & changes.keys() else _at_its_own_rate(plan, made, role)


def _at_its_own_rate(before: Plan, made: Plan, role: str) -> Plan:
    """The edited plan; without the rate that was chosen for the network before, where another stands in its place."""
    old, new = (plan.networks[role].name if role in plan.networks else "" for plan in (before, made))
    chosen = TUNED.get((before.task, old))
    if chosen is None or new == old or made.learning.get("rate") != chosen:
        return made
    return made.edited({"learning": {key: value for key, value in made.learning.items() if key != "rate"}})


def _refuse_fact(key: str) -> None:
    """Refuse a setting of what follows from the data (HIL-PLAN-02): --public, reports and cards believe it."""
    if key == "plan.data" or key.split(".")[:2] in [["data", name] for name in FACTS]:
        raise HilumError(
            "HIL-PLAN-02", f"{key} is a fact of the data, which no setting changes",
            "Terms are stated under `terms` in the dataset.yaml (of an import in its facts, or as the licence in the "
            "dataset.json of nnU-Net); the rest follows from the data",
        )  # fmt: skip


def _refuse_budget(key: str) -> None:
    """Refuse a setting of the minutes or steps (HIL-PLAN-02): they would be trained, but the plan made for others."""
    if key in ("plan.minutes", "plan.steps"):
        raise HilumError(
            "HIL-PLAN-02", f"{key} is what a plan is made for, which no setting changes",
            f"Give --{key.removeprefix('plan.')} to hilum train, plan or compare",
        )  # fmt: skip


def _refuse_patch(plan: Plan, changes: dict[str, Any]) -> None:
    """Refuse a setting of the patch where whole slices are learned from (HIL-PLAN-05): it would be stated."""
    if not _task.kind(plan.task).cut and any(path.split(".")[0] == "patch" for path in changes):
        raise HilumError(
            "HIL-PLAN-05", f"plan.patch is given, and {plan.task} does not use it: slices are whole",
            "Leave plan.patch out",
        )  # fmt: skip


def _kept(known: NetworkPlan | None, name: str) -> dict[str, Any]:
    """Options of the planned network that one of that name keeps: its own, of nnU-Net those in the card's `planned`."""
    if known is None or name not in catalogue.cards("hilum.zoo"):
        return {}
    shared = catalogue.card("hilum.zoo", name).get("planned", [])
    return {n: v for n, v in known.options.items() if known.name == name or (known.name == "nnunet" and n in shared)}
