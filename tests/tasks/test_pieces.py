"""Only the largest piece of a class is kept, and nothing else is touched."""

import numpy as np
import pytest

from hilum.tasks._pieces import largest


@pytest.mark.parametrize("dims", [2, 3])
def test_small_pieces_of_the_classes_named_become_background(dims: int) -> None:
    labels = np.zeros((12,) * dims, dtype=np.uint8)
    labels[(slice(1, 5),) * dims] = 1
    labels[(slice(8, 10),) * dims] = 1
    labels[(slice(6, 7),) * dims] = 2
    labels[(slice(10, 12),) * dims] = 2
    before = labels.copy()
    found = largest(labels, [1])
    assert (found == 1).sum() == 4**dims and (found == 2).sum() == (labels == 2).sum()
    np.testing.assert_array_equal(labels, before)
    both = largest(labels, [1, 2])
    assert (both == 1).sum() == 4**dims and (both == 2).sum() == 2**dims


def test_what_touches_by_a_corner_is_one_piece() -> None:
    labels = np.zeros((6, 6, 6), dtype=np.int16)
    labels[1:3, 1:3, 1:3] = 1
    labels[3, 3, 3] = 1
    assert largest(labels, [1]) is labels


@pytest.mark.parametrize("channels", [(), (3,)])
def test_where_there_is_nothing_to_do_nothing_is_done(channels: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (5, 6, 7))
    assert largest(labels, channels) is labels
