"""A flat folder of images without labels, or one image."""

from pathlib import Path

from hilum.core.image import Case
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts import _beside
from hilum.data.layouts._files import others, sources, stem
from hilum.io import _source

CARD = {"about": "a flat folder of images, or of DICOM series folders", "order": 90}


def recognises(folder: Path) -> bool:
    """A folder with images or DICOM series directly inside, a DICOM series, or one image file."""
    if not folder.is_dir():
        return _source.is_image(folder)
    return _source.is_series(folder) or any(_source.is_image(p) or _source.is_series(p) for p in folder.iterdir())


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases with "image" only."""
    # whatever is no folder is opened, or refused by what it is
    if not folder.is_dir() or _source.is_series(folder):
        aside = tuple({"what": p.name, "kind": "a file, not read"} for p in others(folder))
        case = Case(stem(folder), "", {"image": _source.open(folder)})
        return _beside.chosen(_beside.described(Dataset("", folder, "", (case,), settings, aside=aside)))
    found = sources(folder, _beside.listed_cases(folder), len(settings.channels))
    cases = [Case(name, "", {"image": source}) for name, source in found.items()]
    return _beside.chosen(_beside.described(Dataset("", folder, "", tuple(cases), settings)))
