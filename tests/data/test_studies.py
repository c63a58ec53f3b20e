"""A folder of DICOM studies becomes cases: one per volume, with its segmentation, its patient and its reasons."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.data.dataset import Dataset, open_dataset
from hilum.data.layouts import studies
from hilum.io import dicom, dicom_seg, raster
from hilum.io._dicom.series import candidates
from hilum.io._source import FileSource
from hilum.planning.fingerprint import fingerprint
from hilum.tasks._labels import stored
from hilum.verbs.inspect import inspect

AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])


def series(
    folder: Path, number: int = 1, patient: str = "p1", study: str = "1.2.1", seed: int = 0, **tags: Any
) -> Path:
    array = np.random.default_rng([seed, number]).integers(0, 900, (1, 8, 6, 4)).astype(np.int16)
    dicom.write_series(
        folder, Image(array, AFFINE),
        {"Modality": "MR", "PatientID": patient, "StudyInstanceUID": study, "SeriesNumber": number,
         "SeriesDescription": f"Series {number}", **tags},
    )  # fmt: skip
    return folder


def seg(path: Path, folder: Path, value: int = 1) -> Path:
    source = dicom.read(folder)
    labels = np.zeros(source.shape, np.uint8)
    labels[2:5, 1:4, 1:3] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom_seg.write(path, Mask(labels, {value: "lesion"}, source.affine), source.meta["files"])
    return path


def by_description(dataset: Dataset) -> dict[str, Any]:
    return {str(case.attributes["description"]): case for case in dataset.cases if "description" in case.attributes}


def test_studies_with_segmentations(tmp_path: Path) -> None:
    first = series(tmp_path / "anna" / "day 1" / "t1", 3)
    series(tmp_path / "anna" / "day 1" / "t2", 4)
    series(tmp_path / "bert" / "IM", 3, "p2", "1.2.2", seed=1)
    seg(tmp_path / "anna" / "results" / "m.dcm", first)
    (tmp_path / "anna" / "preview.txt").write_text("no image")
    found = open_dataset(tmp_path)
    assert found.layout == "studies" and len(found.cases) == 3
    assert len({case.group for case in found.cases}) == 2 and all(case.group for case in found.cases)
    labelled = [case for case in found.cases if "label" in case.items]
    assert len(labelled) == 1 and labelled[0].attributes["description"] == "Series 3"
    case = labelled[0]
    assert case.id.startswith(f"{case.group}/3-series-3-") and case.attributes["modality"] == "MR"
    image = case.read("image")
    np.testing.assert_array_equal(image.array, dicom.read(first).array)
    labels = case.items["label"].read_labels(like=image)
    assert labels.shape == image.shape and labels.array.sum() == 3 * 3 * 2
    assert [c.id for c in open_dataset(tmp_path).cases] == [c.id for c in found.cases]
    assert not any("anna" in c.id or "p1" in c.id for c in found.cases)


def test_several_series_directly_inside_are_studies_and_one_is_flat(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    assert not studies.recognises(folder) and open_dataset(folder).layout == "flat"
    other = series(tmp_path / "t", 2)
    for file in other.iterdir():
        shutil.move(file, folder / f"t{file.name}")
    found = open_dataset(folder)
    assert found.layout == "studies" and [c.read("image").shape for c in found.cases] == [(8, 6, 4)] * 2


def test_a_series_with_more_below_it_is_not_taken_for_one(tmp_path: Path) -> None:
    series(series(tmp_path / "s") / "more", 2)
    assert open_dataset(tmp_path / "s").layout == "studies" and len(open_dataset(tmp_path / "s").cases) == 2


def test_a_preview_picture_does_not_make_patients_into_classes(tmp_path: Path) -> None:
    for number, name in enumerate(("anna", "bert"), 1):
        series(tmp_path / name / "scan", number, f"p{number}", f"1.2.{number}")
        raster.write(tmp_path / name / "preview.png", Image(np.zeros((1, 8, 9), np.uint8)))
    found = open_dataset(tmp_path)
    assert found.layout == "studies" and len(found.cases) == 2 and not any(c.klass for c in found.cases)


def test_class_folders_and_folders_of_pictures_stay_what_they_are(tmp_path: Path) -> None:
    for name in ("ill", "well"):
        (tmp_path / name).mkdir()
        raster.write(tmp_path / name / "a.png", Image(np.zeros((1, 8, 9), np.uint8)))
    assert not studies.recognises(tmp_path) and open_dataset(tmp_path).layout == "class_folders"
    series(tmp_path / "ill" / "raw")
    assert not studies.recognises(tmp_path), "well/ holds pictures and no DICOM"
    assert not studies.recognises(tmp_path / "well" / "a.png")


def test_d30_times_of_one_series_are_cases(tmp_path: Path) -> None:
    one = series(tmp_path / "a" / "s")
    for file in sorted(one.iterdir()):
        data = pydicom.dcmread(file)
        data.TemporalPositionIdentifier = 1
        data.save_as(file)
        data.TemporalPositionIdentifier, data.SOPInstanceUID = 2, f"{data.SOPInstanceUID[:-2]}.2"
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.PixelData = bytes(len(data.PixelData))
        data.save_as(one / f"second{file.name}")
    found = open_dataset(tmp_path)
    assert [case.attributes["part"] for case in found.cases] == ["time 1", "time 2"]
    first, second = (case.read("image") for case in found.cases)
    assert first.array.any() and not second.array.any() and first.shape == second.shape == (8, 6, 4)


def test_d21_a_volume_that_is_refused_is_listed_by_inspect(tmp_path: Path) -> None:
    series(tmp_path / "a" / "good")
    (series(tmp_path / "a" / "gap", 2) / "0002.dcm").unlink()
    facts = inspect(tmp_path)
    assert facts["layout"] == "studies" and len(facts["rows"]) == 1 and facts["cases"] == 2
    (problem,) = facts["problems"]
    assert problem["code"] == "HIL-D21" and "2-series-2" in problem["case"]


def test_bad_files_are_warned_of_or_listed(tmp_path: Path) -> None:
    folder = series(tmp_path / "a" / "good")
    (folder / "bad.dcm").write_text("no image")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "lost.dcm").write_text("no image")
    found = open_dataset(tmp_path)
    assert len(found.cases) == 2
    seen = by_description(found)["Series 1"].read("image")
    assert len(seen.warnings) == 1 and "bad.dcm" in seen.warnings[0]
    with pytest.raises(HilumError, match=r"lost\.dcm.*HIL-D02"):
        found.case("unreadable-1").read("image")


def test_two_segmentations_of_one_volume_are_two_readings(tmp_path: Path) -> None:
    folder = series(tmp_path / "a" / "s")
    seg(tmp_path / "a" / "x" / "one.dcm", folder)
    seg(tmp_path / "a" / "x" / "two.dcm", folder, 2)
    (case,) = open_dataset(tmp_path).cases
    assert sorted(case.items) == ["image", "label@1", "label@2"]
    with pytest.raises(HilumError, match=r"HIL-T10") as error:
        open_dataset(tmp_path, ("image", "label"))
    assert "roles: {label: labels@1}" in error.value.remedy
    (tmp_path / "dataset.yaml").write_text("roles: {label: labels@2}\n")
    (case,) = open_dataset(tmp_path, ("image", "label")).cases
    assert set(np.unique(stored(case).array)) == {0, 2}


def test_a_seg_that_hilum_wrote_is_warned_of_where_it_is_taken_for_truth(tmp_path: Path) -> None:
    """What a network had found became the truth of the next one without a word."""
    for patient in ("a", "b", "c"):
        folder = series(tmp_path / patient / "s", patient=patient, study=f"1.2.{ord(patient)}")
        seg(tmp_path / patient / "m.dcm", folder)
    before = open_dataset(tmp_path, ("image", "label"))
    parts = {case.id: "train" for case in before.cases}
    hash_before = fingerprint(before, parts)["hash"]
    # of another maker, and one that a person has drawn in
    for patient, change in (("b", "Manufacturer"), ("c", "SegmentAlgorithmType")):
        data = pydicom.dcmread(tmp_path / patient / "m.dcm")
        setattr(data if patient == "b" else data.SegmentSequence[0], change, "MANUAL")
        data.save_as(tmp_path / patient / "m.dcm")
    found = open_dataset(tmp_path, ("image", "label"))
    warned = [case for case in found.cases if any("HIL-DATA-11" in words for words in stored(case).warnings)]
    assert [case.items["label"].path.parent.name for case in warned] == ["a"]
    assert not any(case.read("image").warnings for case in found.cases), "an image is judged as it is"
    rows = [row["case"] for row in inspect(tmp_path)["rows"] if any("HIL-DATA-11" in one for one in row["warnings"])]
    assert rows == [case.id for case in warned]
    facts = fingerprint(found, parts)
    (said,) = [words for words in facts["warnings"] if words.startswith("HIL-DATA-11")]
    assert "1 of 3 cases" in said and said.endswith("and no truth") and facts["hash"] == hash_before


def test_a_single_segmentation_is_the_first_where_one_of_several_is_chosen(tmp_path: Path) -> None:
    for patient, files in (("a", ["one", "two"]), ("b", ["one"])):
        folder = series(tmp_path / patient / "s", patient=patient, study=f"1.2.{ord(patient)}")
        for name in files:
            seg(tmp_path / patient / "x" / f"{name}.dcm", folder)
    (tmp_path / "dataset.yaml").write_text("roles: {label: labels@1}\n")
    found = open_dataset(tmp_path, ("image", "label"))
    assert [sorted(case.items) for case in found.cases] == [
        ["image", "label", "label@1", "label@2"], ["image", "label", "label@1"],
    ]  # fmt: skip
    # what is not everywhere is not offered a second time
    (tmp_path / "dataset.yaml").write_text("roles: {label: labels@2}\n")
    with pytest.raises(HilumError, match=r"HIL-T10") as error:
        open_dataset(tmp_path, ("image", "label"))
    assert "have no label" in error.value.seen and "roles" not in error.value.remedy
    seg(tmp_path / "b" / "lost.dcm", series(tmp_path.parent / f"{tmp_path.name}-other", 7, "p9", "1.2.9"))
    assert all(case.items for case in open_dataset(tmp_path).cases)


def test_what_nobody_can_look_into_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice without rights may be called anything; it was once left out without a word."""
    folder = series(tmp_path / "a" / "s")
    closed = sorted(folder.iterdir())[-1].rename(folder / "IM0001")

    def access(path: Any, mode: int) -> bool:
        return Path(path) != closed

    monkeypatch.setattr("hilum.io._dicom.series.os.access", access)
    monkeypatch.setattr("hilum.io._dicom.series.looks_like_dicom", lambda file: file != closed and file.is_file())
    bad: list[Any] = []
    files = list(candidates(tmp_path, None, bad))
    assert closed not in files and len(files) == 3
    assert [(path, why.code) for path, why in bad] == [(closed, "HIL-IO-03")]


def test_n15_segments_that_are_numbered_otherwise_are_not_mixed(tmp_path: Path) -> None:
    """Numbers run anew in every file; it was learned as one class what two structures are."""
    for patient, name in (("a", "liver"), ("b", "tumour"), ("c", "Liver")):
        folder = series(tmp_path / patient / "s", patient=patient, study=f"1.2.{ord(patient)}")
        path = seg(tmp_path / patient / "m.dcm", folder)
        data = pydicom.dcmread(path)
        data.SegmentSequence[0].SegmentLabel = name
        data.save_as(path)
    found = open_dataset(tmp_path, ("image", "label"))
    parts = {case.id: "train" for case in found.cases}
    with pytest.raises(HilumError, match=r"1 is liver \(.*\), tumour \(") as error:
        fingerprint(found, parts)
    assert error.value.code == "HIL-N15" and "nonzero" in error.value.remedy
    # a run that was made of them can be gone on with
    assert any("HIL-N15" in words for words in fingerprint(found, parts, kept=True)["warnings"])
    (tmp_path / "dataset.yaml").write_text("labels: {lesion: nonzero}\n")
    fingerprint(open_dataset(tmp_path, ("image", "label")), parts)


def test_cases_csv_says_more_about_studies(tmp_path: Path) -> None:
    for number in (1, 2):
        series(tmp_path / f"{number}", number, f"p{number}")
    names = [case.id for case in open_dataset(tmp_path).cases]
    (tmp_path / "cases.csv").write_text(f"case,class,split,site\n{names[0]},ill,test,Oslo\n")
    found = open_dataset(tmp_path)
    first, second = (found.case(name) for name in names)
    assert (first.klass, first.attributes["site"], first.attributes["modality"]) == ("ill", "Oslo", "MR")
    assert second.klass is None and found.parts == {names[0]: "test"} and first.group and not found.aside


def test_t09_a_patient_that_a_table_names_once_is_one_patient(tmp_path: Path) -> None:
    """The other volumes kept the key of their headers, so that one person lay in training and test."""
    for number, who in enumerate(("p1", "p1", "p2", "")):
        series(tmp_path / f"{number}", number, who)
    data = open_dataset(tmp_path)
    names = {case.attributes["description"]: case.id for case in data.cases}
    (tmp_path / "cases.csv").write_text(f"case,patient\n{names['Series 0']},Anna\n{names['Series 1']},\n")
    found = {case.id: case.group for case in open_dataset(tmp_path).cases}
    assert found[names["Series 0"]] == found[names["Series 1"]] == "Anna"
    assert found[names["Series 2"]] not in ("", "Anna") and found[names["Series 3"]] != "Anna"
    # whom the table tells apart is not one person, whatever the headers say
    series(tmp_path / "4", 4, "p1")
    rows = f"{names['Series 0']},Anna\n{names['Series 1']},Ben\n"
    (tmp_path / "cases.csv").write_text(f"case,patient\n{rows}")
    found = {str(case.attributes["description"]): case.group for case in open_dataset(tmp_path).cases}
    assert (found["Series 0"], found["Series 1"]) == ("Anna", "Ben") and found["Series 4"] not in ("Anna", "Ben")


def test_d43_a_segmentation_without_its_image_is_listed(tmp_path: Path) -> None:
    series(tmp_path / "a" / "s")
    seg(tmp_path / "a" / "m.dcm", series(tmp_path.parent / f"{tmp_path.name}-other", 7, "p9", "1.2.9"))
    found = open_dataset(tmp_path)
    assert [list(case.items) for case in found.cases] == [["image"], ["label"]]
    with pytest.raises(HilumError, match=r"HIL-T10"):
        open_dataset(tmp_path, ("image",))


def test_pictures_are_cases(tmp_path: Path) -> None:
    for number in (1, 2):
        one = series(tmp_path / f"{number}", number, f"p{number}")
        for file in sorted(one.iterdir())[1:]:
            file.unlink()
        (file,) = one.iterdir()
        data = pydicom.dcmread(file)
        data.Modality = "CR"
        del data.ImagePositionPatient
        data.save_as(file)
    found = open_dataset(tmp_path)
    assert [case.read("image").dims for case in found.cases] == [2, 2]
    (tmp_path / "1" / "bad.dcm").write_text("no image")
    found = open_dataset(tmp_path)
    assert [case.id for case in found.cases if case.id.startswith("unreadable")] == ["unreadable-1"]


def test_d27_one_patient_id_with_two_names_is_one_group_that_says_so(tmp_path: Path) -> None:
    """A name that was corrected between two studies put one person into training and test."""
    series(tmp_path / "a" / "s", 1, PatientName="Doe^Jane")
    series(tmp_path / "b" / "s", 2, study="1.2.2", PatientName="Roe^Jane")
    found = open_dataset(tmp_path)
    assert len(found.cases) == 2 and len({case.group for case in found.cases}) == 1
    for case in found.cases:
        (said,) = case.read("image").warnings
        assert said.startswith("HIL-D27: 2 patients") and "Doe" not in said


def test_d22_d32_of_files_that_were_left_out_as_copies_it_is_said(tmp_path: Path) -> None:
    """Only the files that are kept are read again, of which nobody sees that there were others."""
    folder = series(tmp_path / "a" / "s")
    series(tmp_path / "b" / "s", 2, "p2", "1.2.2")
    alone = dicom.read(folder)
    data = pydicom.dcmread(folder / "0002.dcm")
    data.InstanceNumber = 99
    data.save_as(folder / "twin")
    shutil.copy(folder / "0003.dcm", folder / "again")
    found = by_description(open_dataset(tmp_path))
    seen = found["Series 1"].read("image")
    assert [words[:7] for words in seen.warnings] == ["HIL-D22", "HIL-D32"]
    assert "(twin as 0002.dcm)" in seen.warnings[1] and not found["Series 2"].read("image").warnings
    np.testing.assert_array_equal(seen.array, alone.array)


def test_d32_of_a_slice_that_was_sent_again_elsewhere_it_is_said_once(tmp_path: Path) -> None:
    folder = series(tmp_path / "a" / "s")
    series(tmp_path / "b" / "s", 2, "p2", "1.2.2")
    data = pydicom.dcmread(folder / "0004.dcm")
    data.ImagePositionPatient[2] += 2.0
    data.save_as(folder / "twin")
    seen = by_description(open_dataset(tmp_path))["Series 1"].read("image")
    assert [words[:7] for words in seen.warnings].count("HIL-D32") == 1


def test_d27_two_people_in_one_series_are_two_cases_of_one_group(tmp_path: Path) -> None:
    folder = series(tmp_path / "a" / "s")
    for file in sorted(series(tmp_path.parent / f"{tmp_path.name}-other", seed=1).iterdir()):
        data = pydicom.dcmread(file)
        data.SeriesInstanceUID = pydicom.dcmread(folder / "0001.dcm").SeriesInstanceUID
        data.PatientName = "Other^Person"
        data.save_as(folder / f"t{file.name}")
    first, second = open_dataset(tmp_path).cases
    assert first.group == second.group
    assert first.read("image").shape == second.read("image").shape == (8, 6, 4)
    assert (first.read("image").array != second.read("image").array).any()


def test_pictures_beside_the_slices_are_named(tmp_path: Path) -> None:
    folder = series(tmp_path / "a" / "s")
    raster.write(folder / "0_preview.png", Image(np.zeros((1, 8, 9), np.uint8)))
    found = open_dataset(tmp_path)
    assert found.layout == "studies" and len(found.cases) == 1
    assert [one["what"] for one in found.aside] == ["a/s/0_preview.png"]
    alone = open_dataset(folder)
    assert alone.layout == "flat" and [one["what"] for one in alone.aside] == ["0_preview.png"]


@pytest.mark.parametrize("tag", ["ContentCreatorName", "SeriesDescription"])
def test_readings_go_by_their_readers_where_the_files_tell(
    tag: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the names of files label@1 was one reader's mask of this patient and another's of the next."""
    drawn = {"a": [("one", "Zoe"), ("two", "Anna")], "b": [("one", "Anna"), ("two", "Zoe")], "c": [("one", "Zoe")]}
    for patient, files in drawn.items():
        folder = series(tmp_path / patient / "s", patient=patient, study=f"1.2.{ord(patient)}")
        for name, who in files:
            path = seg(tmp_path / patient / "x" / f"{name}.dcm", folder, 1 if who == "Anna" else 2)
            data = pydicom.dcmread(path)
            setattr(data, tag, who)
            data.save_as(path)
    (tmp_path / "dataset.yaml").write_text("roles: {label: labels@1}\n")
    cases = open_dataset(tmp_path).cases
    labelled = [case for case in cases if "label" in case.items]
    assert len(labelled) == 2 and {int(stored(case).array.max()) for case in labelled} == {1}, "Anna's of both"
    (single,) = [case for case in cases if "label" not in case.items]
    assert sorted(single.items) == ["image", "label@2"]
    assert not caplog.messages and not any("readings" in case.attributes for case in cases)
    (tmp_path / "dataset.yaml").unlink()
    assert sorted(map(len, (case.items for case in open_dataset(tmp_path).cases))) == [2, 3, 3]
    # a single one of somebody else, or of nobody, moves no number
    (tmp_path / "dataset.yaml").write_text("roles: {label: labels@1}\n")
    data = pydicom.dcmread(tmp_path / "c" / "x" / "one.dcm")
    for other in ("Aaron", ""):
        setattr(data, tag, other)
        data.save_as(tmp_path / "c" / "x" / "one.dcm")
        cases = open_dataset(tmp_path).cases
        labelled = [case for case in cases if "label" in case.items]
        assert len(labelled) == 2 and {int(stored(case).array.max()) for case in labelled} == {1}, "Anna's of both"
        assert sorted(next(case for case in cases if "label" not in case.items).items) == ["image", "label@3"]
        assert not caplog.messages and not any("readings" in case.attributes for case in cases)
    (tmp_path / "dataset.yaml").unlink()
    # another person in one of them, and numbers are nobody's
    data = pydicom.dcmread(tmp_path / "b" / "x" / "one.dcm")
    setattr(data, tag, "Carl")
    data.save_as(tmp_path / "b" / "x" / "one.dcm")
    cases = open_dataset(tmp_path).cases
    assert "2 of 3 volumes have several SEGs" in caplog.text and "no persons" in caplog.text
    assert not any(name in caplog.text for name in ("Anna", "Zoe", "Carl"))
    assert sorted(case.attributes.get("readings", "") for case in cases) == ["", "numbered", "numbered"]
    firsts = [case.items["label@1"] for case in cases if "label@1" in case.items]
    assert all(isinstance(source, FileSource) and source.path.name == "one.dcm" for source in firsts)
