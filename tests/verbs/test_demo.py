"""demo: from nothing to a report, masks, a DICOM SEG and a bundle."""

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hilum.core.errors import RESUME, HilumError, Stopped
from hilum.io import dicom_seg, dicom_sr
from hilum.learn import _pace
from hilum.verbs.demo import _folder, demo
from hilum.verbs.verify import verify


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Stopped(2, f"after step 3; the state is saved, {RESUME}"), "go on with: hilum train .*/data --task segment"),
        (HilumError("HIL-T02", "It can not be written", f"Make room and {RESUME}"), r"--out .*/run --resume\."),
        (HilumError("HIL-T07", "Memory ran out", "Plan with --memory for less"), "Close other programs.*hilum demo"),
        (HilumError("HIL-T06", "The loss became nan", "Lower learning.rate"), "Lower learning.rate"),
    ],
)
def test_what_a_demo_has_no_option_for_is_said_otherwise(
    error: BaseException, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*place: object, **more: object) -> None:
        raise error

    monkeypatch.setattr("hilum.verbs.demo.plan", lambda *place, **more: None)
    monkeypatch.setattr("hilum.verbs.demo.train", trained)
    with pytest.raises(type(error)) as told:
        demo(tmp_path / "demo", cases=1)
    said = told.value.words if isinstance(told.value, Stopped) else str(told.value)
    assert re.search(words, said), said


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # a busy machine would find too few steps in so few minutes
    monkeypatch.setattr(_pace, "steps_for", lambda training, minutes: 12)
    found = demo(minutes=0.4, cases=8)
    folder = Path(found["folder"])
    assert folder == Path("hilum-demo")
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert "Not a medical device" in page and "data:image/png;base64," in page
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert metrics == found["metrics"] and 0 <= metrics["metrics"]["dice"]["mean"] <= 1
    for mask in (folder / "predictions").glob("*.nii.gz"):
        read, image = nibabel.load(mask), nibabel.load(folder / "data" / "images" / mask.name)
        assert read.shape == image.shape and np.array_equal(read.affine, image.affine)
    written = [f for d in ("predictions", "dicom") for f in (folder / d).iterdir() if f.suffix != ".json"]
    assert any(f.name.endswith(".nii.gz") for f in written)
    objects = list((folder / "dicom").glob("*.dcm"))
    (seg,) = [path for path in objects if dicom_seg.is_seg(path)]
    assert dicom_seg.read(seg).classes
    (report,) = [path for path in objects if path != seg]
    assert {row.unit for row in dicom_sr.read(report)} == {"mL"}
    assert verify(folder / "model.hilum")["task"] == "segment"
    assert {row["what"] for row in found["rows"]} >= {"run", "masks", "DICOM SEG", "bundle", "time"}
    # a second demo takes the next free name, a named one must be new
    assert _folder(None) == Path("hilum-demo-2")
    Path("hilum-demo-2").mkdir()
    assert _folder(None) == Path("hilum-demo-3")
    with pytest.raises(HilumError, match="HIL-CORE-03"):
        demo("hilum-demo", minutes=0.1, cases=8)
