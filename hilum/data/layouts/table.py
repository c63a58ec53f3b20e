"""A CSV: one row per case, a column per role, and patient, split, class, site, rater or any attribute."""

from pathlib import Path

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts import _files
from hilum.io import _source

CARD = {"about": "a CSV with columns for roles (image, label, fixed, moving, ...), class, patient, split", "order": 5}
ROLES = ("image", "label", "fixed", "moving", "kspace")


def recognises(folder: Path) -> bool:
    """A .csv file."""
    return folder.is_file() and folder.suffix.lower() == ".csv"


def read(folder: Path, settings: Settings) -> Dataset:
    """Paths are relative to the CSV. Every bad row is listed, not only the first (I11)."""
    _, rows = _files.rows(folder)
    if not rows or not any(role in rows[0] for role in ROLES):
        raise HilumError(
            "HIL-I11", f"{folder} has no column of {', '.join(ROLES)}", "Name the columns in the first line"
        )
    faults, seen, cases, parts = [], set(), [], {}
    for number, row in enumerate(rows, 2):
        roles = {r: folder.parent / row[r] for r in row if r.split("@")[0] in ROLES and row[r]}
        name = row.get("case") or Path(next(iter(roles.values()), Path(f"row{number}"))).name.split(".")[0]
        missing = [str(p) for p in roles.values() if not p.exists()]
        if missing:
            faults.append(f"line {number}: {missing[0]} is missing")
        if name in seen:
            faults.append(f"line {number}: case {name!r} again")
        seen.add(name)
        if not missing:
            items = {r: _source.open(p) for r, p in roles.items()}
            known = {*roles, "case", "patient", "class", "split"}
            rest = {k: v for k, v in row.items() if k not in known}
            cases.append(Case(name, row.get("patient", ""), items, rest, row.get("class") or None))
            if row.get("split"):
                parts[name] = row["split"]
    if faults:
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise HilumError("HIL-I11", f"{folder}: " + "; ".join(faults[:5]) + more, "Mend these rows")
    return Dataset("", folder, "", tuple(cases), settings, parts=parts)
