"""What was written is compared with what is read back."""

from pathlib import Path

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.io import _guard


@pytest.mark.parametrize("zeroed", [False, True])
def test_values_that_differ_are_counted_without_those_that_are_no_numbers(
    zeroed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_guard, "COMPARED", 100)
    wanted = np.ones((1, 8, 9, 10), np.float32)
    wanted[0, :, 4] = np.nan
    seen = np.nan_to_num(wanted, nan=0) if zeroed else wanted.copy()
    _guard.same(Path("a.nii"), wanted, seen, zeroed=zeroed)
    seen[0, 3, 3, 3] = seen[0, 7, 8, 9] = 5
    with pytest.raises(HilumError, match=r"2 values differ.*HIL-IO-05"):
        _guard.same(Path("a.nii"), wanted, seen, zeroed=zeroed)
