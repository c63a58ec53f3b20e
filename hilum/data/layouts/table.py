"""A CSV: one row per case, a column per role, and patient, split, class, site, rater or any attribute."""

from pathlib import Path

from hilum.core.errors import HilumError
from hilum.core.image import Case, Source
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts import _beside
from hilum.data.layouts._files import stem
from hilum.io import _names, _source
from hilum.io import table as tables

CARD = {"about": "a CSV with columns for roles (image, label, fixed, moving, ...), class, patient, split", "order": 5}
ROLES = ("image", "label", "fixed", "moving", "kspace", "validity")
ENDS = (".csv", ".tsv")


def recognises(folder: Path) -> bool:
    """A .csv or .tsv file."""
    return folder.is_file() and folder.suffix.lower() in ENDS


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases in the order of the rows; paths are whole, or relative to the table. A link may not lead out of its folder.

    Columns: roles (image, label, fixed, moving, kspace; label@anna is anna's reading of that role), case (its id, else
    the first file's name), patient, class, split. All others, site, rater and fold too, become attributes.
    Every bad row is listed, not only the first (I11).
    """
    sheet = tables.sheet(folder)
    roles = _roles(folder, sheet)
    faults: list[str] = []
    known: dict[str, int] = {}
    cases, parts = [], {}
    for line, row in zip(sheet.lines, sheet.rows, strict=True):
        given = {role: word for role in roles if (word := tables.told(row, role))}
        items, wrong = _items(folder.parent, given)
        name = row.get("case") or (_called(folder.parent, given) if given else f"row{line}")
        wrong += _name_faults(name, known, bool(row.get("case")))
        known.setdefault(_names.folded(name), line)
        faults += [f"line {line}: {fault}" for fault in wrong]
        if wrong:
            continue
        rest = {k: v for k, v in row.items() if k not in {*roles, "case", "patient", "class", "split"}}
        cases.append(Case(name, tables.told(row, "patient"), items, rest, tables.told(row, "class") or None))
        if part := tables.told(row, "split"):
            parts[name] = part
    if faults:
        raise tables.refused(folder, faults)
    unclear = tuple(_beside.misspelt(sheet.columns, {*_beside.OWN, *ROLES}))
    return _beside.chosen(Dataset("", folder, "", tuple(cases), settings, parts=parts, unclear=unclear))


def _roles(path: Path, sheet: tables.Sheet) -> list[str]:
    """The columns that hold files, plain roles before those of raters, the image before what says something of it."""
    found = [c for c in sheet.columns if c.split("@")[0] in ROLES]
    for column in found:
        if "@" in column and (column.count("@") > 1 or not column.split("@")[1].strip()):
            raise HilumError("HIL-I11", f"{path}: the column {column!r} names no rater", "Write it as label@name")
    if not found or not sheet.rows:
        seen = ", ".join(repr(c) for c in sheet.columns[:8])
        what = f"has no column of {', '.join(ROLES)}, it has {seen}" if not found else "has no rows"
        raise HilumError("HIL-I11", f"{path} {what}", "Name the columns in the first line, one case on each line after")
    return sorted(found, key=lambda c: ("@" in c, ROLES.index(c.split("@")[0])))


def _called(root: Path, given: dict[str, str]) -> str:
    """The name of the first file of a row, or of its folder, wherever one stands."""
    return _names.plain(stem(_names.find(root.resolve() / next(iter(given.values())))))


def _items(root: Path, given: dict[str, str]) -> tuple[dict[str, Source], list[str]]:
    """The sources of a row, and what is wrong with its paths."""
    items: dict[str, Source] = {}
    wrong = [] if given else ["it names no file"]
    for role, written in given.items():
        path = _names.find(root / written)
        # a path that says itself that it leads elsewhere is meant so; a link inside the folder does not say it
        inside = not (Path(written).is_absolute() or ".." in Path(written).parts)
        try:
            _names.usable(path, root if inside else None)
            source = _source.open(path)
            if source.kind == "table":
                wrong.append(f"{role}: {path} is a table")
            elif (role.split("@")[0] == "kspace") != (source.kind == "measurement"):
                what = "raw data: name it under kspace" if source.kind == "measurement" else "an image, and no raw data"
                wrong.append(f"{role}: {path} is {what}")
            items[role] = source
        except HilumError as error:
            wrong.append(f"{path} is missing" if error.code == "HIL-IO-02" else f"{role}: {error.seen} [{error.code}]")
    return items, wrong


def _name_faults(name: str, known: dict[str, int], named: bool) -> list[str]:
    """A case is called once, and by a name that files can be written under. named: the table says it, no file does."""
    fault = next((f for f in map(_names.name_fault, name.split("/")) if f), "")
    if fault:
        return [f"the case name {name!a} {fault}"]
    if _names.folded(name) in known:
        remedy = "" if named else "; files of one name are told apart by a column `case`"
        return [f"case {name!r} again, as in line {known[_names.folded(name)]}{remedy}"]
    return []
