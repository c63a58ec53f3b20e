"""What weights do not say themselves: a small file of facts, or a plan.json, becomes the plan of an imported model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Normalisation, Plan, Strict, checked, parse_net
from hilum.verbs.plan import complete

TRAINED = ("fingerprint", "grouping", "warnings", "layout", "name", "terms")
# Of a plan's data: facts about those that its own run learned from.
UNSTATED = (
    "The terms in a plan are those of the data of its own run, and were not taken for these weights. Where those of "
    "the weights are known, state them in a copy of the plan, as a key `terms` beside `task`, and give that as --facts."
)
# Told where nobody states them.
USED = {"ct": {"low", "high", "mean", "std"}, "scale": {"low", "high"}}
# Numbers that a normalisation is made of; of all others none.


@dataclass(frozen=True)
class Foreign:
    """A model of another program, as data.

    plan: how images reach it and what its outputs mean. weights: {name: tensor}, names and axes as in our network, or
    as another program has them where a `from_...` of the network's file translates them. source: file of the weights.
    notes: what to know about it, in sentences.
    mirrored: axes along which its program would mirror, as it counts them; None where nobody says so.
    """

    plan: Plan
    weights: dict[str, Any]
    source: Path
    notes: list[str] = field(default_factory=list)
    mirrored: Sequence[int] | None = None


class Facts(Strict):
    """A facts file; the keys mean what they mean in plan.json.

    classes: names in the order of the outputs, without the background, or {value to write: name}. normalisation: one
    for all channels, or a list, with all numbers that it is made of. spacing: mm along right, anterior, superior; none
    for pictures. patch: in that order.
    """

    task: str = "segment"
    dims: int | None = None
    channels: list[str] = Field(default_factory=lambda: ["image"], min_length=1)
    classes: list[str] | dict[int, str] = Field(default_factory=list)
    spacing: list[float] | None = None
    patch: list[int]
    normalisation: list[Normalisation]
    options: dict[str, Any] = Field(default_factory=dict)
    data: str = "unknown"
    terms: str = "unknown"

    @field_validator("normalisation", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """One by itself is a list of one."""
        return value if isinstance(value, list) else [value]

    @property
    def axes(self) -> int:
        """2 or 3."""
        return len(self.patch) if self.dims is None else self.dims


class Beside(Strict):
    """What a plan.json does not say of other weights, as a key beside its own."""

    terms: str


def read(path: Path, known: dict[str, Any] | None = None) -> Facts | Plan:
    """Facts, or the whole plan where the file is a plan.json. Nothing in it is evaluated: an expression stays text.

    known: facts from elsewhere, which the file's own go before. Of a plan's data that is kept which says how weights
    are used; the terms of the weights may stand beside its keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise HilumError("HIL-PLAN-01", f"{path} can not be read as facts ({error})", "Mend it") from error
    if not isinstance(data, dict):
        raise HilumError("HIL-PLAN-01", f"{path} holds no facts", "Write lines like `patch: [96, 96, 96]`")
    if "networks" in data:
        stated = checked(Beside, {"terms": data.pop("terms", "unknown")}, str(path))
        plan = checked(Plan, data, str(path))
        own = {key: value for key, value in plan.data.items() if key not in TRAINED}
        return plan.model_copy(update={"data": {"name": "unknown", "terms": stated.terms} | own})
    facts = checked(Facts, (known or {}) | data, str(path))
    _check(facts, path)
    return facts


def of_file(path: Path, known: dict[str, Any], net: str | None) -> tuple[Plan, list[str]]:
    """The whole plan that a file of facts makes, and what to know about it; arguments as of `read` and `plan_of`."""
    told = read(path, known)
    plan = plan_of(told, net)
    return plan, [UNSTATED] if isinstance(told, Plan) and plan.data["terms"] == "unknown" else []


def _check(facts: Facts, path: Path) -> None:
    """Refuse what would be another input than was meant (HIL-PLAN-03): numbers that lack or are unused, mm of pictures.

    And ends that are equal, which make one value or two of all; only a plan that was made of such images may have them.
    One that is unused passes where it is what a plan.json has there anyway.
    """
    for rule in facts.normalisation:
        used = USED.get(rule.scheme, set())
        usual = {name for name, one in Normalisation.model_fields.items() if getattr(rule, name) == one.default}
        lacking, unused = used - rule.model_fields_set, rule.model_fields_set - used - usual - {"scheme"}
        if lacking:
            seen = f"{path}: a normalisation {rule.scheme!r} lacks {', '.join(sorted(lacking))}"
            raise HilumError("HIL-PLAN-03", seen, "Write all numbers down that the weights were trained with")
        if unused:
            seen = f"{path}: a normalisation {rule.scheme!r} does not use {', '.join(sorted(unused))}"
            raise HilumError("HIL-PLAN-03", seen, "Leave it out, or name the scheme that was meant")
        if rule.scheme == "ct" and rule.std == 0:
            seen = f"{path}: of a normalisation 'ct' std is 0, and must be above 0"
            raise HilumError("HIL-PLAN-03", seen, "Write the numbers down that the weights were trained with")
        if used and rule.low == rule.high:
            seen = f"{path}: a normalisation {rule.scheme!r} has low and high both {rule.low:g}"
            raise HilumError("HIL-PLAN-03", seen, "Write the numbers down that the weights were trained with")
    if facts.axes == 2 and facts.spacing is not None:
        seen = f"{path}: spacing is {facts.spacing}, but pictures have no size in mm and would all be resized"
        raise HilumError("HIL-PLAN-03", seen, "Leave it out")


def plan_of(facts: Facts | Plan, net: str | None, notes: list[str] | None = None) -> Plan:
    """The whole plan. net: "name" or "name:key=value"; it must be given unless the facts are a plan."""
    if isinstance(facts, Plan):
        # how weights are used, not how they were trained: that is another run's
        return facts.model_copy(update={"steps": None, "minutes": None})
    if net is None:
        raise HilumError("HIL-INFER-34", "Weights do not say what network they are of", "Give --net; see: hilum zoo")
    name, options = parse_net(net)
    catalogue.card("hilum.zoo", name)
    card = catalogue.card("hilum.tasks", facts.task)
    role = catalogue.card("hilum.learn", card["regime"]).get("predicts", "net")
    rules = facts.normalisation
    rules = rules * len(facts.channels) if len(rules) == 1 else rules
    named = facts.classes if isinstance(facts.classes, dict) else dict(enumerate(facts.classes, _first(facts.task)))
    if facts.task == "segment" and not named:
        raise HilumError(
            "HIL-INFER-34", "Nothing says which classes the outputs are", "Write them in the facts: classes: [spleen]"
        )
    made = {
        "task": facts.task,
        "dims": facts.axes,
        "roles": card["roles"],
        "channels": facts.channels,
        "classes": [{"value": value, "name": called} for value, called in named.items()],
        "spacing": facts.spacing,
        "patch": facts.patch,
        "batch": 1,
        "normalisation": [rule.model_dump() for rule in rules],
        "networks": {role: {"name": name, "options": options}},
        "regime": card["regime"],
        "options": facts.options,
        "data": {"name": facts.data, "terms": facts.terms} | ({"notes": notes} if notes else {}),
        "versions": {package: version(package) for package in ("hilum", "torch", "numpy")},
    }
    return complete(checked(Plan, made, "the facts"))


def _first(task: str) -> int:
    """The value of the first class: in masks 0 is the background."""
    return 1 if task == "segment" else 0
