"""What a DICOM result hangs on: the slices it was made from, their patient and study, and references to them."""

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hilum
from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.io._dicom import dates, settled
from hilum.io._dicom.file import capped, is_dicom
from hilum.io._dicom.stack import OFF_GRID, SAME_PLACE_MM
from hilum.io._dicom.write import CLASSES, uid
from hilum.io._guard import reading

log = logging.getLogger(__name__)

NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
PLACED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
# What a source slice must state for a result to point at it.
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip
# Tags that must be there but may be empty (type 2); anonymised slices often lack them.
CARRIED = (*MAY_BE_EMPTY, "StudyInstanceUID", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight")
ANONYMISED = ("PatientIdentityRemoved", "DeidentificationMethod", "LongitudinalTemporalInformationModified")
# Nothing but these comes from the source: no private tags, no preamble, no comments.
READ = (
    *NEEDED, *PLACED, *CARRIED, *ANONYMISED, *settled.MEASURES, "Modality", "Rows", "Columns", "NumberOfFrames",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
# All that is looked at of a slice, so that no library can copy more of it: highdicom takes whatever patient and study
# say, sequences with texts in an alphabet of their own among it. What was lossy stays so in a SEG.
UTF8 = "ISO_IR 192"
OFF_MM = 0.1
# How far a mask may lie from its slices; where the reader of series allows more (`tolerances`), so far.
PIXEL = 0.25
# Of the smaller side of a pixel: farther than that no mask may lie beside its slices.
GROUPS = "PerFrameFunctionalGroupsSequence"
# What an enhanced file has, also one of a single frame.


@dataclass(frozen=True)
class Origin:
    """headers: one per file. affine: RAS+ mm of (i, j, k). frames: number of the frame of every slice, in one file.

    off: mm by which the slices lie off that grid, at most.
    """

    headers: list[Any]
    affine: Array
    shape: tuple[int, int, int]
    frames: tuple[int, ...] = ()
    off: float = 0.0

    @property
    def first(self) -> Any:
        """The header that speaks for the series."""
        return self.headers[0]

    @property
    def instances(self) -> tuple[object, ...]:
        """What identifiers of a result hang on besides its content: one series may hold several volumes."""
        return (self.first.SeriesInstanceUID, *(header.SOPInstanceUID for header in self.headers), *self.frames)

    def at(self, k: int) -> Any:
        """A data set that refers to slice k (class, instance, frame)."""
        return refer(self.headers[0 if self.frames else k], self.frames[k] if self.frames else None)


def refer(header: Any, frame: int | None = None) -> Any:
    """SOP class and instance of a header, and a frame of it."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def origin(files: Sequence[Path | str], what: str) -> Origin:
    """The source slices in the order of k, as in meta["files"]: classic slices, or one multi-frame file.

    what: the object that points at them, for the sentence. Refused: none, or slices that lack what a reference
    needs, of several series, or that are no even stack (HIL-IO-04).
    """
    if not files:
        raise HilumError("HIL-IO-04", f"A {what} needs the slices it was made from", 'Give image.meta["files"]')
    headers = [_header(Path(file)) for file in files]
    for words in dict.fromkeys(words for header in headers for words in dates.emptied(header)):
        log.warning("%s", words)
    series = {str(header.SeriesInstanceUID) for header in headers}
    if len(series) > 1 or len({str(header.FrameOfReferenceUID) for header in headers}) > 1:
        raise HilumError("HIL-IO-04", f"{files[0]} and others are of {len(series)} series", "Give one series")
    if _many(headers[0]):
        return _enhanced(Path(files[0]), headers)
    positions = np.array([[float(v) for v in header.ImagePositionPatient] for header in headers])
    first = headers[0]
    thick = first.get("SpacingBetweenSlices") or first.get("SliceThickness")
    settled.classic(Path(files[0]), headers)
    affine = _affine(first.ImageOrientationPatient, first.PixelSpacing, thick, positions)
    off = _even(Path(files[0]), affine, positions)
    settled.state(first, affine)
    return Origin(headers, affine, (int(first.Columns), int(first.Rows), len(headers)), off=off)


def _many(header: Any) -> bool:
    """Whether places stand in groups, frame by frame."""
    return GROUPS in header or int(header.get("NumberOfFrames", 1) or 1) > 1


def _header(file: Path) -> Any:
    import pydicom

    with reading(file):
        # files without a preamble are read as images too
        header: Any = pydicom.dcmread(
            capped(file), stop_before_pixels=True, force=is_dicom(file), specific_tags=list(READ)
        )
        if not header.get("SOPClassUID"):
            # some anonymisers empty it; the modality says as much for classic images
            header.SOPClassUID = CLASSES.get(str(header.get("Modality")), "")
        for tag in MAY_BE_EMPTY:
            if tag not in header:
                setattr(header, tag, None)
        needed = (*NEEDED, "Rows", "Columns", *((GROUPS,) if _many(header) else PLACED))
        missing = [tag for tag in needed if not header.get(tag)]
        if missing:
            raise HilumError("HIL-IO-04", f"{file} lacks {', '.join(missing)}", "Write NIfTI, or restore the tags")
        return header


def _enhanced(file: Path, headers: list[Any]) -> Origin:
    """One multi-frame file: its frames in order along the normal."""
    if len(headers) > 1:
        raise HilumError("HIL-IO-04", f"{file} is one of {len(headers)} multi-frame files", "Give one file")
    with reading(file):
        header = headers[0]
        shared = header.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in header else {}
        frames = list(header.PerFrameFunctionalGroupsSequence)
        places = [settled.group(f, shared, "PlanePositionSequence").ImagePositionPatient for f in frames]
        positions = np.array([[float(v) for v in place] for place in places])
        groups = [settled.group(f, shared, "PlaneOrientationSequence") for f in frames]
        turned = [list(one.ImageOrientationPatient) for one in groups]
        if np.ptp(np.array(turned, float), axis=0).max() > 1e-3:
            raise HilumError("HIL-IO-04", f"{file} has frames of several orientations", "Write NIfTI instead")
        normal = np.cross(*np.array(turned[0], float).reshape(2, 3))
        order = np.argsort(positions @ normal, kind="stable")
        if (np.diff((positions @ normal)[order]) < SAME_PLACE_MM).any():
            raise HilumError(
                "HIL-IO-04", f"{file} holds several volumes, and no result can point at one of them yet",
                "Write NIfTI instead",
            )  # fmt: skip
        measures = settled.group(frames[order[0]], shared, "PixelMeasuresSequence")
        thick = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
        affine = _affine(turned[order[0]], measures.PixelSpacing, thick, positions[order])
        off = _even(file, affine, positions[order])
        settled.enhanced(header, groups[order[0]], measures, positions, affine)
        shape = (int(header.Columns), int(header.Rows), len(frames))
        return Origin(headers, affine, shape, tuple(int(n) + 1 for n in order), off)


def _affine(turned: Any, spacing: Any, thick: Any, positions: Array) -> Array:
    """RAS+ affine of slices at `positions` (LPS mm), in that order: upright, as the reader of series makes it."""
    across, down = np.array(turned, float).reshape(2, 3)
    n, normal = len(positions), np.cross(across, down)
    normal = normal / np.linalg.norm(normal)
    step = (positions[-1] - positions[0]) @ normal / (n - 1) if n > 1 else abs(float(thick or 1))
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = across * float(spacing[1]), down * float(spacing[0])
    lps[:3, 2], lps[:3, 3] = normal * step, positions[0]
    return geometry.check_affine(geometry.flip_lps_ras(lps))


def tolerances(affine: Array, count: int) -> tuple[float, float]:
    """How many mm slices may lie off their grid, (beside it, along it): what the reader of series takes for even.

    Beside it no more than PIXEL: in a stack of many slices the reader's way of counting would let a whole pixel pass.
    """
    *pixel, step = geometry.spacing(affine)
    beside = min(max(OFF_MM, geometry.SHEAR_TOLERANCE * step * (count - 1)), PIXEL * min(pixel))
    return beside, max(OFF_MM, OFF_GRID * step + SAME_PLACE_MM)


def apart(affine: Array, offsets: Array) -> tuple[float, float]:
    """The largest of some offsets (n, 3) LPS mm, (beside, along) the normal of a grid."""
    normal = geometry.flip_lps_ras(affine)[:3, 2] / geometry.spacing(affine)[2]
    along = offsets @ normal
    return float(np.linalg.norm(offsets - np.outer(along, normal), axis=1).max()), float(np.abs(along).max())


def _even(file: Path, affine: Array, positions: Array) -> float:
    """How far the slices lie from where the affine of the stack says, mm; refused where that is too far."""
    lps = geometry.flip_lps_ras(affine)
    beside, along = apart(affine, lps[:3, 3] + np.arange(len(positions))[:, None] * lps[:3, 2] - positions)
    most = tolerances(affine, len(positions))
    if beside > most[0] or along > most[1]:
        raise HilumError(
            "HIL-IO-04", f"{file} and the other slices are no even stack ({max(beside, along):.2f} mm off)",
            "Write NIfTI instead",
        )  # fmt: skip
    return float(np.hypot(beside, along))


def fits(name: str, shape: tuple[int, ...], affine: Any, source: Origin) -> None:
    """Refuse a mask or field that does not lie on the grid of its slices (HIL-N14)."""
    if tuple(shape) != source.shape:
        raise HilumError("HIL-N14", f"{name}: a grid of {tuple(shape)} for slices of {source.shape}", "Use their grid")
    if affine is not None:
        far = geometry.corner_distance(np.asarray(affine), source.shape, source.affine, source.shape)
        if far > tolerances(source.affine, source.shape[2])[0]:
            raise HilumError("HIL-N14", f"{name}: the grid lies {far:.2f} mm from its slices", "Use their grid")


def begin(source: Origin, sop_class: str, modality: str, number: int, about: str, seed: tuple[object, ...]) -> Any:
    """A data set with patient, study, series, equipment and identifiers; these come from `seed`, dates from the clock.

    Everything that identifies the patient is copied from the source, because that is where the result belongs.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data = Dataset()
    data.SpecificCharacterSet = UTF8
    for tag in (*CARRIED, *ANONYMISED):
        if tag in source.first and (tag in MAY_BE_EMPTY or source.first.get(tag)):
            setattr(data, tag, source.first.get(tag))
    data.SOPClassUID, data.SOPInstanceUID = sop_class, uid(*seed, "instance")
    data.SeriesInstanceUID, data.SeriesNumber, data.InstanceNumber = uid(*seed, "series"), number, 1
    data.Modality, data.SeriesDescription = modality, about
    data.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    data.Manufacturer = data.ManufacturerModelName = "Hilum"
    data.SoftwareVersions, data.DeviceSerialNumber = hilum.__version__, "0"
    now = datetime.datetime.now()
    data.InstanceCreationDate, data.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.preamble = b"\x00" * 128
    return data


def now(data: Any) -> tuple[str, str]:
    """Date and time at which `data` was begun."""
    return str(data.InstanceCreationDate), str(data.InstanceCreationTime)


def referenced(data: Any, *sources: Origin) -> None:
    """Name every source instance in the common references: of this study, and of others."""
    from pydicom.dataset import Dataset

    studies: dict[str, dict[str, list[Any]]] = {}
    for source in sources:
        series = studies.setdefault(str(source.first.StudyInstanceUID), {})
        # two volumes may be of one series, as the phases of a 4-D CT are
        known = series.setdefault(str(source.first.SeriesInstanceUID), [])
        named = {item.ReferencedSOPInstanceUID for item in known}
        known += [refer(header) for header in source.headers if header.SOPInstanceUID not in named]
    for study, found in studies.items():
        rows = []
        for series_uid, items in found.items():
            row = Dataset()
            row.SeriesInstanceUID, row.ReferencedInstanceSequence = series_uid, items
            rows.append(row)
        if study == str(data.StudyInstanceUID):
            data.ReferencedSeriesSequence = rows
        else:
            other = Dataset()
            other.StudyInstanceUID, other.ReferencedSeriesSequence = study, rows
            others = data.get("StudiesContainingOtherReferencedInstancesSequence", [])
            data.StudiesContainingOtherReferencedInstancesSequence = [*others, other]


def save(data: Any, path: Path) -> None:
    """Write the file as the standard wants it: an empty preamble, the mark, meta information."""
    data.save_as(path, enforce_file_format=True)


def frame_of(like: Image) -> str:
    """Frame of reference of an image read from DICOM, "" where it is not known."""
    import pydicom

    known = like.meta.get("frame_uid")
    files = like.meta.get("files") or ()
    if known or not files or like.meta.get("format") not in (None, "dicom"):
        return str(known or "")
    file = Path(files[0])
    with reading(file):
        header = pydicom.dcmread(
            capped(file), specific_tags=["FrameOfReferenceUID"], stop_before_pixels=True, force=is_dicom(file)
        )
        return str(header.get("FrameOfReferenceUID") or "")


def belongs(path: Path, frame: str, series: set[str], like: Image) -> None:
    """Refuse an object that speaks of another frame of reference, or of a series that is not here (HIL-D43).

    Only an image read from DICOM has a series and a frame; for others the grid alone decides.
    """
    wanted = str(like.meta.get("series_uid") or "")
    if wanted and series and wanted not in series:
        raise HilumError(
            "HIL-D43", f"{path} belongs to the absent series {', '.join(sorted(series))}, not to {wanted}",
            "Give the series it was made from",
        )  # fmt: skip
    here = frame_of(like)
    if here and frame and here != frame:
        raise HilumError(
            "HIL-D43",
            f"{path} has the frame of reference {frame}, its image {here}",
            "Give the series it was made from",
        )


def series_named(data: Any) -> set[str]:
    """Every series that the common references of an object name."""
    groups = [data, *data.get("StudiesContainingOtherReferencedInstancesSequence", [])]
    return {str(row.SeriesInstanceUID) for group in groups for row in group.get("ReferencedSeriesSequence", [])}
