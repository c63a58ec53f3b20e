"""images/ with labels/, labels@NAME/, boxes.csv, pairs.csv or cases.csv beside it."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts import _beside
from hilum.data.layouts._files import images, sources, within
from hilum.io import _source, table

CARD = {
    "about": "images/ with labels/ of the same names, or boxes.csv, or pairs.csv",
    "order": 20,
}


def recognises(folder: Path) -> bool:
    """A folder that has images/ inside."""
    return (folder / "images").is_dir()


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases with "image", "label" where labels/ has the name, boxes where boxes.csv has rows, pairs from pairs.csv.

    labels@anna/ gives "label@anna" (one rater's reading), `roles` in dataset.yaml further items (where it chooses the
    label, labels/ gives none), cases.csv patient, class, split and attributes. Refused: files without an image, all
    listed (HIL-T10); bad rows of a table (I11).
    """
    labels = images(folder / "labels", folder) if (folder / "labels").is_dir() else {}
    readings = [images(place, folder) for place in folder.glob("labels@?*") if place.is_dir()]
    named = set(labels).union(*readings, *_beside.names(folder, settings), _listed(folder))
    pictures = sources(folder / "images", named, len(settings.channels), within(folder / "images"))
    _beside.owned(folder / "labels", labels, set(pictures))
    more = _beside.items(folder, settings, pictures)
    boxes, names, again = _boxes(folder / "boxes.csv", set(pictures))
    cases = []
    for name, source in pictures.items():
        items = {"image": source}
        if name in labels and "label" not in settings.roles:
            items["label"] = _source.open(labels[name])
        items |= more.get(name, {})
        own = None if boxes is None else np.array(boxes.get(name, []), dtype=np.float64)
        if own is not None and own.size == 0:
            own = np.zeros((0, 0))
        cases.append(Case(name, "", items, boxes=own, box_classes=dict(enumerate(names, 1))))
    pairs, twice = _pairs(folder / "pairs.csv", set(pictures))
    named_boxes, unclear = dict(enumerate(names, 1)), (*again, *twice)
    found = Dataset("", folder, "", tuple(cases), settings, pairs, box_classes=named_boxes, unclear=unclear)
    return _beside.described(found)


def _listed(folder: Path) -> set[str]:
    """What the tables beside the images call cases."""
    columns = {"boxes.csv": ("case",), "pairs.csv": ("fixed", "moving"), "cases.csv": ("case",)}
    sheets = {name: table.sheet(folder / name) for name in columns if (folder / name).is_file()}
    return {row[c] for name, sheet in sheets.items() for c in columns[name] if c in sheet.columns for row in sheet.rows}


def _sheet(path: Path, columns: list[str]) -> table.Sheet:
    """A CSV that must have these columns (I11: refused with what is missing)."""
    sheet = table.sheet(path)
    missing = [c for c in columns if c not in sheet.columns]
    if missing:
        raise HilumError("HIL-I11", f"{path} lacks the column {missing[0]!r}", f"It needs: {', '.join(columns)}")
    return sheet


def _boxes(path: Path, known: set[str]) -> tuple[dict[str, list[list[float]]] | None, list[str], list[str]]:
    """{case: rows (class value, low..., high...)}, None without boxes.csv; the names of classes; rows listed twice."""
    if not path.is_file():
        return None, [], []
    sheet = _sheet(path, ["case", "class", "low0", "low1", "high0", "high1"])
    dims = 3 if {"low2", "high2"} & set(sheet.columns) else 2
    if dims == 3:
        _sheet(path, ["low2", "high2"])
    names = sorted({row["class"] for row in sheet.rows})
    found: dict[str, list[list[float]]] = defaultdict(list)
    faults: list[str] = []
    said: list[tuple[int, Hashable]] = []
    for line, row in zip(sheet.lines, sheet.rows, strict=True):
        corners, fault = _corners(row, dims)
        if row["case"] not in known:
            fault = f"there is no image {row['case']!r}"
        elif not row["class"]:
            fault = "it names no class"
        if fault:
            faults.append(f"line {line}: {fault}")
        else:
            found[row["case"]].append([names.index(row["class"]) + 1.0, *corners])
            said.append((line, (row["case"], row["class"], *corners)))
    if faults:
        raise table.refused(path, faults)
    return found, names, _twice(path, said)


def _twice(path: Path, rows: Iterable[tuple[int, Hashable]]) -> list[str]:
    """A sentence on each row that says what one before it says. rows: (line, what it says)."""
    first: dict[Hashable, int] = {}
    return [f"{path.name} line {n}: as in line {first[said]}" for n, said in rows if first.setdefault(said, n) != n]


def _corners(row: Mapping[str, str], dims: int) -> tuple[list[float], str]:
    """low..., high... of a row of boxes.csv, and what is wrong with them, or ""."""
    try:
        corners = [float(row[f"{side}{axis}"]) for side in ("low", "high") for axis in range(dims)]
    except ValueError as error:
        return [], str(error)
    if not np.isfinite(corners).all():
        return corners, f"{corners} are not all numbers"
    upside = any(high <= low for low, high in zip(corners[:dims], corners[dims:], strict=True))
    return corners, f"high is not above low: {corners}" if upside else ""


def _pairs(path: Path, known: set[str]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """(fixed, moving) rows of pairs.csv, and those that are there twice."""
    if not path.is_file():
        return (), []
    sheet = _sheet(path, ["fixed", "moving"])
    faults = [
        f"line {line}: there is no image {row[side]!r}"
        for line, row in zip(sheet.lines, sheet.rows, strict=True)
        for side in ("fixed", "moving")
        if row[side] not in known
    ]
    if faults:
        raise table.refused(path, faults)
    pairs = tuple((row["fixed"], row["moving"]) for row in sheet.rows)
    return pairs, _twice(path, zip(sheet.lines, pairs, strict=True))
