"""Some of many keep their order, reach both ends, and give every stretch its share."""

from collections import Counter

import pytest

from hilum.core.evenly import evenly


@pytest.mark.parametrize("size", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("most", [0, 1, 2, 5, 7, 200])
def test_at_most_so_many_each_once_and_in_order(size: int, most: int) -> None:
    found = evenly(range(size), most)
    assert len(found) == min(size, most) and found == sorted(set(found))
    if size > 1 and most > 1:
        assert found[0] == 0 and found[-1] == size - 1


def test_what_lies_in_the_order_of_its_classes_gives_all_of_them() -> None:
    counts = Counter(evenly([klass for klass in "abcd" for _ in range(71)], 16))
    assert set(counts) == set("abcd") and max(counts.values()) - min(counts.values()) <= 1
