"""Soft Dice: golden values, sums over the batch, equality with MONAI, the gradient of V-Net's formula."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.losses.dice import dice


def random(*space: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, *space), torch.randint(0, 3, (2, *space))


def test_golden_values() -> None:
    logits, target = torch.zeros(1, 2, 4, 4), torch.arange(16).reshape(1, 4, 4) % 2
    assert float(dice(logits, target, smooth=0)) == pytest.approx(0.5)
    assert float(dice(logits, target, smooth=0, squared=True)) == pytest.approx(1 / 3)


def test_batch_sums_over_images_first() -> None:
    logits, target = random(6, 6)
    joined = torch.cat(list(logits), dim=-1)[None], torch.cat(list(target), dim=-1)[None]
    torch.testing.assert_close(dice(logits, target, batch=True), dice(*joined))


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("squared", [True, False])
def test_it_equals_monai(background: bool, batch: bool, squared: bool) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, target = random(5, 6, 7)
    theirs = losses.DiceLoss(
        include_background=background,
        to_onehot_y=True,
        softmax=True,
        squared_pred=squared,
        batch=batch,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )(logits, target[:, None])
    torch.testing.assert_close(dice(logits, target, background=background, batch=batch, squared=squared), theirs)


def test_with_squares_the_gradient_is_that_of_the_value() -> None:
    """V-Net's layer reports the Dice of the hard mask and goes back by another formula."""
    logits, target = random(2, 3)
    x = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dice(x, target, squared=True, batch=True), x)


def test_no_class_is_refused() -> None:
    with pytest.raises(HilumError, match="one channel"):
        dice(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4))
