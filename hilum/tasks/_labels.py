"""Label maps as stored become network channels, and back; image against label in millimetres."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Image
from hilum.core.plan import Plan
from hilum.data import labels
from hilum.data.dataset import Settings, listed
from hilum.tasks._instances import RULE, numbered
from hilum.tasks._pieces import connected

log = logging.getLogger(__name__)

IGNORE = -1
# Target value of voxels that are not judged and not learned from.
VALIDITY = "validity"
# Role of the mask outside which nothing is learned and nothing judged.
MANY = 8
# More unnamed values than this are named in a warning: often they number objects.
MADE_UP = re.compile(r"foreground|object|class[ _]-?\d+")
# Names that Hilum gives or proposes where nobody named the class: they say nothing.


def same_grid(case: Case, image: Image, label: Image) -> tuple[str, ...]:
    """Refuse a label that does not lie on its image (N14), with the difference; warnings where it nearly does."""
    warnings = labels.compare_grids(image, label, f"Case {case.id}")
    for warning in warnings:
        log.warning("%s", warning)
    return warnings


def stored(case: Case, role: str = "label") -> Image:
    """The label as stored, integers (1, *space)."""
    item = case.items[role]
    if not hasattr(item, "read_labels"):
        whole: Image = item
        return whole
    # a DICOM SEG leaves empty slices out: it needs its image's grid
    seg = getattr(item, "format", "") == "dicom" and item.path.is_file()
    like = case.read("image" if role in ("label", VALIDITY) else role.removesuffix("_label")) if seg else None
    label: Image = item.read_labels(like) if seg else item.read_labels()
    return label


def to_channels(values: Array, plan: Plan, name: str = "The label") -> Array:
    """Stored label values to 0 (background), 1..n (position in plan.classes) and IGNORE; int16, same shape.

    Values that are none of these are refused (N15): a silent background would teach the wrong thing. What the other
    networks of a system find, or other data name besides (`data.others`), is background to this one. name: of the
    label, for that sentence; see `label_words`.
    """
    rules = plan.data.get("labels") or {c.name: c.value for c in plan.classes}
    out = np.zeros(values.shape, dtype=np.int16)
    known = values == 0
    if plan.data.get("others"):
        known |= np.isin(values, plan.data["others"])
    for channel, wanted in enumerate(rules.values(), 1):
        if wanted in ("nonzero", RULE):
            chosen = values != 0
        else:
            chosen = np.isin(values, wanted if isinstance(wanted, list) else [wanted])
        out[chosen] = channel
        known |= chosen
    if plan.data.get("ignore") is not None:
        ignored = values == plan.data["ignore"]
        out[ignored] = IGNORE
        known |= ignored
    if not known.all():
        strange = np.unique(values[~known])[:5].tolist()
        raise HilumError(
            "HIL-N15", f"{name} holds values {strange} that are no class of the plan ({rules})",
            "Map them under `labels` in a dataset.yaml, or name one value `ignore`",
        )  # fmt: skip
    return out


def label_words(case: Case, label: Image) -> str:
    """The label of a case in a sentence, with its file where it has one."""
    path = label.meta.get("path")
    return f"The label of case {case.id}" + (f" ({path})" if path else "")


def unnamed(plan: Plan) -> frozenset[str]:
    """Classes of which the labels say nothing, as data that name only some leave them (`read_as`): not judged."""
    rules = plan.data.get("labels") or {}
    return frozenset(c.name for c in plan.classes if rules.get(c.name) == [])


def valid(case: Case, label: Image) -> Array:
    """Where the case's validity mask is not 0, (1, *space) bool; refused where it is off the label's grid or empty."""
    inside = stored(case, VALIDITY)
    same_grid(case, label, inside)
    found: Array = inside.array != 0
    if not found.any():
        raise HilumError(
            "HIL-N15", f"The validity mask of case {case.id} is 0 everywhere", "Mend it, or leave the case out"
        )
    return found


def judged_channels(case: Case, label: Image, plan: Plan) -> Array:
    """`to_channels` of a label (1, *space), and IGNORE where the validity mask of the case, if it has one, is 0."""
    _check_segments(case, label, plan)
    channels = to_channels(label.array, plan, label_words(case, label))
    if VALIDITY in case.items:
        channels[~valid(case, label)] = IGNORE
    return channels


def _check_segments(case: Case, label: Image, plan: Plan) -> None:
    """Refuse a DICOM SEG that gives a class of the model another number (HIL-N15), where no rule says what is what."""
    if plan.data.get("labels"):
        return
    known = {c.name.casefold(): c.value for c in plan.classes}
    said = {int(v): str(name) for v, name in (label.meta.get("classes") or {}).items()}
    odd = [f"{name!r} is {v}" for v, name in said.items() if known.get(name.strip().casefold(), v) != v]
    if odd:
        raise HilumError(
            "HIL-N15", f"The SEG of case {case.id} numbers its segments otherwise than the model: {', '.join(odd)}",
            "Export it with the segments in the order of the model's classes",
        )  # fmt: skip


def from_channels(channels: Array, plan: Plan) -> Array:
    """0..n to the class values that are written out, in the smallest of uint8, uint16 and int32 that holds them."""
    values = np.array([0, *[c.value for c in plan.classes]], dtype=np.int64)
    kinds = (k for k in (np.uint8, np.uint16, np.int32) if np.iinfo(k).min <= values.min())
    lookup = values.astype(next(k for k in kinds if values.max() <= np.iinfo(k).max))
    return lookup[channels]


def read_as(settings: Settings, plan: Plan, boxes: bool = False) -> dict[str, Any]:
    """What to change in a plan, {dotted key: value}, to read the labels of other data as their own settings name them.

    Classes go by name: other data may number them otherwise, and what they `ignore` is theirs. Values stay as the plan
    has them where no class is named, where the names on either side were made up, and where any value may be the class.
    A class that is not named there has no value: `unnamed`. Values of named classes that the plan has none of are
    `data.others`. boxes: whether the data list boxes, which name their classes themselves.
    Refused (HIL-T10): names of which the plan has none.
    """
    own: dict[str, Any] = {} if settings.ignore is None else {"data.ignore": settings.ignore}
    rules = plan.data.get("labels") or {}
    if plan.task == "detect" and numbered(rules) and not numbered(settings.labels):
        # a mask of one value, whose pieces are objects, may be the truth of a detector
        own["data.labels"] = {}
    known = list(rules) or [c.name for c in plan.classes]
    named: dict[str, Any] = dict(settings.labels)
    for value, name in settings.classes.items():
        # `labels` rules where there are both, and 0 is the background, also where somebody names it
        if value and not settings.labels:
            named.setdefault(name, []).append(value)
    # without a mapping a detector of one class takes every value for an object
    masks = plan.task == "detect" and not boxes and (bool(rules) or len(known) > 1)
    if not known or not named or not (plan.task in ("segment", "register") or masks):
        return own
    if not named.keys() & set(known):
        any_value = any(isinstance(rule, str) for rule in rules.values())
        if any_value or all(map(MADE_UP.fullmatch, known)) or all(map(MADE_UP.fullmatch, named)):
            return own
        raise HilumError(
            "HIL-T10", f"The labels of these data are of {listed(list(named))}, the model finds {listed(known)}",
            "Name the classes as the model does, under `classes` or `labels` in a dataset.yaml",
        )  # fmt: skip
    read = {"data.labels": {name: named.get(name, []) for name in known}, "data.ignore": settings.ignore}
    further = [rule for name, rule in named.items() if name not in known and not isinstance(rule, str)]
    own_rules = [rule for rule in (named.get(name, []) for name in known) if not isinstance(rule, str)]
    taken = {v for rule in own_rules for v in (rule if isinstance(rule, list) else [rule])}
    others = sorted({v for rule in further for v in (rule if isinstance(rule, list) else [rule]) if v} - taken)
    # of regions that lie in each other the one that the plan knows counts; and where any value is a class, none is left
    others = others if len(own_rules) == len(known) else []
    # those that the plan knows are of its own data, which may number otherwise
    return read | ({"data.others": others} if others or plan.data.get("others") else {})


def check_objects(cases: Sequence[Case], settings: Settings, plan: Plan) -> None:
    """Refuse masks without numbers as truth of a model that tells objects apart (HIL-T10): all would be one object.

    That is where no case holds two numbers, some mask falls into pieces, and the data do not say `instances`. plan: as
    the labels are read, with what `read_as` changes.
    """
    if numbered(settings.labels):
        return
    several = ""
    for case in cases:
        try:
            label = stored(case).array[0]
            objects = np.where(to_channels(label, plan) > 0, label, 0)
        except HilumError:
            # judging the case says why
            continue
        if len(np.unique(objects[objects != 0])) > 1:
            return
        several = several or (case.id if connected(objects != 0)[1] > 1 else "")
    if several:
        name = plan.classes[0].name
        raise HilumError(
            "HIL-T10", f"The model tells objects apart, and no label of these data numbers them: each holds one value, "
            f"also that of {several!r}, which falls into pieces",
            f"Number the objects; where every case does hold one, say `labels: {{{name}: {RULE}}}` in a dataset.yaml",
        )  # fmt: skip


def class_plans(fingerprint: dict[str, object]) -> list[dict[str, object]]:
    """Classes from the settings, else from the values seen in the labels; too many values are refused."""
    settings = fingerprint["settings"]
    seen = fingerprint["label_values"]
    assert isinstance(settings, dict) and isinstance(seen, list)
    values = [v for v in seen if v not in (0, settings["ignore"])]
    if not values:
        raise HilumError("HIL-N15", "Every label is background only", "Check that labels/ holds the right files")
    _check_rows(fingerprint.get("cases", []), settings)
    if numbered(settings["labels"]) and len(values) == 1:
        log.warning("No label numbers more than one object: `labels: {name: nonzero}` would say the same")
    if settings["labels"]:
        return [{"value": i, "name": name} for i, name in enumerate(settings["labels"], 1)]
    if settings["classes"]:
        # 0 is the background, also where somebody names it
        named = sorted((int(v), n) for v, n in settings["classes"].items() if int(v) != 0)
        return [{"value": v, "name": n} for v, n in named]
    if len(values) > 64:
        raise HilumError(
            "HIL-N15", f"The labels hold {len(values)} different values, which looks like numbered objects",
            "Say `labels: {foreground: nonzero}` in a dataset.yaml to segment all of them as one class, or `instances` "
            "in place of nonzero to tell them apart",
        )  # fmt: skip
    if len(values) > MANY:
        log.warning(
            "The labels hold %d different values without names, and each becomes a class. If they number objects, say "
            "`labels: {foreground: nonzero}` in a dataset.yaml; if they are classes, name them under `classes`",
            len(values),
        )
    names = {values[0]: "foreground"} if len(values) == 1 else {v: f"class {v}" for v in values}
    names |= _segments(fingerprint.get("cases", []), values)
    return [{"value": int(v), "name": names[v]} for v in values]


def _segments(rows: Any, values: Sequence[int]) -> dict[int, str]:
    """{value: name} as DICOM SEGs call their segments, where all have a name of their own; else {}."""
    said = {int(v): str(name) for row in rows for v, name in row.get("segments", {}).items()}
    found = {v: said[v] for v in values if said.get(v, "").isprintable() and said.get(v)}
    return found if len(found) == len(values) == len({name.casefold() for name in found.values()}) else {}


@contextmanager
def said_once() -> Iterator[None]:
    """Around what asks for the classes of the same data again and again: what is said of them is said once."""
    said = set[str]()

    def new(record: logging.LogRecord) -> bool:
        known = record.getMessage() in said
        said.add(record.getMessage())
        return not known

    log.addFilter(new)
    try:
        yield
    finally:
        log.removeFilter(new)


def _check_rows(rows: Any, settings: dict[str, Any]) -> None:
    """Values that are no class are refused with all cases that hold them; a case of background only is warned of."""
    known = {k: settings[k] for k in ("classes", "labels", "ignore") if k in settings}
    seen = {row["id"]: row["labels"] for row in rows if row.get("labels")}
    for warning in labels.check_values(seen, Settings.model_validate(known)):
        log.warning("%s", warning)
