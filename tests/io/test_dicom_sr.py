"""DICOM SR: every number comes back with its unit, and points at the segment it was measured on."""

import dataclasses
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE, Mask
from hilum.core.image import Image
from hilum.io import dicom, dicom_seg, dicom_sr
from hilum.io.dicom_sr import Measured

AFFINE = np.array([[-1.0, 0, 0, 20.5], [0, -1.5, 0, 33.0], [0, 0, 2.5, -8.0], [0, 0, 0, 1]])


@dataclasses.dataclass(frozen=True)
class Study:
    files: list[str]
    seg: Path
    instance: str


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("s")
    values = np.random.default_rng(1).integers(0, 900, (1, 8, 6, 5)).astype(np.int16)
    dicom.write_series(folder / "s", Image(values, AFFINE), {"Modality": "MR", "PatientID": "p"})
    files = dicom.read(folder / "s").meta["files"]
    labels = np.zeros((8, 6, 5), np.uint8)
    labels[2:5, 2:4, 1:3], labels[6, 0, 4] = 3, 7
    dicom_seg.write(folder / "m.dcm", Mask(labels, {3: "ventricle", 7: "lesion"}, AFFINE), files)
    return Study(files, folder / "m.dcm", str(pydicom.dcmread(folder / "m.dcm").SOPInstanceUID))


def rows(study: Study) -> list[Measured]:
    return [
        Measured("Volume", 1234.567890123, "ml", (study.instance, 1), "ventricle", "brain"),
        Measured("Größter Durchmesser", 1.5e-7, "mm", (study.instance, 2), "lesion 1"),
        Measured("brain age", -71.25, "year"),
        Measured("mean density", 41.0, "HU", site="liver"),
        Measured("odd score", 3.0, "blobs"),
        Measured("count", 0.0),
    ]


def test_every_row_comes_back(tmp_path: Path, study: Study) -> None:
    dicom_sr.write(tmp_path / "r.dcm", rows(study), study.files, [study.seg])
    seen = dicom_sr.read(tmp_path / "r.dcm")
    assert dicom_sr.read.__doc__ and [row.name for row in seen] == [row.name for row in rows(study)]
    assert [row.unit for row in seen] == ["mL", "mm", "a", "[hnsf'U]", "{blobs}", "1"]
    for row, found in zip(rows(study), seen, strict=True):
        assert found.value == pytest.approx(row.value, rel=1e-12)
        assert (found.segment, found.site, found.tracking) == (row.segment, row.site, row.tracking or row.name)


def test_what_was_read_is_written_with_the_same_units(tmp_path: Path, study: Study) -> None:
    """L once became {L}, and {blobs} was refused."""
    given = [*rows(study), Measured("lung volume", 4.2, "L"), Measured("share", 12.0, "%")]
    dicom_sr.write(tmp_path / "a.dcm", given, study.files, [study.seg])
    first = dicom_sr.read(tmp_path / "a.dcm")
    assert [row.unit for row in first][-2:] == ["L", "%"]
    dicom_sr.write(tmp_path / "b.dcm", first, study.files, [study.seg])
    assert [(r.name, r.unit) for r in dicom_sr.read(tmp_path / "b.dcm")] == [(r.name, r.unit) for r in first]


def test_the_report_says_what_it_is(tmp_path: Path, study: Study) -> None:
    dicom_sr.write(tmp_path / "r.dcm", rows(study), study.files, [study.seg])
    data = pydicom.dcmread(tmp_path / "r.dcm")
    source = pydicom.dcmread(study.files[0])
    assert data.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (data.VerificationFlag, data.PreliminaryFlag, data.PatientID) == ("UNVERIFIED", "PRELIMINARY", "p")
    assert data.StudyInstanceUID == source.StudyInstanceUID
    words = [item.TextValue for item in data.ContentSequence if item.ValueType == "TEXT"]
    assert INTENDED_USE in words
    evidence = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {i.ReferencedSOPInstanceUID for series in evidence for i in series.ReferencedSOPSequence}
    assert {study.instance, *(pydicom.dcmread(f).SOPInstanceUID for f in study.files)} == named


def test_d37_d40_nothing_but_patient_and_study_comes_from_the_source(tmp_path: Path, study: Study) -> None:
    (tmp_path / "s").mkdir()
    files = []
    for file in study.files:
        data, item = pydicom.dcmread(file), pydicom.Dataset()
        data.SpecificCharacterSet, data.PatientName = "ISO_IR 100", "Müller^Jürgen"
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "Schädel"
        item.private_block(0x0009, "SECRET", create=True).add_new(1, "LO", "hidden words")
        data.ProcedureCodeSequence, data.PatientComments = [item], "seen by Dr Who"
        data.save_as(tmp_path / "s" / Path(file).name)
        files.append(tmp_path / "s" / Path(file).name)
    dicom_sr.write(tmp_path / "r.dcm", rows(study)[2:], files)
    raw, data = (tmp_path / "r.dcm").read_bytes(), pydicom.dcmread(tmp_path / "r.dcm")
    assert not any(words in raw for words in (b"hidden words", b"Dr Who", "Schädel".encode("latin-1")))
    assert "ProcedureCodeSequence" not in data and not any(element.tag.is_private for element in data.iterall())
    assert str(data.PatientName) == "Müller^Jürgen" and data.PatientID == "p"


def test_what_is_to_be_known_of_the_numbers_stands_beside_them(tmp_path: Path, study: Study) -> None:
    """In one line and without what no text holds; the same numbers said otherwise are another report."""
    notes = ["Verdict: person", "Warning: HIL-N02: a\\b\nin two\x1b lines, of \udcff.nii", "\n"]
    for name, more in (("a", {"notes": notes, "model": "01ab"}), ("b", {"notes": notes}), ("c", {"model": "01ab"})):
        dicom_sr.write(tmp_path / f"{name}.dcm", rows(study), study.files, [study.seg], **more)  # type: ignore[arg-type]
    dicom_sr.write(tmp_path / "d.dcm", rows(study), study.files, [study.seg])
    found = [pydicom.dcmread(tmp_path / f"{name}.dcm") for name in "abcd"]
    comments = [
        [i.TextValue for i in data.ContentSequence if i.ConceptNameCodeSequence[0].CodeMeaning == "Comment"]
        for data in found
    ]
    said = [INTENDED_USE, "Verdict: person", "Warning: HIL-N02: a\\b in two lines, of .nii"]
    assert comments == [said, said, said[:1], said[:1]]
    assert [str(data).count("'model=01ab'") for data in found] == [len(rows(study)), 0, len(rows(study)), 0]
    assert len({data.SOPInstanceUID for data in found}) == 4
    assert dicom_sr.read(tmp_path / "a.dcm") == dicom_sr.read(tmp_path / "d.dcm")


def test_highdicom_finds_the_segment_and_the_algorithm(tmp_path: Path, study: Study) -> None:
    dicom_sr.write(tmp_path / "r.dcm", rows(study), study.files, [study.seg])
    groups = highdicom.sr.srread(tmp_path / "r.dcm").content.get_volumetric_roi_measurement_groups()
    assert [g.tracking_identifier for g in groups] == ["ventricle", "lesion 1"]
    assert groups[1].referenced_segment.referenced_sop_instance_uid == study.instance
    assert list(groups[1].referenced_segment.referenced_segment_numbers) == [2]
    assert "Hilum" in str(pydicom.dcmread(tmp_path / "r.dcm").ContentSequence[-2])


def test_the_same_numbers_get_the_same_identifiers(tmp_path: Path, study: Study) -> None:
    for name in "ab":
        dicom_sr.write(tmp_path / f"{name}.dcm", rows(study), study.files, [study.seg])
    a, b = (pydicom.dcmread(tmp_path / f"{name}.dcm") for name in "ab")
    assert (a.SOPInstanceUID, a.SeriesInstanceUID) == (b.SOPInstanceUID, b.SeriesInstanceUID)


@pytest.mark.parametrize(
    "row",
    [
        Measured("Volume", float("nan"), "ml"),
        Measured("Volume", float("inf"), "ml"),
        Measured("", 1.0),
        Measured("a" * 65, 1.0),
        Measured("a\\b", 1.0),
        Measured("a", 1.0, "two words"),
        Measured("a", 1.0, "ml", ("1.2.3", 1)),
    ],
)
def test_what_a_report_can_not_say_is_refused(tmp_path: Path, study: Study, row: Measured) -> None:
    with pytest.raises(HilumError, match="HIL-IO-04"):
        dicom_sr.write(tmp_path / "r.dcm", [row], study.files, [study.seg])
    assert list(tmp_path.iterdir()) == []


def test_d43_a_segment_that_the_seg_lacks_is_refused(tmp_path: Path, study: Study) -> None:
    with pytest.raises(HilumError, match="no segment"):
        dicom_sr.write(tmp_path / "r.dcm", [Measured("v", 1.0, "ml", (study.instance, 3))], study.files, [study.seg])


@pytest.mark.parametrize("reader", ["read", "_seen_otherwise"])
@pytest.mark.parametrize("change", [{"value": 2.0}, {"unit": "mm"}, {"segment": None}, {"name": "x"}])
def test_a_number_that_changes_is_not_released(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch, reader: str, change: dict[str, object]
) -> None:
    found = getattr(dicom_sr, reader)
    monkeypatch.setattr(
        dicom_sr, reader, lambda path: [dataclasses.replace(row, **change) for row in found(path)]  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(HilumError, match="HIL-IO-05"):
        dicom_sr.write(tmp_path / "r.dcm", rows(study)[:1], study.files, [study.seg])
    assert list(tmp_path.iterdir()) == []


def test_d31_an_image_is_no_report(study: Study) -> None:
    with pytest.raises(HilumError, match="HIL-IO-04"):
        dicom_sr.read(Path(study.files[0]))


def test_d08_a_tree_without_end_is_refused(tmp_path: Path, study: Study) -> None:
    dicom_sr.write(tmp_path / "r.dcm", rows(study), study.files, [study.seg])
    data = pydicom.dcmread(tmp_path / "r.dcm")
    inner = data.ContentSequence[-2]
    for _ in range(70):
        outer = pydicom.Dataset()
        outer.ValueType, outer.ConceptNameCodeSequence = "CONTAINER", inner.ConceptNameCodeSequence
        outer.ContentSequence = [inner]
        inner = outer
    data.ContentSequence.append(inner)
    data.save_as(tmp_path / "deep.dcm")
    with pytest.raises(HilumError, match="HIL-D08"):
        dicom_sr.read(tmp_path / "deep.dcm")
