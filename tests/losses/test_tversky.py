"""Tversky and focal Tversky: golden values, Dice and IoU as special cases, which letter is which, the exponent."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.losses.dice import dice
from hilum.losses.focal_tversky import focal_tversky
from hilum.losses.tversky import tversky, tversky_index


def half() -> tuple[torch.Tensor, torch.Tensor]:
    """Uniform p = 0.5 of two classes; half of the voxels are ones."""
    return torch.zeros(1, 2, 4, 4), torch.arange(16).reshape(1, 4, 4) % 2


def random() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 5, 6), torch.randint(0, 3, (2, 5, 6))


def test_golden_values() -> None:
    logits, target = half()
    assert float(tversky(logits, target, smooth=0)) == pytest.approx(0.5)
    assert float(tversky(logits, target, alpha=1.0, beta=1.0, smooth=0)) == pytest.approx(1 - 0.25 / 0.75)


def test_equal_halves_are_dice() -> None:
    logits, target = random()
    ours = tversky(logits, target, alpha=0.5, beta=0.5, smooth=1.0, batch=True)
    torch.testing.assert_close(ours, dice(logits, target, smooth=2.0, batch=True))


def test_alpha_is_of_false_positives_and_beta_of_false_negatives() -> None:
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[:, :2] = 1
    more, less = torch.zeros_like(target), torch.zeros_like(target)
    more[:, :3], less[:, :1] = 1, 1
    found = {k: 100 * torch.nn.functional.one_hot(v, 2).movedim(-1, 1).float() for k, v in (("+", more), ("-", less))}
    assert float(tversky(found["+"], target, smooth=0)) == pytest.approx(1 - 8 / (8 + 0.3 * 4))
    assert float(tversky(found["-"], target, smooth=0)) == pytest.approx(1 - 4 / (4 + 0.7 * 4))


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("batch", [True, False])
def test_it_equals_monai(background: bool, batch: bool) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, target = random()
    theirs = losses.TverskyLoss(
        include_background=background, to_onehot_y=True, softmax=True, alpha=0.3, beta=0.7, batch=batch
    )(logits, target[:, None])
    torch.testing.assert_close(tversky(logits, target, background=background, batch=batch), theirs)


def test_the_exponent_of_focal_tversky_is_one_over_gamma() -> None:
    logits, target = half()
    assert float(focal_tversky(logits, target, smooth=0)) == pytest.approx(0.5**0.75)
    logits, target = random()
    torch.testing.assert_close(focal_tversky(logits, target, gamma=1.0), tversky(logits, target))
    by_class = ((1 - tversky_index(logits, target)) ** 0.75).mean()
    torch.testing.assert_close(focal_tversky(logits, target), by_class)


def test_badly_found_classes_count_more() -> None:
    """With an exponent above 1, gamma below 1. Each half of the image moves one class alone."""
    target = torch.ones(1, 4, 6, dtype=torch.long)
    target[:, 2:] = 2
    logits = torch.full((1, 3, 4, 6), -50.0)
    logits[:, 0], logits[:, 1, :2], logits[:, 2, 2:] = 0.0, 2.0, -1.0
    well, badly = (1 - tversky_index(logits, target))[0].tolist()
    assert well < badly

    def odds(gamma: float) -> float:
        """Gradient in the half of the worse class over that in the other."""
        x = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(focal_tversky(x, target, gamma=gamma), x)
        return float(gradient[:, :, 2:].abs().sum() / gradient[:, :, :2].abs().sum())

    assert odds(0.5) > odds(1.0) > odds(4 / 3)
    assert odds(0.5) / odds(1.0) == pytest.approx(badly / well, rel=1e-3)


def test_where_everything_is_found_the_gradient_is_finite() -> None:
    target = torch.randint(0, 3, (2, 6, 6), generator=torch.Generator().manual_seed(0))
    logits = (200 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).double()).requires_grad_()
    loss = focal_tversky(logits, target, smooth=0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) < 1e-4 and bool(gradient.isfinite().all())


def test_nonsense_is_refused() -> None:
    logits, target = half()
    with pytest.raises(HilumError, match="not both 0"):
        tversky(logits, target, alpha=0.0, beta=0.0)
    with pytest.raises(HilumError, match="gamma is 0"):
        focal_tversky(logits, target, gamma=0)
