"""Cross-entropy and its sum with Dice: golden values, empty references, ignored voxels, renamed classes."""

import math

import pytest
import torch

from hilum.losses.dice_ce import cross_entropy, dice_ce


def test_golden_values() -> None:
    logits, target = torch.zeros(1, 2, 4, 4), torch.arange(16).reshape(1, 4, 4) % 2
    assert float(cross_entropy(logits, target)) == pytest.approx(math.log(2))
    assert float(dice_ce(logits, target)) == pytest.approx(0.5 + math.log(2), abs=1e-5)


def test_perfect_is_zero() -> None:
    target = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = 100 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    assert float(dice_ce(logits, target)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("batch", [True, False])
def test_an_empty_reference_is_finite(batch: bool) -> None:
    logits = torch.full((2, 2, 4, 4, 4), 60.0, requires_grad=True)
    loss = dice_ce(logits, torch.zeros(2, 4, 4, 4), batch=batch)
    loss.backward()
    assert bool(loss.isfinite()) and logits.grad is not None and bool(logits.grad.isfinite().all())


def test_ignored_voxels_count_nowhere() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 6, 6, requires_grad=True), torch.randint(0, 3, (2, 6, 6))
    target[:, 3:] = 255
    cropped = dice_ce(logits[:, :, :3], target[:, :3])
    torch.testing.assert_close(dice_ce(logits, target, 255), cropped)
    (gradient,) = torch.autograd.grad(dice_ce(logits, target, 255), logits)
    assert not bool(gradient[:, :, 3:].any())
    assert float(cross_entropy(logits, torch.full_like(target, 255), 255).detach()) == 0


def test_classes_may_be_renamed() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 6, 6), torch.randint(0, 4, (2, 6, 6))
    order = torch.tensor([0, 3, 1, 2])  # new index of each class
    renamed = logits[:, order.argsort()]
    torch.testing.assert_close(dice_ce(renamed, order[target]), dice_ce(logits, target))


def test_gradient_and_half_precision() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(1, 3, 2, 3, dtype=torch.float64, requires_grad=True), torch.randint(0, 3, (1, 2, 3))
    assert torch.autograd.gradcheck(lambda x: dice_ce(x, target), logits)
    big, where = torch.randn(1, 2, 64, 64, 64), torch.randint(0, 2, (1, 64, 64, 64))
    assert float(dice_ce(big.half(), where)) == pytest.approx(float(dice_ce(big, where)), abs=1e-3)
