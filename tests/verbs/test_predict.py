"""What `predict` refuses before anything is computed, and what pairs are called."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.calibration import Opinions
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.core.run import Run
from hilum.io import dicom, nifti
from hilum.verbs import predict

VOLUME = Image(np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5), np.diag([-1.0, -1.0, 2.0, 1.0]))


@pytest.fixture
def system(trained: Callable[[str], Run], tmp_path: Path) -> Path:
    """A system of two networks, of which the second answers with the mean of several opinions."""
    run, folder = trained("segment"), tmp_path / "system"
    for name in ("bones", "organs"):
        shutil.copytree(run.path, folder / "parts" / name)
    shutil.copy(run.path / "plan.json", folder)
    classes = {"bones": {"value": 1, "name": "hip"}, "organs": {"value": 2, "name": "liver"}}
    groups = [{"name": name, "classes": [one]} for name, one in classes.items()]
    (folder / "system.json").write_text(json.dumps({"format": 1, "groups": groups}))
    known = run.calibration
    assert known is not None
    made = known.model_copy(update={"opinions": Opinions(kind="views")})
    (folder / "parts" / "organs" / "calibration.json").write_text(made.model_dump_json())
    return folder


def test_memory_can_not_be_kept_where_one_network_of_a_system_has_several_opinions(system: Path) -> None:
    run = Run(system)
    assert run.calibration is None
    for roi in ([], ["liver"], ["hip", "liver"]):
        with pytest.raises(HilumError, match="organs") as error:
            predict._check_way(run, 10**9, False, roi)
        assert error.value.code == "HIL-INFER-19"
    predict._check_way(run, None, False)
    # the other one alone can
    predict._check_way(run, 10**9, False, ["hip"])


def edited(run: Run, folder: Path, change: Callable[[dict[str, Any]], None]) -> Run:
    """The run with another plan."""
    shutil.copytree(run.path, folder)
    plan = json.loads((folder / "plan.json").read_text())
    change(plan)
    (folder / "plan.json").write_text(json.dumps(plan))
    Run(folder).write_manifest()
    return Run(folder)


def numbered(plan: dict[str, Any]) -> None:
    plan["data"]["labels"] = {"cell": "instances"}


def below_one(plan: dict[str, Any]) -> None:
    plan["classes"][0]["value"] = -1


def with_a_long_name(plan: dict[str, Any]) -> None:
    plan["classes"][0]["name"] = "a" * 65


@pytest.mark.parametrize("change", [numbered, below_one, with_a_long_name])
def test_dicom_is_refused_where_no_seg_can_hold_the_masks(
    change: Callable[[dict[str, Any]], None],
    trained: Callable[[str], Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was refused case by case, once each was computed."""
    run = edited(trained("segment"), tmp_path / "run", change)
    monkeypatch.setattr(predict, "_cases", lambda *_: pytest.fail("inputs were looked at"))
    with pytest.raises(HilumError) as error:
        predict.predict(run.path, [tmp_path], tmp_path / "out", format="dicom")
    assert error.value.code == "HIL-IO-04" and not (tmp_path / "out").exists()


def test_what_can_be_written_is_not_refused(trained: Callable[[str], Run], tmp_path: Path) -> None:
    predict._check_form(trained("segment"), "dicom", [])
    predict._check_form(edited(trained("segment"), tmp_path / "run", numbered), "nifti", [])


def test_pairs_of_folders_that_are_called_by_uids_are_told_apart(tmp_path: Path) -> None:
    for uid in ("1.2.840.1", "1.2.840.2", "1.2.840.3"):
        dicom.write_series(tmp_path / uid, VOLUME)
    plan: Any = None

    def name(fixed: str, moving: str) -> str:
        (case,), lost = predict._cases(plan, [], tmp_path / fixed, tmp_path / moving, ())
        assert not lost
        return case.id

    assert name("1.2.840.1", "1.2.840.2") == "1.2.840.1__1.2.840.2" != name("1.2.840.1", "1.2.840.3")
    nifti.write(tmp_path / "a.v1.nii.gz", VOLUME)
    assert name("a.v1.nii.gz", "1.2.840.3") == "a.v1__1.2.840.3"


def test_images_that_are_left_aside_are_told(
    trained: Callable[[str], Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dicom.write_series(tmp_path / "s", VOLUME)
    for name in ("preview.png", "report.csv"):
        (tmp_path / "s" / name).write_bytes(b"beside")
    (case,), lost = predict._cases(trained("segment").plan, [tmp_path / "s"], None, None, ())
    assert case.id == "s" and not lost
    assert f"{tmp_path / 's'}: Images that lie beside the cases are not read: preview.png" in caplog.text
