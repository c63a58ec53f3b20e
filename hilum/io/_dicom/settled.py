"""Our copies of the headers of source slices, made as alike as a result needs them: one orientation, one thickness.

Readers take slices that differ in the last digit, and files that repeat for every frame what all have in common;
highdicom wants it once and exactly. What the slices are is not changed: orientations beyond what is read are refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._dicom.split import TURN

MEASURES = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")


def classic(file: Path, headers: Sequence[Any]) -> None:
    """Give every slice the orientation of the first; refused (HIL-IO-04) where they are of several."""
    turned = np.array([[float(v) for v in header.ImageOrientationPatient] for header in headers])
    # each lies within TURN of one of them, which need not be the first along the stack
    if np.abs(turned - turned[0]).max() > 2 * TURN:
        raise HilumError("HIL-IO-04", f"{file} and others are of several orientations", "Write NIfTI instead")
    for header in headers[1:]:
        header.ImageOrientationPatient = headers[0].ImageOrientationPatient


def group(frame: Any, shared: Any, name: str) -> Any:
    """What the group of that name says of a frame, the one shared by all frames included."""
    from pydicom.dataset import Dataset

    held = Dataset()
    for holder in (shared, frame):
        if name in holder:
            held.update(holder[name][0])
    return held


def enhanced(header: Any, turned: Any, measures: Any, positions: Array, affine: Array) -> None:
    """Write the groups of a multi-frame file anew: orientation and measures shared, positions frame by frame.

    turned, measures: groups that hold for all frames. positions: (n, 3) LPS mm in file order.
    """
    from pydicom.dataset import Dataset
    from pydicom.valuerep import format_number_as_ds

    header.SharedFunctionalGroupsSequence = [Dataset()]
    (shared,) = header.SharedFunctionalGroupsSequence
    shared.PlaneOrientationSequence = [_only(turned, ("ImageOrientationPatient",))]
    shared.PixelMeasuresSequence = [_only(measures, MEASURES)]
    state(shared.PixelMeasuresSequence[0], affine)
    frames = []
    for position in positions:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [format_number_as_ds(float(v)) for v in position]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = frames


def _only(held: Any, names: Sequence[str]) -> Any:
    """A data set with nothing but these values, where they are there."""
    from pydicom.dataset import Dataset

    out = Dataset()
    for name in names:
        if held.get(name) not in (None, ""):
            setattr(out, name, held.get(name))
    return out


def state(held: Any, affine: Array) -> None:
    """Write the distance of the slices into our copy of a header: one that says none would become 1 mm in a SEG.

    It is the thickness, too, where none is stated: no SEG is read by highdicom without one.
    """
    from pydicom.valuerep import format_number_as_ds

    held.SpacingBetweenSlices = format_number_as_ds(geometry.spacing(affine)[2])
    if not held.get("SliceThickness"):
        held.SliceThickness = held.SpacingBetweenSlices
