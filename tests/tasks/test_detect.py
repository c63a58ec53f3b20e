"""Detection: whole images are padded as the network wants them, boxes are drawn and given as the plan says."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.core.atomic import write_text
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.io import raster
from hilum.planning.planner import fitted, look, make_plan
from hilum.tasks import _build, _task, detect


@pytest.mark.parametrize(("levels", "size"), [(2, (64, 96)), (3, (64, 96)), (5, (64, 128))])
def test_a_whole_image_has_a_size_that_the_network_takes(
    levels: int, size: tuple[int, int], plan_of: Callable[..., Plan]
) -> None:
    options = {"width": 8, "depth": 1, "levels": levels}
    task = _task.load(plan_of("detect", **{"networks.net.options": options}))
    picture = np.random.default_rng(0).integers(0, 255, (1, 40, 96)).astype(np.uint8)
    case = Case("a", "a", {"image": Image(picture)})
    prepared = task.prepare(case, truth=False)
    whole = task.whole(prepared)
    assert tuple(whole["image"].shape[2:]) == size
    assert np.array_equal(whole["image"][0, :, :40, :96].numpy(), prepared["image"])
    torch.manual_seed(0)
    net = _build.build(task, "net").eval()
    with torch.no_grad():
        found = task.decode(net(*task.inputs(whole)), prepared, case)["boxes"].array
    assert len(found) and found.min() >= 0 and (found[:, 2:] <= [40, 96]).all()


@pytest.mark.parametrize(
    ("options", "kept"), [({}, "AC"), ({"score": 0.9}, "A"), ({"most": 1}, "A"), ({"overlap": 1.0}, "ABC")]
)
def test_boxes_are_given_as_the_plan_says(options: dict[str, float], kept: str, plan_of: Callable[..., Plan]) -> None:
    task = _task.load(plan_of("detect", **{f"options.{name}": value for name, value in options.items()}))
    # A and B overlap by an IoU of 0.78
    there = {"A": ([8, 8, 24, 24], 0.95), "B": ([8, 10, 24, 26], 0.85), "C": ([40, 40, 56, 56], 0.6)}
    logits, sides = torch.full((1, len(task.plan.classes), 2, 2), -20.0), torch.zeros(1, 4, 2, 2)
    for (row, column), (box, score) in zip([(0, 0), (0, 1), (1, 1)], there.values(), strict=True):
        # with a centre-ness of 1 a score is the root of the probability
        logits[0, 0, row, column] = np.log(score**2 / (1 - score**2))
        at, ends = torch.tensor([16.0 + 32 * row, 16.0 + 32 * column]), torch.tensor(box)
        sides[0, :, row, column] = torch.cat([at - ends[:2], ends[2:] - at])
    outputs = {"class": [logits], "box": [sides], "centre": [torch.full((1, 1, 2, 2), 20.0)]}
    prepared = {"image": np.zeros((1, 64, 64), np.float32), "warnings": ()}
    found = task.decode(outputs, prepared, Case("a", "a", {}))["boxes"]
    np.testing.assert_allclose(found.array, [there[name][0] for name in kept])
    np.testing.assert_allclose(found.scores, [there[name][1] for name in kept], rtol=1e-5)


@pytest.mark.parametrize(
    ("option", "value", "shape", "box", "held"),
    [
        # a box that chance would hardly ever find
        ("inside", 0.0, (512, 512), [4, 4, 10, 10], 0),
        ("inside", 1.0, (512, 512), [4, 4, 10, 10], 1),
        # one of which every patch sees half
        ("keep", 0.4, (64, 128), [0, 0, 64, 128], 1),
        ("keep", 0.6, (64, 128), [0, 0, 64, 128], 0),
    ],
)
def test_patches_hold_boxes_as_the_plan_says(
    option: str, value: float, shape: tuple[int, int], box: list[int], held: int, plan_of: Callable[..., Plan]
) -> None:
    words = {"options.keep": 0.1, f"options.{option}": value, "augment": []}
    task = _task.load(plan_of("detect", batch=20, **words))
    image = Image(np.random.default_rng(0).random((1, *shape)).astype(np.float32))
    case = Case("a", "a", {"image": image}, boxes=np.array([[1.0, *box]]))
    made = task.sample(Store(task.prepare), [case], "train", 0, np.random.default_rng(0))
    assert [len(boxes) for boxes in made["boxes"]] == [held] * 20


def listed(folder: Path, boxes: dict[str, list[list[int]]], shape: tuple[int, int] = (600, 640)) -> Path:
    """Pictures with these boxes of each class, one picture after the other; the last has none."""
    rows = [(name, box) for name, own in boxes.items() for box in own]
    for n in range(4):
        picture = np.random.default_rng(n).integers(0, 255, (1, *shape), np.uint8)
        raster.write(folder / "images" / f"c{n}.png", Image(picture))
    lines = [f"c{n % 3},{name},{','.join(map(str, box))}" for n, (name, box) in enumerate(rows)]
    write_text(folder / "boxes.csv", "\n".join(["case,class,low0,low1,high0,high1", *lines, ""]))
    write_text(folder / "cases.csv", "case,split\nc0,train\nc1,train\nc2,val\nc3,test\n")
    return folder


def told(plan: Plan) -> list[str]:
    return [words for words in plan.data["warnings"] if "PLAN-08" in words]


SMALL, LARGE = [4, 4, 40, 30], [2, 3, 590, 620]


def test_plan_08_boxes_that_no_patch_can_show_are_told_before_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every patch dropped them, and they were taught as background without a word."""
    ready = look(listed(tmp_path, {"heart": [SMALL, LARGE, SMALL, LARGE], "node": [SMALL] * 3}), "detect", 0)
    with caplog.at_level(logging.WARNING):
        plan = make_plan(ready, "detect", steps=1)
    assert plan.patch == [256, 256]
    (words,) = told(plan)
    assert words.startswith("HIL-PLAN-08: no patch of 256 x 256 pixels") and "heart (2 of 3)" in words
    assert "node" not in words and words in caplog.messages
    # a plan that is given is looked at anew, and says it once
    assert fitted(plan, ready).data["warnings"] == plan.data["warnings"]
    for settings in ({"options.keep": 0.15}, {"plan.patch": [512, 512]}):
        assert told(make_plan(ready, "detect", steps=1, settings=settings)) == []


def test_plan_08_a_class_of_which_no_patch_shows_a_box_is_refused(tmp_path: Path) -> None:
    ready = look(listed(tmp_path, {"heart": [LARGE] * 3, "node": [SMALL] * 3}), "detect", 0)
    with pytest.raises(HilumError, match=r"heart \(0\.18 at most\)") as error:
        make_plan(ready, "detect", steps=1)
    assert error.value.code == "HIL-PLAN-08" and "options.keep" in error.value.remedy and "node" not in error.value.seen
    given = make_plan(ready, "detect", steps=1, settings={"options.keep": 0.15}).edited({"options.keep": 0.3})
    with pytest.raises(HilumError, match="HIL-PLAN-08"):
        fitted(given, ready)


def test_plan_08_objects_of_masks_are_looked_at_where_images_are_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[Case]()
    for shape, large in ((600, 640), True), ((300, 310), False):
        folder = listed(tmp_path / str(large), {}, shape)
        (folder / "boxes.csv").unlink()
        for n in range(4):
            label = np.zeros((1, *shape), np.uint8)
            label[0, 2:-2, 2:-2] = 1
            raster.write(folder / "labels" / f"c{n}.png", Image(label))
        ready = look(folder, "detect", 0)
        if large:
            with pytest.raises(HilumError, match="HIL-PLAN-08"):
                make_plan(ready, "detect", steps=1)
            continue
        monkeypatch.setattr(detect.Task, "_truth", lambda self, case: read.append(case))
        make_plan(ready, "detect", steps=1)
        assert not read
