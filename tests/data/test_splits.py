"""70 / 10 / 20 by group: no group in two parts, the same every time, and every part has something."""

import hashlib
import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.data.dataset import Dataset, Settings
from hilum.data.splits import ENOUGH, PARTS, _cut, again, folds, split


def dataset(groups: list[str], kinds: list[str] | None = None, parts: dict[str, str] | None = None) -> Dataset:
    names = kinds or [""] * len(groups)
    cases = tuple(Case(f"c{n:04d}", g, {}, klass=k or None) for n, (g, k) in enumerate(zip(groups, names, strict=True)))
    return Dataset("x", Path("x"), "flat", cases, parts=parts or {})


def code(data: Dataset) -> str:
    with pytest.raises(HilumError) as error:
        split(data, 0)
    return error.value.code


def test_t08_pairs_that_all_share_an_image_are_one_group_and_said_so() -> None:
    pairs = tuple(("c0000", f"c000{n}") for n in range(1, 5))
    alone = replace(dataset(["a"] * 5), pairs=pairs)
    with pytest.raises(HilumError, match=r"where all share one \(an atlas\), list pairs that share none") as error:
        split(alone, 0, "patient")
    assert error.value.code == "HIL-T08"


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


def in_folds(groups: list[str], folds_of: list[str], **settings: object) -> Dataset:
    names = zip(groups, folds_of, strict=True)
    cases = tuple(Case(f"c{n}", g, {}, {"fold": f}) for n, (g, f) in enumerate(names))
    return Dataset("x", Path("x"), "table", cases, Settings.model_validate(settings))


@pytest.mark.parametrize(("count", "k"), [(37, 5), (10, 10), (3, 3), (4, 2), (200, 4)])
def test_every_group_is_in_the_test_part_of_exactly_one_fold(count: int, k: int) -> None:
    data = dataset([f"g{n % count}" for n in range(2 * count + 1)])
    made = folds(data, k, 1)
    assert len(made) == k and all(set(parts.values()) == set(PARTS) for parts in made)
    tested = Counter(case.group for parts in made for case in data.cases if parts[case.id] == "test")
    assert tested == Counter(case.group for case in data.cases)
    for parts in made:
        assert len({(c.group, parts[c.id]) for c in data.cases}) == count and list(parts) == [c.id for c in data.cases]


def test_folds_are_alike_in_size_and_classes_and_five_give_the_usual_shares() -> None:
    kinds = ["rare" if n < 20 else "common" for n in range(200)]
    made = folds(dataset([f"g{n}" for n in range(200)], kinds), 5, 0)
    for parts in made:
        counts = Counter(parts.values())
        assert counts["test"] == 40 and abs(counts["val"] - 20) <= 1
        assert Counter(parts[f"c{n:04d}"] for n in range(20)) == {"test": 4, "val": 2, "train": 14}


def test_folds_are_the_same_in_any_order_and_differ_by_seed() -> None:
    data = dataset([f"g{n // 2}" for n in range(60)])
    turned = Dataset("x", Path("x"), "flat", data.cases[::-1])
    assert folds(data, 4, 3) == folds(turned, 4, 3) != folds(data, 4, 4)


@pytest.mark.parametrize(("groups", "k"), [(4, 5), (2, 2), (3, 2), (9, 1), (9, 0), (1, 1)])
def test_t08_fewer_groups_than_folds_are_refused(groups: int, k: int) -> None:
    with pytest.raises(HilumError) as error:
        folds(dataset([f"g{n}" for n in range(groups)] * 3), k, 0)
    assert error.value.code == "HIL-T08" and str(groups) in error.value.seen


def test_t08_a_class_that_some_folds_lack_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    folds(dataset([f"g{n}" for n in range(20)], ["rare" if n < 2 else "common" for n in range(20)]), 5, 0)
    assert "HIL-T08" in caplog.text and "'rare'" in caplog.text and "common" not in caplog.text


def test_a_fold_column_is_taken_as_it_is() -> None:
    data = in_folds(list("abcdef"), ["10", "2", "2", "10", "1", "1"])
    made = folds(data, 3, 0)
    assert [sorted(c for c, p in parts.items() if p == "test") for parts in made] == [
        ["c4", "c5"], ["c1", "c2"], ["c0", "c3"],
    ]  # fmt: skip
    assert all(set(parts.values()) == set(PARTS) for parts in made)


@pytest.mark.parametrize(
    ("groups", "column", "code_"),
    [("abcd", "1 2 1 2", "HIL-T08"), ("abcd", "1 2 3", "HIL-I11"), ("aabc", "1 2 3 3", "HIL-T09")],
)
def test_t09_a_fold_column_that_leaks_or_lacks_something_is_refused(groups: str, column: str, code_: str) -> None:
    words = [*column.split(), ""][: len(groups)]
    with pytest.raises(HilumError) as error:
        folds(in_folds(list(groups), words), 3, 0)
    assert error.value.code == code_


@pytest.mark.parametrize("column", [False, True], ids=["cut", "column"])
def test_t09_one_image_that_is_filed_under_two_patients_is_in_no_two_folds(
    column: bool, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = [np.random.default_rng(n).integers(0, 255, (1, 64, 64)).astype(np.uint8) for n in (0, 1, 2, 3)]
    arrays.append(arrays[0][:, ::-1].copy())
    cases = tuple(
        Case(f"c{n}", f"P{n}", {"image": Image(array)}, {"fold": str(5 - n)} if column else {})
        for n, array in enumerate(arrays)
    )
    data = Dataset("x", Path("x"), "table", cases)
    with pytest.raises(HilumError) as error:
        folds(data, 5, 0)
    assert error.value.code == "HIL-T09" and "flipped" in error.value.seen
    if column:
        assert "c0 (fold 5) and c4 (fold 1)" in error.value.seen
    kept = replace(data, cases=cases[:4])
    assert column or len(folds(kept, 4, 0)) == 4
    caplog.clear()
    assert len(folds(replace(data, settings=Settings(accept=["T09"])), 5, 0)) == 5
    assert "HIL-T09: accepted" in caplog.text


def test_t09_an_accepted_leak_splits_and_folds() -> None:
    made = folds(in_folds(list("aabcd"), ["1", "2", "3", "3", "1"], accept=["T09"]), 3, 0)
    assert [sorted(c for c, p in parts.items() if p == "test") for parts in made] == [
        ["c0", "c4"],
        ["c1"],
        ["c2", "c3"],
    ]
    words = {"c0000": "train", "c0001": "val", "c0002": "test", "c0003": "test"}
    data = dataset(["a", "b", "c", "a"], parts=words)
    assert split(replace(data, settings=Settings(accept=["T09"])), 0) == words


def test_classes_of_two_groups_are_tested_too_and_each_is_learned() -> None:
    data = dataset([f"g{n}" for n in range(200)], [f"k{n // 2}" for n in range(200)])
    parts = split(data, 0)
    assert Counter(parts.values()) == {"train": 140, "val": 20, "test": 40}
    assert {c.klass for c in data.cases if parts[c.id] == "train"} == {f"k{n}" for n in range(100)}
    assert split(replace(data, cases=data.cases[::-1]), 0) == parts != split(data, 1)


def test_small_classes_change_nothing_for_those_of_three_groups() -> None:
    large = dataset([f"g{n}" for n in range(60)], ["ab"[n % 2] for n in range(60)])
    small = dataset([f"h{n}" for n in range(20)], [f"k{n // 2}" for n in range(20)])
    renamed = tuple(replace(c, id=f"h{c.id}") for c in small.cases)
    both = split(replace(large, cases=large.cases + renamed), 0)
    assert {name: both[name] for name in split(large, 0)} == split(large, 0)


@pytest.mark.parametrize("sizes", list(itertools.product([1, 2, 5], repeat=2)))
def test_one_class_of_two_groups_is_cut_as_ever(sizes: tuple[int, int]) -> None:
    """By the shares of its own cases: who trained before must find the same parts."""
    groups = [f"g{n}" for n in range(30)] + [name for name, size in zip("xy", sizes, strict=True) for _ in range(size)]
    data = dataset(groups, ["a"] * 30 + ["rare"] * sum(sizes))
    parts = split(data, 0)
    order = sorted("xy", key=lambda g: hashlib.sha256(f"0:{g}".encode()).hexdigest())
    last = dict(zip("xy", sizes, strict=True))[order[1]] / sum(sizes)
    found = [next(parts[c.id] for c in data.cases if c.group == g) for g in order]
    assert found == ["train", "test" if last < 0.4 else "val" if last < 0.6 else "train"]


def in_hash_order(sizes: list[int]) -> list[str]:
    """Groups of these sizes, one name per case, in the order in which they are cut (seed 0)."""
    names = sorted((f"g{n}" for n in range(len(sizes))), key=lambda g: hashlib.sha256(f"0:{g}".encode()).hexdigest())
    return [name for name, size in zip(names, sizes, strict=True) for _ in range(size)]


@pytest.mark.parametrize("place", range(5))
def test_one_large_patient_does_not_leave_training_empty_handed(place: int) -> None:
    """A part without a group once took the one beside it, of 200 of 240 cases."""
    sizes = [10] * 5
    sizes[place] = 200
    counts = Counter(split(dataset(in_hash_order(sizes)), 0).values())
    assert counts["train"] >= 200 and counts["val"] >= 10 and counts["test"] >= 10


@pytest.mark.parametrize("large", range(3))
def test_one_large_class_does_not_leave_training_empty_handed(large: int) -> None:
    groups = [name for n, name in enumerate("abc") for _ in range(50 if n == large else 1)]
    counts = Counter(split(dataset(groups, list(groups)), 0).values())
    assert counts == {"train": 50, "val": 1, "test": 1}


def as_ever(sizes: list[int]) -> list[str]:
    """How groups in hash order were cut before: a missing part took the group beside it, whatever its size."""
    total, done, out = sum(sizes), 0.0, list[str]()
    for size in sizes:
        middle = (done + size / 2) / total
        out.append("train" if middle < 0.7 else "val" if middle < 0.7 + 0.1 else "test")
        done += size
    for place, part in ((-1, "test"), (-2, "val"), (0, "train")):
        if part not in out:
            out[place] = part
    return out


def test_who_trained_before_finds_the_same_parts() -> None:
    rng = np.random.default_rng(0)
    rows = [[1] * n for n in range(3, 40)] + [rng.integers(1, 20, rng.integers(3, 30)).tolist() for _ in range(500)]
    kept = 0
    for sizes in rows:
        before = as_ever(sizes)
        held = sum(size for part, size in zip(before, sizes, strict=True) if part == "train")
        if held >= ENOUGH * sum(sizes) or len(set(sizes)) == 1:
            kept += 1
            assert _cut(sizes) == before, sizes
    assert kept > 400


def test_a_run_keeps_its_groups_and_parts_and_a_split_column_goes_before_them() -> None:
    data = dataset(["p1", "p1", "p2", "p3"])
    known = {"c0000": ("a", "val"), "c0001": ("b", "test"), "c0002": ("c", "train"), "c0003": ("d", "train")}
    own, parts = again(data, 0, known)
    assert parts == {name: part for name, (_, part) in known.items()} and [c.group for c in own.cases] == list("abcd")
    few = {name: row for name, row in known.items() if name != "c0003"}
    own, parts = again(data, 0, few)
    assert own.case("c0003").group == "p3" and parts["c0003"] in PARTS
    assert {name: parts[name] for name in few} == {name: part for name, (_, part) in few.items()}
    words = {"c0000": "train", "c0001": "train", "c0002": "val", "c0003": "test"}
    assert again(replace(data, parts=words), 0, known)[1] == words


def test_t08_placeholders_for_patients_are_named_as_a_reason() -> None:
    def remedy(data: Dataset, grouping: str) -> str:
        with pytest.raises(HilumError) as error:
            split(data, 0, grouping)
        assert error.value.code == "HIL-T08"
        return error.value.remedy

    one = dataset(["anonymised"] * 5)
    assert "`patients: case`" in remedy(one, "patient") and "`patients: case`" not in remedy(one, "similarity")
    assert "`patients: case`" not in remedy(replace(one, settings=Settings(patients="^(.)")), "patient")


def test_t09_a_split_column_that_tears_a_pair_apart_says_so() -> None:
    words = {"c0000": "train", "c0001": "val", "c0002": "test", "c0003": "test"}
    data = dataset(["a", "b", "c", "a"], parts=words)
    with pytest.raises(HilumError, match="both images of every pair"):
        split(replace(data, pairs=(("c0000", "c0003"),)), 0)
