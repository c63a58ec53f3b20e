"""Whether there is anything at all: what the classification-guided module of UNet 3+ learns from (Huang et al., 2020).

Binary cross-entropy of two logits, absent and present, as the paper describes it. Present: a voxel of any class lies in
the image (in training: in the patch).
"""

from torch import Tensor, stack
from torch.nn import functional

from hilum.losses._together import summed
from hilum.losses._wide import wide

CARD = {
    "about": "whether anything is there, for networks that ask (unet3plus); added by the task segment",
    "tasks": [],
    "options": {},
}


def presence(scores: Tensor, target: Tensor, ignore: int | None = None) -> Tensor:
    """Mean over images, a scalar; an image that is ignored as a whole counts nowhere.

    scores: (B, 2), logits of absent and present. target: (B, *space), integers, 0 the background, or `ignore`.
    """
    known = (target == target if ignore is None else target != ignore).flatten(1)
    there, heard = (known & (target > 0).flatten(1)).any(1), known.any(1)
    truth = stack([~there, there], dim=1).to(wide(scores).dtype)
    each = functional.binary_cross_entropy_with_logits(wide(scores), truth, reduction="none").mean(1)
    return summed((each * heard).sum()) / summed(heard.sum().to(each.dtype)).clamp_min(1)
