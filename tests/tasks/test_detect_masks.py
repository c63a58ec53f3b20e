"""Boxes from label masks: an object is no ignored band, and what lies outside the validity mask is none."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.core.atomic import write_text
from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Result
from hilum.core.image import Image
from hilum.data.store import Store
from hilum.io import raster
from hilum.planning.planner import Prepared, look, make_plan
from hilum.tasks import _task
from hilum.tasks._labels import read_as

OBJECTS = [[10, 12, 20, 24], [40, 30, 52, 41]]
OUTSIDE = [4, 50, 9, 60]


def mask(objects: bool) -> np.ndarray:
    """0 and 1 with two objects and one outside the field of view, and a band of 255 that is ignored."""
    found = np.zeros((1, 64, 64), np.uint8)
    for top, left, bottom, right in [*OBJECTS, OUTSIDE] if objects else []:
        found[0, top:bottom, left:right] = 1
    found[0, 56:60] = 255
    return found


def made(folder: Path, objects: bool) -> _task.Task:
    for n in range(3):
        picture = np.random.default_rng(n).integers(0, 255, (1, 64, 64), np.uint8)
        field = np.full((1, 64, 64), 255, np.uint8)
        field[0, :10] = 0
        for name, array in (("images", picture), ("labels", mask(objects)), ("fov", field)):
            raster.write(folder / name / f"c{n}.png", Image(array))
    write_text(folder / "dataset.yaml", "ignore: 255\nroles: {validity: fov}\n")
    return _task.load(make_plan(look(folder, "detect", 0), "detect", steps=1))


def test_two_objects_beside_an_ignored_band_are_two_boxes(tmp_path: Path) -> None:
    task = made(tmp_path, True)
    case = look(tmp_path, "detect", 0).dataset.cases[0]
    ready = task.prepare(case)
    assert sorted(ready["boxes"].tolist()) == OBJECTS and ready["labels"].tolist() == [0, 0]
    found = Boxes(np.array(OBJECTS, float), np.ones(2), np.ones(2, np.int64), {1: "object"})
    record = task.judge(Result({"boxes": found}), case).record
    assert sorted(record["true_boxes"].tolist()) == OBJECTS


def test_n14_a_mask_that_is_off_its_image_ignores_nothing(tmp_path: Path) -> None:
    task = made(tmp_path, True)
    case = look(tmp_path, "detect", 0).dataset.cases[0]
    raster.write(tmp_path / "labels" / "c0.png", Image(mask(True)[:, :32]))
    listed = dataclasses.replace(case, boxes=np.array([[1, *OBJECTS[0]]], float), box_classes={1: "object"})
    with pytest.raises(HilumError) as error:
        task.prepare(listed)
    assert error.value.code == "HIL-N14"


def test_t10_boxes_along_three_axes_are_refused(tmp_path: Path) -> None:
    task = made(tmp_path, True)
    case = look(tmp_path, "detect", 0).dataset.cases[0]
    with pytest.raises(HilumError, match="three axes") as error:
        task.prepare(dataclasses.replace(case, boxes=np.array([[1.0, 1, 1, 1, 5, 5, 5]]), box_classes={1: "object"}))
    assert error.value.code == "HIL-T10"


def test_t10_an_ignored_band_alone_is_no_box(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as error:
        made(tmp_path, False)
    assert error.value.code == "HIL-T10"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("classes: {1: kidney, 2: tumour}", [[2, 2, 8, 8], [2, 20, 8, 26], [20, 20, 30, 26], [40, 2, 50, 8]]),
        ("labels: {tumour: 2, kidney: 1}", [[2, 2, 8, 8], [2, 20, 8, 26], [20, 20, 30, 26], [40, 2, 50, 8]]),
        (
            "classes: {1: tumour, 2: kidney}\nlabels: {tumour: 2, kidney: 1}",
            [[2, 2, 8, 8], [2, 20, 8, 26], [20, 20, 30, 26], [40, 2, 50, 8]],
        ),
        (
            "classes: {1: a, 2: b}\nlabels: {anything: [1, 2]}",
            [[2, 2, 8, 8], [2, 20, 8, 26], [20, 20, 30, 26], [40, 2, 50, 8]],
        ),
        ("labels: {anything: nonzero}", [[2, 2, 8, 26], [20, 2, 50, 26]]),
        ("", [[2, 2, 8, 26], [20, 2, 50, 26]]),
    ],
)
def test_named_values_are_classes_and_others_number_objects(
    words: str, wanted: list[list[int]], tmp_path: Path
) -> None:
    label = np.zeros((1, 64, 64), np.uint8)
    label[0, 2:8, 2:8] = label[0, 2:8, 20:26] = 1
    label[0, 20:30, 20:26] = label[0, 40:50, 2:8] = 2
    for n in range(3):
        picture = np.random.default_rng(n).integers(0, 255, (1, 64, 64), np.uint8)
        for name, array in (("images", picture), ("labels", label)):
            raster.write(tmp_path / name / f"c{n}.png", Image(array))
    write_text(tmp_path / "dataset.yaml", f"{words}\n")
    ready = look(tmp_path, "detect", 0)
    task = _task.load(make_plan(ready, "detect", steps=1))
    found = task.prepare(ready.dataset.cases[0])
    assert sorted(found["boxes"].tolist()) == sorted(wanted)
    names = [task.plan.classes[place].name for place in found["labels"]]
    if len(task.plan.classes) == 1:
        return
    # the first two pieces are kidney, wherever it stands in the file
    ordered = [name for _, name in sorted(zip(found["boxes"].tolist(), names, strict=True))]
    assert ordered == ["kidney", "kidney", "tumour", "tumour"]


@pytest.mark.parametrize("words", ["", "classes: {7: tumour, 9: kidney}\n"])
def test_masks_judge_a_detector_of_several_classes_by_name_or_not_at_all(words: str, tmp_path: Path) -> None:
    """Every object of such data was taken for the first class, without a word."""
    label = np.zeros((1, 64, 64), np.uint8)
    label[0, 2:8, 2:8], label[0, 40:50, 2:8] = 9, 7
    for n in range(3):
        picture = np.random.default_rng(n).integers(0, 255, (1, 64, 64), np.uint8)
        raster.write(tmp_path / "listed" / "images" / f"c{n}.png", Image(picture))
        for name, array in (("images", picture), ("labels", label)):
            raster.write(tmp_path / "masks" / name / f"c{n}.png", Image(array))
    rows = "".join(f"c{n},{kind},2,2,8,8\n" for n in range(3) for kind in ("kidney", "tumour"))
    write_text(tmp_path / "listed" / "boxes.csv", f"case,class,low0,low1,high0,high1\n{rows}")
    write_text(tmp_path / "masks" / "dataset.yaml", words)
    plan = make_plan(look(tmp_path / "listed", "detect", 0), "detect", steps=1)
    assert [c.name for c in plan.classes] == ["kidney", "tumour"]
    other = look(tmp_path / "masks", "detect", 0).dataset
    task = _task.load(plan.edited(read_as(other.settings, plan)))
    if not words:
        with pytest.raises(HilumError, match="does not say of which class") as error:
            task.prepare(other.cases[0])
        assert error.value.code == "HIL-T10"
        return
    found = task.prepare(other.cases[0])
    assert found["boxes"].tolist() == [[2, 2, 8, 8], [40, 2, 50, 8]] and found["labels"].tolist() == [0, 1]
    # what boxes.csv calls its classes is no rule for masks
    assert read_as(look(tmp_path / "listed", "detect", 0).dataset.settings, plan, boxes=True) == {}


def test_boxes_of_a_class_that_the_labels_do_not_name_are_not_judged(tmp_path: Path) -> None:
    """Each was a false positive of FROC, and made its case wrong for the gate."""
    task = made(tmp_path, True)
    changes = {"classes": [{"value": 1, "name": "object"}, {"value": 2, "name": "tumour"}]}
    task.plan = task.plan.edited({**changes, "data.labels": {"object": 1, "tumour": []}})
    rows = np.array([*OBJECTS, [24, 2, 34, 9]], float)
    found = Boxes(rows, np.ones(3), np.array([1, 1, 2]), {1: "object", 2: "tumour"})
    record = task.judge(Result({"boxes": found}), look(tmp_path, "detect", 0).dataset.cases[0]).record
    assert record["boxes"].tolist() == OBJECTS and record["labels"].tolist() == [1, 1] and len(record["scores"]) == 2


def test_n15_a_value_that_no_rule_names_is_no_object(tmp_path: Path) -> None:
    task = made(tmp_path, True)
    task.plan.data["labels"] = {"object": 2}
    with pytest.raises(HilumError) as error:
        task.prepare(look(tmp_path, "detect", 0).dataset.cases[0])
    assert error.value.code == "HIL-N15"


def test_what_is_ignored_teaches_nothing_and_is_not_judged(tmp_path: Path) -> None:
    task = made(tmp_path, True)
    case = look(tmp_path, "detect", 0).dataset.cases[0]
    ignored = np.zeros((1, 64, 64), bool)
    ignored[0, :10] = ignored[0, 56:60] = True
    assert np.array_equal(task.prepare(case)["ignored"], ignored)
    # found: the two objects, one outside the field of view, one half in it and half in the band, one more
    rows = np.array([*OBJECTS, OUTSIDE, [52, 2, 60, 8], [24, 2, 34, 9]], float)
    found = Boxes(rows, np.ones(5), np.ones(5, np.int64), {1: "object"})
    record = task.judge(Result({"boxes": found}), case).record
    assert record["boxes"].tolist() == [*OBJECTS, [24, 2, 34, 9]] and len(record["scores"]) == 3
    # an object that reaches into what is ignored is judged where it is found
    near = Boxes(np.array([[2.0, 12, 20, 24]]), np.ones(1), np.ones(1, np.int64), {1: "object"})
    assert len(task.judge(Result({"boxes": near}), case).record["boxes"]) == 1


def test_ignored_places_of_a_batch_are_mirrored_with_it_and_have_no_gradient(tmp_path: Path) -> None:
    task = made(tmp_path, True)
    cases = look(tmp_path, "detect", 0).dataset.cases
    store = Store(task.prepare)
    plain = task.sample(store, cases, "val", 0, np.random.default_rng(0))
    assert plain["ignored"].shape == (task.plan.batch, *task.plan.patch) and plain["ignored"][0, 0, :64].all()
    # padding repeats the edge of the image, and is no ignored place
    assert not plain["ignored"][:, 60:].any()
    seen = set()
    for seed in range(8):
        batch = task.sample(store, cases, "train", 0, np.random.default_rng(seed))
        seen |= {bool(one[0].all()) for one in batch["ignored"]}
        assert all(int(one.sum()) == 14 * 64 for one in batch["ignored"])
    assert seen == {True, False}
    shapes = [(16, 16), (8, 8), (4, 4)]
    outputs = {
        name: [torch.zeros(len(plain["image"]), k, *shape, requires_grad=True) for shape in shapes]
        for name, k in (("class", 1), ("box", 4), ("centre", 1))
    }
    sum(task.losses(outputs, plain).values()).backward()
    gradient = outputs["class"][0].grad[:, 0]
    # the finest level has a location every four pixels: rows 0 and 1 lie in the ignored ten, row 14 in the band
    assert not gradient[:, :2].any() and not gradient[:, 14].any()
    assert gradient[:, 4:6].any() and gradient[:, 15].any()


def numbered(folder: Path, words: str) -> Prepared:
    """Three pictures with one object each, in two pieces of one value."""
    label = np.zeros((1, 64, 64), np.uint8)
    label[0, 2:8, 2:8] = label[0, 20:30, 20:26] = 5
    for n in range(3):
        picture = np.random.default_rng(n).integers(0, 255, (1, 64, 64), np.uint8)
        for name, array in (("images", picture), ("labels", label)):
            raster.write(folder / name / f"c{n}.png", Image(array))
    write_text(folder / "dataset.yaml", f"{words}\n")
    return look(folder, "detect", 0)


@pytest.mark.parametrize("more", ["", "\nclasses: {5: cell}"])
def test_a_number_is_one_object_where_labels_say_instances(more: str, tmp_path: Path) -> None:
    ready = numbered(tmp_path / "own", f"labels: {{cell: instances}}{more}")
    plan = make_plan(ready, "detect", steps=1)
    assert _task.load(plan).prepare(ready.dataset.cases[0])["boxes"].tolist() == [[2, 2, 30, 26]]
    # of other data that do not say so the pieces are the objects, as they were
    other = numbered(tmp_path / "other", "").dataset
    read = plan.edited(read_as(other.settings, plan))
    assert sorted(_task.load(read).prepare(other.cases[0])["boxes"].tolist()) == [[2, 2, 8, 8], [20, 20, 30, 26]]
    assert read_as(ready.dataset.settings, plan)["data.labels"] == {"cell": "instances"}


def test_names_in_boxes_csv_are_no_names_of_values_in_masks(tmp_path: Path) -> None:
    """By the alphabet ape is the first box class: what the masks call 1 was called so."""
    label = np.zeros((1, 64, 64), np.uint8)
    label[0, 2:8, 2:8], label[0, 40:50, 2:8], label[0, 40:50, 20:28] = 1, 2, 3
    for n in range(3):
        picture = np.random.default_rng(n).integers(0, 255, (1, 64, 64), np.uint8)
        for name, array in (("images", picture), ("labels", label)):
            raster.write(tmp_path / name / f"c{n}.png", Image(array))
    rows = "".join(f"c{n},{kind},2,2,8,8\n" for n in range(3) for kind in ("zebra", "ape"))
    write_text(tmp_path / "boxes.csv", f"case,class,low0,low1,high0,high1\n{rows}")

    def classes(task: str) -> dict[int, str]:
        return {c.value: c.name for c in make_plan(look(tmp_path, task, 0), task, steps=1).classes}

    assert classes("segment") == {1: "class 1", 2: "class 2", 3: "class 3"}
    assert classes("detect") == {1: "ape", 2: "zebra"}
    # what dataset.yaml says is of masks, too; of boxes where it knows them all
    write_text(tmp_path / "dataset.yaml", "classes: {1: liver, 2: tumour, 3: cyst}\n")
    assert classes("segment") == {1: "liver", 2: "tumour", 3: "cyst"}
    assert classes("detect") == {1: "ape", 2: "zebra"}
    write_text(tmp_path / "dataset.yaml", "classes: {1: zebra, 2: ape, 3: emu}\n")
    assert classes("segment") == classes("detect") == {1: "zebra", 2: "ape", 3: "emu"}
