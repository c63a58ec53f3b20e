"""Which classes go to which network of a system: a file of groups, or a number of them and a stated rule."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hilum.core.errors import HilumError, near
from hilum.core.plan import AugmentPlan, ClassPlan, Plan, checked
from hilum.core.system import Group, SystemPlan
from hilum.planning.planner import Prepared
from hilum.prepare import modality
from hilum.prepare.modality import SIDE
from hilum.tasks._labels import class_plans
from hilum.tasks.segment import SIDED


def grouped(ready: Prepared, wanted: str) -> SystemPlan:
    """The groups of a data set for segmentation. wanted: how many, or a YAML file {group: [class names]}.

    Of a number: classes that differ only in their side stay together; the largest (voxels a class in the training part)
    goes first, each to the group that has the fewest classes so far, so that all groups get as many small ones.
    Refused (HIL-PLAN-09): what can not be shared out, and a group of which the training part shows nothing.
    """
    classes = [ClassPlan.model_validate(c) for c in class_plans(ready.facts)]
    rules = values_of(classes, ready.facts["settings"]["labels"])
    voxels = _voxels(ready, rules)
    made = _dealt(classes, voxels, int(wanted)) if wanted.isdecimal() else _named(Path(wanted), classes)
    for group in made.groups:
        if not any(voxels[c.name] for c in group.classes):
            raise HilumError(
                "HIL-PLAN-09", f"No training case shows anything of the group {group.name}: {_names(group.classes)}",
                "Put these classes into another group, or give cases that show them",
            )  # fmt: skip
    return made


def values_of(classes: list[ClassPlan], labels: Mapping[str, Any]) -> dict[str, list[int]]:
    """{class: its values in the stored labels}; of rules that give one value to two classes the later one has it.

    Classes that are all that is not 0 can not be shared out (HIL-PLAN-09).
    """
    if not labels:
        return {c.name: [c.value] for c in classes}
    found: dict[str, list[int]] = {}
    for name, rule in labels.items():
        if isinstance(rule, str):
            raise HilumError(
                "HIL-PLAN-09", f"The class {name} is `{rule}`, so its voxels can not be told from other classes",
                "Name the values of every class under `labels` in the dataset.yaml, or train without --groups",
            )  # fmt: skip
        own = rule if isinstance(rule, list) else [rule]
        # the later rule has the voxel
        found = {n: [v for v in values if v not in own] for n, values in found.items()} | {name: list(own)}
    return found


def narrowed(ready: Prepared, classes: list[ClassPlan]) -> Prepared:
    """The data set as a network sees it that finds these classes alone, to plan it. The values of others are known."""
    facts = ready.facts
    rules = values_of([ClassPlan.model_validate(c) for c in class_plans(facts)], facts["settings"]["labels"])
    own = {c.name: rules[c.name] for c in classes}
    named = {} if facts["settings"]["labels"] else {str(c.value): c.name for c in classes}
    settings = facts["settings"] | {"classes": named, "labels": {} if named else own}
    values = sorted(v for held in own.values() for v in held)
    others = sorted(v for name, held in rules.items() if name not in own for v in held)
    seen = {"settings": settings, "label_values": values, "others": others}
    return replace(ready, facts=facts | {"cases": [row | {"labels": None} for row in facts["cases"]]} | seen)


def whole(base: Plan, ready: Prepared, made: SystemPlan) -> Plan:
    """The plan of all classes: what the merged answer is judged by."""
    settings = ready.facts["settings"]
    # of one group, for which it was planned
    base = base.model_copy(update={"data": {name: value for name, value in base.data.items() if name != "others"}})
    changes = {
        "classes": [c.model_dump() for c in made.classes()],
        "data.labels": settings["labels"],
        "data.ignore": settings["ignore"],
        # probabilities of one class do not outlive the merging
        "options.reduce": "argmax",
    }
    return base.edited(changes)


def unmirrored(base: Plan, ready: Prepared, made: SystemPlan) -> Plan:
    """The plan without mirror images in which a class of some group would be that of the other side.

    base: planned for one group, which may have no such class; the networks learn from images mirrored alike.
    """
    allowed = modality.mirrors(ready.facts, [c.name for c in made.classes()])
    kept = list[AugmentPlan]()
    for entry in base.augment:
        if entry.name != "flip" or len(allowed) == base.dims:
            kept.append(entry)
        elif axes := [a for a in entry.options.get("axes", range(base.dims)) if a in allowed]:
            kept.append(entry.model_copy(update={"options": entry.options | {"axes": axes}}))
    if kept == base.augment:
        return base
    notes = [*base.data.get("notes", []), SIDED]
    return base.model_copy(update={"augment": kept, "data": base.data | {"notes": notes}})


def of_group(made: Plan, group: Group, rules: Mapping[str, list[int]]) -> Plan:
    """The plan of one network: its classes; those of the others are background to it."""
    own = {c.name for c in group.classes}
    changes: dict[str, Any] = {
        "classes": [c.model_dump() for c in group.classes],
        "data.others": sorted(v for name, values in rules.items() if name not in own for v in values),
    }
    if made.data.get("labels"):
        changes["data.labels"] = {c.name: rules[c.name] for c in group.classes}
    return made.edited(changes)


def _voxels(ready: Prepared, rules: Mapping[str, list[int]]) -> dict[str, int]:
    """{class: voxels in the training part}."""
    found = dict.fromkeys(rules, 0)
    for row in ready.facts["cases"]:
        if ready.parts[row["id"]] == "train":
            counts = row["labels"] or {}
            for name, values in rules.items():
                found[name] += sum(counts.get(v, 0) for v in values)
    return found


def _dealt(classes: list[ClassPlan], voxels: Mapping[str, int], count: int) -> SystemPlan:
    """Groups by the rule."""
    pairs: dict[str, list[ClassPlan]] = {}
    for one in classes:
        pairs.setdefault(SIDE.sub("*", one.name), []).append(one)
    if not 2 <= count <= len(pairs):
        raise HilumError(
            "HIL-PLAN-09", f"{len(classes)} classes can not be shared by {count} networks",
            f"Ask for 2 to {len(pairs)} groups (left and right of a structure stay together), or name them in a file"
            if len(pairs) >= 2 else "Train one network, or name the groups in a file",
        )  # fmt: skip
    order = sorted(pairs.values(), key=lambda same: -sum(voxels[c.name] for c in same) / len(same))
    groups: list[list[ClassPlan]] = [[] for _ in range(count)]
    for same in order:
        min(groups, key=len).extend(same)
    rows = [Group(name=f"group_{n}", classes=_sorted(held)) for n, held in enumerate(groups, 1)]
    return SystemPlan(groups=rows)


def _named(path: Path, classes: list[ClassPlan]) -> SystemPlan:
    """Groups by a file."""
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise HilumError(
            "HIL-PLAN-09", f"--groups is neither a number nor a YAML file that can be read ({error})",
            "Give --groups 4, or a file with lines like `bones: [femur, hip]`",
        ) from error  # fmt: skip
    if not isinstance(rows, dict) or not all(isinstance(v, list) for v in rows.values()):
        raise HilumError("HIL-PLAN-09", f"{path} holds no groups", "Write lines like `bones: [femur, hip]`")
    known = {c.name: c for c in classes}
    listed = [str(name) for names in rows.values() for name in names]
    for name in listed:
        if name not in known:
            raise HilumError("HIL-PLAN-09", f"{path} names {name!r}, which is no class", near(name, list(known)))
    lacking = [c for c in classes if c.name not in listed]
    if lacking:
        raise HilumError(
            "HIL-PLAN-09", f"{path} leaves out {_names(lacking)}", "Put every class into one group"
        )  # fmt: skip
    groups = [
        {"name": str(group), "classes": [c.model_dump() for c in _sorted([known[str(n)] for n in names])]}
        for group, names in rows.items()
    ]
    return checked(SystemPlan, {"groups": groups}, str(path))


def _sorted(classes: list[ClassPlan]) -> list[ClassPlan]:
    return sorted(classes, key=lambda c: c.value)


def _names(classes: list[ClassPlan]) -> str:
    """For a sentence."""
    names = [c.name for c in classes]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
