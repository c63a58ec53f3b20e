"""Boxes: what the targets say, decoding gives back; duplicates go, patches keep what is visible."""

import math

import numpy as np
import pytest
import torch

from hilum.tasks import _boxes

SHAPE = (64, 96)
STRIDES = (4, 8, 16)


def perfect(boxes: np.ndarray, labels: list[int], classes: int) -> dict[str, list[torch.Tensor]]:
    """The output a network would have to give: sure at assigned places, exact distances."""
    out: dict[str, list[torch.Tensor]] = {"class": [], "box": [], "centre": []}
    for number, stride in enumerate(STRIDES):
        points = _boxes.locations(SHAPE, stride)
        index, sides = _boxes.assign(points, stride, number == len(STRIDES) - 1, torch.from_numpy(boxes).float())
        logits = torch.full((len(points), classes), -20.0)
        for place in torch.nonzero(index >= 0)[:, 0].tolist():
            logits[place, labels[int(index[place])]] = 20.0
        grid = (SHAPE[0] // stride, SHAPE[1] // stride)
        out["class"].append(logits.T.reshape(1, classes, *grid))
        out["box"].append(sides.clamp(min=0).T.reshape(1, 4, *grid))
        out["centre"].append(torch.full((1, 1, *grid), 20.0))
    return out


def test_decoding_the_targets_gives_the_boxes_back() -> None:
    boxes = np.array([[3.0, 5, 11, 15], [20, 30, 50, 70], [40, 2, 62, 26], [8, 70, 20, 86.5]])
    labels = [0, 1, 0, 1]
    found, scores, places = _boxes.decode(perfect(boxes, labels, 2), SHAPE, 0.3, 0.5, 100)
    order = np.lexsort(found.T[::-1])
    wanted = np.lexsort(boxes.T[::-1])
    np.testing.assert_allclose(found[order], boxes[wanted], atol=1e-3)
    assert [labels[i] for i in wanted] == places[order].tolist() and scores.min() > 0.99


@pytest.mark.parametrize("size", [5, 6, 12, 25, 50, 60])
def test_a_box_of_any_size_is_learned_somewhere(size: int) -> None:
    box = torch.tensor([[2.0, 10.0, 2.0 + size, 10.0 + size]])
    hits = 0
    for number, stride in enumerate(STRIDES):
        index, sides = _boxes.assign(_boxes.locations(SHAPE, stride), stride, number == 2, box)
        hits += int((index == 0).sum())
        assert (sides[index == 0] > 0).all()
    assert hits


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_small_box_is_learned_wherever_it_lies(size: int) -> None:
    """Of the finest level; with none there, or with a centre-ness of 0, it would be taught as background."""
    points = _boxes.locations(SHAPE, STRIDES[0])
    for row in range(4):
        for column in range(4):
            low = torch.tensor([8.0 + row, 8.0 + column])
            index, sides = _boxes.assign(points, STRIDES[0], False, torch.cat([low, low + size])[None])
            assert (index == 0).any() and (sides[index == 0] > 0).all(), (row, column)


@pytest.mark.parametrize("size", [(4, 100), (100, 4), (10, 150), (1, 40)])
def test_a_long_thin_box_is_learned_wherever_it_lies(size: tuple[int, int]) -> None:
    """Its length belongs to a coarse level, where it lay between the locations: it was taught as background."""
    points = [_boxes.locations((256, 256), stride) for stride in STRIDES]
    for row, column in np.ndindex(16, 16):
        low = torch.tensor([48.0 + row, 48.0 + column])
        box = torch.cat([low, low + torch.tensor(size)])[None]
        hits = 0
        for number, (stride, own) in enumerate(zip(STRIDES, points, strict=True)):
            index, sides = _boxes.assign(own, stride, number == len(STRIDES) - 1, box)
            hits += int((index == 0).sum())
            # a centre-ness of 0 would leave it out
            assert (sides[index == 0] > 0).all(), (row, column)
        assert hits, (row, column)


def test_targets_lie_where_the_locations_lie() -> None:
    points = torch.zeros(3, 2, device="meta")
    assert {part.device.type for part in _boxes.assign(points, 8, True, torch.zeros(0, 4, device="meta"))} == {"meta"}


def test_where_boxes_overlap_the_smaller_is_learned() -> None:
    boxes = torch.tensor([[0.0, 0, 24, 24], [8, 8, 16, 16]])
    index, _ = _boxes.assign(torch.tensor([[12.0, 12.0]]), 4, False, boxes)
    assert index.tolist() == [1]


def test_losses_are_finite_fall_towards_the_truth_and_stand_empty_images() -> None:
    boxes = np.array([[20.0, 30, 50, 70]])
    truth, kinds = torch.from_numpy(boxes).float(), torch.tensor([1])
    none, no_kinds = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    good = perfect(boxes, [1], 2)
    bad = {k: [torch.zeros_like(t) + (1.0 if k == "box" else 0.0) for t in v] for k, v in good.items()}
    right = _boxes.fcos_losses(good, [truth], [kinds], SHAPE)
    wrong = _boxes.fcos_losses(bad, [truth], [kinds], SHAPE)
    assert right["class"] < 1e-3 < wrong["class"] and right["box"] < 1e-3 < wrong["box"]
    empty = _boxes.fcos_losses(bad, [none], [no_kinds], SHAPE)
    assert all(torch.isfinite(v) for v in empty.values()) and float(empty["box"]) == 0


def test_a_score_is_the_geometric_mean_of_class_and_centre_ness() -> None:
    outputs = {"class": [torch.full((1, 1, 2, 3), -20.0)], "box": [torch.ones(1, 4, 2, 3)]}
    outputs["class"][0][0, 0, 1, 2] = 1.0
    # a centre-ness of 1/2
    _, scores, _ = _boxes.decode(outputs | {"centre": [torch.zeros(1, 1, 2, 3)]}, SHAPE, 0.05, 0.5, 100)
    assert scores.tolist() == pytest.approx([math.sqrt(0.5 / (1 + math.exp(-1)))])


def test_a_box_of_the_least_score_is_given() -> None:
    zeros = {"class": [torch.zeros(1, 1, 2, 3)], "box": [torch.ones(1, 4, 2, 3)], "centre": [torch.zeros(1, 1, 2, 3)]}
    # one half for the class and for the centre-ness
    assert len(_boxes.decode(zeros, SHAPE, 0.5, 0.5, 100)[1]) == 6
    assert len(_boxes.decode(zeros, SHAPE, 0.51, 0.5, 100)[1]) == 0


def test_centre_ness_is_learned_and_weighs_the_boxes() -> None:
    box = torch.tensor([[-2.0, -1, 8, 8]])
    # locations at (2, 2) and (2, 6): they lie 4 and 6 from the sides of one axis, 3 and 6 or 7 and 2 from the others
    near = [math.sqrt(4 / 6 * 3 / 6), math.sqrt(4 / 6 * 2 / 7)]
    # the first box is right, the second half as high
    sides = torch.tensor([[4.0, 4], [3, 7], [6, 1], [6, 2]]).reshape(1, 4, 1, 2)
    outputs = {"class": [torch.zeros(1, 1, 1, 2)], "box": [sides], "centre": [torch.tensor([[[[1.0, 2]]]])]}
    losses = _boxes.fcos_losses(outputs, [box], [torch.tensor([0])], (4, 8))
    wanted = [math.log1p(math.exp(logit)) - logit * one for logit, one in zip((1, 2), near, strict=True)]
    assert float(losses["centre"]) == pytest.approx(sum(wanted) / 2)
    assert float(losses["box"]) == pytest.approx(0.5 * near[1] / sum(near))


def test_suppression_keeps_the_best_of_each_class() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 10], [30, 30, 40, 40]])
    scores, places = np.array([0.8, 0.9, 0.7, 0.1]), np.array([0, 0, 1, 0])
    assert _boxes.suppress(boxes, scores, places, 0.5).tolist() == [1, 2, 3]
    assert _boxes.suppress(boxes, scores, places, 1.0).tolist() == [1, 0, 2, 3]
    assert _boxes.suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0), 0.5).tolist() == []


def test_objects_of_a_mask_and_of_numbered_instances() -> None:
    label = np.zeros((10, 12), np.int32)
    label[1:3, 2:5], label[6:9, 7:12] = 1, 1
    wanted = [[1, 2, 3, 5], [6, 7, 9, 12]]
    assert sorted(_boxes.of_objects(label).tolist()) == wanted
    label[6:9, 7:12] = 40
    assert sorted(_boxes.of_objects(label).tolist()) == wanted
    label[1:3, 5:6] = 7  # touches the first, but is another object
    assert len(_boxes.of_objects(label)) == 3
    # a number is a name: a large one costs nothing
    label[6:9, 7:12], label[1:3, 5:6] = 2_000_000_000, 0
    assert sorted(_boxes.of_objects(label).tolist()) == wanted
    assert _boxes.of_objects(np.zeros((4, 4), int)).shape == (0, 4)


def test_pieces_that_touch_at_a_corner_are_one_object() -> None:
    label = np.zeros((10, 12), np.int32)
    label[1:3, 2:5], label[3:6, 5:9] = 1, 1
    assert _boxes.of_objects(label).tolist() == [[1, 2, 6, 9]]
    label[8, 1] = 2
    assert sorted(_boxes.of_objects(label, pieces=True).tolist()) == [[1, 2, 6, 9], [8, 1, 9, 2]]


def test_a_number_is_one_object_where_the_data_say_so() -> None:
    label = np.zeros((10, 12), np.int32)
    label[1:3, 2:5], label[6:9, 7:12] = 7, 7
    assert _boxes.of_objects(label, numbered=True).tolist() == [[1, 2, 9, 12]]
    assert len(_boxes.of_objects(label)) == 2 and _boxes.of_objects(label * 0, numbered=True).shape == (0, 4)


def test_clipping_keeps_what_is_mostly_visible() -> None:
    boxes = np.array([[-2.0, 0, 8, 10], [-9, 0, 1, 10], [2, 2, 5, 5], [20, 20, 30, 30]])
    found, kept = _boxes.clip(boxes, (10, 10), 0.3)
    assert kept.tolist() == [0, 2] and found.tolist() == [[0, 0, 8, 10], [2, 2, 5, 5]]


def test_what_a_patch_shows_of_a_box_at_most_is_what_clipping_keeps() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 20, 10], [0, 0, 40, 100], [3, 2, 6, 9]])
    shares = _boxes.shown(boxes, (16, 16))
    np.testing.assert_allclose(shares, [1, 0.8, 16 * 16 / 4000, 1])
    for box, share in zip(boxes, shares, strict=True):
        assert len(_boxes.clip(box[None], (16, 16), share)[0]) == 1
        assert len(_boxes.clip(box[None], (16, 16), share + 1e-6)[0]) == 0
    assert _boxes.shown(np.zeros((0, 4)), (16, 16)).shape == (0,)


def test_moved_boxes_stay_upright_and_hold_their_corners() -> None:
    boxes = np.array([[1.0, 2, 3, 6]])
    np.testing.assert_array_equal(_boxes.moved(boxes, lambda p: 10 - p), [[7, 4, 9, 8]])
    assert _boxes.moved(np.zeros((0, 4)), lambda p: p).shape == (0, 4)


def test_patches_are_drawn_around_every_class_alike() -> None:
    """One box of a class among fifty of another was drawn around once in fifty times."""
    rng, places = np.random.default_rng(0), np.array([0] * 50 + [2] + [1] * 9)
    drawn = [_boxes.one_of(places, rng) for _ in range(600)]
    shares = np.bincount(places[drawn]) / 600
    assert np.abs(shares - 1 / 3).max() < 0.06 and {*range(50, 60)} <= {*drawn}
    # of one class by chance alone, as it was
    one = np.random.default_rng(3)
    assert _boxes.one_of(np.zeros(7, int), np.random.default_rng(3)) == int(one.integers(7))
