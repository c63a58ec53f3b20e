"""DICOM Structured Report: numbers with their units as a measurement report (TID 1500), unverified.

Written with highdicom; read by walking the content tree with pydicom alone, so that the two check each other.
"""

import hashlib
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hilum
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.io._dicom import origin
from hilum.io._dicom.file import capped
from hilum.io._dicom.write import free_code, uid
from hilum.io._guard import reading

CARD = {
    "extensions": [],
    "reads": "scores",
    "writes": ["scores"],
    "about": "DICOM SR (TID 1500), measurements with units, beside their segmentation",
}
REPORTS = {
    "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34",
}  # fmt: skip
# Enhanced, Comprehensive and Comprehensive 3D SR: those that can hold a measurement report.
UNITS = {
    "": ("1", "no units"), "ml": ("mL", "milliliter"), "mL": ("mL", "milliliter"), "l": ("L", "liter"),
    "mm": ("mm", "millimeter"), "cm": ("cm", "centimeter"), "mm2": ("mm2", "square millimeter"),
    "mm3": ("mm3", "cubic millimeter"), "cm3": ("cm3", "cubic centimeter"), "%": ("%", "percent"),
    "HU": ("[hnsf'U]", "Hounsfield unit"), "s": ("s", "second"), "ms": ("ms", "millisecond"), "g": ("g", "gram"),
    "kg": ("kg", "kilogram"), "year": ("a", "year"), "years": ("a", "year"), "deg": ("deg", "degree"),
}  # fmt: skip
# Units as people write them -> UCUM. Other words travel as a UCUM annotation: {word}.
CODES = {code: (code, meaning) for code, meaning in UNITS.values()}
# The same units as `read` gives them, so that what was read can be written again.
VOLUME = ("118565006", "SCT", "Volume")
DEEPEST = 64
# Levels of a content tree; deeper ones are refused (faults.md D08).
PLAIN = re.compile(r"[!-z|~]{1,14}")


@dataclass(frozen=True)
class Measured:
    """One number. unit: as in UNITS, or in UCUM as it is read back.

    segment: (SOP instance of a SEG, segment number) or None.
    tracking: what the number belongs to, the same in every report of it. site: a free word for the place.
    """

    name: str
    value: float
    unit: str = ""
    segment: tuple[str, int] | None = None
    tracking: str = ""
    site: str = ""


def write(
    path: Path, rows: Sequence[Measured], source_files: Sequence[Path | str], segmentations: Sequence[Path] = (),
    notes: Sequence[str] = (), model: str = "",
) -> None:  # fmt: skip
    """Write rows as a Comprehensive 3D SR, unverified and preliminary, with the intended use as a comment.

    source_files: the slices that were measured. segmentations: the SEG files that rows point at. notes: sentences,
    comments too. model: digits that tell what found it: a parameter of the algorithm there, and a part of all
    identifiers. Read back by a second library before it appears (HIL-IO-05). Refused: no rows, numbers that are not
    finite, words that do not fit, a segment that is not there (HIL-IO-04).
    """
    import pydicom

    path = Path(path)
    source = origin.origin(source_files, "measurement report")
    segs = {}
    for file in segmentations:
        with reading(Path(file)):
            seg: Any = pydicom.dcmread(capped(file), stop_before_pixels=True)
            segs[str(seg.SOPInstanceUID)] = seg
    _checked(path, rows, segs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            report = _report(rows, source, segs, [words for note in notes if (words := _plain(note))], model)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HilumError(
                "HIL-IO-04", f"{path.name}: the source slices do not allow a DICOM SR ({error})", "Write CSV instead"
            ) from error
        with writing(path) as part:
            origin.save(report, part)
            _compare(path, rows, read(part), _seen_otherwise(part))


def _checked(path: Path, rows: Sequence[Measured], segs: dict[str, Any]) -> None:
    """Refuse what a report can not say."""
    if not rows:
        raise HilumError("HIL-IO-04", f"{path.name}: a report without numbers", "Give at least one row")
    for row in rows:
        if not math.isfinite(row.value):
            raise HilumError("HIL-IO-04", f"{path.name}: {row.name} is {row.value}", "Leave out what is not a number")
        words = (row.name, *(w for w in (row.tracking, row.site) if w))
        if any(not 0 < len(w) <= 64 or "\\" in w or w != w.strip() for w in words):
            raise HilumError("HIL-IO-04", f"{path.name}: the words {words}", "Use 1 to 64 plain characters each")
        if row.unit not in UNITS and not PLAIN.fullmatch(_bare(row.unit)):
            raise HilumError("HIL-IO-04", f"{path.name}: {row.name} in {row.unit!r}", "Use a short unit, as in UCUM")
        if row.segment is not None:
            seg = segs.get(row.segment[0])
            numbers = [] if seg is None else [int(item.SegmentNumber) for item in seg.SegmentSequence]
            if row.segment[1] not in numbers:
                raise HilumError("HIL-IO-04", f"{path.name}: {row.name} points at no segment here", "Give its SEG file")


def _plain(note: str) -> str:
    """A sentence in one line, without control characters and bytes of a path that are no letters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in note).split())


def _report(
    rows: Sequence[Measured], source: origin.Origin, segs: dict[str, Any], notes: Sequence[str], model: str
) -> Any:
    """The highdicom object; identifiers come from the content."""
    import highdicom.sr as sr
    from pydicom.sr.codedict import codes

    said = [*(tuple(vars(row).values()) for row in rows), *notes]
    words = hashlib.sha256(repr(said).encode()).hexdigest()
    seed = (*source.instances, words, hilum.__version__, *((model,) if model else ()), "report")
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=uid("hilum", hilum.__version__), name="Hilum", manufacturer_name="Hilum", model_name="Hilum"
        ),
    )
    groups = [_group(row, source, segs, model) for row in rows]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups, title=codes.DCM.ImagingMeasurementReport,
    )  # fmt: skip
    for note in (INTENDED_USE, *notes):
        comment = sr.TextContentItem(codes.DCM.Comment, note, sr.RelationshipTypeValues.CONTAINS)
        content[0].ContentSequence.append(comment)
    return sr.Comprehensive3DSR(
        evidence=[*source.headers, *segs.values()], content=content[0], series_instance_uid=uid(*seed, "series"),
        series_number=9003, sop_instance_uid=uid(*seed, "instance"), instance_number=1, manufacturer="Hilum",
        is_complete=True, is_final=False, is_verified=False, manufacturer_model_name="Hilum",
        series_description="Hilum measurements, research use", software_versions=hilum.__version__,
        specific_character_set=origin.UTF8,
    )  # fmt: skip


def _group(row: Measured, source: origin.Origin, segs: dict[str, Any], model: str) -> Any:
    """One measurement group: of a segment, or of the whole series."""
    import highdicom.sr as sr

    found_by = [f"model={model}"] if model else None
    algorithm = sr.AlgorithmIdentification(name="Hilum", version=hilum.__version__, parameters=found_by)
    measurement = sr.Measurement(
        name=_name(row.name), value=float(row.value), unit=sr.CodedConcept(*_unit(row.unit)), algorithm_id=algorithm
    )
    tracking = row.tracking or row.name
    about: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(
            uid=uid(source.first.SeriesInstanceUID, "tracking", tracking), identifier=tracking
        ),
        "measurements": [measurement],
    }
    if row.site:
        about["finding_sites"] = [sr.FindingSite(anatomic_location=free_code(row.site))]
    if row.segment is None:
        images = [sr.SourceImageForMeasurementGroup(h.SOPClassUID, h.SOPInstanceUID) for h in source.headers]
        return sr.MeasurementsAndQualitativeEvaluations(source_images=images, **about)
    seg = segs[row.segment[0]]
    segment = sr.ReferencedSegment(
        sop_class_uid=seg.SOPClassUID, sop_instance_uid=seg.SOPInstanceUID, segment_number=row.segment[1],
        source_series=sr.SourceSeriesForSegmentation(source.first.SeriesInstanceUID),
    )  # fmt: skip
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **about)


def _name(words: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(*VOLUME) if words.lower() == "volume" else free_code(words)


def _unit(unit: str) -> tuple[str, str, str]:
    """UCUM code, scheme, meaning."""
    word = _bare(unit)
    code, meaning = UNITS.get(unit) or CODES.get(unit) or (f"{{{word}}}", word)
    return code, "UCUM", meaning


def _bare(unit: str) -> str:
    """The word of a UCUM annotation, {word}; any other unit as it is."""
    return unit[1:-1] if unit.startswith("{") and unit.endswith("}") else unit


def read(path: Path) -> list[Measured]:
    """Every number of a report, in order, with its unit as UCUM code and what its measurement group says.

    Refused: no report (HIL-IO-04), a content tree deeper than 64 levels (HIL-D08).
    """
    import pydicom

    path = Path(path)
    with reading(path):
        data = pydicom.dcmread(capped(path))
        if data.get("SOPClassUID") not in REPORTS:
            raise HilumError("HIL-IO-04", f"{path} is no DICOM measurement report", "Give a TID 1500 report")
        return list(_numbers(path, data, {}, 0))


def _numbers(path: Path, item: Any, around: dict[str, Any], depth: int) -> Iterator[Measured]:
    """Numbers under a container; `around` is what the groups around it say."""
    if depth > DEEPEST:
        raise HilumError("HIL-D08", f"{path} nests its content deeper than {DEEPEST} levels", "Export it again")
    below = list(item.get("ContentSequence", []))
    said = around | _said(below)
    for child in below:
        kind = str(child.get("ValueType", ""))
        if kind == "NUM" and child.get("MeasuredValueSequence"):
            own = said | _said(child.get("ContentSequence", []))
            measured = child.MeasuredValueSequence[0]
            exact = measured.get("FloatingPointValue")
            value = float(measured.NumericValue if exact is None else exact)
            unit = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
            yield Measured(
                _meaning(child), value, unit, own.get("segment"), own.get("tracking", ""), own.get("site", "")
            )
        elif kind == "CONTAINER":
            yield from _numbers(path, child, said, depth + 1)


def _said(items: Any) -> dict[str, Any]:
    """Tracking identifier, finding site and referenced segment among the items of a group."""
    said: dict[str, Any] = {}
    for item in items:
        code = str(item.ConceptNameCodeSequence[0].get("CodeValue", "")) if "ConceptNameCodeSequence" in item else ""
        if code == "112039" and "TextValue" in item:
            said["tracking"] = str(item.TextValue)
        elif code in ("363698007", "G-C0E3") and "ConceptCodeSequence" in item:
            said["site"] = str(item.ConceptCodeSequence[0].CodeMeaning)
        elif code == "121191" and "ReferencedSOPSequence" in item:
            seg = item.ReferencedSOPSequence[0]
            number = seg.get("ReferencedSegmentNumber")
            first = number if isinstance(number, int) or number is None else number[0]
            said["segment"] = (str(seg.ReferencedSOPInstanceUID), int(first or 0))
    return said


def _meaning(item: Any) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _seen_otherwise(part: Path) -> list[Measured]:
    """The same rows through highdicom's own classes."""
    import highdicom.sr as sr

    with reading(part):
        content: Any = sr.srread(part).content
        groups = [*content.get_image_measurement_groups(), *content.get_volumetric_roi_measurement_groups()]
        rows = []
        for group in groups:
            reference = getattr(group, "reference_type", None)
            segment = None
            if reference is not None:
                seg = group.referenced_segment
                segment = (str(seg.referenced_sop_instance_uid), int(seg.referenced_segment_numbers[0]))
            sites = [str(site.value.meaning) for site in group.finding_sites]
            for found in group.get_measurements():
                rows.append(
                    Measured(
                        str(found.name.meaning), float(found.value), str(found.unit.value), segment,
                        str(group.tracking_identifier), sites[0] if sites else "",
                    )
                )  # fmt: skip
        return rows


def _compare(path: Path, rows: Sequence[Measured], seen: list[Measured], other: list[Measured]) -> None:
    """Both readers find every row, with its value to nine digits (HIL-IO-05)."""
    wanted = [
        Measured(_name(r.name).meaning, r.value, _unit(r.unit)[0], r.segment, r.tracking or r.name, r.site)
        for r in rows
    ]
    for found in (seen, other):
        left = list(found)
        for row in wanted:
            twin = next((f for f in left if _same(row, f)), None)
            if twin is None:
                raise HilumError(
                    "HIL-IO-05", f"{path} was not written: read back, {row.name!r} is lost or changed", "Report a bug"
                )
            left.remove(twin)
        if left:
            raise HilumError(
                "HIL-IO-05", f"{path} was not written: read back, {len(left)} rows too many", "Report a bug"
            )


def _same(a: Measured, b: Measured) -> bool:
    """Whether two rows say the same; decimal strings keep sixteen characters."""
    words = (a.name, a.unit, a.segment, a.tracking, a.site) == (b.name, b.unit, b.segment, b.tracking, b.site)
    return words and math.isclose(a.value, b.value, rel_tol=1e-9, abs_tol=1e-12)
