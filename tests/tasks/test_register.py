"""Registration: a field found in the common box is the same movement on the images' own grids, in millimetres."""

import dataclasses
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.core.warp import warp
from hilum.data.dataset import Dataset
from hilum.evaluation.evaluator import _missed
from hilum.losses import _together
from hilum.planning.planner import look
from hilum.prepare import grid, patches
from hilum.tasks import _pairs, _task
from hilum.verbs.plan import planned
from hilum.verbs.train import train

SHAPE = (12, 14, 10)
RAS = np.array([[1.5, 0, 0, -9], [0, 1.5, 0, 4], [0, 0, 1.5, 7], [0, 0, 0, 1]])


def smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    out: np.ndarray = gaussian_filter(np.random.default_rng(seed).normal(0, 1, shape), 2.0)
    return out / out.std()


def turned(array: np.ndarray, word: str) -> Image:
    """The same body, stored along other axes: exact."""
    order = [next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair) for letter in word]
    flips = [letter in "LPI" for letter in word]
    stored = np.transpose(array, order)
    affine = geometry.reorder(RAS, stored.shape, tuple(order), tuple(flips))
    for axis, flip in enumerate(flips):
        stored = np.flip(stored, axis) if flip else stored
    return Image(np.ascontiguousarray(stored)[None].astype(np.float32), affine)


def placed(image: Image, box: tuple[int, ...]) -> tuple[np.ndarray, grid.Placed, list[int]]:
    array, where = grid.place(image, (1.5, 1.5, 1.5))
    start = [(n - want) // 2 for n, want in zip(where.shape, box, strict=True)]
    return patches.cut(array, start, box), where, start


@pytest.mark.parametrize(("first", "second"), list(itertools.product(["RAS", "LPS", "PIR"], ["RAS", "LPS", "SAL"])))
def test_a_field_on_the_own_grids_is_the_same_warp(first: str, second: str) -> None:
    moving_body, box = smooth(SHAPE, 1), (16, 16, 16)
    u = np.stack([smooth(box, s) * 0.8 for s in (2, 3, 4)])
    fixed, moving = turned(np.zeros(SHAPE), first), turned(moving_body, second)
    _, fixed_placed, fixed_start = placed(fixed, box)
    moving_box, moving_placed, moving_start = placed(moving, box)
    in_box = warp(torch.from_numpy(moving_box)[None], torch.from_numpy(u)[None].float(), padding="border")[0, 0].numpy()
    field = _pairs.field(u, fixed_placed, moving_placed, fixed_start, moving_start)
    pulled = grid.to_ras(fixed.like(_pairs.pull(moving, field))).array[0]
    inside = tuple(slice(-s, -s + n) for s, n in zip(fixed_start, SHAPE, strict=True))
    np.testing.assert_allclose(pulled[2:-2, 2:-2, 2:-2], in_box[inside][2:-2, 2:-2, 2:-2], atol=1e-4)


def test_the_field_is_the_same_in_millimetres_whatever_the_axes() -> None:
    u = np.stack([smooth((16, 16, 16), s) for s in (2, 3, 4)])
    found = []
    for word in ("RAS", "LPS", "PIR", "SAL"):
        fixed, moving = turned(np.zeros(SHAPE), word), turned(np.zeros(SHAPE), "LPS")
        _, fixed_placed, start = placed(fixed, (16, 16, 16))
        _, moving_placed, other = placed(moving, (16, 16, 16))
        field = _pairs.field(u, fixed_placed, moving_placed, start, other)
        found.append(grid.to_ras(fixed.like(field.physical())).array)
    for other_found in found[1:]:
        np.testing.assert_allclose(other_found, found[0], atol=1e-4)


def test_a_zero_field_between_two_places_lays_them_on_each_other() -> None:
    body = smooth(SHAPE, 1)
    fixed = turned(body, "RAS")
    assert fixed.affine is not None
    elsewhere = fixed.affine.copy()
    elsewhere[:3, 3] += (40, -25, 3)
    moving = Image(fixed.array, elsewhere)
    _, fixed_placed, start = placed(fixed, (16, 16, 16))
    _, moving_placed, other = placed(moving, (16, 16, 16))
    field = _pairs.field(np.zeros((3, 16, 16, 16)), fixed_placed, moving_placed, start, other)
    np.testing.assert_allclose(_pairs.pull(moving, field), fixed.array, atol=1e-4)
    np.testing.assert_allclose(field.physical().reshape(3, -1).mean(axis=1), (40, -25, 3), atol=1e-3)
    np.testing.assert_allclose(_pairs.pull(moving, _pairs.still(fixed, moving)), fixed.array, atol=1e-4)


def test_labels_are_pulled_as_labels() -> None:
    body = (smooth(SHAPE, 1) > 0).astype(np.int16) * 2
    image = turned(body, "LPS")
    field = _pairs.still(image, image)
    pulled = _pairs.pull_labels(Image(image.array.astype(np.int16), image.affine), field, 2)
    np.testing.assert_array_equal(pulled, image.array[0])


def test_pictures_are_registered_in_pixels() -> None:
    u = np.stack([smooth((16, 16), s) for s in (2, 3)])
    fixed, moving = Image(np.zeros((1, 16, 16))), Image(smooth((16, 16), 1)[None].astype(np.float32))
    where = [grid.place(i, None)[1] for i in (fixed, moving)]
    field = _pairs.field(u, *where, [0, 0], [0, 0])
    np.testing.assert_allclose(field.array, u, atol=1e-5)
    assert field.affine is None and field.physical() is field.array


def dataset(names: str, pairs: tuple[tuple[str, str], ...] = ()) -> Dataset:
    image = Image(np.zeros((1, 4, 4)))
    return Dataset("x", Path("x"), "flat", tuple(Case(n, n, {"image": image}) for n in names), pairs=pairs)


def test_pairs_never_cross_parts_and_partners_are_drawn_by_seed() -> None:
    parts = dict(zip("abcdefghi", ["train"] * 4 + ["val"] * 2 + ["test"] * 3, strict=True))
    units = _pairs.units(dataset("abcdefghi"), parts, 0, 2)
    again, other = (_pairs.units(dataset("abcdefghi"), parts, seed, 1) for seed in (0, 1))
    assert {c.id for c, _ in again} <= {c.id for c, _ in units} and [c.id for c, _ in again] != [c.id for c, _ in other]
    assert [c.id for c, p in units if p == "train"] == list("abcd")
    for case, part in units:
        if part != "train":
            sides = (case.attributes["fixed"], case.attributes["moving"])
            assert sides[0] != sides[1] and {parts[s] for s in sides} == {part} and case.group == sides[0]
    assert sum(p == "test" for _, p in units) == 6 and sum(p == "val" for _, p in units) == 2


def test_t08_a_part_without_a_pair_is_refused() -> None:
    parts = {"a": "train", "b": "train", "c": "val", "d": "test", "e": "test"}
    lonely = {"a": "train", "b": "val", "c": "val", "d": "test", "e": "test"}
    listed = dataset("abcde", (("a", "b"), ("d", "e"), ("c", "d")))
    for data, given in ((dataset("abcde"), parts), (dataset("abcde"), lonely), (listed, parts)):
        with pytest.raises(HilumError) as error:
            _pairs.units(data, given, 0, 2)
        assert error.value.code == "HIL-T08"


def test_one_missing_label_leaves_the_other_pairs_their_dice(data: Callable[[str], Path], tmp_path: Path) -> None:
    """It took all classes away, and no pair was judged."""
    shutil.copytree(data("register"), tmp_path / "d")
    (tmp_path / "d" / "labels" / "pair_000_moving.nii.gz").unlink()
    ready = look(tmp_path / "d", "register", 0)
    plan = planned(ready, "register", None, None, 2, 0, {})
    assert len(plan.classes) == 3 and any(note.startswith("1 of 8 images") for note in plan.data["notes"])
    task: Any = _task.load(plan)
    judged, lost = {}, {}
    predictor: Any = SimpleNamespace(task=task)
    for case, _ in ready.units(plan):
        lost[case.id] = _missed(predictor, case).values
        still = Result({"field": _pairs.still(case.read("fixed"), case.read("moving"))})
        judged[case.id] = "dice" in task.judge(still, case).values
    bare = "pair_000_fixed__pair_000_moving"
    assert len(judged) == 4 and [name for name, known in judged.items() if not known] == [bare]
    # without a result it has no Dice either: 0 was its worst, and in a comparison that of all others the best
    assert lost.pop(bare) == {"folding_percent": {"": 100}}
    worst = {"dice": {"": 0}, "hd95_mm": {"": None}, "folding_percent": {"": 100}}
    assert list(lost.values()) == [worst] * 3


def test_where_the_fixed_label_is_ignored_nothing_is_judged_or_learned(plan_of: Callable[..., Plan]) -> None:
    task: Any = _task.load(plan_of("register"))
    shape, source = (16, 16, 16), np.zeros((1, 16, 16, 16), np.int16)
    source[0, 4:12, 4:12, 4:12] = 1
    image, truth = Image(source, np.eye(4)), source[0].copy()
    still = _pairs.still(image, image)
    truth[8:] = 0
    spoilt = task._by_class("dice", image, still, truth, (1.0, 1.0, 1.0))
    truth[8:] = -1
    sound = task._by_class("dice", image, still, truth, (1.0, 1.0, 1.0))
    name = task.plan.classes[0].name
    assert spoilt[name] == pytest.approx(2 / 3) and sound[name] == 1
    batch = {
        "moving_label": torch.from_numpy(source[None]).float(),
        "fixed_label": torch.from_numpy(truth[None, None]).float(),
    }
    assert task._overlap(torch.zeros(1, 3, *shape), batch) < 1e-4


def test_where_the_moving_label_is_ignored_nothing_is_judged_or_learned(plan_of: Callable[..., Plan]) -> None:
    task: Any = _task.load(plan_of("register", **{"options.labels": 1.0}))
    truth = np.zeros((16, 16, 16), np.int16)
    truth[4:12, 4:12, 4:12] = 1
    source = truth[None].copy()
    still = _pairs.still(Image(source, np.eye(4)), Image(source, np.eye(4)))
    source[:, 8:] = 0
    spoilt = task._by_class("dice", Image(source, np.eye(4)), still, truth, (1.0, 1.0, 1.0))
    source[:, 8:] = -1
    sound = task._by_class("dice", Image(source, np.eye(4)), still, truth, (1.0, 1.0, 1.0))
    name = task.plan.classes[0].name
    assert spoilt[name] == pytest.approx(2 / 3) and sound[name] == 1
    batch = {
        "moving_label": torch.from_numpy(source[None]).float(),
        "fixed_label": torch.from_numpy(truth[None, None]).float(),
    }
    field = torch.zeros(1, 3, 16, 16, 16, requires_grad=True)
    loss = task._overlap(field, batch)
    loss.backward()
    assert loss.item() < 1e-4 and field.grad is not None and torch.isfinite(field.grad).all()
    # right, found only, missed
    assert task._moved_voxels(field.detach(), batch)[1].tolist() == [4 * 8 * 8, 0, 0]


def test_a_voxel_is_unknown_where_half_of_what_is_pulled_is_ignored() -> None:
    label = np.ones((1, 6, 6), np.int16)
    label[0, 3:] = -1
    still = _pairs.still(Image(label), Image(label))
    for step, known in ((0.4, 3), (0.5, 2), (-0.4, 3)):
        near = dataclasses.replace(still, array=np.stack([np.full((6, 6), step), np.zeros((6, 6))]).astype(np.float32))
        pulled = _pairs.pull_labels(Image(label), near, 1)
        assert (pulled[:known] == 1).all() and (pulled[known:5] == -1).all()


def test_single_images_are_asked_about_in_pairs_of_different_ones() -> None:
    singles = list(dataset("abc").cases)
    listed = _pairs.pair(singles[0], singles[1])
    assert [c.id for c in _pairs.in_pairs([*singles, listed])] == ["a__c", "b__a", "c__b", "a__b"]


def test_the_overlap_of_a_batch_that_processes_share_is_that_of_the_whole(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    task: Any = _task.load(plan_of("register"))
    torch.manual_seed(0)
    batch = {name: torch.randint(0, 3, (2, 1, 8, 8, 8)).float() for name in ("moving_label", "fixed_label")}
    # one label is large, the other small: the mean of two overlaps is not that of both
    batch["fixed_label"][1, :, 2:] = 0
    field = torch.randn(2, 3, 8, 8, 8)
    whole = task._overlap(field, batch)
    sums: list[list[torch.Tensor]] = [[], []]

    def half(rank: int) -> torch.Tensor:
        found: torch.Tensor = task._overlap(field[rank : rank + 1], {n: t[rank : rank + 1] for n, t in batch.items()})
        return found

    for rank in range(2):
        monkeypatch.setattr(_together, "summed", lambda x, rank=rank: (sums[rank].append(x), x)[1])
        assert not torch.allclose(half(rank), whole)
    both = [one + other for one, other in zip(*sums, strict=True)]
    monkeypatch.setattr(_together, "summed", lambda x: both.pop(0))
    assert torch.allclose(half(0), whole) and not both


def test_n14_a_label_that_lies_elsewhere_is_not_learned(plan_of: Callable[..., Plan]) -> None:
    task: Any = _task.load(plan_of("register", **{"options.labels": 1.0}))
    image, truth = Image(smooth((20, 20, 20), 1)[None], RAS), np.zeros((1, 20, 20, 20), np.int16)
    away = RAS.copy()
    away[0, 3] += 20
    for label in (Image(truth, away), Image(truth[:, 2:], RAS)):
        with pytest.raises(HilumError) as error:
            task.prepare(Case("a", "", {"image": image, "label": label}))
        assert error.value.code == "HIL-N14"
    assert "image_label" in task.prepare(Case("a", "", {"image": image, "label": Image(truth, RAS)}))


def test_labels_are_learned_from_every_image_or_none(plan_of: Callable[..., Plan]) -> None:
    image = Image(smooth((20, 20, 20), 1)[None], RAS)
    for options, wanted in (({"options.labels": 1.0}, "they have no label"), ({}, "")):
        task: Any = _task.load(plan_of("register", **options))
        assert task.unlearnable(task.prepare(Case("a", "", {"image": image}))).startswith(wanted or "they") == bool(
            wanted
        )


def test_colour_is_brought_to_grey_for_the_network_too(plan_of: Callable[..., Plan]) -> None:
    colour = {"channels": ["red", "green", "blue"], "normalisation": [{"scheme": "zscore"}] * 3}
    assert _task.load(plan_of("register", **colour)).in_channels() == 1


def test_a_label_at_the_end_of_the_image_does_not_lose_its_border() -> None:
    label = Image(np.ones((1, 6, 6), np.int16))
    still = _pairs.still(label, label)
    for step in (-0.1, 0.1):
        near = dataclasses.replace(still, array=np.full_like(still.array, step))
        assert _pairs.pull_labels(label, near, 1).all()


def test_labels_are_not_learned_without_classes(plan_of: Callable[..., Plan]) -> None:
    # a run that was made with such a plan can still be opened
    task = _task.load(plan_of("register", **{"classes": [], "options.labels": 1.0}))
    with pytest.raises(HilumError, match="no classes") as error:
        task.check_trainable()
    assert error.value.code == "HIL-PLAN-03"
    _task.load(plan_of("register", classes=[])).check_trainable()


def test_a_run_that_can_not_learn_its_labels_does_not_begin(
    plan_of: Callable[..., Plan], data: Callable[[str], Path], tmp_path: Path
) -> None:
    plan_of("register", 1, **{"classes": [], "options.labels": 1.0}).write(tmp_path / "plan.json")
    with pytest.raises(HilumError, match="no classes"):
        train(data("register"), "register", tmp_path / "run", plan=tmp_path / "plan.json")
    assert not (tmp_path / "run").exists()
