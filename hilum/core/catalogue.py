"""Reads a folder's CARDs: what networks, tasks, formats, regimes and augmentations there are.

A catalogue is a package folder; every file without a leading underscore is an entry and the file name is the
entry's name. Its literal ``CARD`` is read with `ast.literal_eval`, so listing costs no heavy import; the module is
imported only when asked for. Other packages join by an entry point named after the catalogue, for example
``[project.entry-points."hilum.zoo"] mynet = "mypackage.mynet"``.
"""

import ast
import functools
import importlib
import importlib.util
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from hilum.core.errors import HilumError, near


def _read_card(path: Path) -> dict[str, Any]:
    """The literal CARD at the head of a Python file, without running the file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "CARD":
            card = ast.literal_eval(node.value)
            return dict(card)
    raise HilumError("HIL-CORE-01", f"{path.name} has no literal CARD", "Give it one: CARD = {...} of plain data")


@functools.cache
def cards(package: str) -> dict[str, dict[str, Any]]:
    """All entries of a catalogue: {name: CARD}, by name. `package`: for example "hilum.zoo"."""
    found: dict[str, dict[str, Any]] = {}
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob("*.py")):
            if not path.stem.startswith("_"):
                found[path.stem] = _read_card(path) | {"module": f"{package}.{path.stem}"}
    for point in entry_points(group=package):
        origin = importlib.util.find_spec(point.value)
        if origin is not None and origin.origin and point.name not in found:
            found[point.name] = _read_card(Path(origin.origin)) | {"module": point.value}
    return dict(sorted(found.items()))


def card(package: str, name: str) -> dict[str, Any]:
    """One entry's CARD; an unknown name is refused with near names."""
    found = _own(package, name)
    if found is not None:
        return found
    known = cards(package)
    if name not in known:
        kind = _KINDS.get(package, package)
        raise HilumError("HIL-CORE-02", f"There is no {kind} named {name!r}", near(name, list(known)))
    return known[name]


@functools.cache
def _own(package: str, name: str) -> dict[str, Any] | None:
    """A CARD of the folder itself, read without those beside it; None where there is no such file."""
    if not name.isidentifier() or name.startswith("_"):
        return None
    spec = importlib.util.find_spec(f"{package}.{name}")
    if spec is None or spec.origin is None or spec.submodule_search_locations is not None:
        return None
    return _read_card(Path(spec.origin)) | {"module": spec.name}


def load(package: str, name: str) -> ModuleType:
    """Import one entry's module."""
    return importlib.import_module(card(package, name)["module"])


_KINDS = {
    "hilum.zoo": "network",
    "hilum.tasks": "task",
    "hilum.learn": "regime",
    "hilum.learn.track": "tracker",
    "hilum.io": "format",
    "hilum.prepare.augment": "augmentation",
    "hilum.metrics": "metric",
    "hilum.losses": "loss",
    "hilum.data.layouts": "dataset layout",
    "hilum.data.phantoms": "phantom",
}
# A word for people; a catalogue not listed is called by its package name.
