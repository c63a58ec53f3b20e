"""What is judged: inside the validity mask only, masks and the ranking of voxels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.core.atomic import write_text
from hilum.core.errors import HilumError
from hilum.core.findings import Field, Mask, Result
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.data.dataset import open_dataset
from hilum.data.store import Store
from hilum.evaluation.evaluator import Evaluation, measure
from hilum.io import raster
from hilum.tasks import _task
from hilum.tasks._labels import IGNORE
from hilum.tasks._task import Judged

PlanOf = Callable[..., Plan]
ONE = {
    "dims": 2, "patch": [16, 16], "spacing": None, "classes": [{"value": 1, "name": "vessel"}],
    "data.labels": {"vessel": 255}, "augment": [], "options.reduce": "mean",
}  # fmt: skip


@pytest.fixture(scope="module")
def task(plan_of: PlanOf) -> _task.Task:
    return _task.load(Plan.model_validate(plan_of("segment").model_dump() | _flat(plan_of("segment").model_dump())))


def _flat(plan: dict) -> dict:
    """ONE with its dotted keys put in: two changes that only fit together (dims, patch) can not be made in turn."""
    out = {key: value for key, value in ONE.items() if "." not in key}
    for path, value in ((p, v) for p, v in ONE.items() if "." in p):
        first, last = path.split(".")
        out[first] = plan[first] | {last: value}
    return out


def case_of(with_validity: bool = True) -> Case:
    """A square vessel, half of which lies outside what is valid."""
    label = np.zeros((1, 16, 16), np.int32)
    label[0, 4:12, 4:12] = 255
    image = Image(np.random.default_rng(0).normal(0, 1, (1, 16, 16)).astype(np.float32))
    items = {"image": image, "label": Image(label)}
    if with_validity:
        inside = np.zeros((1, 16, 16), np.int32)
        inside[:, :, 8:] = 255
        items["validity"] = Image(inside)
    return Case("a", "a", items)


def logits(found: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([-found, found]).astype(np.float32))


def test_outside_the_validity_mask_nothing_is_learned(task: _task.Task) -> None:
    batch = task.sample(Store(task.prepare), [case_of()], "val", 0, np.random.default_rng(0))
    target = batch["target"].numpy()
    assert (target[:, :, :8] == IGNORE).all() and set(np.unique(target[:, :, 8:])) == {0, 1}
    assert task.prepare(case_of())["foreground"][:, 1].min() == 8
    loss = task.losses(logits(np.zeros((16, 16)))[None], {"target": batch["target"][:1]})["loss"]
    wrong = np.zeros((16, 16))
    wrong[:, :8] = 50
    assert torch.equal(loss, task.losses(logits(wrong)[None], {"target": batch["target"][:1]})["loss"])


def test_outside_the_validity_mask_nothing_is_judged(task: _task.Task) -> None:
    right = np.where(case_of().items["label"].array[0] == 255, 3.0, -3.0)
    right[:, :8] *= -1
    case, whole = case_of(), case_of(with_validity=False)
    prepared = task.prepare(case)
    result = task.decode(logits(right), prepared, case)
    inside, everywhere = task.judge(result, case), task.judge(result, whole)
    for name in ("dice", "pixel_auroc", "nsd_1mm"):
        assert inside.values[name]["vessel"] == 1 > everywhere.values[name]["vessel"]  # type: ignore[operator]
    uncut = task.decode(logits(right), prepared, whole)["mask"].array
    assert not result["mask"].array[:, :8].any() and uncut[:, :8].any()
    assert inside.record.sum() == 128 and everywhere.record.sum() == 256


def test_probabilities_are_ranked_not_cut(task: _task.Task) -> None:
    """All voxels below one half: nothing is found, but the order is right."""
    case = case_of(with_validity=False)
    low = np.where(case.items["label"].array[0] == 255, -1.0, -3.0)
    result = task.decode(logits(low), task.prepare(case), case)
    assert result["mask"].probability.dtype == np.float32 and not result["mask"].array.any()
    judged = task.judge(result, case)
    assert judged.values["dice"]["vessel"] == 0 and judged.values["pixel_auroc"]["vessel"] == 1
    done = Evaluation([judged], [], headline="dice")
    assert measure("pixel_auroc_pooled", done)["mean"] == 1  # type: ignore[index]
    missed = task.missed(case)
    assert missed.values["pixel_auroc"]["vessel"] == 0.5 and missed.values.keys() == judged.values.keys()


def test_an_image_that_is_lost_is_ranked_the_wrong_way_round(task: _task.Task) -> None:
    """With one probability everywhere an image without foreground was ranked without a fault, and raised the number."""
    case, rng = case_of(with_validity=False), np.random.default_rng(1)
    bare = Case("b", "b", dict(case.items) | {"label": Image(np.zeros((1, 16, 16), np.int32))})
    found = [task.judge(task.decode(logits(rng.normal(size=(16, 16))), task.prepare(c), c), c) for c in (case, bare)]

    def pooled(judged: list[Judged], lost: list[Judged]) -> float:
        row = measure("pixel_auroc_pooled", Evaluation(judged, [], headline="dice", lost=lost))
        assert row is not None
        return float(row["mean"])

    both = pooled(found, [])
    for kept, lost in ((found[:1], bare), (found[1:], case)):
        worst = task.missed(lost)
        assert worst is not None and worst.record.sum() == 256
        assert pooled(kept, [worst]) < both - 0.1
    assert pooled([], [worst]) == 0


def test_metrics_follow_the_plan(task: _task.Task, plan_of: PlanOf) -> None:
    assert task.metrics[-2:] == ["pixel_auroc", "pixel_auroc_pooled"] and task.reduce == "mean"
    assert _task.load(plan_of("segment")).metrics == ["dice", "hd95_mm", "nsd_1mm", "volume_error_ml"]


def test_n14_a_validity_mask_lies_on_its_image(task: _task.Task) -> None:
    case = case_of()
    items = dict(case.items) | {"validity": Image(np.ones((1, 16, 15), np.int32))}
    with pytest.raises(HilumError) as error:
        task.prepare(Case("a", "a", items))
    assert error.value.code == "HIL-N14"


def test_dataset_yaml_and_a_csv_name_the_validity_mask(tmp_path: Path) -> None:
    case = case_of()
    for role, folder in (("image", "images"), ("label", "labels"), ("validity", "fov")):
        array = np.abs(case.items[role].array).astype(np.uint8)
        raster.write(tmp_path / folder / "a.png", Image(array))
    write_text(tmp_path / "dataset.yaml", "labels: {vessel: 255}\nroles: {validity: fov}\n")
    write_text(tmp_path / "cases.tsv", "case\timage\tlabel\tvalidity\na\timages/a.png\tlabels/a.png\tfov/a.png\n")
    for path in (tmp_path, tmp_path / "cases.tsv"):
        (one,) = open_dataset(path, ["image", "label"]).cases
        np.testing.assert_array_equal(one.items["validity"].read_labels().array, case.items["validity"].array)


def elsewhere(fault: str) -> Image:
    """A label for images of 8 x 8 x 8 that lies one slice further, or lacks one."""
    affine = np.eye(4)
    affine[2, 3] = float(fault == "shifted")
    return Image(np.ones((1, 8, 8, 7 if fault == "shorter" else 8), np.int16), affine)


@pytest.mark.parametrize("fault", ["shifted", "shorter"])
def test_n14_a_label_elsewhere_is_not_judged_voxel_by_voxel(fault: str, plan_of: PlanOf) -> None:
    task = _task.load(plan_of("segment"))
    result = Result({"mask": Mask(np.ones((8, 8, 8), np.uint8), {}, np.eye(4))})
    with pytest.raises(HilumError) as error:
        task.judge(result, Case("a", "a", {"label": elsewhere(fault)}))
    assert error.value.code == "HIL-N14"


@pytest.mark.parametrize("side", ["fixed", "moving"])
@pytest.mark.parametrize("fault", ["shifted", "shorter"])
def test_n14_labels_of_a_pair_lie_on_their_own_images(fault: str, side: str, plan_of: PlanOf) -> None:
    task = _task.load(plan_of("register"))
    image, body = Image(np.zeros((1, 8, 8, 8), np.float32), np.eye(4)), np.zeros((1, 8, 8, 8), np.int16)
    body[:, 2:6, 2:6, 2:6] = 1
    items = {"fixed": image, "moving": image, "fixed_label": image.like(body), "moving_label": image.like(body)}
    result = Result({"field": Field(np.zeros((3, 8, 8, 8), np.float32), np.eye(4))})
    assert task.judge(result, Case("a", "a", items)).values["dice"][""] == 1
    with pytest.raises(HilumError) as error:
        task.judge(result, Case("a", "a", items | {f"{side}_label": elsewhere(fault)}))
    assert error.value.code == "HIL-N14"
