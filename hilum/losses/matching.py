"""Matching: each class of an image is given to one query, which learns its mask; the others learn "no object".

As in the 3D TransUNet (Chen et al., 2024), after Mask2Former (Cheng et al., 2022). Queries have no order, so each layer
of each image is given the cheapest assignment (Hungarian method) by

    cost = -2 p(class) + 5 bce + 5 dice,   dice = 1 - (2 sum(s g) + 1) / (sum(s) + sum(g) + 1),   s = sigmoid(mask)

bce: mean binary cross-entropy over the voxels. What is learned in each layer is

    loss = 0.2 ce + 0.5 bce + 0.5 dice

ce over all queries, bce and dice as means over the matched ones. The last layer is one half of the whole, the mean of
those before it the other; the queries before the first layer are a layer too. Weights are those of the authors'
configuration, in which "no object" weighs as much as a class; Mask2Former adds the layers, and gives it 0.1. The
background is a class like others. All voxels count here; Mask2Former draws some of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses._together import summed
from hilum.losses._wide import wide

CARD = {
    "about": "classes given to queries by the cheapest assignment (transunet3d); added by the task segment",
    "tasks": [],
    "options": {},
}

COST = (2.0, 5.0, 5.0)
WEIGHTS = (0.2, 0.5, 0.5)
# Of class, cross-entropy and dice.


class Truth(NamedTuple):
    """What lies in one image. kinds: (T,), the numbers of its classes. masks: (T, N) bool. known: (N,) bool."""

    kinds: Tensor
    masks: Tensor
    known: Tensor


def matching(classes: Sequence[Tensor], masks: Sequence[Tensor], target: Tensor, ignore: int | None = None) -> Tensor:
    """Half of the last layer, half of the others' mean, a scalar; an image that is ignored as a whole counts nowhere.

    classes: of each layer (B, Q, K + 1), logits, "no object" last; Q is K or more. masks: of each layer
    (B, Q, *space), logits. target: (B, *space), integers below K, or `ignore`, whose voxels count nowhere.
    """
    count, kinds = classes[0].shape[1], classes[0].shape[2] - 1
    if count < kinds:
        seen = f"There are {kinds} classes, the background among them, and {count} queries"
        raise HilumError("HIL-LOSSES-07", seen, f"Give the network {kinds} queries or more (`queries={kinds}`)")
    images = [_truth(one.flatten(), ignore) for one in target]
    *before, last = [_layer(wide(c), wide(m).flatten(2), images) for c, m in zip(classes, masks, strict=True)]
    return (last + torch.stack(before).mean()) / 2 if before else last


@torch.no_grad()
def assigned(classes: Tensor, masks: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    """The cheapest assignment: queries, and for each the row of `truth` that it is given; as many as there are rows.

    classes: (Q, K + 1), logits. masks: (Q, N), logits.
    """
    from scipy.optimize import linear_sum_assignment

    bce, dice = _pairs(masks, truth)
    cost = -COST[0] * classes.softmax(-1)[:, truth.kinds] + COST[1] * bce + COST[2] * dice
    # values that are no numbers are the training's to report, with the batch
    queries, rows = linear_sum_assignment(cost.nan_to_num().cpu().numpy())
    return torch.from_numpy(queries).to(masks.device), torch.from_numpy(rows).to(masks.device)


def _truth(target: Tensor, ignore: int | None) -> Truth:
    """target: (N,) integers."""
    known = target == target if ignore is None else target != ignore
    kinds = target[known].unique().long()
    return Truth(kinds, target == kinds.unsqueeze(1), known)


def _pairs(masks: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    """bce and dice of every mask (Q, N), logits, with every true one: (Q, T) each."""
    known, true = truth.known.to(masks.dtype), truth.masks.to(masks.dtype)
    inside = masks.sigmoid()
    # log(1 + e^x) - x g is the cross-entropy
    bce = ((functional.softplus(masks) @ known).unsqueeze(1) - masks @ true.T) / known.sum().clamp_min(1)
    both = (inside @ known).unsqueeze(1) + true.sum(1)
    return bce, 1 - (2 * inside @ true.T + 1) / (both + 1)


def _layer(classes: Tensor, masks: Tensor, images: Sequence[Truth]) -> Tensor:
    """classes: (B, Q, K + 1). masks: (B, Q, N). A scalar."""
    nothing = classes.shape[2] - 1
    wanted = torch.full(classes.shape[:2], nothing, device=classes.device)
    shapes, found = [], 0
    for number, truth in enumerate(images):
        queries, rows = assigned(classes[number], masks[number], truth)
        wanted[number, queries] = truth.kinds[rows]
        own = Truth(truth.kinds[rows], truth.masks[rows], truth.known)
        shapes.append(torch.stack([part.diagonal().sum() for part in _pairs(masks[number, queries], own)]))
        found += len(rows)
    heard = torch.stack([truth.known.any() for truth in images]).unsqueeze(1).expand_as(wanted).to(classes.dtype)
    each = -classes.log_softmax(-1).gather(2, wanted.unsqueeze(2)).squeeze(2)
    ce = summed((each * heard).sum()) / summed(heard.sum()).clamp_min(1)
    bce, dice = summed(torch.stack(shapes).sum(0)) / summed(classes.new_tensor(float(found))).clamp_min(1)
    return WEIGHTS[0] * ce + WEIGHTS[1] * bce + WEIGHTS[2] * dice
