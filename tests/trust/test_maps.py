"""Maps of doubt lie on the image's own grid, within 0 and 1, and cost little besides."""

import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Image
from hilum.prepare.grid import place
from hilum.trust import maps


def asked(values: np.ndarray, image: Image) -> Any:
    """An opinion on that image with a map of doubt on the network's grid, and its task."""
    _, placed = place(image, None, values.shape)
    task = SimpleNamespace(plan=SimpleNamespace(classes=["one"]))
    return SimpleNamespace(prepared={"placed": placed}, maps={"doubt": values}, entropies=None), task


@pytest.mark.parametrize("shape", [(6, 7, 8), (12, 9, 8)])
def test_doubt_is_a_share_on_the_grid_of_the_image(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).uniform(-0.2, 1.2, shape).astype(np.float32)
    before = values.copy()
    image = Image(np.zeros((1, 6, 7, 8), np.int16), np.diag([-1.0, 1, 2, 1]))
    opinion, task = asked(values, image)
    found = maps.of_mask(opinion, task, None)["doubt"]  # type: ignore[arg-type]
    assert found.array.dtype == np.float32 and found.array.min() >= 0 and found.array.max() <= 1
    back = opinion.prepared["placed"].channels_back(values[None])
    np.testing.assert_array_equal(found.array, np.clip(back, 0, 1))
    np.testing.assert_array_equal(values, before)
    # nothing is said outside of a validity mask
    where = np.arange(8) < 3 + np.zeros((6, 7, 8))
    seen = maps.of_mask(opinion, task, None, where)["doubt"].array[0]  # type: ignore[arg-type]
    np.testing.assert_array_equal(seen, np.where(where, found.array[0], 0))


def test_a_map_is_brought_back_without_copies_of_it() -> None:
    values = np.random.default_rng(0).random((64, 64, 64), dtype=np.float32)
    opinion, task = asked(values, Image(np.zeros((1, 64, 64, 64), np.uint8), np.eye(4)))
    maps.of_mask(opinion, task, None)  # type: ignore[arg-type]
    tracemalloc.start()
    maps.of_mask(opinion, task, None)  # type: ignore[arg-type]
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 1.5 * values.nbytes
