"""Patches: cut where asked, also outside, and windows that cover everything."""

import numpy as np
import pytest

from hilum.prepare.patches import cut, random_start, start_around, window_starts

ARRAY = np.arange(2 * 4 * 5).reshape(2, 4, 5)


def test_a_cut_inside_is_the_slice() -> None:
    np.testing.assert_array_equal(cut(ARRAY, [1, 2], [2, 3]), ARRAY[:, 1:3, 2:5])


@pytest.mark.parametrize("start", [[-2, -1], [2, 3], [-2, 3], [-3, -3], [-9, 2], [9, 9]], ids=str)
def test_a_cut_outside_is_padded(start: list[int]) -> None:
    size = [7, 4]
    index = [np.arange(s, s + w) for s, w in zip(start, size, strict=True)]
    inside = np.ix_(*[(i >= 0) & (i < n) for i, n in zip(index, (4, 5), strict=True)])
    nearest = np.ix_([0, 1], *[np.clip(i, 0, n - 1) for i, n in zip(index, (4, 5), strict=True)])
    edge = cut(ARRAY, start, size)
    np.testing.assert_array_equal(edge, ARRAY[nearest])
    filled = cut(ARRAY, start, size, fill=-1)
    assert filled.shape == (2, *size)
    mask = np.zeros(size, bool)
    mask[inside] = True
    np.testing.assert_array_equal(filled[:, mask], ARRAY[nearest][:, mask])
    assert (filled[:, ~mask] == -1).all()


def test_starts_lie_inside_and_short_axes_are_centred() -> None:
    rng = np.random.default_rng(0)
    starts = np.array([random_start((10, 3), (4, 8), rng) for _ in range(300)])
    assert set(starts[:, 0]) == set(range(7)) and set(starts[:, 1]) == {-2}


def test_the_point_lies_in_its_patch() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        point = [int(rng.integers(10)), int(rng.integers(30)), int(rng.integers(3))]
        start = start_around(point, (10, 30, 3), (4, 8, 8), rng)
        assert all(s <= p < s + w for s, p, w in zip(start, point, (4, 8, 8), strict=True))
        assert 0 <= start[0] <= 6 and 0 <= start[1] <= 22 and start[2] == -2


def test_windows_are_nnunets() -> None:
    assert window_starts(110, 64, 0.5) == [0, 23, 46]
    assert window_starts(64, 64, 0.5) == window_starts(10, 64, 0.5) == [0]


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("n", [65, 96, 128, 200])
def test_windows_cover_everything_and_step_no_further(n: int, step: float) -> None:
    starts = window_starts(n, 64, step)
    assert starts[0] == 0 and starts[-1] == n - 64
    assert max(np.diff(starts)) <= 64 * step + 0.5
