"""A run keeps its groups and parts; what would be a leak by what is known today is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.core.atomic import write_text
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.data.dataset import Dataset
from hilum.data.groups import group_cases, looks
from hilum.data.phantoms import slices
from hilum.io import raster
from hilum.planning._parts import cut, kept, linked
from hilum.planning.planner import look, make_plan
from hilum.tasks import _task


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


def test_images_that_no_pair_names_take_no_part(tmp_path: Path) -> None:
    """A hundred images with eight listed pairs: all were dealt out, and often no pair lay in the val part."""
    for number in range(40):
        array = np.random.default_rng(number).integers(0, 255, (1, 16 if number < 16 else 64, 16)).astype(np.uint8)
        raster.write(tmp_path / "images" / f"i{number:02d}.png", Image(array))
    rows = [f"i{n:02d},i{n + 1:02d}" for n in range(0, 16, 2)]
    write_text(tmp_path / "pairs.csv", "\n".join(["fixed,moving", *rows]) + "\n")
    write_text(tmp_path / "dataset.yaml", "patients: case\n")
    for seed in range(20):
        ready = look(tmp_path, "register", seed)
        units = _task.kind("register").units(ready.dataset, ready.parts, seed)
        assert len(units) == 8 and {part for _, part in units} == {"train", "val", "test"}
    plan = make_plan(ready, "register", steps=1, seed=19)
    assert plan.patch == [16, 16] and "24 images are left aside, as pairs.csv does not name them" in plan.data["notes"]
    # another task takes them all, and where every image is listed nothing is said
    assert len(look(tmp_path, "generate", 0).dataset.cases) == 40
    whole = [f"i{n:02d},i{n + 1:02d}" for n in range(0, 40, 2)]
    write_text(tmp_path / "pairs.csv", "\n".join(["fixed,moving", *whole]) + "\n")
    ready = look(tmp_path, "register", 0)
    assert ready.unpaired == 0 and not make_plan(ready, "register", steps=1).data.get("notes")
