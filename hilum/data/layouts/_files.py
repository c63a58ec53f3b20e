"""What the layouts share: images in a folder by case name."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import catalogue, geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array, Extent, Image, Source
from hilum.data.dataset import BESIDE, listed
from hilum.io import _names, _source

NNUNET = ("imagesTr", "imagesTs")
# Folders in which files counted from zero are channels, as nnU-Net names them.


@dataclass(frozen=True)
class Channels:
    """Several files on one grid as the channels of one image, in this order."""

    sources: tuple[Source, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that it is read from."""
        return tuple(file for source in self.sources for file in getattr(source, "files", ()))

    def accepting(self, rows: Iterable[str]) -> "Channels":
        """Every file read under those exceptions."""
        rows = list(rows)
        return Channels(tuple(s.accepting(rows) if isinstance(s, _source.FileSource) else s for s in self.sources))

    def extent(self) -> Extent | None:
        """What the headers of all say together; None where one of them does not say it."""
        told = [source.extent() if isinstance(source, _source.FileSource) else None for source in self.sources]
        known = [one for one in told if one is not None]
        if not known or len(known) < len(told):
            return None
        shape = (sum(one.shape[0] for one in known), *known[0].shape[1:])
        # numbers of several kinds become those of the largest at least
        voxel = max(one.size // math.prod(one.shape) for one in known)
        return replace(known[0], shape=shape, size=voxel * math.prod(shape), beside=max(one.size for one in known))

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
        """All files, and meta["channel_files"], how many; refused when one lies elsewhere than the first (N14).

        Each joins the others before the next one is read: held is the whole, and one file beside it.
        """
        joined = _Joined(len(self.sources))
        for source in self.sources:
            image = source.read(region, level)
            assert isinstance(image, Image)
            joined.add(image)
            # else it is held while the next one is read
            del image
        return joined.image()


class _Joined:
    """An image of so many files that grows by one after the other."""

    def __init__(self, files: int) -> None:
        self.files, self.channels = files, 0
        self.warnings: dict[str, None] = {}

    def add(self, image: Image) -> None:
        """The channels of one more file; refused when it lies elsewhere than the first (N14)."""
        if not self.channels:
            # where it lies, without its voxels
            self.first = image.like(np.broadcast_to(np.uint8(0), image.array.shape))
            self.array = _empty(self.files * len(image.array), image.array, image.array.dtype)
        _check_grid(self.first, image)
        after, kind = self.channels + len(image.array), np.result_type(self.array, image.array)
        if after > len(self.array) or kind != self.array.dtype:
            # files of several kinds are rare: what was joined so far is copied
            kept, self.array = self.array, _empty(max(after, len(self.array)), image.array, kind)
            self.array[: self.channels] = kept[: self.channels]
        self.array[self.channels : after] = image.array
        self.channels = after
        self.warnings |= dict.fromkeys(image.warnings)

    def image(self) -> Image:
        """All that was added."""
        meta = {**self.first.meta, "channel_files": self.files}
        return Image(self.array[: self.channels], self.first.affine, tuple(self.warnings), meta)


def _empty(channels: int, like: Array, kind: np.dtype[Any]) -> Array:
    """(channels, *space), each of them in memory as the axes of `like` (C, *space) lie there."""
    axes = sorted(range(1, like.ndim), key=lambda axis: -abs(like.strides[axis]))
    made = np.empty((channels, *(like.shape[axis] for axis in axes)), kind)
    return made.transpose(0, *(1 + axes.index(axis) for axis in range(1, like.ndim)))


def _check_grid(first: Image, other: Image) -> None:
    """Refuse a channel that does not lie where the first one does (N14)."""
    apart = other.shape != first.shape or (
        first.affine is not None
        and other.affine is not None
        and geometry.corner_distance(first.affine, first.shape, other.affine, other.shape)
        > geometry.GEOMETRY_TOLERANCE_MM
    )
    if apart:
        names = f"{first.meta.get('path', 'the first channel')} and {other.meta.get('path', 'another')}"
        raise HilumError("HIL-N14", f"{names} do not lie on one grid", "Resample the channels to one grid")


def sources(
    folder: Path, named: Iterable[str] = (), channels: int = 0, pictures: Mapping[str, Path] | None = None
) -> dict[str, Source]:
    """{case name: source} of a folder; nnU-Net's NAME_0000, NAME_0001, ... are the channels of NAME.

    Numbers that leave some out, or begin at 1, count cases and not channels; so do those of one NAME alone (the frames
    of a film, say), unless something says otherwise: `_are_channels`. named: what labels and tables call cases.
    channels: how many the settings name. Refused (HIL-T10): labels called NAME, and a number that is missing.
    pictures: of `images` or `within`, where not all of the folder are meant or links may lead beside it.
    """
    pictures = images(folder) if pictures is None else pictures
    cases: dict[str, list[Path]] = {}
    gaps: set[str] = set()
    counted = bool(pictures) and all(re.fullmatch(r".+_\d{4}", name) for name in pictures)
    for name in sorted(pictures) if counted else []:
        cases.setdefault(name[:-5], []).append(pictures[name])
        if int(name[-4:]) != len(cases[name[:-5]]) - 1:
            gaps.add(name[:-5])
    if gaps and set(named) & cases.keys() and not set(named) & pictures.keys():
        seen = f"Labels or tables of {folder} call cases NAME, as of NAME_0000, ..., of which some are missing: "
        raise HilumError("HIL-T10", seen + listed(sorted(gaps)), "Add the missing channels, or take these cases out")
    counted &= not gaps
    if not counted or not _are_channels(folder, set(pictures), set(cases), set(named), channels):
        return {name: _source.open(path) for name, path in pictures.items()}
    return {
        name: _source.open(files[0]) if len(files) == 1 else Channels(tuple(_source.open(f) for f in files))
        for name, files in cases.items()
    }


def _are_channels(folder: Path, files: set[str], cases: set[str], named: set[str], channels: int) -> bool:
    """Whether files that are counted from zero are the channels of the cases before the numbers.

    Labels decide, called NAME or NAME_0000. Else several names say that they are; of one name with several files only
    a folder called imagesTr or imagesTs, a dataset.json in or beside it, or as many channels in the settings as files.
    """
    if named & (files | cases):
        return bool(named & cases)
    if len(cases) > 1 or len(files) == 1 or folder.name in NNUNET or channels == len(files):
        return True
    return any((place / "dataset.json").is_file() for place in (folder, folder.parent))


def others(folder: Path) -> list[Path]:
    """Files of other formats beside the DICOM files of a folder: previews and tables, which are no cases."""
    if not folder.is_dir():
        return []
    return [p for p in _source.visible(folder) if p.name not in BESIDE and _source.by_name(p) not in (None, "dicom")]


def stem(path: Path) -> str:
    """The case name: the file name without its extension, the longest that is known; a folder's whole name."""
    if path.is_dir():
        return path.name
    known = [end for card in catalogue.cards("hilum.io").values() for end in card["extensions"]]
    fitting = [len(end) for end in known if path.name.lower().endswith(end) and len(end) < len(path.name)]
    return path.name[: len(path.name) - max(fitting, default=len(path.suffix))]


def images(folder: Path, root: Path | None = None) -> dict[str, Path]:
    """{case name: path} of the images (files, or folders with a DICOM series) directly inside `folder`.

    Names are in one unicode form, so that an image and its label find each other. Refused: two files of one case
    (HIL-DATA-04), names that are unsafe or differ only by case or unicode form, links out of `root` (I12).
    root: the data folder; `folder` itself where not given.
    """
    found: dict[str, Path] = {}
    known: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (_source.is_image(path) or _source.is_series(path)):
            continue
        _names.usable(path, root or folder)
        if path.is_dir() and not _source.is_series(path):
            raise HilumError("HIL-I12", f"{path} is named like an image but is a folder", "Rename it")
        name = _names.plain(stem(path))
        other = known.get(_names.folded(name))
        apart = other is not None and _names.folded(other.name) != _names.folded(path.name)
        if other is not None and apart and _names.plain(stem(other)) == name:
            raise HilumError(
                "HIL-DATA-04", f"{other.name} and {path.name} in {folder} are both called {name!r}", "Rename one"
            )
        if other is not None:
            raise HilumError(
                "HIL-I12", f"{other.name!a} and {path.name!a} in {folder} differ only by case or unicode form",
                "Rename one: other computers take them for one file",
            )  # fmt: skip
        known[_names.folded(name)] = path
        found[name] = path
    return found


def within(folder: Path) -> dict[str, Path]:
    """`images` of a folder in a data folder, with links to other places there; also where it is a link to elsewhere."""
    root = folder.parent
    return images(folder, root if folder.resolve().is_relative_to(root.resolve()) else folder)
