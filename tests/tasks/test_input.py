"""An image becomes what a network sees: nothing of the caller's is written into, and its memory is counted."""

import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Image
from hilum.core.plan import Normalisation
from hilum.tasks import _input


def plan(scheme: str, first: bool) -> Any:
    rules = [Normalisation.model_validate({"scheme": scheme, "low": -1, "high": 1})]
    return SimpleNamespace(spacing=[1.0] * 3, channels=["CT"], data={_input.FIRST: first}, normalisation=rules)


@pytest.mark.parametrize("first", [False, True])
def test_an_image_on_the_networks_grid_already_is_left_alone(first: bool) -> None:
    image = Image(np.random.default_rng(0).normal(0, 1, (1, 8, 8, 8)).astype(np.float32), np.eye(4))
    before = image.array.copy()
    array, found = _input.placed(image, plan("ct", first))
    np.testing.assert_array_equal(image.array, before)
    np.testing.assert_array_equal(array, np.clip(before, -1, 1))
    assert found.image is image


@pytest.mark.parametrize("kind", ["int16", "float32"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("scheme", ["ct", "zscore"])
def test_what_is_said_to_be_held_is_held(scheme: str, first: bool, kind: str) -> None:
    """On the same grid: what `--memory` counts before it reads an image is no less than most of what is taken."""
    values = np.random.default_rng(0).integers(-1000, 1000, (1, 96, 96, 96)).astype(kind)
    image = Image(values, np.eye(4))
    # once before, as what it imports is not counted
    _input.placed(image, plan(scheme, first))
    tracemalloc.start()
    try:
        _input.placed(image, plan(scheme, first))
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = _input.held(image.shape, image.shape, plan(scheme, first))
    # room that is taken and not yet written into lies nowhere: of a deviation by a whole array less
    assert said <= held + (1 << 12) and held < (1.6 if first and scheme == "zscore" else 1.2) * said
