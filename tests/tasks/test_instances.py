"""Numbered objects: what is learned of them, and that it leads back to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.data.dataset import Settings
from hilum.data.phantoms import cells
from hilum.data.store import Store
from hilum.metrics import ap50_instances
from hilum.prepare import grid
from hilum.tasks import _task
from hilum.tasks._instances import depth, depth_loss, placed_depth, separate

PlanOf = Callable[..., Plan]


def grid_of(count: int, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Boxes of `side` that fill the image and touch each other, numbered from 1."""
    place = np.stack(np.meshgrid(*[np.arange(n) // side for n in shape], indexing="ij"))
    number = 1 + np.ravel_multi_index(tuple(place), tuple(-(-n // side) for n in shape))
    return np.where(number <= count, number, 0)


@pytest.mark.parametrize("shape", [(48, 48), (24, 24, 24)])
@pytest.mark.parametrize("side", [6, 8])
def test_touching_objects_come_back(shape: tuple[int, ...], side: int) -> None:
    truth = grid_of(10_000, side, shape)
    found = separate(truth > 0, depth(truth, (1.0,) * len(shape)), 0.2, 1)
    assert ap50_instances.measure(found, truth) == 1 and found.dtype == np.uint16


def test_more_objects_than_a_byte_or_two_holds() -> None:
    truth = grid_of(10**6, 3, (900, 900)) * (np.indices((900, 900)) % 3 != 2).all(axis=0)
    found = separate(truth > 0, (truth > 0).astype(np.float32), 0.2, 1)
    assert found.max() == 90_000 and found.dtype == np.int32
    few = separate(truth[:60, :60] > 0, (truth[:60, :60] > 0).astype(np.float32), 0.2, 1)
    assert few.max() == 400 and few.dtype == np.uint16


def test_the_thinnest_objects_keep_a_core() -> None:
    truth = np.zeros((9, 12), np.int32)
    truth[2, 2:9], truth[3, 2:9], truth[7, 5] = 300, 70_000, 5
    made = depth(truth, (1.0, 1.0))
    assert all(made[truth == value].max() == 1 for value in (300, 70_000, 5)) and (made[truth == 0] == 0).all()


def test_the_end_of_the_image_is_no_edge_but_another_object_is() -> None:
    truth = np.ones((6, 9), np.int32)
    assert (depth(truth, (1.0, 1.0)) == 1).all()
    truth[:, 5:] = 2
    made = depth(truth, (1.0, 1.0))
    np.testing.assert_allclose(made[0, :5], [1, 0.8, 0.6, 0.4, 0.2])
    np.testing.assert_allclose(made[5, 5:], [0.25, 0.5, 0.75, 1])


def test_distance_is_in_millimetres() -> None:
    truth = np.zeros((9, 40), np.int32)
    truth[1:8, 1:39] = 1
    made = depth(truth, (10.0, 1.0))
    # 7 rows of 10 mm, 38 columns of 1 mm: the short way out is along the columns
    assert made[4, 1] == pytest.approx(made[1, 1]) and made[4, 10] == pytest.approx(10 / 19)


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_thin_objects_that_do_not_touch_come_back(width: int) -> None:
    truth = np.zeros((40, 40), np.int32)
    for number, row in enumerate(range(2, 40 - width, width + 1), 1):
        truth[row : row + width, 3:37] = number
    found = separate(truth > 0, depth(truth, (1.0, 1.0)), 0.2, 1)
    assert ap50_instances.measure(found, truth) == 1


def test_a_dent_shallower_than_the_valley_splits_nothing() -> None:
    inside = np.zeros((21, 60), np.float32)
    inside[2:19, 2:58] = 0.5
    inside[9:12, 8:14], inside[9:12, 46:52] = 0.8, 0.9
    assert separate(inside > 0, inside, 0.5, 1).max() == 1
    assert separate(inside > 0, inside, 0.1, 1).max() == 2


def test_pieces_without_a_seed_and_specks() -> None:
    foreground = np.zeros((20, 20), bool)
    foreground[2:6, 2:6], foreground[10:14, 10:14], foreground[18, 18] = True, True, True
    inside = np.where(np.indices((20, 20))[0] < 8, 0.9, 0.1)
    found = separate(foreground, inside, 0.2, 2)
    assert found.max() == 2 and found[3, 3] != found[12, 12] > 0 and found[18, 18] == 0
    assert separate(np.zeros((4, 4), bool), np.zeros((4, 4)), 0.2, 1).max() == 0


def test_the_loss_is_lowest_where_the_depth_is_right_and_ignores_what_is_ignored() -> None:
    wanted = torch.tensor([[0.0, 0.0, 0.3, 1.0]])
    known = torch.tensor([[True, True, True, True]])
    right = torch.logit(wanted.clamp(1e-4, 1 - 1e-4))
    assert depth_loss(right, wanted, known) < depth_loss(right + 0.5, wanted, known)
    wrong = right.clone()
    wrong[0, 1] = 9
    hidden = torch.tensor([[True, False, True, True]])
    assert depth_loss(wrong, wanted, hidden) < depth_loss(wrong, wanted, known) - 1
    assert depth_loss(right, wanted, ~known.bool()) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Plan]:
    """Cells, and a plan for them."""
    from hilum.planning.planner import look, make_plan

    folder = tmp_path_factory.mktemp("cells") / "cells"
    cells.make(folder, 8, size=48, cells=5)
    ready = look(folder, "segment", 0)
    return ready, make_plan(ready, "segment", steps=5)


def test_the_truth_decodes_to_itself(made: tuple[Any, Plan]) -> None:
    ready, plan = made
    task = _task.load(plan)
    assert task.reduce == "none" and task.out_channels() == 3 and task.metrics[0] == "ap50_instances"
    for case in ready.dataset.cases:
        prepared = task.prepare(case)
        sure = torch.from_numpy(np.where(prepared["target"] > 0, 9.0, -9.0))
        deep = torch.logit(torch.from_numpy(prepared["depth"]).double(), eps=1e-6)
        result = task.decode(torch.stack([-sure, sure, deep]), prepared, case)
        assert result["mask"].instances and result["mask"].array.dtype == np.uint16
        values = task.judge(result, case).values
        assert values["ap50_instances"]["cell"] == 1 and values["dice"]["cell"] == 1
        worst = task.missed(case).values
        assert worst["ap50_instances"]["cell"] == 0 == worst["dice"]["cell"]
        assert task.show(result, case)[0][0].dtype == np.uint8


@pytest.mark.parametrize(("valley", "smallest", "count"), [(0.1, 1, 3), (0.5, 1, 2), (0.1, 10, 2)])
def test_objects_are_told_apart_as_the_plan_says(
    valley: float, smallest: int, count: int, made: tuple[Any, Plan]
) -> None:
    """Two cores with a dent of 0.3 between them, and a speck of 9 pixels."""
    task = _task.load(made[1].edited({"options.valley": valley, "options.smallest": smallest}))
    inside = np.zeros((48, 48))
    inside[2:19, 2:46], inside[40:43, 20:23] = 0.5, 0.9
    inside[9:12, 6:12], inside[9:12, 36:42] = 0.8, 0.9
    sure, deep = (torch.from_numpy(each) for each in (np.where(inside > 0, 9.0, -9.0), inside))
    case = Case("a", "a", {"image": Image(np.random.default_rng(0).random((1, 48, 48)).astype(np.float32))})
    logits = torch.stack([-sure, sure, torch.logit(deep, eps=1e-6)])
    assert task.decode(logits, task.prepare(case, truth=False), case)["mask"].array.max() == count


def test_a_patch_cuts_an_object_and_its_depth_stays(made: tuple[Any, Plan]) -> None:
    """Depth belongs to the whole object: a cell of which a patch sees a rim is shallow there."""
    ready, plan = made
    task = _task.load(plan.edited({"augment": [], "patch": [8, 8], "options.foreground": 1.0}))
    store = Store(task.prepare)
    seen = set()
    for k in range(20):
        batch = task.sample(store, ready.dataset.cases, "train", k, np.random.default_rng(k))
        assert batch["depth"].shape == batch["target"].shape
        assert ((batch["depth"] > 0) == (batch["target"] > 0)).all()
        seen |= {round(float(one.max()), 2) < 0.9 for one in batch["depth"]}
    assert seen == {True, False}


def test_a_mirrored_patch_takes_its_depth_along(made: tuple[Any, Plan]) -> None:
    ready, plan = made
    task = _task.load(plan.edited({"augment": [{"name": "flip"}, {"name": "rotate_scale"}]}))
    for k in range(8):
        batch = task.sample(Store(task.prepare), ready.dataset.cases, "train", k, np.random.default_rng(k))
        assert ((batch["depth"] > 0) == (batch["target"] > 0)).all()


def test_a_volume_at_another_spacing_comes_back_on_its_own_grid(plan_of: PlanOf) -> None:
    one = {"classes": [{"value": 1, "name": "cell"}], "spacing": [2.0, 2.0, 2.0], "data.labels": {"cell": "instances"}}
    task = _task.load(plan_of("segment", **one))
    affine = np.diag([-1.0, 1.0, 3.0, 1.0])
    truth = np.zeros((30, 30, 10), np.int32)
    truth[3:15, 3:15, 2:8], truth[15:27, 3:15, 2:8] = 40_000, 7
    image = Image(np.random.default_rng(0).normal(0, 1, (1, *truth.shape)).astype(np.float32), affine)
    case = Case("a", "a", {"image": image, "label": Image(truth[None], affine)})
    prepared = task.prepare(case)
    assert prepared["depth"].shape == prepared["target"].shape == (15, 15, 15)
    sure = torch.from_numpy(np.where(prepared["target"] > 0, 9.0, -9.0))
    deep = torch.logit(torch.from_numpy(prepared["depth"]).double(), eps=1e-6)
    result = task.decode(torch.stack([-sure, sure, deep]), prepared, case)
    assert result["mask"].array.shape == truth.shape
    assert task.judge(result, case).values["ap50_instances"]["cell"] == 1


def test_what_takes_the_depth_for_a_class_or_touching_objects_for_one_is_refused(plan_of: PlanOf) -> None:
    one = {"classes": [{"value": 1, "name": "cell"}], "data.labels": {"cell": "instances"}}
    net = {"networks.net": {"name": "unetpp", "options": {"average": True}}}
    with pytest.raises(HilumError, match=r"average.*depth.*HIL-PLAN-03"):
        _task.load(plan_of("segment", **one, **net))
    with pytest.raises(HilumError, match=r"weight_map.*touch.*HIL-PLAN-03"):
        _task.load(plan_of("segment", **one, **{"options.loss": "weight_map:sigma=4.0"}))
    # of a class, not of numbered objects, both can be had
    plain = {"classes": one["classes"], "options.loss": "weight_map", **net}
    assert _task.load(plan_of("segment", **plain)).out_channels() == 2


def test_several_classes_are_refused_by_sentence(plan_of: PlanOf) -> None:
    with pytest.raises(HilumError, match="one class only") as error:
        _task.load(plan_of("segment", **{"data.labels": {"cell": "instances"}}))
    assert error.value.code == "HIL-PLAN-03"
    with pytest.raises(HilumError, match="one class only"):
        _task.load(plan_of("segment", **{"options.reduce": "mean"}))
    with pytest.raises(ValueError, match="stands alone"):
        Settings(labels={"cell": "instances", "dirt": 3})


def test_dicom_has_no_form_for_numbers(made: tuple[Any, Plan], tmp_path: Path) -> None:
    from hilum.core.findings import Mask, Result
    from hilum.infer import export

    ready, _ = made
    mask = Mask(np.ones((48, 48), np.uint16), {1: "cell"}, instances=True)
    with pytest.raises(HilumError) as error:
        export.export(Result({"mask": mask}), ready.dataset.cases[0], tmp_path, "dicom")
    assert error.value.code == "HIL-INFER-05" and not list(tmp_path.iterdir())


def test_depth_turns_with_the_image_at_45_degrees() -> None:
    blob = np.zeros((1, 6, 7, 5), np.int16)
    blob[0, 3:, 1:4, 1:] = 3
    affines = []
    for degrees in np.radians([45 - 1e-6, 45 + 1e-6]):
        affines.append(np.eye(4))
        affines[-1][:2, :2] = [[np.cos(degrees), -np.sin(degrees)], [np.sin(degrees), np.cos(degrees)]]
    array, placed = grid.place(Image(blob, affines[0]), None)
    np.testing.assert_array_equal(placed_depth(Image(blob, affines[1]), placed) > 0, array[0] > 0)
