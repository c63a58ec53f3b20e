"""`open`: a path becomes a lazy source; the format is chosen by the CARDs of this folder, never by an edited list."""

import builtins
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Image, Measurement
from hilum.io._guard import full_only, reading

HEAD = 132
# Bytes that tell the format of a file without a known extension: DICOM's mark ends at 132.


@dataclass(frozen=True)
class FileSource:
    """A file or a DICOM series folder, read when asked for.

    path: where. format: the name of a file in hilum/io. part: one slice of a k-space file, None for the whole.
    """

    path: Path
    format: str
    part: int | None = None

    @property
    def kind(self) -> str:
        """What `read` gives: "image" or "measurement"."""
        return str(catalogue.card("hilum.io", self.format)["reads"])

    @property
    def _module(self) -> ModuleType:
        return importlib.import_module(catalogue.card("hilum.io", self.format)["module"])

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Image | Measurement:
        """The image (or measurement); any failure is a HilumError that names the file."""
        with reading(self.path):
            if self.kind == "measurement":
                full_only(self.path, level)
                if region is not None:
                    raise HilumError("HIL-IO-07", f"{self.path} is raw data and has no image regions", "Read it whole")
                measurement: Measurement = self._module.read(self.path, slice=self.part)
                return measurement
            image: Image = self._module.read(self.path, region, level)
            return image

    def read_labels(self, like: Image | None = None) -> Image:
        """The file as whole-number labels (1, *space) int32, values exactly as stored.

        like: the image that the labels belong to; a DICOM SEG, which leaves empty slices out, is put on its grid.
        """
        with reading(self.path):
            if self.format == "dicom" and self.path.is_file():
                from hilum.io import dicom_seg

                if dicom_seg.is_seg(self.path):
                    mask = dicom_seg.read(self.path, like=like)
                    if mask.stacked:
                        raise HilumError("HIL-D43", f"{self.path} has overlapping segments", "Export them one by one")
                    return Image(
                        mask.array[None], mask.affine, meta={"path": str(self.path), "classes": dict(mask.classes)}
                    )
            if not hasattr(self._module, "read_labels"):
                raise HilumError(
                    "HIL-IO-04", f"{self.path} ({self.format}) can not hold labels", "Give NIfTI, PNG or TIFF"
                )
            labels: Image = self._module.read_labels(self.path)
            return labels


def _extensions() -> list[tuple[str, str]]:
    """(extension, format) that read something, longest extension first so that .nii.gz wins over .gz."""
    found = [
        (extension, name)
        for name, card in catalogue.cards("hilum.io").items()
        if card["reads"]
        for extension in card["extensions"]
    ]
    return sorted(found, key=lambda pair: -len(pair[0]))


def by_name(path: Path) -> str | None:
    """The format that the file's name speaks of, or None."""
    name = Path(path).name.lower()
    if name.startswith("."):
        return None
    return next((form for extension, form in _extensions() if name.endswith(extension)), None)


def sniff(path: Path) -> str | None:
    """The format that the file's first bytes speak of, or None."""
    with builtins.open(path, "rb") as stream:
        head = stream.read(HEAD)
    for name, card in catalogue.cards("hilum.io").items():
        for offset, mark in card.get("magic", ()):
            if card["reads"] and head[offset : offset + len(mark)] == mark:
                return name
    return None


def is_image(path: Path) -> bool:
    """Whether a file's name speaks of something we read; looks at nothing else, ignores names that start with "."."""
    return by_name(path) is not None


def _visible_files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))


def is_series(path: Path) -> bool:
    """Whether a folder holds DICOM files directly (its first file that is not named as another format decides)."""
    path = Path(path)
    if not path.is_dir() or path.name.startswith("."):
        return False
    for file in _visible_files(path):
        form = by_name(file)
        if form == "dicom" or (form is None and sniff(file) == "dicom"):
            return True
        if form is not None:
            return False
    return False


def _known() -> str:
    return ", ".join(sorted({extension for extension, _ in _extensions()})) + ", or a folder with one DICOM series"


def open(path: str | Path, part: int | None = None) -> FileSource:
    """A lazy source for a file or a DICOM series folder.

    part: one slice of a k-space file. Refused: nothing there (HIL-IO-02), nothing we understand (HIL-IO-01).
    """
    path = Path(path)
    if not path.exists():
        raise HilumError("HIL-IO-02", f"There is no file or folder {path}", "Check the path")
    if path.is_dir():
        if is_series(path):
            return FileSource(path, "dicom")
        raise HilumError("HIL-IO-01", f"The folder {path} holds no DICOM files", f"Give one of: {_known()}")
    with reading(path):
        form = by_name(path) or sniff(path)
    if form is None:
        kind = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise HilumError(
            "HIL-IO-01", f"{path} has {kind} and contents that are not understood", f"Understood: {_known()}"
        )
    if part is not None and catalogue.card("hilum.io", form)["reads"] != "measurement":
        raise HilumError("HIL-IO-07", f"{path} is not raw data, it has no part {part}", "Leave the part out")
    return FileSource(path, form, part)
