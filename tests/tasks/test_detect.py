"""Detection: whole images are padded as the network wants them, boxes are drawn and given as the plan says."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.tasks import _build, _task


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
