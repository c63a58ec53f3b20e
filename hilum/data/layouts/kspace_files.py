"""A folder of k-space files: HDF5 as fastMRI or ISMRMRD have it."""

from pathlib import Path

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts import _beside
from hilum.io import _names, _source

CARD = {"about": "k-space files (.h5, .hdf5, .mrd), fastMRI-style or ISMRMRD, in the folder or in kspace/", "order": 30}


def _files(folder: Path) -> list[Path]:
    """Files whose names speak of a format of measurements."""
    cards = catalogue.cards("hilum.io").values()
    endings = {ending for card in cards if card["reads"] == "measurement" for ending in card["extensions"]}
    if folder.is_file():
        return [folder] if folder.suffix.lower() in endings else []
    inner = folder / "kspace" if (folder / "kspace").is_dir() else folder
    if not inner.is_dir():
        return []
    return [path for path in _source.visible(inner) if path.suffix.lower() in endings]


def recognises(folder: Path) -> bool:
    """A folder of k-space files, or with kspace/ of them; one such file."""
    return bool(_files(folder))


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases with "kspace". Refused: two files of one name (HIL-DATA-04)."""
    cases: dict[str, Case] = {}
    for path in _files(folder):
        name = _names.plain(path.stem)
        if name in cases:
            raise HilumError("HIL-DATA-04", f"Two files in {path.parent} are called {name!r}", "Rename one")
        cases[name] = Case(name, "", {"kspace": _source.open(path)})
    return _beside.chosen(_beside.described(Dataset("", folder, "", tuple(cases.values()), settings)))
