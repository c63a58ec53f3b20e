"""The corruptions that the outlier benchmark measures with: one form for all, and stronger is farther."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hilum.core.image import Image
from hilum.data.phantoms import slices

FILE = Path(__file__).parents[2] / "benchmarks" / "trust" / "corruptions.py"


@pytest.fixture(scope="module")
def corruptions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trust_corruptions", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_images_get_one_form(corruptions: ModuleType) -> None:
    rng = np.random.default_rng(0)
    grey = slices.draw(rng, 200, 0.03, ill=False)
    wide = np.pad(grey, [(0, 0), (0, 0), (30, 30)])
    first = corruptions.stored(corruptions.square(Image(grey)))
    assert first.array.shape == (1, 160, 160) and first.array.dtype == np.uint8
    for other in (np.repeat(grey, 3, axis=0), wide):
        found = corruptions.stored(corruptions.square(Image(other)))
        assert np.abs(found.array.astype(int) - first.array).max() <= 2
    deep = corruptions.stored(corruptions.square(Image(grey.astype(np.uint16) * 16)))
    assert deep.array.min() < 10 and deep.array.max() > 245


@pytest.mark.parametrize("what", ["noise", "blur", "contrast", "motion"])
def test_stronger_is_farther(corruptions: ModuleType, what: str) -> None:
    apart = np.zeros(3)
    for seed in range(8):
        array = corruptions.square(Image(slices.draw(np.random.default_rng(seed), 192, 0.03, ill=False)))
        plain = corruptions.stored(array).array.astype(float)
        for level in range(3):
            bad = corruptions.stored(corruptions.spoilt(array, what, level, seed)).array
            again = corruptions.stored(corruptions.spoilt(array, what, level, seed)).array
            np.testing.assert_array_equal(bad, again)
            apart[level] += np.sqrt(((bad - plain) ** 2).mean()) / 8
    # where nothing fits any more, two contours of the body can not differ more
    assert 1 < apart[0] < apart[1] and apart[2] > (0.8 if what == "motion" else 1) * apart[1]
