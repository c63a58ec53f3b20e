"""Presence: a value by hand, what counts as there, images that say nothing."""

import math

import pytest
import torch

from hilum.losses.presence import presence


def target(*values: int) -> torch.Tensor:
    """Images of zeros with one voxel of each value."""
    out = torch.zeros(len(values), 4, 5, dtype=torch.long)
    out[:, 2, 3] = torch.tensor(values)
    return out


def test_by_hand() -> None:
    scores = torch.tensor([[0.0, 0.0], [-2.0, 3.0]])
    first, second = math.log(2), (math.log1p(math.exp(-2)) + math.log1p(math.exp(-3))) / 2
    assert float(presence(scores, target(0, 2))) == pytest.approx((first + second) / 2)


def test_it_is_lowest_where_every_image_is_told_rightly() -> None:
    right = 20 * torch.tensor([[1.0, -1.0], [-1.0, 1.0], [-1.0, 1.0]])
    assert float(presence(right, target(0, 1, 2))) == pytest.approx(0, abs=1e-6)
    assert float(presence(-right, target(0, 1, 2))) == pytest.approx(20)


@pytest.mark.parametrize("ignore", [-1, 9])
def test_an_ignored_voxel_is_not_there_and_an_ignored_image_counts_nowhere(ignore: int) -> None:
    torch.manual_seed(0)
    scores, labels = torch.randn(3, 2, requires_grad=True), target(ignore, 1, 0)
    labels[2] = ignore
    found = presence(scores, labels, ignore)
    torch.testing.assert_close(found, presence(scores[:2], target(0, 1)))
    (gradient,) = torch.autograd.grad(found, scores)
    assert gradient[:2].all() and not gradient[2].any()
    nothing = presence(scores, torch.full_like(labels, ignore), ignore)
    assert float(nothing.detach()) == 0


def test_the_gradient_is_that_of_the_value_and_half_precision_is_widened() -> None:
    torch.manual_seed(0)
    scores = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: presence(x, target(0, 1)), scores)
    assert presence(scores.detach().half(), target(0, 1)).dtype == torch.float32
