"""The peak of memory can begin anew, so that networks trained one after the other are told apart."""

import os

import numpy as np
import pytest

from hilum.learn._pace import forget_peak, peak_bytes

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
