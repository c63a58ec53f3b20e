"""What one DICOM file holds: its frames and where each lies, classic or enhanced multi-frame, or why it is no image.

A multi-frame file says things once for all frames (shared groups) or frame by frame. Both are laid flat here, so that
everything after this file knows frames only and never asks what kind of file they came from.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array

FILE_FACTS = (
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
    "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID", "Modality", "SeriesDescription",
    "SeriesNumber", "BitsAllocated", "PixelRepresentation", "SamplesPerPixel",
)  # fmt: skip
# What is said once for a file.
FRAME_FACTS = (
    "InstanceNumber", "ImageType", "AcquisitionNumber", "AcquisitionTime", "AcquisitionDateTime", "ContentTime",
    "TemporalPositionIdentifier", "TriggerTime", "NominalCardiacTriggerDelayTime",
    "NominalPercentageOfCardiacPhase", "NominalPercentageOfRespiratoryPhase", "FrameReferenceTime", "EchoTime",
    "EchoNumbers", "DiffusionBValue", "DiffusionGradientOrientation", "FlipAngle", "InversionTime", "KVP",
    "ConvolutionKernel", "StackID",
)  # fmt: skip
# What may differ from frame to frame and tells overlapping volumes apart.
OTHER_NAMES = {
    "FrameType": "ImageType", "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime", "TemporalPositionIndex": "TemporalPositionIdentifier",
    "EffectiveEchoTime": "EchoTime",
}  # fmt: skip
# Enhanced objects have other words for the same facts.
PRIVATE_B = (0x0019, 0x100C)
# Siemens wrote the b-value here before the standard had a place for it.
PLACE = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Root of the secondary captures, which are pictures whatever their modality says.
KINDS = (
    ("1.2.840.10008.5.1.4.1.1.66.4", "segmentation"), ("1.2.840.10008.5.1.4.1.1.66.7", "segmentation"),
    ("1.2.840.10008.5.1.4.1.1.66", "registration or mapping"),
    ("1.2.840.10008.5.1.4.1.1.11", "presentation state"), ("1.2.840.10008.5.1.4.1.1.88", "structured report"),
    ("1.2.840.10008.5.1.4.1.1.9", "waveform"), ("1.2.840.10008.5.1.4.1.1.104", "encapsulated document"),
    ("1.2.840.10008.5.1.4.1.1.481.3", "RT structure set"), ("1.2.840.10008.5.1.4.1.1.481.2", "RT dose"),
    ("1.2.840.10008.5.1.4.1.1.481.5", "RT plan"), ("1.2.840.10008.5.1.4.1.1.481.8", "RT plan"),
    ("1.2.840.10008.5.1.4.1.1.30", "parametric map"), ("1.2.840.10008.5.1.4.1.1.4.2", "spectroscopy"),
    ("1.2.840.10008.5.1.4.1.1.68", "surface"), ("1.2.840.10008.1.3.10", "DICOMDIR"),
)  # fmt: skip
# Roots of SOP classes that are kept but are no images (faults.md D31).


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame and where it lies in the patient (LPS+, mm); position is None where it does not say.

    frame: its number from 0. header: the file's data set without pixels, None once it has been let go. across, down:
    unit vectors along a row and down a column. pixel_mm: (between rows, between columns). facts: what tells slices
    apart, as words; "" where a tag is absent.
    """

    file: Path
    frame: int
    header: Any
    size: tuple[int, int]
    facts: Mapping[str, str]
    position: Array | None = None
    across: Array = field(default_factory=lambda: np.zeros(3))
    down: Array = field(default_factory=lambda: np.zeros(3))
    pixel_mm: tuple[float, float] = (0.0, 0.0)
    thickness: float = 0.0

    @functools.cached_property
    def normal(self) -> Array:
        """Unit vector from one slice to the next."""
        return np.cross(self.across, self.down)


def _below(uid: str, root: str) -> bool:
    """Whether a UID is `root` or stands under it: 1.1.77 does not stand under 1.1.7."""
    return uid == root or uid.startswith(root + ".")


def is_capture(uid: str) -> bool:
    """Whether a SOP class is a secondary capture."""
    return _below(uid, CAPTURE)


def not_an_image(header: Any) -> str | None:
    """The kind of an object that is kept but not read as an image, or None for an image."""
    uid = str(header.get("SOPClassUID") or getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID") or "")
    for root, name in KINDS:
        if _below(uid, root):
            return name
    if uid and not uid.startswith("1.2.840.10008."):
        return "private object"
    if "Rows" in header and "Columns" in header:
        return "segmentation" if header.get("Modality") == "SEG" else None
    if getattr(header.get("SOPClassUID"), "name", "").endswith("Image Storage"):
        raise HilumError("HIL-D01", f"{header.filename} is cut short or has no pixels", "Export it again")
    return str(header.get("Modality") or "unknown kind")


def slices_of(file: Path, header: Any) -> list[Slice]:
    """The frames of one image file, in file order.

    Refused: a mosaic (HIL-D28), frames without their groups, groups that contradict each other or the dimension index,
    many frames that do not say where they lie (HIL-D29), a place that is no number or no right angle (HIL-N06).
    """
    facts = facts_of(header, FILE_FACTS)
    if "MOSAIC" in _word(header.get("ImageType")).split("\\"):
        raise HilumError("HIL-D28", f"{file} is a mosaic: many slices in one picture", "Export it as enhanced MR")
    count = _count(file, header)
    if "PerFrameFunctionalGroupsSequence" in header or "SharedFunctionalGroupsSequence" in header:
        return _enhanced(file, header, count, facts)
    if count > 1:
        raise HilumError(
            "HIL-D29", f"{file} has {count} frames that do not say where they lie ({facts['Modality']})",
            "Export the frames as single pictures",
        )  # fmt: skip
    facts |= facts_of(header, FRAME_FACTS)
    if not facts["DiffusionBValue"] and "SIEMENS" in _word(header.get("Manufacturer")).upper() and PRIVATE_B in header:
        facts["DiffusionBValue"] = _word(header[PRIVATE_B].value)
    place = {
        "position": header.get("ImagePositionPatient"),
        "turn": header.get("ImageOrientationPatient"),
        "pixel": header.get("PixelSpacing"),
        "thick": header.get("SpacingBetweenSlices") or header.get("SliceThickness"),
    }
    return [_slice(file, 0, header, facts, place)]


def _count(file: Path, header: Any) -> int:
    try:
        return int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError) as error:
        raise HilumError("HIL-D12", f"{file} has {header.get('NumberOfFrames')!r} frames", "Export it again") from error


def facts_of(header: Any, names: tuple[str, ...]) -> dict[str, str]:
    """Those facts of a data set as words, "" where absent."""
    # asked by number: looking keywords up takes most of the time of a triage
    tags = _tags(names)
    written = getattr(header, "words", lambda tag: None)
    found = {}
    for name, tag in tags.items():
        words = written(tag)
        found[name] = words if words is not None else _word(header[tag].value) if tag in header else ""
    return found


@functools.cache
def _tags(names: tuple[str, ...]) -> dict[str, Any]:
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    return {name: Tag(tag_for_keyword(name)) for name in names}  # type: ignore[arg-type]


def _word(value: Any) -> str:
    """A value as a plain word; several are joined as DICOM does."""
    if value is None:
        return ""
    if type(value) is str:
        return value.strip()
    if not isinstance(value, str) and hasattr(value, "__iter__") and not isinstance(value, bytes):
        if hasattr(value, "components"):
            return str(value)
        return "\\".join(_word(one) for one in value)
    return str(value).strip()


def _numbers(file: Path, name: str, value: Any, count: int) -> Array:
    """`count` finite numbers; refused otherwise (HIL-N06)."""
    try:
        found = np.array([float(v) for v in value], dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise HilumError("HIL-N06", f"{file}: {name} is {_word(value)!r}, not {count} numbers", "Mend the header")
    return found


def _slice(file: Path, frame: int, header: Any, facts: dict[str, str], place: dict[str, Any]) -> Slice:
    size = (int(header.get("Rows")), int(header.get("Columns")))
    if not (place["position"] and place["turn"] and place["pixel"]):
        return Slice(file, frame, header, size, facts)
    position = _numbers(file, "the position", place["position"], 3)
    cosines = _numbers(file, "the orientation", place["turn"], 6)
    pixel = _numbers(file, "the pixel spacing", place["pixel"], 2)
    across, down = cosines[:3], cosines[3:]
    fault = max(abs(float(v)) for v in (np.linalg.norm(across) - 1, np.linalg.norm(down) - 1, across @ down))
    if fault > 1e-2:
        raise HilumError("HIL-N06", f"{file}: orientation {cosines.tolist()} is no right angle", "Mend the header")
    if pixel.min() <= 0:
        raise HilumError("HIL-N06", f"{file}: pixel spacing {pixel.tolist()}", "Mend the header")
    across = across / np.linalg.norm(across)
    down = down - (down @ across) * across
    try:
        thick = float(place["thick"] or 0)
    except (TypeError, ValueError):
        thick = 0.0
    thick = abs(thick) if np.isfinite(thick) else 0.0
    down = down / np.linalg.norm(down)
    return Slice(file, frame, header, size, facts, position, across, down, (float(pixel[0]), float(pixel[1])), thick)


def _enhanced(file: Path, header: Any, count: int, facts: dict[str, str]) -> list[Slice]:
    """Every frame of an enhanced file with the groups that hold for it."""
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    if len(groups) != count:
        raise HilumError(
            "HIL-D29",
            f"{file} has {count} frames and describes {len(groups)} of them",
            "Convert it to a classic series",
        )
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    common = facts_of(header, FRAME_FACTS)
    _check_values(file, header, groups, shared)
    found = []
    for number, own in enumerate(groups):
        place = _place(file, number, own, shared)
        frame_facts = facts | common | _group_facts(shared) | _group_facts(own)
        found.append(_slice(file, number, header, frame_facts, place))
    if is_capture(found[0].facts["SOPClassUID"]) or all(one.position is None for one in found):
        raise HilumError(
            "HIL-D29", f"{file} has {count} frames that do not say where they lie ({facts['Modality']})",
            "Export the frames as single pictures",
        )  # fmt: skip
    lost = [one.frame for one in found if one.position is None]
    if lost:
        raise HilumError(
            "HIL-D29", f"{file}: frame {lost[0] + 1} does not say where it lies", "Convert it to a classic series"
        )
    _check_index(file, header, groups, found)
    return found


def _one_of(file: Path, number: int, name: str, own: Any, shared: Any) -> Any:
    """The group of that name for a frame, with what the shared one adds; refused where they contradict each other."""
    from pydicom.dataset import Dataset

    mine, ours = own.get(name), shared.get(name)
    if not (mine and ours):
        chosen = mine or ours
        return chosen[0] if chosen else {}
    if any(mine[0][tag] != ours[0][tag] for tag in mine[0].keys() & ours[0].keys()):
        raise HilumError(
            "HIL-D29", f"{file}: frame {number + 1} and the groups shared by all frames differ in {name}",
            "Convert it to a classic series where the maker's own program can",
        )  # fmt: skip
    whole = Dataset()
    whole.update(ours[0])
    whole.update(mine[0])
    return whole


def _place(file: Path, number: int, own: Any, shared: Any) -> dict[str, Any]:
    position, turn, measure = (_one_of(file, number, name, own, shared) for name in PLACE)
    return {
        "position": position.get("ImagePositionPatient"),
        "turn": turn.get("ImageOrientationPatient"),
        "pixel": measure.get("PixelSpacing"),
        "thick": measure.get("SpacingBetweenSlices") or measure.get("SliceThickness"),
    }


def _check_values(file: Path, header: Any, groups: Any, shared: Any) -> None:
    """Every frame has one rescale or none has, and has it whole; `values` then takes each frame's own."""
    name = "PixelValueTransformationSequence"
    found = [_one_of(file, number, name, own, shared) for number, own in enumerate(groups)]
    some = next((number for number, one in enumerate(found) if not one), None)
    if some is not None and any(found):
        raise HilumError(
            "HIL-D29", f"{file}: frame {some + 1} has no rescale, others have", "Convert it to a classic series"
        )
    for number, (one, own) in enumerate(zip(found, groups, strict=True)):
        for keyword in ("RescaleSlope", "RescaleIntercept"):
            mine = own.get(name)
            if mine and keyword in one and keyword not in mine[0]:
                raise HilumError(
                    "HIL-D29", f"{file}: frame {number + 1} leaves {keyword} to the groups shared by all frames",
                    "Convert it to a classic series where the maker's own program can",
                )  # fmt: skip
            if one and keyword in header and _differ(header.get(keyword), one.get(keyword)):
                raise HilumError(
                    "HIL-D29", f"{file}: frame {number + 1} and the header differ in {keyword}",
                    "Convert it to a classic series where the maker's own program can",
                )  # fmt: skip


def _differ(a: Any, b: Any) -> bool:
    """Whether two values differ: as numbers where they are some, as 1.0 is 1."""
    try:
        return float(a) != float(b)
    except (TypeError, ValueError):
        return _word(a) != _word(b)


def _group_facts(groups: Any) -> dict[str, str]:
    """Whatever the groups of a frame say that tells frames apart, up to two sequences deep."""
    found: dict[str, str] = {}
    for element in groups.values() if hasattr(groups, "values") else ():
        item = groups[element.tag]
        if item.VR != "SQ" or not item.value:
            continue
        inner = item.value[0]
        for name in FRAME_FACTS:
            if name in inner:
                found[name] = _word(inner.get(name))
        for name, usual in OTHER_NAMES.items():
            if name in inner:
                found[usual] = _word(inner.get(name))
        direction = inner.get("DiffusionGradientDirectionSequence")
        if direction:
            found["DiffusionGradientOrientation"] = _word(direction[0].get("DiffusionGradientOrientation"))
    return found


def _check_index(file: Path, header: Any, groups: Any, found: list[Slice]) -> None:
    """The dimension index, where there is one, names every frame once and counts positions in their order."""
    pointers = [int(item.DimensionIndexPointer) for item in header.get("DimensionIndexSequence") or []]
    if not pointers:
        return
    rows = []
    for own in groups:
        content = own.get("FrameContentSequence") or [{}]
        values = content[0].get("DimensionIndexValues")
        several = values if hasattr(values, "__iter__") else [] if values is None else [values]
        rows.append(tuple(int(v) for v in several))
    fault = next((n for n, row in enumerate(rows) if len(row) != len(pointers) or min(row) < 1), None)
    if fault is None and len(set(rows)) < len(rows):
        fault = next(n for n, row in enumerate(rows) if row in rows[:n])
    for axis in () if fault is not None else [a for a, p in enumerate(pointers) if p in (0x00200032, 0x00209057)]:
        fault = _out_of_order(rows, axis, found)
        if fault is not None:
            break
    if fault is not None:
        raise HilumError(
            "HIL-D29", f"{file}: the dimension index {rows[fault]} of frame {fault + 1} contradicts the other frames",
            "Convert it to a classic series where the maker's own program can",
        )  # fmt: skip


def _out_of_order(rows: list[tuple[int, ...]], axis: int, found: list[Slice]) -> int | None:
    """The first frame whose index along the slices runs against its position, or None."""
    stacks: dict[Any, list[tuple[int, float, int]]] = defaultdict(list)
    for number, (row, one) in enumerate(zip(rows, found, strict=True)):
        assert one.position is not None
        key = (row[:axis] + row[axis + 1 :], tuple(np.round(one.normal, 3)))
        stacks[key].append((row[axis], float(one.position @ one.normal), number))
    for stack in stacks.values():
        stack.sort()
        steps = np.diff([place for _, place, _ in stack])
        wrong = np.flatnonzero(np.sign(steps) != np.sign(steps.sum() or 1))
        if wrong.size:
            return stack[int(wrong[0]) + 1][2]
    return None
