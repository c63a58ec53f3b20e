"""What may lie beside the images of any layout: cases.csv with facts about the cases, and folders of further items."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from hilum.core.errors import HilumError
from hilum.core.image import Source
from hilum.data.dataset import Dataset, Settings, listed
from hilum.data.layouts._files import images
from hilum.io import _names, _source, table

OWN = {"case", "patient", "class", "split"}
# Columns of cases.csv with a meaning; all others are attributes.
FILES = {"image", "label", "fixed", "moving", "kspace", "validity"}
# Columns that make a CSV a data set by itself.


def described(dataset: Dataset) -> Dataset:
    """The data set with cases.csv of its folder: patient, class and split, and further columns as attributes.

    Any case may be left out of the table; whom it names in one case goes by that name in all that the layout knows to
    be of the same patient. Every bad row is named (HIL-I11): an unknown case, one there twice.
    """
    path = dataset.folder / "cases.csv"
    if not path.is_file():
        return dataset
    rows = _rows(path, dataset)
    people = {c.id: table.told(rows.get(c.id, {}), "patient") for c in dataset.cases}
    named: dict[str, set[str]] = {}
    for case in dataset.cases:
        if case.group and people[case.id]:
            named.setdefault(case.group, set()).add(people[case.id])
    # what the table tells apart is not one person
    called = {group: next(iter(names)) for group, names in named.items() if len(names) == 1}
    cases = []
    for case in dataset.cases:
        row = rows.get(case.id, {})
        rest = {k: v for k, v in row.items() if k not in OWN}
        klass = table.told(row, "class") or case.klass
        patient = people[case.id] or called.get(case.group, case.group)
        cases.append(replace(case, group=patient, klass=klass, attributes={**case.attributes, **rest}))
    parts = {name: part for name, row in rows.items() if (part := table.told(row, "split"))}
    unclear = (*dataset.unclear, *misspelt(next(iter(rows.values()), ()), OWN))
    return replace(dataset, cases=tuple(cases), parts={**dataset.parts, **parts}, unclear=unclear)


def misspelt(columns: Iterable[str], known: set[str]) -> list[str]:
    """A sentence on each column that would be read but for its letter case (Patient, Class@anna): kept as an attribute.

    None where the right one is there too: then it is another one.
    """
    columns, found = list(columns), []
    for column in columns:
        head, at, rater = column.partition("@")
        right = _names.folded(head) + at + rater
        if _names.folded(head) in known and right not in columns:
            found.append(f"the column {column!r} is not read, as it is not written {right!r}")
    return found


def _rows(path: Path, dataset: Dataset) -> dict[str, dict[str, str]]:
    """{case: row} of cases.csv, all bad rows refused."""
    sheet = table.sheet(path)
    if "case" not in sheet.columns:
        own = FILES & set(sheet.columns)
        remedy = f"Open the table itself: {path}" if own else "Name the cases in a column `case`"
        raise HilumError("HIL-I11", f"{path} lacks the column case", remedy)
    known = {c.id for c in dataset.cases}
    rows: dict[str, dict[str, str]] = {}
    faults = []
    for line, row in zip(sheet.lines, sheet.rows, strict=True):
        name = _names.plain(row["case"])
        if name not in known:
            faults.append(f"line {line}: there is no case {name!r}")
        elif name in rows:
            faults.append(f"line {line}: case {name!r} again")
        rows[name] = row
    if faults:
        raise table.refused(path, faults)
    return rows


def listed_cases(folder: Path) -> set[str]:
    """What cases.csv of a folder calls its cases: they say whether numbered files are cases."""
    path = folder / "cases.csv"
    return {row["case"] for row in table.sheet(path).rows if "case" in row} if path.is_file() else set()


def chosen(dataset: Dataset) -> Dataset:
    """The data set with `roles` of its settings, in a layout that reads no folders of roles: one of several readings.

    {label: labels@anna} takes what each case has as "label@anna", and nothing of a case without it. Refused
    (HIL-DATA-03): a reading that no case has, and folders, for here nothing would be read from them, unless a
    table lists their files itself.
    """
    cases = dataset.cases
    for role, inner in dataset.settings.roles.items():
        _choosable(role)
        reading = inner.replace("labels@", "label@", 1) if inner.startswith("labels@") else inner
        if "@" not in reading or not any(reading in case.items for case in cases):
            if _in_column(dataset, role, inner):
                continue
            there = sorted({r for case in cases for r in case.items if "@" in r})
            remedy = f"There is {listed(there)}" if there else "Leave it out; folders are read beside images/ only"
            raise HilumError("HIL-DATA-03", f"roles: no case of {dataset.folder} has {inner!r} for {role!r}", remedy)
        cases = tuple(replace(case, items=_taking(case.items, role, reading)) for case in cases)
    return replace(dataset, cases=cases)


def _in_column(dataset: Dataset, role: str, inner: str) -> bool:
    """Whether a table lists, in the column of that role, files of that folder beside it and no others."""
    here = dataset.folder.parent.resolve()
    place = (here / inner).resolve()
    files = [case.items[role] for case in dataset.cases if role in case.items]
    own = [isinstance(f, _source.FileSource) and f.path.parent.resolve().is_relative_to(place) for f in files]
    return dataset.folder.is_file() and here in place.parents and bool(own) and all(own)


def _taking(items: Mapping[str, Source], role: str, reading: str) -> dict[str, Source]:
    rest = {name: item for name, item in items.items() if name != role}
    # a case that would have nothing left, a segmentation without its image, is listed as it is
    return {**rest, role: items[reading]} if reading in items else rest or dict(items)


def items(folder: Path, settings: Settings, known: Iterable[str]) -> dict[str, dict[str, Source]]:
    """{case: {role: source}} of labels@NAME/ folders and of the folders under `roles` in dataset.yaml."""
    places = {f"label@{p.name[7:]}": p for p in sorted(folder.glob("labels@?*")) if p.is_dir()}
    for role, inner in settings.roles.items():
        places[role] = _place(folder, role, inner)
    known = set(known)
    found: dict[str, dict[str, Source]] = {}
    for role, place in places.items():
        files = images(place, folder)
        owned(place, files, known)
        for name, file in files.items():
            found.setdefault(name, {})[role] = _source.open(file)
    return found


def names(folder: Path, settings: Settings) -> list[set[str]]:
    """What the files of each folder under `roles` are called."""
    return [set(images(_place(folder, role, inner), folder)) for role, inner in settings.roles.items()]


def owned(place: Path, names: Iterable[str], known: set[str]) -> None:
    """Refuse (HIL-T10) items that have no image, all of them listed."""
    lost = sorted(set(names) - known)
    if lost:
        raise HilumError(
            "HIL-T10",
            f"{len(lost)} files in {place} have no image: {listed([repr(n) for n in lost])}",
            "Remove or rename them",
        )


def _choosable(role: str) -> None:
    if role == "image" or not role.strip():
        raise HilumError("HIL-DATA-03", f"roles: {role!r} can not be chosen", "Images lie in images/; name other roles")


def _place(folder: Path, role: str, inner: str) -> Path:
    """The folder of a role: inside the data folder and there."""
    path = PurePosixPath(inner)
    _choosable(role)
    place = folder / path
    if path.is_absolute() or ".." in path.parts or not place.resolve().is_relative_to(folder.resolve()):
        raise HilumError("HIL-DATA-03", f"roles: {inner!r} leads out of {folder}", "Name a folder beside the images")
    if not place.is_dir():
        raise HilumError("HIL-DATA-03", f"roles: {folder} has no folder {inner!r} for {role!r}", "Mend dataset.yaml")
    return place
