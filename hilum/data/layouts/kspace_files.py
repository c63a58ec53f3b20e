"""A folder of fastMRI-style HDF5 files."""

from pathlib import Path

from hilum.core.image import Case
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts import _beside
from hilum.io import _source

CARD = {"about": "k-space as fastMRI-style HDF5 files", "order": 30}


def _files(folder: Path) -> list[Path]:
    inner = folder / "kspace" if (folder / "kspace").is_dir() else folder
    return sorted(p for p in inner.glob("*.h5") if not p.name.startswith(".")) if inner.is_dir() else []


def recognises(folder: Path) -> bool:
    """A folder of .h5 files, or with kspace/ of them."""
    return bool(_files(folder))


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases with "kspace"."""
    cases = [Case(path.stem, "", {"kspace": _source.open(path)}) for path in _files(folder)]
    return _beside.described(Dataset("", folder, "", tuple(cases), settings))
