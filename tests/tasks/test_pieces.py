"""Only the largest piece of a class is kept, and nothing else is touched."""

import tracemalloc

import numpy as np
import pytest

from hilum.infer import promise
from hilum.tasks import _pieces
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


def test_pieces_are_counted_some_slices_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that lie across the parts, and of which each part holds only some, are counted as one."""
    labels = (np.random.default_rng(1).random((23, 17, 19)) > 0.88).astype(np.uint8)
    labels[:, 8:10, 9] = 1
    whole = largest(labels, [1])
    assert 0 < whole.sum() < labels.sum()
    for block in (1, 700, 5000):
        monkeypatch.setattr(_pieces, "BLOCK", block)
        np.testing.assert_array_equal(largest(labels, [1]), whole)


def test_what_is_held_is_what_the_promise_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels before and after, the class, and numbers of four bytes: numpy counted a copy of eight."""
    monkeypatch.setattr(_pieces, "BLOCK", 1 << 14)
    labels = np.zeros((64, 128, 128), dtype=np.uint8)
    labels[:40], labels[50:] = 1, 1
    largest(labels[:2], [1])
    tracemalloc.start()
    found = largest(labels, [1])
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found[:40] == 1).all() and not found[40:].any()
    # the labels themselves were there before
    assert held < (promise.PIECES - 1 + 0.5) * labels.size
