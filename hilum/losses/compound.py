"""Sums of two or three losses, as the papers of the zoo's networks trained them.

recipe        network                             loss
transunet     TransUNet, DA-TransUNet             0.5 cross-entropy + 0.5 Dice
swin_unet     Swin-Unet                           0.4 cross-entropy + 0.6 Dice
sstransnet    SSTrans-Net                         0.4 focal + 0.6 Dice
i2unet        I2U-Net                             cross-entropy + Dice
unetpp        UNet++                              0.5 cross-entropy + Dice
unet3plus     UNet 3+                             focal + MS-SSIM + IoU

The first three take Dice with squares, background included, over the batch; I2U-Net by image, background included,
smooth 1; UNet++ over the batch, smooth 1. UNet++ writes the binary cross-entropy of one channel, which is that of two
channels here; where it subtracts Dice, 1 - Dice is added, which has the same gradient. The equal weights of UNet 3+ and
its IoU by image are taken from descriptions, not from a training script, because there is none. I2U-Net's code gives
its cross-entropy the sigmoid of the logits, which squashes them twice; here it gets the logits.
`window` is that of MS-SSIM: an image of fewer than 11 voxels along an axis needs a smaller one.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, stack

from hilum.core.errors import HilumError, near
from hilum.losses.dice import dice
from hilum.losses.dice_ce import cross_entropy
from hilum.losses.focal import focal
from hilum.losses.ms_ssim import ms_ssim
from hilum.losses.tversky import tversky

CARD = {
    "about": "sums of losses as published: transunet, swin_unet, sstransnet, i2unet, unetpp, unet3plus",
    "tasks": ["segment"],
    "options": {"recipe": "transunet", "window": 11},
}

Part = tuple[float, Callable[..., Tensor], dict[str, Any]]
SQUARED = {"background": True, "batch": True, "squared": True}
IOU = {"alpha": 1.0, "beta": 1.0}
RECIPES: dict[str, tuple[Part, ...]] = {
    "transunet": ((0.5, cross_entropy, {}), (0.5, dice, SQUARED)),
    "swin_unet": ((0.4, cross_entropy, {}), (0.6, dice, SQUARED)),
    "sstransnet": ((0.4, focal, {}), (0.6, dice, SQUARED)),
    "i2unet": ((1.0, cross_entropy, {}), (1.0, dice, {"background": True, "smooth": 1.0})),
    "unetpp": ((0.5, cross_entropy, {}), (1.0, dice, {"batch": True, "smooth": 1.0})),
    "unet3plus": ((1.0, focal, {}), (1.0, ms_ssim, {}), (1.0, tversky, IOU)),
}


def compound(
    logits: Tensor, target: Tensor, ignore: int | None = None, *, recipe: str = "transunet", window: int = 11
) -> Tensor:
    """The weighted sum, a scalar. Shapes as `dice`. window: of MS-SSIM in unet3plus, voxels; others have none."""
    if recipe not in RECIPES:
        raise HilumError("HIL-LOSSES-06", f"There is no recipe {recipe!r}", near(recipe, list(RECIPES)))
    found = []
    for weight, part, given in RECIPES[recipe]:
        more = {"window": window} if part is ms_ssim else {}
        found.append(weight * part(logits, target, ignore, **given, **more))
    return stack(found).sum()
