"""What a round counts: sums that add up, a score, a name for collapse, pictures; for every task in the folder."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hilum.core import catalogue
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.planning.planner import Prepared
from hilum.tasks import _rounds, _rounds_boxes, _rounds_images, _task

TASKS = list(catalogue.cards("hilum.tasks"))
PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]
Truths = dict[str, Callable[[_task.Task, dict[str, Any]], tuple[Any, dict[str, Any]]]]


def batches(task: _task.Task, ready: Prepared, count: int) -> list[dict[str, Any]]:
    cases = [c for c, part in ready.units(task.plan) if part == "train"]
    store = Store(task.prepare)
    return [task.check(store, cases, k, np.random.default_rng([1, k])) for k in range(count)]


def boxes_as_outputs(task: _task.Task, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What FCOS would give if it knew: at the location of each box's centre its class and its sides."""
    stride, (high, wide) = 4, batch["image"].shape[2:]
    kinds, count = len(task.plan.classes), len(batch["boxes"])
    logits = torch.full((count, kinds, high // stride, wide // stride), -20.0)
    sides = torch.ones(count, 4, high // stride, wide // stride)
    for place, (boxes, labels) in enumerate(zip(batch["boxes"], batch["labels"], strict=True)):
        for box, label in zip(boxes, labels, strict=True):
            row, column = ((box[:2] + box[2:]) / 2 // stride).long().tolist()
            at = torch.tensor([row, column]) * stride + stride / 2
            logits[place, label, row, column] = 20.0
            sides[place, :, row, column] = torch.cat([at - box[:2], box[2:] - at])
    centre = torch.full((count, 1, high // stride, wide // stride), 20.0)
    return {"class": [logits], "box": [sides], "centre": [centre]}, batch


def onehot(batch: dict[str, Any], kinds: int) -> torch.Tensor:
    target = batch["target"].clamp_min(0)
    return torch.nn.functional.one_hot(target, kinds).movedim(-1, 1).float() * 9


def laid_on_itself(batch: dict[str, Any], task: _task.Task) -> tuple[torch.Tensor, dict[str, Any]]:
    return torch.zeros(len(batch["fixed"]), task.plan.dims, *task.plan.patch), batch | {"moving": batch["fixed"]}


TRUE: Truths = {
    "segment": lambda task, batch: (onehot(batch, 1 + len(task.plan.classes)), batch),
    "classify": lambda task, batch: (onehot(batch, len(task.plan.classes)), batch),
    "detect": boxes_as_outputs,
    "register": lambda task, batch: laid_on_itself(batch, task),
    "reconstruct": lambda task, batch: (batch["target"], batch),
    "generate": lambda task, batch: (batch["real"], batch),
}


def constant(value: Any, level: float) -> Any:
    """The same tree with one number everywhere."""
    if isinstance(value, torch.Tensor):
        return torch.full_like(value, level)
    if isinstance(value, dict):
        return {k: constant(v, level) for k, v in value.items()}
    return [constant(v, level) for v in value]


@pytest.fixture(params=TASKS)
def given(request: pytest.FixtureRequest, plan_of: PlanOf, ready: Ready) -> tuple[_task.Task, list[dict[str, Any]]]:
    """A task and batches of it, eight images together so that classes and boxes occur."""
    task = _task.load(plan_of(request.param, batch=4))
    return task, batches(task, ready(request.param), 2)


def name(task: _task.Task) -> str:
    return task.plan.task


def counted(task: _task.Task, made: list[dict[str, Any]], level: float | None = None) -> Any:
    """Counts of the truth, or of one number everywhere."""
    counts = []
    for batch in made:
        outputs, batch = TRUE[name(task)](task, batch)
        counts.append(task.counts(outputs if level is None else constant(outputs, level), batch))
    return sum(counts[1:], start=counts[0])


def test_every_task_has_its_truth_here() -> None:
    assert set(TASKS) == TRUE.keys()


def test_counts_of_two_batches_add_up_to_those_of_both(given: Any) -> None:
    task, made = given
    if name(task) == "reconstruct":
        made = made[:1] * 2
        outputs = [made[0]["target"] * 0.9] * 2
        parts = [task.counts(o, b) for o, b in zip(outputs, made, strict=True)]
        doubled = {k: torch.cat([v, v]) for k, v in made[0].items() if isinstance(v, torch.Tensor)}
        together = task.counts(torch.cat(outputs), doubled)
    else:
        truths = [TRUE[name(task)](task, batch) for batch in made]
        parts = [task.counts(o, b) for o, b in truths]
        together = task.counts(joined([o for o, _ in truths]), joined([b for _, b in truths]))
    np.testing.assert_allclose(parts[0] + parts[1], together, rtol=1e-6, atol=1e-6)


def joined(values: list[Any]) -> Any:
    """Trees of tensors one after the other; lists of the batch's images (boxes) are chained, levels are joined."""
    first = values[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(values)
    if isinstance(first, dict):
        return {k: joined([v[k] for v in values]) for k in first}
    if first and first[0].ndim == 4:
        return [torch.cat(level) for level in zip(*values, strict=True)]
    return [x for v in values for x in v]


def test_the_truth_scores_better_than_a_constant_and_both_are_finite(given: Any) -> None:
    task, made = given
    true, flat = task.score(counted(task, made)), task.score(counted(task, made, 0.0))
    assert true.keys() == flat.keys() and all(np.isfinite([*true.values(), *flat.values()]))
    first = next(iter(true))
    assert true[first] > flat[first] or (name(task) == "register" and true[first] == pytest.approx(1.0))


def test_collapse_names_constant_answers_and_is_silent_for_the_truth(given: Any) -> None:
    task, made = given
    assert task.collapse(counted(task, made)) is None
    if name(task) == "register":
        # laid on itself a still field is right: for a collapse the pairs must differ
        zero = constant(TRUE["register"](task, made[0])[0], 0.0)
        words = task.collapse(task.counts(zero, made[0]))
    else:
        words = task.collapse(counted(task, made, 0.0))
    assert words and words.startswith(("the network", "the generated"))


def test_pictures_are_rgb_with_captions(given: Any) -> None:
    task, made = given
    outputs, batch = TRUE[name(task)](task, made[0])
    drawn = task.pictures(outputs, batch, ["case-a", "case-b", "case-c", "case-d"])
    assert drawn
    for picture, caption in drawn:
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.std() > 0
        assert caption and (name(task) == "generate" or "case-" in caption)


def test_boxes_are_counted_as_average_precision_would_have_them() -> None:
    from hilum.metrics import ap50

    rng, images = np.random.default_rng(0), []
    for _ in range(6):
        low = rng.integers(0, 40, (5, 2)).astype(float)
        true = np.concatenate([low, low + 10], axis=1)
        found = np.concatenate([true + rng.normal(0, 2, true.shape), true[:3] + 30])
        # scores in the middle of their bins, where binning changes nothing
        scores = (rng.integers(0, 50, 8) + 0.5) / 50
        images.append({
            "boxes": found, "scores": scores, "labels": np.tile([0, 1], 4),
            "true_boxes": true, "true_labels": np.array([0, 1, 0, 1, 0]),
        })  # fmt: skip
    figures = _rounds_boxes.precision(_rounds_boxes.boxes(images, 2))
    exact = ap50.measure(images)
    assert exact is not None and 0.1 < exact < 0.95
    assert figures["ap50"] == pytest.approx(exact, abs=1e-12)


def test_no_box_at_all_is_called_so() -> None:
    none = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, dtype=int)}
    true = {"true_boxes": np.array([[1.0, 1, 9, 9]]), "true_labels": np.array([0])}
    counts = _rounds_boxes.boxes([none | true], 1)
    assert "no box" in (_rounds_boxes.blind(counts, 0.05) or "")
    assert _rounds_boxes.precision(counts) == {"ap50": 0.0, "recall": 0.0}


@pytest.mark.parametrize(("times", "word"), [(1.0, None), (2.0, None), (5.0, "bright"), (0.1, "bright")])
def test_a_wrong_intensity_range_is_called_so(times: float, word: str | None) -> None:
    truth = np.random.default_rng(0).random((2, 16, 16))
    found = _rounds_images.out_of_range(_rounds_images.errors(truth * times, truth, truth))
    assert (found is None) == (word is None) and (word is None or word in str(found))


def test_psnr_of_a_known_error() -> None:
    truth = np.zeros((1, 8, 8))
    truth[0, 0, 0] = 4.0
    figures = _rounds_images.noise(_rounds_images.errors(truth + 0.4, truth, truth))
    assert figures["psnr_db"] == pytest.approx(20.0) and figures["psnr_db/zero-filled"] == pytest.approx(100.0)


def test_the_real_mean_alone_has_no_likeness() -> None:
    real = np.random.default_rng(0).normal(size=(50, 3, 4))
    mean = np.repeat(real.mean(axis=0, keepdims=True), 50, axis=0)
    assert _rounds_images.likeness(_rounds_images.sets(mean, real))["likeness"] == pytest.approx(0.0, abs=1e-6)
    assert _rounds_images.likeness(_rounds_images.sets(real, real))["likeness"] == pytest.approx(1.0)
    assert _rounds_images.likeness(_rounds_images.sets(real * 3, real))["likeness"] < 0


def test_patches_wholly_inside_one_class_are_no_collapse() -> None:
    inside = np.array([[0, 0, 0], [50, 0, 0], [0, 0, 0]])
    assert _rounds.nothing_found(inside, ["a", "b"]) is None
    others = np.array([[0, 0, 9], [50, 9, 0], [0, 0, 0]])
    assert _rounds.nothing_found(others, ["a", "b"]) == "the network finds nothing but a, while 84.7% are foreground"


def test_boxes_count_in_rounds_whatever_score_is_asked_for_later(plan_of: PlanOf, ready: Ready) -> None:
    """Scores rise slowly: with a score of 0.5 a training was stopped for finding nothing."""
    task = _task.load(plan_of("detect", batch=4, **{"options.score": 0.5}))
    (batch,) = batches(task, ready("detect"), 1)
    outputs, _ = boxes_as_outputs(task, batch)
    unsure = outputs | {"class": [level.clamp(max=-3.2) for level in outputs["class"]]}
    counts = task.counts(unsure, batch)
    assert task.collapse(counts) is None and task.score(counts)["recall"] > 0.9
    assert "0.05 or more" in str(task.collapse(task.counts(constant(outputs, -20.0), batch)))
