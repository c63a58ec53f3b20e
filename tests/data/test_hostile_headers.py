"""What a DICOM header says of names and numbers names no file, leads nowhere and is escaped on every page."""

import re
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pydicom
import pytest

from hilum.core.image import Array, Case, Image
from hilum.data.dataset import open_dataset
from hilum.io import dicom
from hilum.verbs.inspect import inspect

HTML = "../../<img src=x onerror=alert(1)>%s%n\x07\u202e"
NAME = "<script>alert(1)</script>%s%n\x07\u202e" * 1000


def series(folder: Path, number: int = 1) -> Array:
    """A series of four slices; returns its values."""
    array: Array = np.random.default_rng(number).integers(0, 900, (1, 8, 6, 4)).astype(np.int16)
    dicom.write_series(folder, Image(array, np.diag([-1.0, -1.5, 2.0, 1.0])), {"Modality": "MR", "PatientID": "p1"})
    return array


def say(folder: Path, tags: Callable[[int], dict[str, Any]]) -> None:
    """The files say this of themselves, as no tool that keeps the rules would."""
    for number, file in enumerate(sorted(folder.iterdir())):
        with pydicom.config.disable_value_validation():
            data = pydicom.dcmread(file)
            for keyword, value in tags(number).items():
                setattr(data, keyword, value)
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
            data.save_as(file)


def only_case(folder: Path, wanted: Array) -> Case:
    """The one case, called by names of our own, with the image as it was written."""
    (case,) = open_dataset(folder).cases
    assert re.fullmatch(r"([0-9a-f]{10}/)?[a-z0-9.-]{1,100}", case.id) and ".." not in case.id.split("/")
    np.testing.assert_array_equal(case.read("image").array, wanted)
    return case


@pytest.mark.parametrize("uid", ["../../out/{}", "/etc/{}", "1.2." + "9" * 200 + ".{}", "0001.002.{}"])
def test_d33_unique_identifiers_name_no_file(uid: str, tmp_path: Path) -> None:
    array = series(tmp_path / "a" / "s")
    same = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"), uid.format(1))
    say(tmp_path / "a" / "s", lambda number: same | {"SOPInstanceUID": uid.format(f"2.{number}")})
    only_case(tmp_path, array)


def test_d33_series_without_identifiers_are_read(tmp_path: Path) -> None:
    array = series(tmp_path / "a" / "s")
    say(tmp_path / "a" / "s", lambda number: {"StudyInstanceUID": "", "SeriesInstanceUID": ""})
    only_case(tmp_path, array)


def directory() -> bytes:
    """A DICOMDIR whose only record names a file outside, and itself as the next record."""

    def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
        return pack("<HH2sH", group, number, kind, len(value)) + value

    meta = element(2, 0x0002, b"UI", b"1.2.840.10008.1.3.10") + element(2, 0x0010, b"UI", b"1.2.840.10008.1.2.1\0")
    record = element(4, 0x1400, b"UL", pack("<I", 400)) + element(4, 0x1430, b"CS", b"IMAGE ")
    record += element(4, 0x1500, b"CS", rb"..\outside\0001.dcm ")
    item = pack("<HHI", 0xFFFE, 0xE000, len(record)) + record
    return bytes(128) + b"DICM" + meta + pack("<HH2sHI", 4, 0x1220, b"SQ", 0, len(item)) + item


@pytest.mark.parametrize("content", [directory(), b"no DICOM at all"], ids=["records", "garbage"])
def test_d34_a_dicomdir_is_passed_over(content: bytes, tmp_path: Path) -> None:
    """Its records may lead outside or in circles; files are found by themselves."""
    series(tmp_path / "outside", 2)
    array = series(tmp_path / "data" / "a" / "s")
    (tmp_path / "data" / "DICOMDIR").write_bytes(content)
    (tmp_path / "data" / "a" / "s" / "DICOMDIR").write_bytes(content)
    assert only_case(tmp_path / "data", array).read("image").warnings == ()


def test_d37_a_wrong_character_set_loses_letters_and_nothing_else(tmp_path: Path) -> None:
    """Bytes of GBK and an escape that is cut off, where UTF-8 is declared."""
    array = series(tmp_path / "a" / "s")
    for file in sorted((tmp_path / "a" / "s").iterdir()):
        data = file.read_bytes()
        assert data.count(b"Phantom^") == 1
        file.write_bytes(data.replace(b"Phantom^", b"\xb1\xa1\xff\xfe^\x1b$)"))
    only_case(tmp_path, array)


def test_d38_words_of_a_header_are_escaped_and_name_no_file(tmp_path: Path) -> None:
    array = series(tmp_path / "data" / "a" / "s")
    words = {"PatientName": NAME, "PatientID": HTML, "SeriesDescription": HTML, "StudyDescription": HTML}
    say(tmp_path / "data" / "a" / "s", lambda number: words | {"Modality": "<b>MR"})
    case = only_case(tmp_path / "data", array)
    assert (tmp_path / "out" / case.id).resolve().is_relative_to(tmp_path / "out")
    found = inspect(tmp_path / "data", html=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert found["problems"] == [] and case.id in page and "&lt;b&gt;MR" in page
    assert not re.search(r"<script|<img src=x|<b>MR|\x07|\u202e", page)
