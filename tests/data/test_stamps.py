"""Files that change or vanish while they are used are named, and only those of the cases that are asked for."""

from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.data.stamps import Stamps
from hilum.io import _source
from hilum.tasks._pairs import pair


def case_of(path: Path) -> Case:
    path.write_bytes(b"one")
    return Case(path.stem, "", {"image": _source.FileSource(path, "raster")})


def test_t11_only_the_files_of_the_cases_that_are_asked_for_are_looked_at(tmp_path: Path) -> None:
    one, other = (case_of(tmp_path / name) for name in ("a.png", "b.png"))
    stamps = Stamps([one, other])
    (tmp_path / "b.png").unlink()
    stamps.check([one])
    with pytest.raises(HilumError, match=r"b\.png has vanished.*HIL-T11"):
        stamps.check()
    (tmp_path / "a.png").write_bytes(b"another")
    with pytest.raises(HilumError, match=r"a\.png has changed.*HIL-T11"):
        stamps.check([one])


def test_t11_of_no_cases_nothing_is_known(tmp_path: Path) -> None:
    one = case_of(tmp_path / "a.png")
    stamps = Stamps()
    (tmp_path / "a.png").write_bytes(b"another")
    stamps.check()
    stamps.check([one])


def test_t11_a_file_that_vanished_from_a_folder_is_named(tmp_path: Path) -> None:
    """The folder was listed anew, and what it no longer holds was nobody's."""
    folder = tmp_path / "series"
    folder.mkdir()
    for name in ("1.dcm", "2.dcm"):
        (folder / name).write_bytes(bytes(128) + b"DICM")
    series = Case("a", "", {"image": _source.FileSource(folder, "dicom")})
    stamps = Stamps([series])
    (folder / "3.dcm").write_bytes(bytes(128) + b"DICM")
    stamps.check([series])
    (folder / "2.dcm").unlink()
    with pytest.raises(HilumError, match=r"2\.dcm has vanished.*HIL-T11"):
        stamps.check([series])


def test_t11_of_a_pair_the_files_of_both_images_are_looked_at(tmp_path: Path) -> None:
    first, second, alone = (case_of(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    stamps = Stamps([first, second, alone])
    (tmp_path / "c.png").unlink()
    stamps.check([pair(first, second)])
    (tmp_path / "b.png").write_bytes(b"another")
    with pytest.raises(HilumError, match=r"b\.png has changed.*HIL-T11"):
        stamps.check([pair(first, second)])
