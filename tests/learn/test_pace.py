"""Before the first step: minutes that hold no training are refused; the peak of memory can begin anew, so that networks
trained one after the other are told apart.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.learn import _pace
from hilum.learn._pace import forget_peak, peak_bytes
from hilum.verbs.train import train

BLOCK = 30_000_000
# Numbers of 8 bytes: 240 MB.


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system keeps the peak")
def test_the_peak_begins_anew_and_grows_again() -> None:
    np.ones(BLOCK)
    before = peak_bytes()
    after = forget_peak()
    assert after < before - 4 * BLOCK
    np.ones(BLOCK)
    assert peak_bytes() > after + 4 * BLOCK


@pytest.mark.parametrize(("platform", "wanted"), [("linux", 3 << 20), ("darwin", 3 << 10)])
def test_the_peak_is_in_bytes_whatever_the_kernel_counts_in(
    platform: str, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=3 << 10))
    monkeypatch.setattr("sys.platform", platform)
    assert peak_bytes() == wanted


def test_minutes_that_preparing_has_eaten_are_refused_with_what_would_do(
    data: Callable[[str], Path], plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan_of("classify", batch=2).model_copy(update={"minutes": 0.05, "steps": None})
    made.write(tmp_path / "plan.json")
    honest = _pace.dry_step

    def slow(training: Any) -> None:
        # as if the cases had taken a minute
        training.began = time.monotonic() - 60
        honest(training)

    monkeypatch.setattr(_pace, "dry_step", slow)
    with pytest.raises(HilumError) as error:
        train(data("classify"), "classify", tmp_path / "run", plan=tmp_path / "plan.json")
    assert error.value.code == "HIL-PLAN-06" and "0.05 minutes hold 0 steps" in error.value.seen
    (wanted,) = re.findall(r"--minutes ([0-9.]+) for 10 steps", error.value.remedy)
    assert 1.3 < float(wanted) < 3
    assert not (tmp_path / "run").exists()
