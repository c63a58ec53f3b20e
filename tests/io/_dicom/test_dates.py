"""Dates, ages, sexes and sizes that are none keep no result from being written; it leaves them empty and says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import dicom, dicom_rtstruct, dicom_seg
from hilum.io._dicom.dates import KINDS, emptied
from hilum.io._dicom.header import quiet

AFFINE = np.array([[-1.0, 0, 0, 20.5], [0, -1.5, 0, 33.0], [0, 0, 2.5, -8.0], [0, 0, 0, 1]])


def header(name: str, value: str) -> Dataset:
    """As a file may hold it."""
    found = Dataset()
    tag = Tag(name)
    # the library makes no number of what is none
    found[tag] = RawDataElement(tag, KINDS[name], len(value), value.encode(), 0, False, True)
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [("StudyDate", "00000000"), ("StudyDate", "20260230"), ("PatientBirthDate", "51"),
     ("PatientBirthDate", "1950.02.03"), ("StudyTime", "999999"), ("PatientAge", "5"), ("PatientAge", "-3Y"),
     ("PatientSex", "Male"), ("PatientSex", "U"), ("PatientWeight", "70,5"), ("PatientSize", "180cm"),
     ("PatientWeight", "nan")],
)  # fmt: skip
def test_d39_what_is_no_date_time_age_sex_or_size_is_taken_out_and_said(name: str, value: str) -> None:
    given = header(name, value)
    (words,) = emptied(given)
    assert words.startswith(f"HIL-D39: {name} is no ") and not given.get(name)
    # it goes into the log, and may be the birthday of a patient
    assert f"({value}" not in words and ("no such day" in words) == (len(value) == 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [("StudyDate", "20260228"), ("StudyDate", "20991231"), ("PatientBirthDate", ""), ("StudyTime", "12"),
     ("StudyTime", "235959.123"), ("PatientAge", "999Y"), ("PatientAge", "003D"),
     ("PatientSex", "O"), ("PatientSex", ""), ("PatientWeight", "70.5"), ("PatientSize", "1.8e0")],
)  # fmt: skip
def test_others_stay(name: str, value: str) -> None:
    given = header(name, value)
    assert emptied(given) == [] and str(given.get(name) or "") == value


@pytest.mark.parametrize("write", [dicom_seg.write, dicom_rtstruct.write])
def test_d39_a_study_without_a_real_date_sex_or_weight_gets_its_result(
    write: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A SEG was refused: month must be in 1..12."""
    values = np.random.default_rng(1).integers(0, 900, (1, 9, 7, 6)).astype(np.int16)
    dicom.write_series(tmp_path / "s", Image(values, AFFINE), {"Modality": "MR", "PatientID": "p"})
    for file in (tmp_path / "s").iterdir():
        with quiet():
            data = pydicom.dcmread(file)
            data.StudyDate, data.PatientBirthDate, data.StudyTime = "00000000", "51", "999999"
            data.PatientSex = "Male"
            data[0x00101030] = RawDataElement(Tag(0x00101030), "DS", 4, b"70,5", 0, False, True)
            data.save_as(file)
    image = dicom.read(tmp_path / "s")
    array = np.zeros(image.shape, np.uint8)
    array[2:7, 2:5, 1:5] = 1
    write(tmp_path / "out.dcm", Mask(array, {1: "x"}, image.affine), image.meta["files"])
    found = pydicom.dcmread(tmp_path / "out.dcm")
    assert not (found.StudyDate or found.PatientBirthDate or found.StudyTime or found.PatientSex)
    assert not found.get("PatientWeight") and found.PatientID == "p"
    assert caplog.text.count("HIL-D39: StudyDate") == 1
    said = " ".join(record.getMessage() for record in caplog.records if "D39" in record.getMessage())
    assert not any(value in said for value in ("00000000", "51", "999999", "Male", "70,5"))
