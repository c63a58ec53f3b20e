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
