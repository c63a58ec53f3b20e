"""What the layouts share: images in a folder by case name."""

from pathlib import Path

from hilum.core.errors import HilumError
from hilum.io import _source


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
