"""70 / 10 / 20 by group: no group in two parts, the same every time, and every part has something."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.data.dataset import Dataset
from hilum.data.splits import PARTS, split


def dataset(groups: list[str], kinds: list[str] | None = None, parts: dict[str, str] | None = None) -> Dataset:
    names = kinds or [""] * len(groups)
    cases = tuple(Case(f"c{n:04d}", g, {}, klass=k or None) for n, (g, k) in enumerate(zip(groups, names, strict=True)))
    return Dataset("x", Path("x"), "flat", cases, parts=parts or {})


def code(data: Dataset) -> str:
    with pytest.raises(HilumError) as error:
        split(data, 0)
    return error.value.code


def test_no_group_is_in_two_parts() -> None:
    data = dataset([f"g{n % 37}" for n in range(200)])
    parts = split(data, 1)
    owners = {(c.group, parts[c.id]) for c in data.cases}
    assert len(owners) == 37 and set(parts) == {c.id for c in data.cases}


def test_the_shares_hold_on_a_thousand_groups() -> None:
    counts = Counter(split(dataset([f"g{n}" for n in range(1000)]), 0).values())
    assert abs(counts["train"] - 700) <= 1 and abs(counts["val"] - 100) <= 1 and abs(counts["test"] - 200) <= 1


def test_the_shares_hold_within_every_class() -> None:
    data = dataset([f"g{n}" for n in range(100)], ["rare" if n < 20 else "common" for n in range(100)])
    parts = split(data, 0)
    rare = Counter(parts[c.id] for c in data.cases if c.klass == "rare")
    assert rare == {"train": 14, "val": 2, "test": 4}


def test_the_same_data_in_any_order_is_split_the_same() -> None:
    data = dataset([f"g{n // 2}" for n in range(60)])
    first = split(data, 3)
    turned = Dataset("x", Path("x"), "flat", data.cases[::-1])
    assert split(data, 3) == first == split(turned, 3)
    assert split(data, 4) != first


@pytest.mark.parametrize("sizes", list(itertools.product([1, 2, 30], repeat=3)))
def test_three_groups_give_three_parts_whatever_their_size(sizes: tuple[int, ...]) -> None:
    groups = [name for name, size in zip("abc", sizes, strict=True) for _ in range(size)]
    parts = split(dataset(groups), 0)
    assert set(parts.values()) == set(PARTS)


@pytest.mark.parametrize("kinds", ["ab" * 2, "abc", "aabbcc", "aab", "ab" * 3, "abcdefgh"])
def test_t08_small_classes_leave_no_part_empty(kinds: str) -> None:
    parts = split(dataset([f"g{n}" for n in range(len(kinds))], list(kinds)), 0)
    assert set(parts.values()) == set(PARTS)


@pytest.mark.parametrize("groups", [["a"], ["a", "b"], ["a", "a", "a", "a"], ["a", "b", "a", "b"]])
def test_t08_fewer_than_three_groups_are_refused(groups: list[str]) -> None:
    assert code(dataset(groups)) == "HIL-T08"


def test_a_given_split_is_taken_as_it_is() -> None:
    words = {"c0000": "Training", "c0001": "valid", "c0002": "TEST", "c0003": "train"}
    found = split(dataset(["a", "b", "c", "a"], parts=words), 0)
    assert found == {"c0000": "train", "c0001": "val", "c0002": "test", "c0003": "train"}


def test_t09_a_given_split_that_leaks_is_refused() -> None:
    words = {"c0000": "train", "c0001": "val", "c0002": "test", "c0003": "test"}
    assert code(dataset(["a", "b", "c", "a"], parts=words)) == "HIL-T09"


def test_i11_a_given_split_must_name_every_case_and_t08_every_part() -> None:
    words = {"c0000": "train", "c0001": "val"}
    assert code(dataset(["a", "b", "c"], parts=words)) == "HIL-I11"
    assert code(dataset(["a", "b", "c"], parts=words | {"c0002": "holdout"})) == "HIL-I11"
    assert code(dataset(["a", "b", "c"], parts=words | {"c0002": "val"})) == "HIL-T08"
