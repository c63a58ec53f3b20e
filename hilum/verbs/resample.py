"""resample: one volume onto another's grid, or to another spacing, by world coordinates."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hilum.core import catalogue, geometry
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import accepted
from hilum.io import open as open_image
from hilum.planning import machine
from hilum.prepare import regrid


def resample(
    path: Path | str,
    out: Path | str,
    *,
    like: Path | str | None = None,
    spacing: str | tuple[float, ...] | None = None,
    labels: bool = False,
    accept: tuple[str, ...] = (),
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Write `out` and return the record: from, to, method, outside (share of new voxels), warnings, written.

    like: a volume whose grid is taken. spacing: mm along the image's own axes, "1,1,1" or "1" for all three, over its
    own field of view. labels: whole-number values that must never mix. accept: codes of faults that are known and meant
    (D21), in both volumes. Refused: pictures (HIL-N10), volumes without a known place (HIL-N05), nothing in common
    (HIL-N14), labels with fractions (HIL-N15), no or a nonsensical grid (HIL-PREP-02), an `out` that exists
    (HIL-CORE-03) or that no format writes (HIL-IO-04).
    """
    path, out, accept = Path(path), Path(out), tuple(accepted(accept))
    if (like is None) == (spacing is None):
        given = "Both --like and --spacing are" if like is not None else "Neither --like nor --spacing is"
        raise HilumError("HIL-PREP-02", f"{given} given", "Give one of them")
    if out.exists():
        raise HilumError("HIL-CORE-03", f"{out} exists", "Choose another --out or remove it")
    module = _writer(out)
    wanted = _parsed(spacing) if spacing is not None else None
    image = _volume(path, labels, accept)
    source = regrid.of(image, str(path))
    if like is not None:
        target = regrid.of(_volume(Path(like), False, accept), str(like))
    else:
        assert wanted is not None
        target = regrid.at_spacing(image, wanted, str(path))
    _fits(image, target, labels)
    made, facts = regrid.onto(image, target, labels=labels, called=str(path), progress=progress)
    module.write(out, made)
    goal = _about(target) | ({"like": str(like)} if like is not None else {})
    record = {"from": {"path": str(path)} | _about(source), "to": goal} | facts
    return record | {"warnings": list(made.warnings), "written": str(out)}


def _fits(image: Image, target: regrid.Grid, labels: bool) -> None:
    """Refuse (HIL-PREP-02) a new grid that the free memory does not hold, twice as it is copied for writing."""
    voxels = len(image.array) * int(np.prod(target.shape, dtype=object))
    needed, free = 2 * regrid.kind_of(image.array, labels).itemsize * voxels, machine.memory()[1]
    if needed > free:
        raise HilumError(
            "HIL-PREP-02", f"The new grid needs about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free",
            "Give larger steps, or close other programs",
        )  # fmt: skip


def _volume(path: Path, labels: bool, accept: tuple[str, ...]) -> Image:
    """The image or label map at a path; raw data is refused."""
    source = open_image(path).accepting(accept)
    image = source.read_labels() if labels else source.read()
    if not isinstance(image, Image):
        raise HilumError("HIL-N10", f"{path} is raw data, not an image", "Give a volume (NIfTI, DICOM)")
    return image


def _parsed(spacing: str | tuple[float, ...]) -> tuple[float, ...]:
    """ "1,1,2", "1 1 2", "1" or numbers -> mm along each axis; whether they make sense is checked with the image."""
    try:
        words = spacing.replace(",", " ").split() if isinstance(spacing, str) else list(spacing)
        found = tuple(float(word) for word in words)
    except ValueError as error:
        raise HilumError(
            "HIL-PREP-02", f"The spacing {spacing!r} is not in numbers", "Write millimetres: 1,1,1"
        ) from error
    return found * 3 if len(found) == 1 else found


def _writer(out: Path) -> ModuleType:
    """The format that writes images under that name; it is loaded to see that it does, before anything is read."""
    endings = {
        extension: form
        for form, card in catalogue.cards("hilum.io").items()
        if card["reads"] == "image" and "image" in card["writes"]
        for extension in card["extensions"]
    }
    name = out.name.lower()
    form = next((endings[e] for e in sorted(endings, key=len, reverse=True) if name.endswith(e)), None)
    module = catalogue.load("hilum.io", form) if form is not None else None
    if module is None or not hasattr(module, "write"):
        raise HilumError("HIL-IO-04", f"{out.name} is not the name of a volume", "Name it NAME.nii.gz")
    return module


def _about(grid: regrid.Grid) -> dict[str, Any]:
    """A grid in plain words."""
    return {
        "shape": list(grid.shape),
        "spacing": [round(s, 6) for s in geometry.spacing(grid.affine)],
        "orientation": geometry.orientation(grid.affine),
    }
