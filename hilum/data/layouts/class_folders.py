"""One folder per class, images inside."""

from pathlib import Path

from hilum.core.image import Case
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts import _beside
from hilum.data.layouts._files import images
from hilum.io import _source

CARD = {"about": "one folder per class with images inside", "order": 40}


def _classes(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "_"))]


def recognises(folder: Path) -> bool:
    """Sub-folders that hold images, and are not themselves a DICOM series each; no image beside them.

    Images beside folders are the cases (`flat`), and what lies in the folders, as masks that were made of them, is not.
    """
    if not folder.is_dir() or any(_source.is_image(p) for p in folder.iterdir() if p.is_file()):
        return False
    inner = _classes(folder)
    return bool(inner) and all(
        not _source.is_series(p) and any(_source.is_image(q) for q in p.iterdir()) for p in inner
    )


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases named class/file with klass set."""
    cases = [
        Case(f"{inner.name}/{name}", "", {"image": _source.open(path)}, klass=inner.name)
        for inner in _classes(folder)
        for name, path in images(inner).items()
    ]
    return _beside.described(Dataset("", folder, "", tuple(cases), settings))
