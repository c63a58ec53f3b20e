"""Focal loss: golden values, cross-entropy as a special case, equality with MONAI."""

import math

import pytest
import torch
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses.dice_ce import cross_entropy
from hilum.losses.focal import focal, sigmoid_focal


def random() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 5, 6), torch.randint(0, 3, (2, 5, 6))


def test_golden_values() -> None:
    target = torch.arange(16).reshape(1, 4, 4) % 2
    golden = 0.25 * math.log(2)
    assert float(focal(torch.zeros(1, 2, 4, 4), target)) == pytest.approx(golden)
    assert float(sigmoid_focal(torch.zeros(1, 4, 4), target, alpha=None)) == pytest.approx(golden)
    ones = sigmoid_focal(torch.zeros(3), torch.ones(3))
    zeros = sigmoid_focal(torch.zeros(3), torch.zeros(3))
    assert [float(ones), float(zeros)] == pytest.approx([0.25 * golden, 0.75 * golden])


def test_without_gamma_it_is_cross_entropy() -> None:
    logits, target = random()
    torch.testing.assert_close(focal(logits, target, gamma=0), cross_entropy(logits, target))
    hot = functional.one_hot(target, 3).movedim(-1, 1).float()
    wanted = functional.binary_cross_entropy_with_logits(logits, hot)
    torch.testing.assert_close(sigmoid_focal(logits, hot, alpha=None, gamma=0), wanted)


def test_it_equals_monai() -> None:
    losses = pytest.importorskip("monai.losses")
    logits, target = random()
    theirs = losses.FocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0)(logits, target[:, None])
    torch.testing.assert_close(focal(logits, target) / 3, theirs)
    hot = functional.one_hot(target, 3).movedim(-1, 1).float()
    theirs = losses.FocalLoss(gamma=2.0, alpha=0.25)(logits, hot)
    torch.testing.assert_close(sigmoid_focal(logits, hot), theirs)


def test_ignored_places_and_class_weights() -> None:
    logits, target = random()
    masked = target.clone()
    masked[:, 2:] = -1
    torch.testing.assert_close(focal(logits, masked, ignore=-1), focal(logits[:, :, :2], target[:, :2]))
    weighted = focal(logits, target, alpha=[1.0, 2.0, 3.0], reduction="none")
    torch.testing.assert_close(weighted, (1.0 + target) * focal(logits, target, reduction="none"))
    assert weighted.shape == target.shape


@pytest.mark.parametrize("value", [-200.0, 200.0])
def test_extreme_logits_are_finite(value: float) -> None:
    logits = torch.full((1, 2, 4), value, requires_grad=True)
    loss = sigmoid_focal(logits, torch.ones(1, 2, 4)) + focal(logits * torch.tensor([[1.0], [-1.0]]), torch.ones(1, 4))
    loss.backward()
    assert bool(loss.isfinite()) and logits.grad is not None and bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_where_the_answer_is_sure_the_gradient_is_finite_for_every_gamma(gamma: float) -> None:
    """A power below 1 has no slope at 0: without care nan, from one voxel that is found surely."""
    logits = torch.tensor([[[200.0, 1.0], [-200.0, 0.0]]], requires_grad=True)
    loss = focal(logits, torch.zeros(1, 2), gamma=gamma) + sigmoid_focal(logits[:, 0], torch.ones(1, 2), gamma=gamma)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool(gradient.isfinite().all()) and bool(gradient[..., 1].all())


def test_gradient() -> None:
    logits = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0, 1, 2, 1]])
    assert torch.autograd.gradcheck(lambda x: focal(x, target), logits)
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal(x, (x.detach() > 0).double()), logits)


def test_unknown_reduction_is_refused() -> None:
    with pytest.raises(HilumError, match="reduction is 'all'"):
        sigmoid_focal(torch.zeros(1), torch.zeros(1), reduction="all")


def test_a_negative_gamma_is_refused() -> None:
    with pytest.raises(HilumError, match="gamma is -1"):
        focal(torch.zeros(1, 2, 4), torch.zeros(1, 4), gamma=-1.0)
