"""A folder becomes a Dataset: cases by role, found by the layout that recognises the folder."""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Strict, checked
from hilum.io import _names, _source, table
from hilum.io._source import FileSource
from hilum.prepare import modality

BESIDE = {"dataset.yaml", "dataset.json", "boxes.csv", "pairs.csv", "cases.csv"}
# Files that say something about the cases.
SHEETS = (".csv", ".tsv")
# A table that is a data set, as layouts/table.py has it.
LISTED = 50
# Names written out in a sentence.
ACCEPTED = {
    "D21": ("a slice is missing", "in a dataset.yaml, or by --accept of inspect and predict"),
    "T04": ("other versions when a run is resumed", "by --accept of train"),
    "T09": ("the same patient or image in two parts", "in a dataset.yaml"),
}
# Faults that can be accepted, by their codes, and where: elsewhere, as another code, it would change nothing.


class Settings(Strict):
    """What a folder can not say itself (dataset.yaml); it may lie elsewhere and name the folder or table.

    folder: relative to the file, else to the folder named by HILUM_DATA; without it the folder that holds the file, and
    a table in it that is opened. layout: a name from data/layouts.
    classes: {value: name}. labels: {name: "nonzero" | value | [values]} maps stored values to classes 1..n in order;
    {name: "instances"}, alone, says that every value but 0 is one object of that class. 0 is the background in both,
    also where somebody names it; a value that two names have belongs to the later one.
    ignore: label value that is neither class nor background. patients: "case" (one case, one patient), a regular
    expression whose first group is the patient in the case id, or None: unknown, grouped by similarity.
    terms: licence of the data, carried into bundles.
    channels: names of the image's channels, in order. roles: {role: folder beside the images}, for example
    {validity: fov}: files of the same case names, as further items; {label: labels@anna} picks one of several raters.
    accept: codes of faults that are known and meant, and become warnings: "T09" (the same patient or image in two
    parts), "D21" (a slice is missing).
    modality: a DICOM code (MR, CT, US, DX, OP, ...) or a word (fundus, histology, ...; see `prepare.modality`) where
    the files do not say it; it chooses how training images are varied, and CT's normalisation.
    """

    folder: str | None = None
    layout: str | None = None
    classes: dict[int, str] = Field(default_factory=dict)
    labels: dict[str, Literal["nonzero", "instances"] | int | list[int]] = Field(default_factory=dict)
    ignore: int | None = None
    patients: str | None = None
    leave_out: list[str] = Field(default_factory=list)
    terms: str = "unknown"
    channels: list[str] = Field(default_factory=list)
    roles: dict[str, str] = Field(default_factory=dict)
    accept: list[str] = Field(default_factory=list)
    modality: str = ""

    @field_validator("labels")
    @classmethod
    def _meant(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Without a name of the background. Numbers can not name objects and classes at once."""
        if len(value) > 1 and "instances" in value.values():
            raise ValueError("objects of one class can be numbered: `instances` stands alone")
        kept = {name: rule for name, rule in value.items() if rule not in (0, [0])}
        if any(isinstance(rule, list) and 0 in rule for rule in kept.values()):
            raise ValueError("0 is the background, and can not belong to a class beside other values")
        return kept

    @field_validator("modality")
    @classmethod
    def _code(cls, value: str) -> str:
        """The code, whichever word was written."""
        return modality.code(value)

    @field_validator("accept")
    @classmethod
    def _row(cls, value: list[str]) -> list[str]:
        """Codes that can be accepted of data, like T09, with or without HIL-.

        T04, which changes nothing of data, was taken here before, and is part of what runs know their data by.
        """
        _rows([code for code in value if code.upper().removeprefix("HIL-") != "T04"], ("D21", "T09"))
        return _rows(value, tuple(ACCEPTED))


def _rows(codes: Iterable[str], known: Sequence[str]) -> list[str]:
    """The codes without HIL-; ValueError says of one that is not known here what is, and where that one is."""
    rows = [(code, code.upper().removeprefix("HIL-")) for code in codes]
    for code, row in rows:
        if row not in known:
            here = ", ".join(f"{one} ({ACCEPTED[one][0]})" for one in known)
            there = f"; {row} is accepted {ACCEPTED[row][1]}" if row in ACCEPTED else ""
            raise ValueError(f"{code!r} can not be accepted here; this can: {here}{there}")
    return [row for _, row in rows]


def accepted(codes: Iterable[str], known: Sequence[str] = ("D21",)) -> list[str]:
    """What --accept names, without HIL-; a code that would change nothing there is refused (HIL-PLAN-03)."""
    try:
        return _rows(codes, known)
    except ValueError as error:
        raise HilumError("HIL-PLAN-03", f"--accept: {error}", "Leave it out, or name another") from error


@dataclass(frozen=True)
class Dataset:
    """Cases with what is known about them.

    pairs: (fixed id, moving id) where the folder lists them. parts: {case id: part} where a table gives the split.
    box_classes: {value: name} of listed boxes, which says nothing of the values of masks.
    aside: {"what", "kind"} of files that are kept but are no cases (a report, a presentation state), named in plain
    text. unread: where those of them that were not read lie in the folder. unclear: sentences about its tables, for
    which nothing is learned from it (`groups.clash`): columns that would be read but for their letter case, rows twice.
    """

    name: str
    folder: Path
    layout: str
    cases: tuple[Case, ...]
    settings: Settings = field(default_factory=Settings)
    pairs: tuple[tuple[str, str], ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    aside: tuple[Mapping[str, str], ...] = ()
    unread: tuple[Path, ...] = ()
    box_classes: Mapping[int, str] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()

    @property
    def boxes(self) -> bool:
        """Whether boxes are listed."""
        return any(case.boxes is not None for case in self.cases)

    def case(self, name: str) -> Case:
        """The case of that id."""
        return next(c for c in self.cases if c.id == name)

    def only(self, ids: Iterable[str]) -> "Dataset":
        """The cases of those ids, in this order, and the pairs that are listed of them."""
        wanted = set(ids)
        pairs = tuple(pair for pair in self.pairs if wanted >= set(pair))
        return replace(self, cases=tuple(c for c in self.cases if c.id in wanted), pairs=pairs)


def open_dataset(
    path: Path | str, roles: Iterable[str] = (), accept: Iterable[str] = (), channels: Sequence[str] = ()
) -> Dataset:
    """Read a folder, a dataset.yaml or a CSV. roles: what the task needs; a case that lacks one is listed.

    accept: codes of faults that are known and meant (D21), besides those of the settings. channels: what a model takes,
    where the settings do not say.
    """
    path = Path(path)
    if not path.exists():
        raise HilumError("HIL-DATA-01", f"There is nothing at {path}", "Check the path")
    if path.name in ("", ".."):
        # what stands at "." has a name too, and cases and pages are called by it
        path = path.resolve()
    folder, settings = _settings(path)
    # what a dataset.yaml calls ".." has a name too
    fault = _names.name_fault(folder.name) if folder.name not in ("", "..") else ""
    if fault:
        raise HilumError("HIL-I12", f"The name of {_names.shown(folder)} {fault}", "Rename it")
    if accept:
        settings = settings.model_copy(update={"accept": [*settings.accept, *accepted(accept)]})
    if channels and not settings.channels:
        settings = settings.model_copy(update={"channels": list(channels)})
    layout = _layout(folder, settings)
    dataset: Dataset = catalogue.load("hilum.data.layouts", layout).read(folder, settings)
    left_out = {_names.plain(name) for name in settings.leave_out}
    unknown = left_out - {c.id for c in dataset.cases}
    if unknown:
        raise HilumError(
            "HIL-DATA-06", f"leave_out names {sorted(unknown)[0]!r}, which is no case", "Mend dataset.yaml"
        )
    passed = _passed_over(folder, dataset.cases, layout)
    dataset = replace(
        _with_aside(dataset, passed), name=folder.name, folder=folder, layout=layout,
        cases=tuple(sorted(dataset.cases, key=lambda c: c.id)),
    )  # fmt: skip
    dataset = _without(dataset, left_out)
    if settings.accept:
        dataset = replace(dataset, cases=tuple(_accepting(case, settings.accept) for case in dataset.cases))
    _check_roles(dataset, roles)
    return dataset


def _without(dataset: Dataset, names: set[str]) -> Dataset:
    """The data set without cases that are left out; refused where nothing, or no pair of pairs.csv, is left."""
    left = dataset.only(c.id for c in dataset.cases if c.id not in names)
    if not left.cases:
        raise HilumError("HIL-DATA-02", f"{dataset.folder} holds no images", f"Understood folders: {_layout_help()}")
    if dataset.pairs and not left.pairs:
        seen = f"leave_out takes an image out of every pair of {dataset.folder / 'pairs.csv'}"
        raise HilumError("HIL-DATA-06", seen, "List pairs of images that stay, or take pairs.csv away")
    return left


def _passed_over(folder: Path, cases: Iterable[Case], layout: str) -> list[dict[str, str]]:
    """What lies directly in the folder or where cases lie, and is no case nor holds any; of what lies deeper no notes,
    and of folders those that hold images.
    """
    if not folder.is_dir():
        return []
    used: set[Path] = set()
    opened: list[FileSource] = []
    for case in cases:
        for item in case.items.values():
            sources = getattr(item, "sources", (item,))
            for source in [one for one in sources if isinstance(one, FileSource)]:
                if not source.path.is_relative_to(folder) or source.path == folder:
                    # a series that lies in the folder itself, or data kept elsewhere: nothing can be said
                    return []
                used.update(source.path.relative_to(folder).parents, [source.path.relative_to(folder)])
                opened.append(source)
    # studies are read at any depth
    places = {source.path.parent for source in opened} - {folder} if layout != "studies" else set()
    found = [(p, True) for p in folder.iterdir() if p.name not in BESIDE]
    found += [(p, False) for place in places for p in place.iterdir()]
    rest = {
        p: p.is_dir()
        for p, whole in found
        if not p.name.startswith(".") and p.relative_to(folder) not in used and (whole or _told_of(p))
    }
    # voxels in a file of their own are read with the header beside them
    near = {p.parent for p in rest}
    parts = {file for one in opened if one.format != "dicom" and one.path.parent in near for file in one.files}
    return [
        {"what": str(p.relative_to(folder)), "kind": "a folder, not read" if rest[p] else "a file, not read"}
        for p in sorted(rest.keys() - parts)
    ]


def _told_of(path: Path) -> bool:
    """Whether what is not used beside the cases may be meant as one: no note, and of folders those with images."""
    return _holds_images(path) if path.is_dir() else path.suffix.lower() not in _source.NOTES


def _with_aside(dataset: Dataset, found: Iterable[Mapping[str, str]]) -> Dataset:
    """The data set with that, too, beside its cases. Nobody checked these names: they may be no text, or steer a
    terminal.
    """
    beside = [(Path(one["what"]), one["kind"]) for one in (*dataset.aside, *found)]
    aside = tuple({"what": _names.shown(path), "kind": kind} for path, kind in beside)
    return replace(dataset, aside=aside, unread=tuple(path for path, kind in beside if kind.endswith("not read")))


def left_aside(dataset: Dataset) -> list[str]:
    """A sentence about images that lie among the data and are no cases, and folders that hold some."""
    found = [_names.shown(path) for path in dataset.unread if _holds_images(dataset.folder / path)]
    return [f"Images that lie beside the cases are not read: {listed(found)}"] if found else []


def _holds_images(path: Path) -> bool:
    """By names alone; folders called like the parts of a published data set are meant to stand beside it."""
    if not path.is_dir():
        return _source.is_image(path)
    if path.name.startswith(("images", "labels")):
        return False
    with contextlib.suppress(OSError):
        return any(map(_source.is_image, path.iterdir()))
    return False


def _accepting(case: Case, rows: list[str]) -> Case:
    """The case with its files read under those exceptions."""
    items = {r: item.accepting(rows) if hasattr(item, "accepting") else item for r, item in case.items.items()}
    return replace(case, items=items)


def _settings(path: Path) -> tuple[Path, Settings]:
    """The data folder (or table) and its settings; beside a table lies what is said of it, as in a folder."""
    sheet = path.is_file() and path.suffix.lower() in SHEETS
    written = path if path.suffix in (".yaml", ".yml") else (path.parent if sheet else path) / "dataset.yaml"
    if not written.is_file():
        return path, Settings()
    settings = _read(written)
    folder = _named(written, settings)
    if not sheet:
        return folder, settings
    about = folder.resolve() in (path.resolve(), path.parent.resolve())
    if not about or settings.layout not in (None, "table"):
        # of other data it may say what is wrong here, and left out without a word it would be missed
        said = f"layout: {settings.layout}" if about else f"folder: {settings.folder}"
        raise HilumError(
            "HIL-DATA-03", f"{written} says `{said}`, so it is not about {path.name} beside it",
            f"Give {written.name} itself, or write `folder: {path.name}` and what else is to be said of it into a YAML "
            "of another name, and give that",
        )  # fmt: skip
    return path, settings


def _read(written: Path) -> Settings:
    """The settings in a file."""
    try:
        data = yaml.safe_load(written.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # a date that is none is a plain ValueError
        raise HilumError("HIL-DATA-03", f"{written} is not YAML ({error})", "Mend it") from error
    if not isinstance(data, dict):
        raise HilumError("HIL-DATA-03", f"{written} is not a list of settings", "Write lines like `folder: nuclei`")
    return checked(Settings, data, str(written))


def _named(written: Path, settings: Settings) -> Path:
    """The folder or table that such a file is about: what it names, else where it lies."""
    if settings.folder is None:
        return written.parent
    bases = [written.parent, Path(os.environ["HILUM_DATA"])] if os.environ.get("HILUM_DATA") else [written.parent]
    for base in bases:
        if (base / settings.folder).exists():
            return base / settings.folder
    raise HilumError(
        "HIL-DATA-01", f"{written} names the folder {settings.folder!r}, which is not beside it",
        "Set HILUM_DATA to the folder that holds it, or write the whole path",
    )  # fmt: skip


def _layout(folder: Path, settings: Settings) -> str:
    """The first layout (by its CARD's order) that recognises the folder."""
    if settings.layout:
        catalogue.card("hilum.data.layouts", settings.layout)
        return settings.layout
    known = catalogue.cards("hilum.data.layouts")
    for name in sorted(known, key=lambda n: known[n]["order"]):
        if catalogue.load("hilum.data.layouts", name).recognises(folder):
            return name
    seen = f"{folder} holds no images Hilum can read"
    deeper = next((p for p in folder.rglob("*") if p.parent != folder and _source.is_image(p)), None)
    if deeper is not None:
        place = deeper.relative_to(folder).parent
        seen = f"The images in {folder} lie where no known layout has them, the first in {place}"
    raise HilumError("HIL-DATA-02", seen, f"List them in a CSV, or see the understood folders: {_layout_help()}")


def _layout_help() -> str:
    return "; ".join(card["about"] for card in catalogue.cards("hilum.data.layouts").values())


def _check_roles(dataset: Dataset, roles: Iterable[str]) -> None:
    """Every case must have every role ("a|b": one of them); all that lack one are listed (T10)."""
    for role in roles:
        if role == "class" and (doubt := no_classes(dataset)):
            raise doubt
        choices = role.split("|")
        lacking = [c.id for c in dataset.cases if not any(has_role(c, r) for r in choices)]
        if lacking:
            remedy = f"Add the missing {choices[0]}, or list the cases under leave_out in a dataset.yaml"
            if role == "image" and any({"fixed", "moving"} <= c.items.keys() for c in dataset.cases):
                remedy = "Lay the images into images/ of a folder, and list the pairs in a pairs.csv beside it"
            # one that was chosen and is not everywhere is not to be chosen again
            chosen = choices[0] in dataset.settings.roles
            there = {r for c in dataset.cases for r in c.items if r.startswith(f"{choices[0]}@")}
            raters = [] if chosen else sorted(there)
            if raters:
                folder = raters[0].replace("label@", "labels@")
                remedy = (
                    f"There is {listed(raters)}: choose one by `roles: {{{choices[0]}: {folder}}}` in a dataset.yaml"
                )
            if role == "class" and dataset.layout in ("studies", "flat"):
                remedy = (
                    "Where folders are the classes, write `layout: class_folders` in a dataset.yaml; else add a "
                    "cases.csv with the columns case and class"
                )
            raise HilumError(
                "HIL-T10",
                f"{len(lacking)} of {len(dataset.cases)} cases in {dataset.folder} have no {choices[0]}: "
                f"{listed(lacking)}",
                remedy,
            )


def no_classes(dataset: Dataset) -> HilumError | None:
    """Why what a layout takes for classes, and no dataset.yaml calls so, may be none: its `doubtful` says it."""
    if dataset.settings.layout:
        return None
    told = getattr(catalogue.load("hilum.data.layouts", dataset.layout), "doubtful", None)
    found: HilumError | None = None if told is None else told(dataset.folder)
    return found


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: all, up to 50."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def has_role(case: Case, role: str) -> bool:
    """Whether the case can give that role; "class" is its folder or column, "boxes" rows or a label mask."""
    if role == "class":
        return case.klass is not None
    if role == "boxes":
        return case.boxes is not None or "label" in case.items
    return role in case.items


def attribute(case: Case, column: str) -> str:
    """The word in a further column of a table; "" where there is none, or NA and the like."""
    return table.told({column: str(case.attributes.get(column) or "").strip()}, column)


def patient(settings: Settings, case_id: str) -> str | None:
    """The patient as the settings know it, or None."""
    if settings.patients is None:
        return None
    if settings.patients == "case":
        return case_id
    try:
        found = re.search(settings.patients, case_id)
    except re.error as error:
        raise HilumError(
            "HIL-DATA-03", f"patients: {settings.patients!r} is no regular expression ({error})", "Mend it"
        ) from error
    if not found or not found.groups() or found.group(1) is None:
        raise HilumError("HIL-DATA-06", f"patients: {settings.patients!r} does not match case {case_id!r}", "Mend it")
    return str(found.group(1))
