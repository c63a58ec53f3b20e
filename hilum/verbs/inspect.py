"""inspect: what is at a path, before anything is done with it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import catalogue, geometry
from hilum.core.errors import HilumError
from hilum.core.evenly import evenly
from hilum.core.image import Array, Case, Image, Measurement, Table
from hilum.core.progress import Progress, quiet
from hilum.data import labels, likeness, placement
from hilum.data.dataset import Dataset, has_role, listed, no_classes, open_dataset
from hilum.data.groups import clash, patients_of
from hilum.planning import _reach, _warned, fingerprint
from hilum.prepare.grid import ras_view, to_ras
from hilum.tasks import _labels, _task
from hilum.verbs import _sheet

PAIRS = 5
# Pairs of look-alikes named in a sentence; --json has all.


@dataclass
class _Seen:
    """What is gathered while every case is read once.

    judged, shown: names of cases, chosen before: whose labels are compared, and which may be pictured. warned: how many
    pictures are of cases that are warned of.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    looks: dict[str, likeness.Look] = field(default_factory=dict)
    judged: set[str] = field(default_factory=set)
    fits: list[placement.Fit] = field(default_factory=list)
    values: dict[str, dict[int, int]] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    warned: int = 0
    thumbnails: dict[str, Array] = field(default_factory=dict)
    dims: set[int] = field(default_factory=set)
    facts: list[dict[str, Any]] = field(default_factory=list)


def inspect(
    path: Path | str, *, html: Path | str | None = None, accept: tuple[str, ...] = (), progress: Progress = quiet
) -> dict[str, Any]:
    """Facts about a data set, a study folder or one image: cases, roles, geometry, ranges, problems, fitting tasks.

    html: where to write a page with pictures, which must not exist. accept: codes of faults that are meant (D21).
    Files that can not be read, and labels that do not fit their images, are listed under "problems", each with its
    reason and remedy; when no case can be read, it is refused. "remarks" are about the data set as a whole: labels that
    look misplaced (HIL-N17), values that want a mapping, images that are there twice.
    """
    if html is not None and Path(html).exists():
        raise HilumError("HIL-CORE-03", f"{html} exists", "Choose another name for the page")
    dataset = open_dataset(path, accept=accept)
    both = [case.id for case in dataset.cases if {"image", "label"} <= set(case.items)]
    # evenly over the data set: its end may come from another site
    ids = [case.id for case in dataset.cases]
    seen = _Seen(judged=set(evenly(both, placement.CASES)), shown=set(evenly(ids, _sheet.MOST)))
    with likeness.one_thread():
        for number, case in enumerate(dataset.cases):
            _look(case, seen, html is not None)
            progress("read", number + 1, len(dataset.cases), case.id)
    if not seen.rows:
        raise HilumError(
            "HIL-DATA-05",
            f"None of {len(dataset.cases)} cases can be read ({seen.problems[0]['problem']})",
            "Mend them",
        )
    misplaced = placement.judge(seen.fits)
    patients = dict(zip(ids, patients_of(dataset), strict=True))
    alike, fixed = _alike(seen, patients), all(patients.values()) or bool(dataset.parts)
    refused = _refused(seen, dataset)
    found = {
        "path": str(path),
        "layout": dataset.layout,
        "cases": len(dataset.cases),
        "classes": dict(Counter(c.klass for c in dataset.cases if c.klass)),
        "patients": len({name for name in patients.values() if name}),
        "pairs": len(dataset.pairs),
        "tasks": [] if refused else _fitting(dataset, seen),
        "rows": seen.rows,
        "problems": seen.problems,
        "labels": _values(seen, dataset),
        "look_alikes": alike,
        "remarks": [m.warning for m in misplaced] + refused + _remarks(seen, dataset, alike, fixed),
        "aside": list(dataset.aside),
        "lacking": _lacking(dataset),
    }
    if html is not None:
        pairs = [picture for one in misplaced for picture in _side_by_side(dataset, one)]
        found["page"] = str(_sheet.write(Path(html), found, seen.thumbnails, pairs))
    return found


def _fitting(dataset: Dataset, seen: _Seen) -> list[str]:
    """Tasks whose roles every case has, in these dimensions, and that would not refuse what is there; those that use
    most of it first.
    """
    found = []
    for name, card in catalogue.cards("hilum.tasks").items():
        roles = all(any(has_role(c, r) for r in role.split("|")) for role in card["roles"] for c in dataset.cases)
        if roles and seen.dims <= set(card["dims"]) and _takes(name, dataset, seen):
            found.append((-len(card["roles"]), card["order"], name))
    return [name for *_, name in sorted(found)]


def _takes(task: str, dataset: Dataset, seen: _Seen) -> bool:
    """Whether the task would learn from these images, as far as their channels and classes tell."""
    if task == "classify":
        return len({case.klass for case in dataset.cases}) > 1
    try:
        if task in ("register", "reconstruct"):
            _task.one_channel({"cases": seen.facts}, task)
    except HilumError:
        return False
    return True


def _refused(seen: _Seen, dataset: Dataset) -> list[str]:
    """Why no task would learn from these images, in sentences: pictures beside volumes, channels, boxes."""
    if not seen.facts:
        return []
    known = dataset.only(row["id"] for row in seen.facts)
    checks = (
        lambda: fingerprint.check_dims(seen.facts, dataset.folder),
        lambda: fingerprint.check_channels(seen.facts, dataset.folder),
        lambda: fingerprint.check_boxes(known, seen.facts),
    )
    remarks = []
    for check in checks:
        try:
            check()
        except HilumError as error:
            remarks.append(f"{error.code}: {error.seen}. {error.remedy}")
    return remarks


def _look(case: Case, seen: _Seen, pictures: bool) -> None:
    """Read one case: its row, or its problem; its labels."""
    role = next(iter(case.items))
    try:
        item = case.read(role)
        row = _row(case, item)
    except HilumError as error:
        _problem(case, error, seen)
        return
    seen.rows.append(row)
    seen.dims.add(row.pop("dims"))
    if not isinstance(item, Table):
        seen.facts.append(_facts(case, item))
    if "moving" in case.items and role != "moving":
        try:
            case.read("moving")
        except HilumError as error:
            _problem(case, error, seen)
    if isinstance(item, Table):
        return
    seen.looks[case.id] = likeness.look_at(item)
    if isinstance(item, Measurement):
        return
    label = _label(case, item, seen, row) if role == "image" and "label" in case.items else None
    if label is not None and _labels.VALIDITY in case.items:
        _validity(case, label, seen)
    if pictures and _pictured(case, row, seen):
        seen.thumbnails[case.id] = _sheet.thumbnail(item, None if label is None else label.array[0])


def _pictured(case: Case, row: dict[str, Any], seen: _Seen) -> bool:
    """Whether the page may show the case: one of those spread over all, or of the first that are warned of.

    Of many thousand cases a picture of each would fill the memory.
    """
    more = bool(row["warnings"]) and seen.warned < _sheet.MOST
    seen.warned += more
    return more or case.id in seen.shown


def _problem(case: Case, error: HilumError, seen: _Seen) -> None:
    seen.problems.append(
        {"case": case.id, "code": error.code, "seen": error.seen, "remedy": error.remedy, "problem": str(error)}
    )


def _label(case: Case, image: Image, seen: _Seen, row: dict[str, Any]) -> Image | None:
    """The label, compared with its image in mm; None where it does not fit or can not be read."""
    try:
        label = _labels.stored(case)
        row["warnings"] += [w for w in label.warnings if w not in row["warnings"]]
        values, counts = np.unique(label.array, return_counts=True)
        seen.values[case.id] = {int(v): int(n) for v, n in zip(values, counts, strict=True)}
        row["warnings"] += labels.compare_grids(image, label, case.id)
    except HilumError as error:
        _problem(case, error, seen)
        return None
    if case.id in seen.judged and (fit := placement.fit(case.id, image, label)) is not None:
        seen.fits.append(fit)
    return label


def _validity(case: Case, label: Image, seen: _Seen) -> None:
    """Whether the validity mask can be read, lies on the label and leaves something to judge."""
    try:
        inside = _labels.valid(case, label)
        if label.array.any() and not label.array[inside].any():
            raise HilumError(
                "HIL-N15", f"Case {case.id} has no label inside its validity mask",
                "Check that the mask is not inverted (0 is outside)",
            )  # fmt: skip
    except HilumError as error:
        _problem(case, error, seen)


def _row(case: Case, item: Any) -> dict[str, Any]:
    """One case: shape, spacing, orientation, range, warnings."""
    row: dict[str, Any] = {"case": case.id, "roles": ", ".join(case.items)}
    if case.klass:
        row["class"] = case.klass
    if isinstance(item, Table):
        return row | {"dims": 0, "kind": "table", "shape": f"{len(item.rows)} rows", "warnings": []}
    shape = item.array.shape if isinstance(item, Measurement) else item.shape
    row["shape"] = "x".join(map(str, shape))
    if isinstance(item, Measurement):
        return row | {"dims": 2, "kind": "k-space", "warnings": list(item.warnings)}
    row |= {"dims": item.dims, "channels": len(item.array), "kind": item.meta.get("modality", "")}
    if item.affine is None:
        row["spacing"] = "pixels"
    else:
        row["spacing"] = " x ".join(f"{s:.3g}" for s in item.spacing) + " mm"
        row["orientation"] = geometry.orientation(item.affine)
    low, high = _ends(case, item)
    return row | {"range": f"{low:g} to {high:g}", "warnings": list(item.warnings)}


def _ends(case: Case, image: Image) -> tuple[float, float]:
    """The least and the most of all channels; of values that are numbers, where training would take the others."""
    low, high = float(image.array.min()), float(image.array.max())
    if not np.isfinite([low, high]).all():
        _warned.no_numbers(case, image)
        low, high = np.array([_reach.ends(channel) for channel in image.array]).T
        return float(low.min()), float(high.max())
    return low, high


def _facts(case: Case, item: Image | Measurement) -> dict[str, Any]:
    """What training looks at to refuse a case: of `fingerprint.case_facts`, but for the intensities."""
    if isinstance(item, Measurement):
        return {"id": case.id, "shape": list(item.array.shape[-2:]), "channels": 1, "physical": False}
    shape = ras_view(item.array, item).shape[1:]
    facts = {"id": case.id, "shape": list(shape), "channels": len(item.array), "physical": item.affine is not None}
    return facts | ({"files": item.meta["channel_files"]} if "channel_files" in item.meta else {})


def _values(seen: _Seen, dataset: Dataset) -> dict[str, Any]:
    """Label values with voxels and cases, and lines for a dataset.yaml where a mapping is wanted."""
    voxels: Counter[int] = Counter()
    cases: Counter[int] = Counter()
    for counts in seen.values.values():
        voxels.update(counts)
        cases.update(counts.keys())
    if not voxels:
        return {}
    rows = [{"value": v, "voxels": voxels[v], "cases": cases[v]} for v in sorted(voxels)]
    mapped = bool(dataset.settings.labels or dataset.settings.classes)
    proposal = None if mapped else labels.propose_mapping(voxels, seen.values.values(), dataset.settings.ignore)
    return {"values": rows, "why": proposal[0] if proposal else "", "proposal": proposal[1] if proposal else ""}


def _alike(seen: _Seen, patients: dict[str, str]) -> list[dict[str, Any]]:
    """Pairs of cases whose images are the same, or the same turned or changed; but for two of one known patient, and
    images of one value.
    """
    names = [name for name, look in seen.looks.items() if not look.empty]
    found = []
    for pair in likeness.alike([seen.looks[name] for name in names]):
        first, second = names[pair.first], names[pair.second]
        if not patients[first] or patients[first] != patients[second]:
            found.append({"first": first, "second": second, "how": pair.how or "near-identical"})
    return found


def _side_by_side(dataset: Dataset, one: placement.Misplaced) -> list[tuple[Array, str]]:
    """The first case of a suspicion with its label as it is, and as it would fit better."""
    case = dataset.case(one.cases[0])
    image, label = to_ras(case.read("image")), to_ras(_labels.stored(case)).array[0]
    there = _sheet.thumbnail(image, one.moved(label))
    return [(_sheet.thumbnail(image, label), f"{case.id}: label as it is"), (there, f"{case.id}: label {one.how}")]


def _lacking(dataset: Dataset) -> list[str]:
    """Cases without a label where others have one: no task that needs it fits then."""
    found = [case.id for case in dataset.cases if "image" in case.items and "label" not in case.items]
    return found if any("label" in case.items for case in dataset.cases) else []


def _remarks(seen: _Seen, dataset: Dataset, alike: list[dict[str, Any]], fixed: bool) -> list[str]:
    """Sentences about the data set as a whole. fixed: patients or parts are known, so that likeness groups nobody."""
    doubt = no_classes(dataset)
    spelt = clash(dataset)
    remarks = [f"{one.code}: {one.seen}. {one.remedy}" for one in (doubt, spelt) if one is not None]
    try:
        remarks += labels.check_values(seen.values, dataset.settings)
    except HilumError as error:
        remarks.append(f"{error.code}: {error.seen}. {error.remedy}")
    if alike:
        exact = sum(pair["how"] == "the same pixels" for pair in alike)
        shown = "; ".join(f"{p['first']} and {p['second']}: {p['how']}" for p in alike[:PAIRS])
        more = f"; and {len(alike) - PAIRS} more" if len(alike) > PAIRS else ""
        remarks.append(
            f"HIL-T09: {len(alike)} pairs of cases hold the same image, {exact} of them the same pixels "
            f"({shown}{more}); "
            + ("training refuses those in two parts" if fixed else "they are kept in one part of a split")
        )
    if lacking := _lacking(dataset):
        remarks.append(
            f"{len(lacking)} of {len(dataset.cases)} cases have no label ({listed(lacking)}): to segment the others, "
            "list these under leave_out in a dataset.yaml"
        )
    return remarks
