"""Two networks that claim a voxel: the surer one has it, and without a word about it the earlier one."""

import numpy as np
import pytest

from hilum.core.warp import resize
from hilum.infer import merging
from hilum.infer.merging import Merging

FIRST, SECOND = np.array([1, 1, 2, 2, 0, 0], np.uint8), np.array([0, 0, 7, 7, 7, 0], np.uint8)
# Of classes 1 and 2, and of 7: both claim voxels 2 and 3.


def merged(first: np.ndarray | None, second: np.ndarray | None) -> Merging:
    made = Merging(merging.empty([1, 2, 7], np.zeros((6,))))
    made.add(FIRST, [1, 2], first)
    made.add(SECOND, [7], second)
    return made


def test_what_one_network_claims_is_its_own() -> None:
    made = Merging(merging.empty([1, 7], np.zeros((3,))))
    made.add(np.array([1, 0, 0], np.uint8), [1])
    made.add(np.array([0, 0, 7], np.uint8), [7])
    assert made.array.tolist() == [1, 0, 7] and made.contested == 0 and made.lost == set()


def test_the_surer_network_has_a_voxel_that_two_claim() -> None:
    made = merged(np.array([5, 5, 1, 3, -9, -9], np.float16), np.array([-9, -9, 2, 2, 4, -9], np.float16))
    assert made.array.tolist() == [1, 1, 7, 2, 7, 0]
    assert made.contested == 2 and made.lost == {2, 7}


def test_without_a_word_or_equally_sure_the_earlier_one_keeps_it() -> None:
    same = np.ones(6, np.float16)
    for odds in ((None, None), (same, None), (None, same), (same, same)):
        made = merged(*odds)
        assert made.array.tolist() == [1, 1, 2, 2, 7, 0] and made.lost == {7}


def test_the_third_network_is_compared_with_the_one_that_has_the_voxel() -> None:
    made = Merging(merging.empty([1, 2, 3], np.zeros((2,))))
    for value, odds in ((1, [2.0, 9.0]), (2, [3.0, 1.0]), (3, [2.5, 5.0])):
        made.add(np.array([value, value], np.uint8), [value], np.array(odds, np.float16))
    assert made.array.tolist() == [2, 1] and made.lost == {1, 2, 3}


def test_how_sure_they_are_may_lie_on_a_coarser_grid() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(2, 4, 5, 3)).astype(np.float16)
    fine = [resize(c[None].astype(np.float32), (9, 8, 12))[0] for c in coarse]
    made = Merging(merging.empty([1, 2], np.zeros((9, 8, 12))))
    for value in (1, 2):
        made.add(np.full((9, 8, 12), value, np.uint8), [value], coarse[value - 1])
    clear = np.abs(fine[0] - fine[1]) > 1e-3
    assert (made.array == 1 + (fine[1] > fine[0]))[clear].all() and clear.mean() > 0.9


def test_it_writes_into_the_array_it_was_given_also_through_a_turned_view() -> None:
    array = merging.empty([1, 2, 7], np.zeros((6,)))
    made = Merging(array[::-1])
    made.add(FIRST, [1, 2])
    made.add(SECOND, [7])
    assert array.tolist() == [0, 7, 2, 2, 1, 1]
    assert FIRST.tolist() == [1, 1, 2, 2, 0, 0] and SECOND.tolist() == [0, 0, 7, 7, 7, 0]


@pytest.mark.parametrize(("values", "kind"), [([1, 255], np.uint8), ([1, 256], np.uint16), ([-1, 3], np.int32)])
def test_the_map_is_of_the_smallest_integers_that_hold_every_class(values: list[int], kind: type) -> None:
    assert merging.empty(values, np.zeros(3)).dtype == kind
