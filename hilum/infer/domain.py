"""What kind of image a model was made for, as far as anybody says it; a warning where an image is of another (HIL-M08).

Compared is what both sides state: the DICOM modality, and the distance of voxels. Which part of a body an image shows,
and whether a contrast agent was given, nobody keeps of the training images; a calibrated run finds most images of
another part unlike (`trust.outlier`).
"""

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.core.plan import Plan, Strict, checked
from hilum.core.run import Run

NAME = "domain.json"
ROLES = {"image": "image", "fixed": "fixed image", "moving": "moving image"}
# Roles whose images are compared with those of training, and what they are called.
FACTOR, UNKNOWN = 3.0, 10.0
# Times as far apart as in any training image, or as close, from which on it is said; and as the network's own voxels,
# where nothing is known of training: a network may well have learned from images much coarser than its grid.
ALIKE = {"CR": "DX", "RG": "DX"}
# Films, plates and flat detectors take the same picture.
SILENT = ("", "OT")
# Codes that say nothing.
AXES = ("left-right", "anterior-posterior", "superior-inferior")


class Domain(Strict):
    """modalities: DICOM codes of the training images, by role, where all say what they are.

    spacing: the least and the most mm of them from voxel to voxel, along R, A and S; empty where that is not known.
    """

    modalities: dict[str, list[str]] = Field(default_factory=dict)
    spacing: list[tuple[float, float]] = Field(default_factory=list)


def code(word: Any) -> str:
    """The DICOM modality, alike for pictures that are; "" where it says nothing."""
    found = str(word or "").upper()
    return "" if found in SILENT else ALIKE.get(found, found)


def known(run: Run) -> Domain:
    """Of a bundle a file of its own; of a run, and of a bundle from before there was one, what its other files say.

    Files that are spoilt are refused (HIL-M05): a bundle may come from anywhere.
    """
    if run.has(NAME):
        return checked(Domain, run.json(NAME), NAME)
    try:
        return _of_files(run)
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        seen = f"fingerprint.json or split.csv of {run.path} is damaged ({' '.join(str(error).split())})"
        raise HilumError("HIL-M05", seen, "Copy it again") from error


def _of_files(run: Run) -> Domain:
    """What the fingerprint and the split, the calibration and the plan say."""
    rows, of_all = _training(run)
    modalities = dict[str, list[str]]()
    # one that was cut short says nothing
    with suppress(HilumError):
        modalities = {} if run.calibration is None else dict(run.calibration.modalities)
    own = {code(row.get("modality")) or of_all for row in rows} or {of_all}
    if own == {""} and _is_ct(run.plan):
        own = {"CT"}
    if not modalities and "" not in own:
        modalities = dict.fromkeys(ROLES, sorted(own))
    steps = [row["spacing"] for row in rows if row.get("physical") and len(row["spacing"]) == run.plan.dims == 3]
    return Domain(modalities=modalities, spacing=[(min(axis), max(axis)) for axis in zip(*steps, strict=True)])


def _training(run: Run) -> tuple[list[dict[str, Any]], str]:
    """Rows of the training images in the fingerprint, and the modality stated of all; none where it is lacking."""
    if not run.has("fingerprint.json"):
        return [], ""
    facts = run.json("fingerprint.json")
    # of a pair the case names its images
    learned = {row["case"] for row in run.split() if row["part"] == "train"} if run.has("split.csv") else set()
    rows = facts.get("cases", [])
    return [row for row in rows if row["id"] in learned] or rows, code(facts.get("settings", {}).get("modality"))


def _is_ct(plan: Plan) -> bool:
    """Whether every channel is read in Hounsfield units, or called CT."""
    called = [name.upper() == "CT" for name in plan.channels]
    return all(c or rule.scheme == "ct" for c, rule in zip(called, plan.normalisation, strict=True))


@dataclass(frozen=True)
class Stated:
    """What an image says of itself. modality: "" where it says nothing. steps: mm along R, A, S of a volume."""

    modality: str
    steps: tuple[float, ...] = ()


def stated(image: Image) -> Stated:
    """The same of an image, which is not held by it."""
    steps: tuple[float, ...] = ()
    if image.affine is not None and image.dims == 3:
        steps = tuple(image.spacing[axis] for axis in geometry.axes_to_ras(image.affine)[0])
    return Stated(code(image.meta.get("modality")), steps)


def warnings(images: Mapping[str, Stated], made_for: Domain, plan: Plan) -> list[str]:
    """What is told of the images of a case, by role."""
    found = []
    for role, one in images.items():
        wanted = made_for.modalities.get(role, [])
        if wanted and one.modality and one.modality not in wanted:
            were = " or ".join(wanted)
            found.append(f"HIL-M08: the {ROLES[role]} says that it is {one.modality}, the training images were {were}")
        found += _apart(one.steps, ROLES[role], made_for.spacing, plan.spacing)
    return found


def _apart(
    steps: Sequence[float], called: str, usual: Sequence[tuple[float, float]], planned: Sequence[float] | None
) -> list[str]:
    """A sentence where voxels lie much further apart than usual, or much closer, along the worst axis.

    planned: the network's own steps, which stand for those of training where these are not known. They may be coarser
    by choice, so that an image can not be too fine for them.
    """
    if not steps or not (usual or planned):
        return []
    ends = list(usual) if usual else [(0.0, step) for step in planned or ()]
    off = [max(step / most, least / step) for step, (least, most) in zip(steps, ends, strict=True)]
    worst = max(range(3), key=lambda axis: off[axis])
    if off[worst] <= (FACTOR if usual else UNKNOWN):
        return []
    least, most = ends[worst]
    span = f"{least:.3g}" if least == most else f"{least:.3g} to {most:.3g}"
    of = f"those of training {span} mm" if usual else f"those of the network {most:.3g} mm"
    return [f"HIL-M08: voxels of the {called} lie {steps[worst]:.3g} mm apart {AXES[worst]}, {of}"]
