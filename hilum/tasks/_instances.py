"""Numbered objects: what a network learns of them (how deep inside a voxel lies), and back from that to objects.

A network with two outputs more than background and foreground could learn a border class instead. A border of a pixel
eats small objects whole; the depth relative to the object's own has its highest value in every object, however thin.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.core.plan import Plan, parse_net
from hilum.core.warp import resize
from hilum.prepare.grid import Placed, ras_view

if TYPE_CHECKING:
    from torch import Tensor

RULE = "instances"
# The word of a label mapping: every stored value but 0 is one object.
BLUR = 1.0
# Voxels (sigma) that the depth is smoothed by before cores are looked for; touching objects under about 5 are joined.


def numbered(rules: Any) -> bool:
    """Whether a label mapping of a plan ({name: rule}, or None) says that objects are numbered."""
    return RULE in list((rules or {}).values())


def check(plan: Plan, loss: str) -> None:
    """Refuse what would take the depth for a class, or touching objects for one."""
    if any(net.options.get("average") for net in plan.networks.values()):
        seen = "average is the mean of probabilities of classes, and the depth of numbered objects is no class"
        raise HilumError("HIL-PLAN-03", seen, "Leave average out")
    if parse_net(loss)[0] == "weight_map":
        seen = "The loss weight_map keeps apart what does not touch, but numbered objects are learned as one class"
        raise HilumError("HIL-PLAN-03", seen, "Leave it out: the depth keeps objects apart that touch")


def depth(objects: Array, spacing: tuple[float, ...]) -> Array:
    """(*space) float32, 0 outside; inside, the distance to the object's edge over its largest in that object, 0..1.

    objects: (*space) whole numbers, 0 the background. spacing: mm per voxel. Another object is outside, the end of the
    image is not: an object that it cuts is deep there.
    """
    from scipy import ndimage

    out = np.zeros(objects.shape, np.float32)
    values = np.unique(objects[objects != 0])
    # numbered anew: find_objects makes a slot for every number up to the largest
    compact = np.where(objects != 0, np.searchsorted(values, objects) + 1, 0)
    for number, place in enumerate(ndimage.find_objects(compact), 1):
        wide = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in place)
        own = compact[wide] == number
        if own.all():
            out[wide] = 1
            continue
        far = ndimage.distance_transform_edt(own, sampling=spacing)
        out[wide][own] = (far[own] / far.max()).astype(np.float32)
    return out


def placed_depth(objects: Image, placed: Placed) -> Array:
    """`depth` of an image of numbered objects (1, *space), on its own grid, brought to the network's: (*shape)."""
    deep = depth(objects.array[0], objects.spacing)[None]
    return resize(ras_view(deep, placed.image), placed.shape)[0]


def found(logits: Array, placed: Placed, valley: float, smallest: int, where: Array | None = None) -> Array:
    """Merged logits (background, foreground, depth; *shape) to numbered objects on the image's own grid.

    where: bool, the image's shape: nothing was learned outside, so nothing is found there.
    """
    from scipy.special import expit

    margin, deep = placed.channels_back(np.stack([logits[1] - logits[0], logits[2]]))
    return separate((margin > 0) if where is None else (margin > 0) & where, expit(deep), valley, smallest)


def separate(foreground: Array, inside: Array, valley: float, smallest: int) -> Array:
    """Objects numbered 1..n, (*space) uint16, or int32 beyond 65535 of them.

    foreground: (*space) bool. inside: (*space) 0..1, how deep in its object each voxel is said to lie. valley: how far
    the depth between two cores must fall below the lower of them, so that they are two objects (h-maxima, Soille 2003);
    a watershed floods the foreground from the cores. smallest: objects of fewer voxels are left out.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    # what one voxel says is no core
    inside = np.where(foreground, ndimage.gaussian_filter(inside.astype(np.float32), BLUR, mode="nearest"), 0)
    # a core may hang together by corners, as its peak was filled
    seeds, count = ndimage.label(_cores(inside, valley) & foreground, np.ones([3] * inside.ndim))
    pieces, _ = ndimage.label(foreground)
    lone = foreground & ~np.isin(pieces, np.unique(pieces[seeds > 0]))
    seeds[lone] = pieces[lone] + count
    flooded = watershed(-inside, seeds, mask=foreground)
    sizes = np.bincount(flooded.ravel())
    kept = np.flatnonzero(sizes >= max(1, smallest))
    kept = kept[kept != 0]
    lookup = np.zeros(len(sizes), np.uint16 if len(kept) <= np.iinfo(np.uint16).max else np.int32)
    lookup[kept] = np.arange(1, len(kept) + 1)
    return lookup[flooded]


def _cores(inside: Array, valley: float) -> Array:
    """Regional maxima once every dent shallower than `valley` is filled: (*space) bool."""
    from skimage.morphology import local_maxima, reconstruction

    filled = reconstruction(inside - valley, inside)
    peaks: Array = local_maxima(filled)
    return peaks.astype(bool)


def depth_loss(logits: "Tensor", depth: "Tensor", known: "Tensor") -> "Tensor":
    """Cross-entropy of sigmoid(logits) against a depth 0..1, all (B, *space): half from objects, half from outside.

    known: bool, voxels that count. The depth is no class; its cross-entropy is lowest where the sigmoid equals it.
    """
    from torch.nn import functional

    from hilum.losses._together import summed

    loss = functional.binary_cross_entropy_with_logits(logits.float(), depth, reduction="none")
    total = loss.new_zeros(())
    for side in (known & (depth > 0), known & (depth == 0)):
        total = total + summed((loss * side).sum()) / summed(side.sum().to(loss.dtype)).clamp_min(1)
    return total / 2
