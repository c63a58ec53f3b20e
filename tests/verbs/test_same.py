"""What works on a run with its own data refuses other data, and says what differs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.verbs.calibrate import calibrate
from hilum.verbs.quantise import quantise


@pytest.mark.parametrize(("verb", "task"), [(calibrate, "classify"), (calibrate, "segment"), (quantise, "segment")])
def test_other_data_are_refused_with_what_differs(
    verb: Callable[..., object], task: str, trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained(task).path, run)
    shutil.copytree(data(task), other)
    case = Run(run).split()[0]["case"]
    own = case.split("/")[-1]
    gone = [path for path in other.rglob("*") if path.is_file() and path.name.split(".")[0] == own]
    assert gone
    for path in gone:
        path.unlink()
    with pytest.raises(HilumError) as error:
        verb(run, other)
    assert error.value.code == "HIL-TRUST-20" and f"1 is gone ({case})" in error.value.seen
    assert "unchanged data" in error.value.remedy
