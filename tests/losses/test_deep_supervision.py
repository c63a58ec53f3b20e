"""Deep supervision: weights as published, a weighted sum."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.losses.deep_supervision import deep_supervised, weights


def test_five_heads_are_weighted_as_published() -> None:
    assert weights(5) == pytest.approx([value / 1.875 for value in (1, 0.5, 0.25, 0.125, 0)])


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_weights_sum_to_one(n: int) -> None:
    assert sum(weights(n)) == pytest.approx(1) and len(weights(n)) == n
    assert (weights(n)[-1] == 0) == (n > 2)


def test_it_is_the_weighted_sum() -> None:
    outputs = [torch.full((1, 1, 8 // 2**i), float(i + 1), requires_grad=True) for i in range(3)]
    loss = deep_supervised(lambda a, b: (a - b).mean(), outputs, [torch.zeros(1, 1, 8 // 2**i) for i in range(3)])
    assert float(loss.detach()) == pytest.approx((1 * 1 + 0.5 * 2) / 1.5)
    loss.backward()
    assert outputs[2].grad is None


def test_every_output_needs_its_target() -> None:
    with pytest.raises(HilumError, match="one target per output"):
        deep_supervised(lambda a, b: a - b, [torch.zeros(1)], [])
    with pytest.raises(HilumError, match="at least one"):
        weights(0)


def test_heads_of_one_resolution_weigh_the_same() -> None:
    """UNet++ and UNet 3+: every head has the full size, and none is left out."""
    outputs = [torch.full((1, 1, 8), float(i + 1), requires_grad=True) for i in range(4)]
    loss = deep_supervised(lambda a, b: (a - b).mean(), outputs, [torch.zeros(1, 1, 8)] * 4)
    assert float(loss.detach()) == pytest.approx((1 + 2 + 3 + 4) / 4)
    loss.backward()
    assert all(output.grad is not None and bool(output.grad.any()) for output in outputs)


def test_the_loss_does_not_grow_with_the_heads_as_monais_does() -> None:
    sizes = [64 // 2**i for i in range(6)]
    outputs, target = [torch.ones(1, 1, n, n) for n in sizes], torch.zeros(1, 1, 64, 64)
    ours = deep_supervised(lambda a, b: (a - b).square().mean(), outputs, [torch.zeros(1, 1, n, n) for n in sizes])
    assert float(ours) == pytest.approx(1)
    losses = pytest.importorskip("monai.losses")
    theirs = losses.DeepSupervisionLoss(torch.nn.MSELoss())(outputs, target)
    assert float(theirs) == pytest.approx(1 + 0.5 + 0.25 + 0.125 + 0.0625 + 0.0625)


def test_weights_of_a_paper_are_taken_as_they_are() -> None:
    outputs = [torch.full((1, 1, 8), float(i + 1), requires_grad=True) for i in range(2)]
    loss = deep_supervised(lambda a, b: (a - b).mean(), outputs, [torch.zeros(1, 1, 8)] * 2, [1.0, 0.4])
    assert float(loss.detach()) == pytest.approx(1 + 0.4 * 2)
    with pytest.raises(HilumError, match="2 outputs and 3 weights"):
        deep_supervised(lambda a, b: (a - b).mean(), outputs, [torch.zeros(1, 1, 8)] * 2, [1.0, 0.4, 0.4])
