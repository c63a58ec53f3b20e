"""Paths that are no text: SimpleITK ends the process at one."""

import os
from pathlib import Path

import numpy as np
import pytest

from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import _itk, nifti, raster


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder from an old archive, with a Latin letter in its name."""
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this disk has names of UTF-8 alone")
    return folder


def test_results_are_written_and_read_where_a_folder_is_no_text(odd: Path) -> None:
    values = np.arange(64, dtype=np.uint8).reshape(1, 4, 4, 4)
    nifti.write(odd / "a.nii.gz", Image(values, np.eye(4)))
    assert (nifti.read(odd / "a.nii.gz").array == values).all()
    for ending in ("png", "tif"):
        path = odd / f"a.{ending}"
        raster.write(path, Mask(values[0, 0], {n: str(n) for n in range(1, 16)}, None))
        assert (raster.read(path).array[0] == values[0, 0]).all()


def test_what_is_text_stays_and_what_is_not_keeps_its_ending(odd: Path) -> None:
    with _itk.named(odd.parent / "a.nii.gz") as text:
        assert text == str(odd.parent / "a.nii.gz")
    (odd / "a.nii.gz").write_bytes(b"x")
    with _itk.named(odd / "a.nii.gz") as text:
        assert text.endswith(".nii.gz") and Path(text).read_bytes() == b"x" and text.isascii()
    assert not Path(text).exists()
