"""A run keeps its groups and parts; what would be a leak by what is known today is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.data.dataset import Dataset
from hilum.data.groups import group_cases, looks
from hilum.data.phantoms import slices
from hilum.planning._parts import cut, kept, linked


def dataset(*patients: str) -> Dataset:
    heads = [slices.draw(np.random.default_rng(n), 64, 0.03, ill=False) for n in range(len(patients))]
    rows = zip("abcd", patients, heads, strict=True)
    cases = (Case(name, who, {"image": Image(head)}) for name, who, head in rows)
    return Dataset("x", Path("x"), "table", tuple(cases))


def test_pairs_of_which_one_is_left_out_join_nothing() -> None:
    cases = tuple(Case(name, name, {}) for name in "abc")
    data = Dataset("x", Path("x"), "images_labels", cases, pairs=(("a", "b"), ("c", "gone")))
    a, b, c = linked(data).cases
    assert a.group == b.group != c.group


def test_t09_a_patient_in_two_parts_of_a_run_is_told_and_the_run_kept() -> None:
    """Patients are told by more than before, and a run of an earlier version was refused on its own data."""
    data = dataset("P1", "P2", "P3", "P1")
    known = {"a": ("a", "train"), "b": ("b", "train"), "c": ("c", "val"), "d": ("d", "test")}
    own, parts, found = kept(data, data, 0, looks(data), known)
    assert [c.group for c in own.cases] == list("abcd") and parts == {name: part for name, (_, part) in known.items()}
    (told,) = found.warnings
    assert told.startswith("HIL-T09: the run keeps its parts") and "a (train) and d (test): the same patient" in told
    same = {name: (group, "train" if name == "d" else part) for name, (group, part) in known.items()}
    assert kept(data, data, 0, looks(data), same)[2].warnings == ()
    # one case without a patient makes it a grouping by similarity; the others' are known all the same
    mixed = dataset("P1", "P2", "", "P1")
    assert kept(mixed, group_cases(mixed)[0], 0, looks(mixed), known)[2].warnings == found.warnings


def test_t09_look_alikes_are_not_called_one_patient() -> None:
    """The group of two copies, named after the first, was taken for a patient who lies in two parts."""
    data = dataset("", "", "", "")
    first = data.cases[0].read("image")
    copy = replace(data.cases[3], items={"image": first.like(first.array * np.float32(0.9))})
    given = {"a": "train", "b": "train", "c": "val", "d": "test"}
    settings = data.settings.model_copy(update={"accept": ["T09"]})
    data = replace(data, cases=(*data.cases[:3], copy), parts=given, settings=settings)
    grouped, grouping = group_cases(data)
    assert grouping == "similarity" and grouped.case("d").group == "a"
    for found in (
        cut(data, grouped, 0, grouping, looks(data))[2],
        kept(data, grouped, 0, looks(data), {n: (n, part) for n, part in given.items()})[2],
    ):
        assert found.counts == {"near-identical": 1} and "patient" not in found.sentence


def test_t08_the_way_of_grouping_is_known_where_there_are_too_few_groups() -> None:
    data = dataset("P1", "P1", "P1", "P1")
    with pytest.raises(HilumError, match="`patients: case`") as error:
        cut(data, data, 0, "patient", looks(data))
    assert error.value.code == "HIL-T08"
