"""Compound losses: the weights that the papers' networks were trained with."""

import math

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.losses import _named
from hilum.losses.compound import RECIPES, compound
from hilum.losses.dice import dice
from hilum.losses.dice_ce import cross_entropy
from hilum.losses.focal import focal
from hilum.losses.ms_ssim import ms_ssim
from hilum.losses.tversky import tversky


def random(side: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, side, side), torch.randint(0, 3, (2, side, side))


def test_golden_values_of_a_network_that_knows_nothing() -> None:
    """Uniform p, two equal classes: cross-entropy ln 2, focal a quarter of it, squared Dice 1/3, Dice 1/2, IoU 2/3."""
    logits, target = torch.zeros(2, 2, 16, 16), torch.arange(512).reshape(2, 16, 16) % 2
    entropy = math.log(2)
    golden = {
        "transunet": 0.5 * entropy + 0.5 / 3,
        "swin_unet": 0.4 * entropy + 0.6 / 3,
        "sstransnet": 0.4 * entropy / 4 + 0.6 / 3,
        "i2unet": entropy + 1 - (2 * 64 + 1) / (256 + 1),
        "unetpp": 0.5 * entropy + 1 - (2 * 128 + 1) / (512 + 1),
        "unet3plus": entropy / 4 + float(ms_ssim(logits, target)) + 2 / 3,
    }
    assert golden.keys() == RECIPES.keys()
    for recipe, wanted in golden.items():
        assert float(compound(logits, target, recipe=recipe)) == pytest.approx(wanted, abs=1e-4), recipe


def test_recipes_are_sums_of_the_parts() -> None:
    logits, target = random()
    squared = float(dice(logits, target, background=True, batch=True, squared=True))
    entropy, easy = float(cross_entropy(logits, target)), float(focal(logits, target))
    assert float(compound(logits, target)) == pytest.approx(0.5 * entropy + 0.5 * squared)
    assert float(compound(logits, target, recipe="swin_unet")) == pytest.approx(0.4 * entropy + 0.6 * squared)
    assert float(compound(logits, target, recipe="sstransnet")) == pytest.approx(0.4 * easy + 0.6 * squared)


def test_the_cross_entropy_of_two_channels_is_the_binary_one_of_their_difference() -> None:
    logits, target = random()
    logits, target = logits[:, :2], target.clamp_max(1)
    binary = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], target.float())
    torch.testing.assert_close(cross_entropy(logits, target), binary)


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(HilumError, match="Did you mean transunet"):
        compound(*random(), recipe="transunett")


def test_a_smaller_window_fits_small_images_and_the_refusal_names_it() -> None:
    logits, target = random(9)
    with pytest.raises(HilumError, match=r"compound:recipe=unet3plus:window=7.*HIL-LOSSES-05"):
        compound(logits, target, recipe="unet3plus")
    parts = [focal(logits, target), ms_ssim(logits, target, window=7), tversky(logits, target, alpha=1.0, beta=1.0)]
    torch.testing.assert_close(compound(logits, target, recipe="unet3plus", window=7), torch.stack(parts).sum())
    named = _named.loss("compound:recipe=unet3plus:window=7", "segment")
    torch.testing.assert_close(named(logits, target, -1), torch.stack(parts).sum())
