"""What is refused before anything is converted; how it is measured stands in tests/infer/test_quantise.py."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hilum.core.calibration import Opinions
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer._asked import check_eight
from hilum.verbs.quantise import quantise


def test_an_ensemble_is_refused(trained: Callable[[str], Run], tmp_path: Path) -> None:
    """A graph holds one network; predicting would ask the others for graphs that they do not have."""
    own = tmp_path / "own"
    shutil.copytree(trained("segment").path, own)
    known = Run(own).calibration
    assert known is not None
    made = known.model_copy(update={"opinions": Opinions(kind="ensemble", count=2)})
    (own / "calibration.json").write_text(made.model_dump_json())
    Run(own).write_manifest()
    before = Run(own).hashes()
    with pytest.raises(HilumError, match="several networks") as error:
        quantise(own, tmp_path / "no data are looked at")
    assert error.value.code == "HIL-INFER-15" and Run(own).hashes() == before
    assert error.value.remedy == "Predict without it, or calibrate it with --opinions one", "it has no --runtime"


def test_one_class_in_pictures_is_told_how_to_train(trained: Callable[[str], Run]) -> None:
    task: Any = SimpleNamespace(CARD={"infer": "windows"}, reduce="mean", plan=trained("segment").plan)
    for making, words in ((True, "predict without it"), (False, "use --runtime auto")):
        with pytest.raises(HilumError, match=f"{words}, or train with --set options.reduce=argmax"):
            check_eight(trained("segment"), task, making=making)
