"""The quick decoding of plain values agrees with the library."""

from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file

from hilum.io._dicom.file import header


def test_text_in_ascii_bytes_with_escapes_is_left_to_the_library(tmp_path: Path) -> None:
    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    data.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    data.SeriesDescription = "胸部単純"
    data.save_as(tmp_path / "a.dcm")
    seen = header(tmp_path / "a.dcm")
    assert seen.words(0x0008103E) is None and seen.get("SeriesDescription") == "胸部単純"


def test_an_element_that_was_taken_out_is_gone() -> None:
    seen = header(Path(str(get_testdata_file("CT_small.dcm", download=False))))
    assert seen.get("SliceThickness") == 5.0 and "KVP" in seen
    del seen.SliceThickness
    seen.pop("KVP")
    assert seen.get("SliceThickness") is None and "KVP" not in seen
