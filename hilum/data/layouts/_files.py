"""What the layouts share: images in a folder by case name, and reading a CSV."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Image, Source
from hilum.io import _source


@dataclass(frozen=True)
class Channels:
    """Several files on one grid as the channels of one image, in this order."""

    sources: tuple[Source, ...]

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
        """All files; refused when one lies elsewhere than the first (N14)."""
        images = [source.read(region, level) for source in self.sources]
        first = images[0]
        assert isinstance(first, Image)
        for other in images[1:]:
            assert isinstance(other, Image)
            apart = other.shape != first.shape or (
                first.affine is not None
                and other.affine is not None
                and geometry.corner_distance(first.affine, first.shape, other.affine, other.shape)
                > geometry.GEOMETRY_TOLERANCE_MM
            )
            if apart:
                names = f"{first.meta.get('path', 'the first channel')} and {other.meta.get('path', 'another')}"
                raise HilumError("HIL-N14", f"{names} do not lie on one grid", "Resample the channels to one grid")
        warnings = tuple(dict.fromkeys(w for image in images for w in image.warnings))
        array = np.concatenate([image.array for image in images])  # type: ignore[union-attr]
        return Image(array, first.affine, warnings, first.meta)


def sources(folder: Path) -> dict[str, Source]:
    """{case name: source} of a folder; nnU-Net's NAME_0000, NAME_0001, ... are the channels of NAME."""
    pictures = images(folder)
    if not pictures or not all(re.fullmatch(r".+_\d{4}", name) for name in pictures):
        return {name: _source.open(path) for name, path in pictures.items()}
    cases: dict[str, list[Path]] = {}
    for name in sorted(pictures):
        cases.setdefault(name[:-5], []).append(pictures[name])
    return {
        name: _source.open(files[0]) if len(files) == 1 else Channels(tuple(_source.open(f) for f in files))
        for name, files in cases.items()
    }


def stem(path: Path) -> str:
    """The case name: the file name without its (double) extension; a folder's whole name."""
    if path.is_dir():
        return path.name
    name = path.name
    return name[:-7] if name.lower().endswith(".nii.gz") else Path(name).stem


def images(folder: Path) -> dict[str, Path]:
    """{case name: path} of the images (files, or folders with a DICOM series) directly inside `folder`."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (_source.is_image(path) or _source.is_series(path)):
            continue
        name = stem(path)
        if name in found:
            raise HilumError(
                "HIL-DATA-04", f"{found[name].name} and {path.name} in {folder} are both called {name!r}", "Rename one"
            )
        found[name] = path
    return found


def rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Column names and rows of a CSV, spaces around cells removed; a file that is no CSV in UTF-8 is refused (I11)."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            found = [{k.strip(): (v or "").strip() for k, v in row.items() if k} for row in reader]
            return [name.strip() for name in reader.fieldnames or [] if name], found
    except (UnicodeDecodeError, csv.Error) as error:
        raise HilumError("HIL-I11", f"{path} is not a CSV in UTF-8 ({error})", "Save it as CSV, UTF-8") from error
