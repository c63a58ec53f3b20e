"""Generalised Dice: a value by hand, equality with MONAI, classes that are not there, large classes."""

import pytest
import torch

from hilum.losses.dice import dice
from hilum.losses.generalised_dice import generalised_dice


def random(*space: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, *space), torch.randint(0, 3, (2, *space))


def sure(target: torch.Tensor, classes: int) -> torch.Tensor:
    """Logits of a network that finds exactly `target`."""
    return 100 * torch.nn.functional.one_hot(target, classes).movedim(-1, 1).float()


def test_by_hand() -> None:
    """Uniform p; 12 voxels of class 0, 4 of class 1: weights 1/144 and 1/16."""
    target = (torch.arange(16).reshape(1, 4, 4) < 4).long()
    overlap, size = 6 / 144 + 2 / 16, 20 / 144 + 12 / 16
    assert float(generalised_dice(torch.zeros(1, 2, 4, 4), target, smooth=0)) == pytest.approx(1 - 2 * overlap / size)
    assert float(generalised_dice(sure(target, 2), target)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("absent", [True, False])
def test_it_equals_monai_without_smoothing(background: bool, batch: bool, absent: bool) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, target = random(5, 6, 7)
    target[target == 2] = 0 if absent else 2
    theirs = losses.GeneralizedDiceLoss(
        include_background=background, to_onehot_y=True, softmax=True, batch=batch, smooth_nr=0, smooth_dr=0
    )(logits, target[:, None])
    ours = generalised_dice(logits, target, background=background, batch=batch, smooth=0)
    torch.testing.assert_close(ours, theirs)


def test_smoothing_hides_no_error_in_large_classes() -> None:
    """A mask that is wrong everywhere costs 1, whatever its size; in MONAI about half at a million voxels."""
    target = torch.zeros(1, 1024, 1024, dtype=torch.long)
    target[:, :512] = 1
    wrong = sure(1 - target, 2)
    assert float(generalised_dice(wrong, target)) == pytest.approx(1, abs=1e-4)
    losses = pytest.importorskip("monai.losses")
    theirs = losses.GeneralizedDiceLoss(to_onehot_y=True, softmax=True)(wrong, target[:, None])
    assert float(theirs) < 0.6


@pytest.mark.parametrize("batch", [True, False])
def test_what_is_wrongly_found_costs_where_no_class_is(batch: bool) -> None:
    """In MONAI it costs nothing and has no gradient: all weights are 0."""
    target = torch.zeros(2, 6, 6, dtype=torch.long)
    logits = torch.zeros(2, 2, 6, 6, requires_grad=True)
    loss = generalised_dice(logits, target, background=False, batch=batch)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) > 0.9 and bool((gradient[:, 1] > 0).all())
    found_nothing = generalised_dice(sure(target, 2), target, background=False, batch=batch)
    assert float(found_nothing) == pytest.approx(0, abs=1e-5)
    losses = pytest.importorskip("monai.losses")
    theirs = losses.GeneralizedDiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=batch)
    (gradient,) = torch.autograd.grad(theirs(logits, target[:, None]), logits)
    assert float(gradient.abs().max()) == 0


def test_one_class_without_background_is_dice() -> None:
    logits, target = random(6, 6)
    logits, target = logits[:, :2], target.clamp_max(1)
    ours = generalised_dice(logits, target, background=False)
    torch.testing.assert_close(ours, dice(logits, target))
