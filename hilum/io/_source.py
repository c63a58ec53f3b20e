"""`open`: a path becomes a lazy source; the format is chosen by the CARDs of this folder, never by an edited list."""

import builtins
import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Extent, Image, Measurement, Table
from hilum.io import _names, _workers
from hilum.io._guard import full_only, reading

log = logging.getLogger(__name__)

HEAD = 352
# Bytes that tell the format of a file without a known extension: DICOM's mark ends at 132, NIfTI's at 348.
ORDER = 50
# Of formats that share an extension, those with a lower "order" in their CARD are asked first.
NOTES = (".txt", ".md", ".json", ".xml", ".yaml", ".yml", ".html", ".pdf", ".log")
# Endings of what is written about images; such a file does not make its folder a series.


@dataclass(frozen=True)
class FileSource:
    """A file or a DICOM series folder, read when asked for, in a guarded decoding process.

    path: where. format: the name of a file in hilum/io. part: one slice of a k-space file, None for the whole.
    options: what else that format's `read` takes, plain data ({"series": uid, "accept": ["D21"]}).
    """

    path: Path
    format: str
    part: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What `read` gives: "image", "measurement" or "table"."""
        return str(catalogue.card("hilum.io", self.format)["reads"])

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that it is read from: of a folder those that were named, else as its format says."""
        names = self.options.get("files")
        if names is not None and self.path.is_dir():
            return tuple(sorted(self.path / name for name in names))
        return tuple(sorted(_workers.files_of(catalogue.card("hilum.io", self.format)["module"], self.path)))

    def accepting(self, rows: Iterable[str]) -> "FileSource":
        """The same source with those faults (D21) bridged instead of refused, where its format can do that."""
        known = sorted(set(rows) & set(catalogue.card("hilum.io", self.format).get("accepts", ())))
        return replace(self, options={**self.options, "accept": known}) if known else self

    def ask(self, function: str, **options: Any) -> Any:
        """What a function of the format's module says of this file: `levels` of a slide, `count` of k-space slices."""
        with reading(self.path):
            return _workers.decode(catalogue.card("hilum.io", self.format)["module"], function, self.path, options)

    def extent(self) -> Extent | None:
        """What the header says of a volume; None where the format, or the file, does not say it."""
        if not catalogue.card("hilum.io", self.format).get("extent"):
            return None
        # warnings change nothing here
        options = {name: value for name, value in self.options.items() if name != "said"}
        try:
            found = self.ask("extent", **options)
        except HilumError:
            # its reader says what is wrong with it
            return None
        return None if found is None else Extent(**found)

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Image | Measurement | Table:
        """The image (or measurement, or table); any failure is a HilumError that names the file."""
        if self.kind == "image":
            image: Image = self.ask("read", region=region, level=level, **self.options)
            return image
        full_only(self.path, level)
        if region is not None:
            raise HilumError("HIL-IO-07", f"{self.path} is no image and has no regions", "Read it whole")
        part = {} if self.kind == "table" else {"slice": self.part}
        found: Measurement | Table = self.ask("read", **part, **self.options)
        return found

    def read_labels(self, like: Image | None = None) -> Image:
        """The file as whole-number labels (1, *space) int32, values exactly as stored.

        like: the image that the labels belong to; a DICOM SEG, which leaves empty slices out, is put on its grid.
        """
        if self.format == "dicom" and self.path.is_file():
            mask = self._mask(like)
            if mask is not None:
                return mask
        if not hasattr(catalogue.load("hilum.io", self.format), "read_labels"):
            raise HilumError("HIL-IO-04", f"{self.path} ({self.format}) can not hold labels", "Give NIfTI, PNG or TIFF")
        labels: Image = self.ask("read_labels")
        return labels

    def _mask(self, like: Image | None) -> Image | None:
        """The label map of a DICOM object that holds masks, or None where the file is none."""
        for name, card in catalogue.cards("hilum.io").items():
            if card["reads"] != "mask" or not _recognises(name, self.path):
                continue
            with reading(self.path):
                mask = _workers.decode(card["module"], "read", self.path, {"like": like})
            if mask.stacked:
                raise HilumError("HIL-D43", f"{self.path} has overlapping segments", "Export them one by one")
            return Image(mask.array[None], mask.affine, meta={"path": str(self.path), "classes": dict(mask.classes)})
        return None


def _recognises(name: str, path: Path) -> bool:
    """Whether a format that shares its extension with others finds its own content in the file."""
    return bool(_workers.decode(catalogue.card("hilum.io", name)["module"], "recognises", path, {}))


def _readable() -> list[tuple[str, dict[str, Any]]]:
    """(name, CARD) of the formats that a path can be opened as, in the order in which they are asked."""
    cards = catalogue.cards("hilum.io").items()
    kept = [(name, card) for name, card in cards if card["reads"] in ("image", "measurement", "table")]
    return sorted(kept, key=lambda pair: pair[1].get("order", ORDER))


def _named(path: Path) -> list[str]:
    """Formats with the longest extension that fits the file's name (.nii.gz before .gz), first asked first."""
    name = Path(path).name.lower()
    found = [
        (len(extension), form)
        for form, card in _readable()
        for extension in card["extensions"]
        if name.endswith(extension) and not name.startswith(".")
    ]
    most = max((length for length, _ in found), default=0)
    return [form for length, form in found if length == most]


def by_name(path: Path) -> str | None:
    """The format that the file's name speaks of, or None; looks at nothing but the name."""
    return next(iter(reversed(_named(path))), None)


def _marked(path: Path) -> list[str]:
    """Formats whose mark stands in the file's first bytes, first asked first."""
    with reading(path), builtins.open(path, "rb") as stream:
        head = stream.read(HEAD)
    return [
        form
        for form, card in _readable()
        if any(head[offset : offset + len(mark)] == mark for offset, mark in card.get("magic", ()))
    ]


def _format(path: Path) -> str | None:
    """The format of an existing file: by name, else by its first bytes; formats with a question are asked."""
    for form in _named(path) or _marked(path):
        if not catalogue.card("hilum.io", form).get("recognises") or _recognises(form, path):
            return form
    return None


def is_image(path: Path) -> bool:
    """Whether a file's name speaks of something we read; looks at nothing else, ignores names that start with "."."""
    form = by_name(path)
    return form is not None and catalogue.card("hilum.io", form)["reads"] != "table"


def visible(folder: Path) -> Iterator[Path]:
    """The files directly inside whose names do not start with "."."""
    return (p for p in inside(folder) if not p.name.startswith("."))


def inside(folder: Path) -> list[Path]:
    """The files directly inside; of a folder that can not be looked at none, which is said once."""
    try:
        return [p for p in sorted(folder.iterdir()) if p.is_file()]
    except PermissionError:
        _closed(folder)
        return []


@functools.cache
def _closed(folder: Path) -> None:
    log.warning("%s can not be looked at, and nothing in it is read. Check the rights, or take it away", folder)


def is_series(path: Path) -> bool:
    """Whether a folder holds DICOM files directly, by name or by mark, at least as many as images of other formats.

    A preview and a table beside the slices make them no less a series, one DICOM file among pictures is none.
    """
    path = Path(path)
    if not path.is_dir() or path.name.startswith("."):
        return False
    kinds = {name: card["reads"] for name, card in _readable()}
    forms = {file: by_name(file) for file in visible(path)}
    slices = sum(form == "dicom" for form in forms.values())
    others = sum(kinds[form] == "image" for form in forms.values() if form is not None and form != "dicom")
    lacking = max(1, others) - slices
    # names cost nothing: of thousands of pictures none is opened, and of notes beside them neither
    nameless = [file for file, form in forms.items() if form is None and file.suffix.lower() not in NOTES]
    if 0 < lacking <= len(nameless):
        lacking -= sum(1 for _ in islice(filter(_is_dicom, nameless), lacking))
    return lacking <= 0


def _is_dicom(path: Path) -> bool:
    """Whether it bears DICOM's mark; a file that can not be opened says nothing, and is named when it is read."""
    try:
        return "dicom" in _marked(path)
    except HilumError:
        return False


def _known() -> str:
    extensions = {extension for _, card in _readable() for extension in card["extensions"]}
    return ", ".join(sorted(extensions)) + ", or a folder with one DICOM series"


def open(path: str | Path, part: int | None = None, options: Mapping[str, Any] | None = None) -> FileSource:
    """A lazy source for a file or a DICOM series folder.

    part: one slice of a k-space file. options: what else the format's `read` takes, plain data (series, accept, ...).
    Refused: nothing there (HIL-IO-02), nothing we understand (HIL-IO-01), a device or an unusable name (HIL-I12).
    """
    path = Path(path)
    if not path.exists():
        raise HilumError("HIL-IO-02", f"There is no file or folder {path}", "Check the path")
    if path.name in ("", ".."):
        path = path.resolve()
    _names.usable(path, None)
    if path.is_dir():
        if is_series(path):
            return FileSource(path, "dicom", options=options or {})
        raise HilumError(
            "HIL-IO-01", f"The folder {path} is no DICOM series: it holds no DICOM files, or fewer than other images",
            f"Give one of: {_known()}",
        )  # fmt: skip
    with reading(path):
        form = _format(path)
    if form is None:
        kind = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise HilumError(
            "HIL-IO-01", f"{path} has {kind} and contents that are not understood", f"Understood: {_known()}"
        )
    if part is not None and catalogue.card("hilum.io", form)["reads"] != "measurement":
        raise HilumError("HIL-IO-07", f"{path} is not raw data, it has no part {part}", "Leave the part out")
    return FileSource(path, form, part, options or {})
