"""U-Net's loss (Ronneberger et al., 2015): cross-entropy that weighs pixels between two near objects most.

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

d1, d2: distances to the nearest and the second nearest object; w_c: balances background and objects. The paper leaves
three things open. Here a distance is to the nearest pixel of the object, the second term is given to the background
alone, whose thin lines it is for, and w_c gives background and objects the same sum, with mean 1 over the image, or
over what of it is known. Where objects are not numbered, each connected piece of a class is one. So it is in training,
which sees classes: the second term then keeps apart what does not touch. Objects that touch, which the paper parts by a
line of background, are one piece; with `labels: instances` the task segment refuses this loss, and its depth keeps them
apart instead. Distances and sigma are in pixels of the network's input, also at the lower levels of deep supervision.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses._together import summed
from hilum.losses._wide import wide

CARD = {
    "about": "cross-entropy with U-Net's weights: background between two near objects counts most",
    "tasks": ["segment"],
    "options": {"w0": 10.0, "sigma": 5.0},
    "spacing": "pixels",
}

REACH = 6.0
# Sigmas beyond which an object is not looked at: its term is below 2e-8 of w0.


def pieces(target: NDArray[np.integer]) -> NDArray[np.int64]:
    """(*space) classes, 0 or less the background -> (*space) numbers, one for each connected piece of a class."""
    from scipy import ndimage

    out, count = np.zeros(target.shape, np.int64), 0
    for number in np.unique(target[target > 0]):
        inside = target == number
        found, more = ndimage.label(inside)
        out[inside] = found[inside] + count
        count += more
    return out


def separation(
    objects: NDArray[np.integer], sigma: float, spacing: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """(*space) numbered objects -> (*space): exp(-(d1 + d2)^2 / (2 sigma^2)) in the background, 0 in objects.

    Where fewer than two objects are near it is 0. spacing: size of a voxel along each axis, in sigma's unit; None: 1.
    """
    from scipy import ndimage

    first, second = np.full(objects.shape, np.inf), np.full(objects.shape, np.inf)
    values = np.unique(objects[objects > 0])
    # numbered anew: find_objects makes a slot for every number up to the largest
    compact = np.where(objects > 0, np.searchsorted(values, objects) + 1, 0)
    steps = [1.0] * objects.ndim if spacing is None else spacing
    reach = [math.ceil(REACH * sigma / step) for step in steps]
    for number, place in enumerate(ndimage.find_objects(compact), 1):
        around = tuple(slice(max(0, s.start - more), s.stop + more) for s, more in zip(place, reach, strict=True))
        far = ndimage.distance_transform_edt(compact[around] != number, sampling=steps)
        second[around] = np.minimum(second[around], np.maximum(first[around], far))
        first[around] = np.minimum(first[around], far)
    found: NDArray[np.float64] = np.exp(-((first + second) ** 2) / (2 * sigma**2))
    found[objects > 0] = 0
    return found


def pixel_weights(
    objects: Tensor,
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    balance: Sequence[float] | None = None,
    known: Tensor | None = None,
    spacing: Sequence[float] | None = None,
) -> Tensor:
    """(B, *space) numbered objects, 0 or less the background -> (B, *space) float32; slow, so make it once.

    balance: w_c of the background and of objects; None: from their shares of what is known of each image. known:
    (B, *space), bool; None: all of it. spacing: of `separation`.
    """
    if sigma <= 0:
        raise HilumError("HIL-LOSSES-06", f"sigma is {sigma}", "Give a number of pixels above 0; 5 is usual")
    counted = torch.ones_like(objects, dtype=torch.bool) if known is None else known
    maps = []
    for numbers, valid in zip(objects.detach().cpu().numpy(), counted.cpu().numpy(), strict=True):
        inside = numbers > 0
        share = float(inside[valid].mean()) if valid.any() else 0.0
        even = (0.5 / (1 - share), 0.5 / share) if 0 < share < 1 else (1.0, 1.0)
        outside, within = even if balance is None else balance
        weights = np.where(inside, within, outside) + w0 * separation(numbers, sigma, spacing)
        maps.append(torch.from_numpy(weights.astype(np.float32)))
    return torch.stack(maps).to(objects.device)


def weight_map(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    weights: Tensor | None = None,
    spacing: Sequence[float] | None = None,
) -> Tensor:
    """Sum of -w log p(true class), over the number of voxels that are not `ignore`; the paper's is the bare sum.

    logits: (B, K, *space). target: (B, *space), integers below K, or `ignore`, where no object is and nothing counts.
    weights: (B, *space), made before by `pixel_weights`; None: made here, an object being a connected piece of a class.
    spacing: size of a voxel along each axis, in the pixels that sigma counts; None: 1.
    """
    if weights is None:
        known = torch.ones_like(target, dtype=torch.bool) if ignore is None else target != ignore
        labels = target.long().where(known, 0)
        objects = np.stack([pieces(one) for one in labels.detach().cpu().numpy()])
        weights = pixel_weights(torch.from_numpy(objects), w0=w0, sigma=sigma, known=known, spacing=spacing)
    if weights.shape != target.shape:
        seen = f"The weights have the shape {tuple(weights.shape)}, the target {tuple(target.shape)}"
        raise HilumError("HIL-LOSSES-06", seen, "Make them with pixel_weights from objects on the target's grid")
    index = -100 if ignore is None else ignore
    each = functional.cross_entropy(wide(logits), target.long(), ignore_index=index, reduction="none")
    total = (each * weights.to(each.device)).sum()
    return summed(total) / summed((target != index).sum().to(total.dtype)).clamp_min(1)
