"""Doubt without a truth: of boxes and registrations by hand, of masks by all voxels; and what counts as wrong."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Field, Result
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.core.strongest import strongest
from hilum.infer import near, streamed
from hilum.infer.predictor import Opinion
from hilum.tasks import _task
from hilum.tasks._task import Judged
from hilum.trust import doubt


def boxes(*scores: float) -> Boxes:
    n = len(scores)
    return Boxes(np.zeros((n, 4)), np.array(scores), np.ones(n, dtype=np.int64), {1: "x"})


def test_sure_boxes_are_not_doubtful_and_undecided_ones_are() -> None:
    assert doubt.of_boxes(boxes()) == 0
    assert doubt.of_boxes(boxes(1.0, 1.0)) == 0
    # nothing is shown, but something nearly was
    assert doubt.of_boxes(boxes(0.29, 0.1)) == pytest.approx(0.29)
    # 2 * 0.9 / (1 + 0.9 + 0.2)
    assert doubt.of_boxes(boxes(0.9, 0.2)) == pytest.approx(1 - 1.8 / 2.1)
    assert doubt.of_boxes(boxes(0.9, 0.4)) > doubt.of_boxes(boxes(0.9, 0.05))


def test_f1_of_boxes_by_hand() -> None:
    square = np.array([[0.0, 0, 10, 10], [0, 0, 9, 10], [20, 20, 30, 30]])
    record = {"boxes": square, "scores": np.array([0.9, 0.8, 0.2]), "labels": np.array([1, 1, 1])}
    record |= {"true_boxes": square[[0]], "true_labels": np.array([1])}
    # two are shown, the second finds nothing that is free
    assert doubt.f1(record) == pytest.approx(2 / 3)
    assert doubt.f1(record | {"scores": np.array([0.9, 0.2, 0.2])}) == 1
    assert doubt.f1(record | {"labels": np.array([2, 2, 2])}) == 0
    none = {"true_boxes": np.zeros((0, 4)), "true_labels": np.zeros(0, dtype=np.int64)}
    assert doubt.f1(record | none) == 0
    assert doubt.f1(record | none | {"scores": np.array([0.1, 0.1, 0.1])}) == 1
    assert doubt.loss("detect", Judged("", "", {}, record), 0.7) == (pytest.approx(1 / 3), True)


def test_a_registration_that_fits_is_not_doubtful() -> None:
    picture = np.random.default_rng(0).random((1, 24, 24)).astype(np.float32)
    moved = np.roll(picture, 2, axis=2)
    case = Case("a", "a", {"fixed": Image(picture, None), "moving": Image(moved, None)})
    right, still = np.zeros((2, 24, 24), np.float32), np.zeros((2, 24, 24), np.float32)
    right[1] = 2
    found = [doubt.of_registration(Result({"field": Field(f)}), case) for f in (right, still)]
    # two columns come from beyond the edge
    assert found[0] < 0.2 and found[1] > 0.8
    even = Case("a", "a", {"fixed": Image(np.ones_like(picture), None), "moving": Image(moved, None)})
    assert doubt.of_registration(Result({"field": Field(still)}), even) == 1


@pytest.mark.parametrize(
    ("task", "values", "expected"),
    [
        ("segment", {"dice": {"": 0.9}}, (0.1, False)),
        ("segment", {"dice": {"": 0.6}}, (0.4, True)),
        # nothing to find and nothing found
        ("segment", {"dice": {"a": None}}, (0.0, False)),
        ("register", {"dice": {"": 0.6}}, (0.4, True)),
        # trained without labels, nothing says how good it is
        ("register", {"dice": {"": None}}, None),
        ("register", {"folding_percent": {"": 0.0}}, None),
        ("reconstruct", {"psnr_db": {"": 40.0, "zero-filled": 20.0}}, (0.01, False)),
        ("reconstruct", {"psnr_db": {"": 29.0}}, (10**-1.45, True)),
        ("reconstruct", {"psnr_db": {"": None}}, None),
    ],
)
def test_what_counts_as_wrong(task: str, values: dict[str, dict[str, float | None]], expected: object) -> None:
    found = doubt.loss(task, Judged("", "", values), doubt.acceptable(task, None))
    assert found == (expected if expected is None else pytest.approx(expected))
    wrong = doubt.loss("classify", Judged("", "", {}, (np.array([0.6, 0.4]), 1)), None)
    assert wrong == (1.0, True)


def test_what_is_acceptable_has_the_unit_of_the_task() -> None:
    assert doubt.acceptable("segment", None) == 0.7 and doubt.acceptable("segment", 1.0) == 1
    assert doubt.acceptable("reconstruct", None) == 30 and doubt.acceptable("reconstruct", 25.0) == 25
    assert doubt.acceptable("classify", None) is None and doubt.acceptable("generate", None) is None


@pytest.mark.parametrize(
    ("task", "wanted"),
    [("segment", 30.0), ("detect", 0.0), ("register", float("nan")), ("reconstruct", 0.7), ("reconstruct", 200.0)],
)
def test_a_number_of_another_unit_is_refused(task: str, wanted: float) -> None:
    with pytest.raises(HilumError) as refused:
        doubt.acceptable(task, wanted)
    assert refused.value.code == "HIL-TRUST-23" and "is usual" in refused.value.remedy


def test_a_number_for_a_task_without_one_is_refused() -> None:
    with pytest.raises(HilumError, match=r"classify .* from 0\.9 on.*Leave --acceptable out") as refused:
        doubt.acceptable("classify", 0.9)
    assert refused.value.code == "HIL-TRUST-23"


def test_a_pair_of_colour_and_grey_is_compared_as_grey() -> None:
    picture = np.random.default_rng(0).random((1, 24, 24)).astype(np.float32)
    grey, colour = Image(picture, None), Image(np.repeat(picture, 3, axis=0), None)
    result = Result({"field": Field(np.zeros((2, 24, 24), np.float32))})
    for fixed, moving in ((colour, grey), (grey, colour), (colour, colour)):
        assert doubt.of_registration(result, Case("a", "a", {"fixed": fixed, "moving": moving})) < 1e-5


def balls(inside: bool) -> torch.Tensor:
    """Scores (3, *space): a ball of 5,000 voxels that is sure, and one of 27 that is not, beside it or inside of it."""
    grid = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"))
    chances = np.empty((3, 40, 40, 40))
    chances[:] = np.reshape([0.999, 0.0005, 0.0005], (3, 1, 1, 1))
    for centre, radius, own in (((16, 16, 16), 10.6, (0.0095, 0.99, 0.0005)), (None, 1.8, (0.05, 0.4, 0.55))):
        middle = centre or ((16, 16, 16) if inside else (33, 33, 33))
        here = ((grid - np.reshape(middle, (3, 1, 1, 1))) ** 2).sum(axis=0) < radius**2
        chances[:, here] = np.reshape(own, (3, 1))
    noise = np.random.default_rng(0).normal(0, 0.1, chances.shape)
    return torch.from_numpy((np.log(chances) + noise).astype(np.float32))


@pytest.mark.parametrize("inside", [False, True])
def test_a_small_class_counts_in_the_doubt_of_a_mask_like_a_large_one(
    inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of all voxels alike has none of it, or one by chance: the doubt was that of the large class alone."""
    scores = balls(inside)

    def told(most: int, seed: int = 0) -> float:
        monkeypatch.setattr(near, "MOST", most)
        return doubt.of_mask(doubt.sight(streamed.of_scores(scores, seed)), Scaling())

    every = told(10**6)
    assert every > 0.15
    assert [told(100, seed) for seed in range(8)] == pytest.approx([every] * 8, abs=0.05)
    assert [told(5000, seed) for seed in range(8)] == pytest.approx([every] * 8, abs=0.01)


@pytest.mark.parametrize("spacing", [[1.0, 1.0, 1.0], [1.0, 2.0, 1.5]], ids=str)
def test_the_doubt_is_that_of_the_mask_as_it_is_delivered(spacing: list[float], plan_of: Callable[..., Plan]) -> None:
    """A piece that was taken out, or lies outside of a validity mask, made a mask doubtful that does not hold it."""
    classes = [{"value": 3, "name": "a"}, {"value": 1, "name": "b"}]
    task = _task.load(plan_of("segment", classes=classes, spacing=spacing))
    image = Image(np.random.default_rng(0).normal(0, 1, (1, 40, 60, 30)).astype(np.float32), np.diag([-1.0, -1, 1, 1]))
    case = Case("a", "a", {"image": image})
    prepared = task.prepare(case, truth=False)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in prepared["image"].shape[1:]], indexing="ij"))

    def told(pieces: int, case: Case, single: tuple[int, ...]) -> float:
        chances = np.full((3, *grid.shape[1:]), 0.001)
        for first, radius, chance in ((10, 3.2, 0.9), (27, 2.6, 0.6))[:pieces]:
            middle = np.reshape([first, grid.shape[2] // 2, grid.shape[3] // 2], (3, 1, 1, 1))
            chances[1][((grid - middle) ** 2).sum(axis=0) < radius**2] = chance
        chances[0] = 1 - chances[1:].sum(axis=0)
        scores = torch.from_numpy(np.log(chances).astype(np.float32))
        task.single = single
        result = task.decode(strongest(scores).numpy(), prepared, case)
        return doubt.of_mask(doubt.of_opinion(Opinion(result, prepared, scores), task, case), Scaling())

    one = told(1, case, ())
    assert told(2, case, ()) > one + 0.05
    assert told(2, case, (1,)) == pytest.approx(one, abs=1e-6)
    # x runs to the left in the file
    inside = np.ones((1, 40, 60, 30), dtype=np.uint8)
    inside[:, :20] = 0
    held = Case("a", "a", {"image": image, "validity": image.like(inside)})
    assert told(2, held, ()) == pytest.approx(one, abs=1e-6)
    inside[:, :39] = 0
    aside = Case("a", "a", {"image": image, "validity": image.like(inside)})
    assert np.isnan(told(2, aside, ())), "nothing is left to be asked about"
