"""Matching: the cheapest assignment, its loss by other formulas, queries without order, what nobody is given."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses.matching import _truth, assigned, matching

Answers = tuple[Tensor, Tensor]


def halves(*kinds: int, size: int = 4) -> Tensor:
    """Images (B, size, size) of two halves; `kinds` gives the classes of the first and the second half of each."""
    target = torch.zeros(len(kinds) // 2, size, size, dtype=torch.long)
    for number, (first, second) in enumerate(zip(kinds[::2], kinds[1::2], strict=True)):
        target[number, : size // 2], target[number, size // 2 :] = first, second
    return target


def drawn(queries: int = 4, classes: int = 3, images: int = 2, seed: int = 0) -> Answers:
    """Class and mask logits of one layer, at random."""
    torch.manual_seed(seed)
    return torch.randn(images, queries, classes + 1), 2 * torch.randn(images, queries, 4, 4)


def perfect(target: Tensor, queries: int, classes: int, sure: float = 20.0) -> Answers:
    """Query k says class k and paints it, where the image has it; all others say that there is no object."""
    kinds, masks = torch.full((len(target), queries, classes + 1), -sure), torch.zeros(len(target), queries, 4, 4)
    kinds[..., -1] = sure
    for image, kind in itertools.product(range(len(target)), range(classes)):
        if (target[image] == kind).any():
            kinds[image, kind] = -sure
            kinds[image, kind, kind] = sure
            masks[image, kind] = sure * (2.0 * (target[image] == kind) - 1)
    return kinds, masks


def slow(classes: Tensor, masks: Tensor, target: Tensor, pairs: list[tuple[int, int]]) -> Answers:
    """One image: cost of giving (query, class) pairs, and the loss of that, by torch's own formulas."""
    cost, bces, dices = [], [], []
    wanted = torch.full((len(classes),), classes.shape[1] - 1)
    for query, kind in pairs:
        true = (target == kind).float()
        bce = functional.binary_cross_entropy_with_logits(masks[query], true)
        inside = masks[query].sigmoid()
        dice = 1 - (2 * (inside * true).sum() + 1) / (inside.sum() + true.sum() + 1)
        cost.append(-2 * classes[query].softmax(0)[kind] + 5 * bce + 5 * dice)
        bces.append(bce)
        dices.append(dice)
        wanted[query] = kind
    ce = functional.cross_entropy(classes, wanted)
    return torch.stack(cost).sum(), 0.2 * ce + 0.5 * torch.stack(bces).mean() + 0.5 * torch.stack(dices).mean()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("queries", [2, 4])
def test_it_is_the_cheapest_of_all_assignments(queries: int, seed: int) -> None:
    classes, masks = drawn(queries, classes=2, images=1, seed=seed)
    target = halves(0, 1)
    tried = [
        slow(classes[0], masks[0], target[0], list(zip(order, (0, 1), strict=True)))
        for order in itertools.permutations(range(queries), 2)
    ]
    least = min(tried, key=lambda pair: float(pair[0]))[1]
    torch.testing.assert_close(matching([classes], [masks], target), least)


def test_the_order_of_the_queries_does_not_matter() -> None:
    (classes, masks), target = drawn(), halves(0, 1, 2, 0)
    order = torch.tensor([2, 0, 3, 1])
    before = matching([classes], [masks], target)
    torch.testing.assert_close(matching([classes[:, order]], [masks[:, order]], target), before)
    assert not torch.isclose(matching([classes[:, order]], [masks], target), before)


def test_a_perfect_set_has_the_least_loss() -> None:
    target = halves(0, 1, 0, 2)
    best = float(matching(*([part] for part in perfect(target, 4, 3)), target))
    assert best == pytest.approx(0, abs=1e-4)
    for seed in range(5):
        assert float(matching(*([part] for part in drawn(seed=seed)), target)) > best + 0.3
    classes, masks = perfect(target, 4, 3)
    for wrong in ((classes.roll(1, 2), masks), (classes, -masks), (classes.roll(1, 1), masks)):
        assert float(matching(*([part] for part in wrong), target)) > best + 0.3


def test_a_class_that_is_absent_is_given_to_nobody() -> None:
    """The second image lacks class 1; the query that is sure of class 1 learns there that it sees no object."""
    target = halves(0, 1, 0, 2)
    classes, masks = perfect(target, 4, 3, sure=3.0)
    classes[1, 1] = torch.tensor([-3.0, 3.0, -3.0, -3.0])
    classes.requires_grad_()
    masks.requires_grad_()
    for image, kinds in ((0, [0, 1]), (1, [0, 2])):
        truth = _truth(target[image].flatten(), -1)
        queries, rows = assigned(classes[image], masks[image].flatten(1), truth)
        assert truth.kinds.tolist() == kinds and queries.tolist() == truth.kinds[rows].tolist() == kinds
    of_classes, of_masks = torch.autograd.grad(matching([classes], [masks], target), (classes, masks))
    assert of_classes[1, 1].argmin() == 3 and of_classes[1, 1].argmax() == 1
    assert of_masks[0, :2].any() and not of_masks[0, 2:].any()
    assert of_masks[1, [0, 2]].any() and not of_masks[1, [1, 3]].any()


def test_the_last_layer_is_half_of_the_whole_and_each_is_assigned_anew() -> None:
    target, layers = halves(0, 1, 2, 0), [drawn(seed=seed) for seed in range(3)]
    alone = [matching([classes], [masks], target) for classes, masks in layers]
    whole = matching([classes for classes, _ in layers], [masks for _, masks in layers], target)
    torch.testing.assert_close(whole, (alone[2] + (alone[0] + alone[1]) / 2) / 2)


@pytest.mark.parametrize("ignore", [-1, 9])
def test_ignored_voxels_and_ignored_images_count_nowhere(ignore: int) -> None:
    (classes, masks), target = drawn(images=3), halves(0, 1, 2, 0, 0, 1)
    target[:2, :, 2:] = ignore
    target[2] = ignore
    classes.requires_grad_()
    masks.requires_grad_()
    found = matching([classes], [masks], target, ignore)
    torch.testing.assert_close(found, matching([classes[:2]], [masks[:2, :, :, :2]], target[:2, :, :2]))
    of_classes, of_masks = torch.autograd.grad(found, (classes, masks))
    assert of_classes[:2].any() and not of_classes[2].any()
    assert of_masks[:2, :, :, :2].any() and not of_masks[:2, :, :, 2:].any() and not of_masks[2].any()
    nothing = matching([classes], [masks], torch.full_like(target, ignore), ignore)
    of_classes, of_masks = torch.autograd.grad(nothing, (classes, masks))
    assert float(nothing.detach()) == 0 and not of_classes.any() and not of_masks.any()


def test_the_gradient_is_that_of_the_value_and_half_precision_is_widened() -> None:
    (classes, masks), target = drawn(), halves(0, 1, 2, 0)
    target[:, 0] = -1
    given = classes.double().requires_grad_(), masks.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c, m: matching([c], [m], target, -1), given)
    whole, half = (matching([c], [m], target, -1) for c, m in ((classes, masks), (classes.half(), masks.half())))
    assert half.dtype == torch.float32 and float(half) == pytest.approx(float(whole), abs=1e-2)


def test_a_value_that_is_no_number_comes_out_as_one() -> None:
    """The loop stops such a run and keeps the batch; the assignment must not end it before."""
    classes, masks = drawn()
    masks[0, 0, 0, 0] = torch.nan
    assert not matching([classes], [masks], halves(0, 1, 2, 0)).isfinite()


def test_fewer_queries_than_classes_are_refused() -> None:
    classes, masks = drawn(queries=2)
    with pytest.raises(HilumError, match=r"3 classes, the background among them, and 2 queries.*queries=3"):
        matching([classes], [masks], halves(0, 1, 0, 1))
