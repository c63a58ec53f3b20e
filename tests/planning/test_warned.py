"""What a data set is warned of before training, by name: no numbers, and classes that a part lacks."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.core.plan import Plan
from hilum.planning.planner import look
from hilum.verbs.evaluate import evaluate
from hilum.verbs.train import train


def spoil(path: Path, places: tuple[slice | int, ...]) -> None:
    """The same file in float32, with NaN there."""
    seen = nibabel.load(path)
    values = np.asarray(seen.dataobj, dtype=np.float32)
    values[places] = np.nan
    nibabel.Nifti1Image(values, seen.affine).to_filename(path)


@pytest.fixture
def heads(data: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(data("segment"), tmp_path / "heads"))


def test_n09_voxels_that_are_no_numbers_are_told_by_case_and_stand_in_the_run(
    heads: Path, plan_of: Callable[..., Plan], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(heads / "images" / "head_001.nii.gz", (0, 0, slice(0, 3)))
    plan_of("segment", 1).write(tmp_path / "plan.json")
    with caplog.at_level(logging.WARNING):
        run = train(heads, "segment", tmp_path / "run", plan=tmp_path / "plan.json")
    (words,) = [w for w in run.plan.data["warnings"] if "HIL-N09" in w]
    assert "head_001 (3)" in words and words in [r.message for r in caplog.records]
    evaluate(tmp_path / "run", heads, tmp_path / "out", part="train")
    assert "head_001 (3)" in (tmp_path / "out" / "report.html").read_text()


def test_n09_an_image_without_any_number_is_refused_by_name(heads: Path) -> None:
    spoil(heads / "images" / "head_001.nii.gz", (slice(None),))
    with pytest.raises(HilumError, match=r"head_001.*HIL-N09"):
        look(heads, "segment", 0)


def test_t06_no_numbers_that_the_reader_says_nothing_of_are_refused_by_name(
    heads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(heads / "images" / "head_001.nii.gz", (0, 0, 0))
    honest = Image.__post_init__
    monkeypatch.setattr(Image, "__post_init__", lambda self: (object.__setattr__(self, "warnings", ()), honest(self)))
    with pytest.raises(HilumError, match=r"head_001.*HIL-T06"):
        look(heads, "segment", 0)
