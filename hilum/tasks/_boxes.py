"""Boxes: from masks, through patches and augmentations, to FCOS targets and back.

A box is a row (low0, low1, high0, high1) in pixels, high exclusive, axis order of the array.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.tasks._pieces import connected

if TYPE_CHECKING:
    from torch import Tensor

RANGE = 8
# A level of stride s finds boxes whose farthest side lies up to RANGE * s away (FCOS: 64 at stride 8).
FINEST = 4
# Stride of the first level: it takes every box too small for the others.
CENTRE = 1.5
# Only locations within CENTRE strides of a box's centre learn it (centre sampling).
HALF = 0.5
# Share of a found box in what is ignored from which it is not judged, as COCO has it for crowds.
LARGER = "make the images smaller, or give a larger plan.patch or a smaller options.keep"
# What helps where boxes are larger than a patch.


def of_objects(label: Array, pieces: bool = False, numbered: bool = False) -> Array:
    """Label (*space) -> boxes (N, 2d): one per value when values number objects, one per component of a 0/1 mask.

    pieces: values are classes, and every component of each is an object. numbered: also a single value is one object.
    """
    from scipy import ndimage

    values = np.unique(label[label != 0])
    if pieces and len(values) > 1:
        return np.concatenate([of_objects(label == value) for value in values])
    if len(values) <= 1 and not numbered:
        found = connected(label != 0)[0]
    else:
        # numbered anew: find_objects makes a slot for every number up to the largest
        found = np.where(label != 0, np.searchsorted(values, label) + 1, 0)
    places = [s for s in ndimage.find_objects(found) if s is not None]
    rows = [[*[a.start for a in s], *[a.stop for a in s]] for s in places]
    return np.array(rows, dtype=np.float64).reshape(-1, 2 * label.ndim)


def clip(boxes: Array, shape: Sequence[int], keep: float) -> tuple[Array, Array]:
    """Boxes cut to 0..shape and which of them kept at least the share `keep` of their area."""
    n = len(shape)
    low = np.clip(boxes[:, :n], 0, shape)
    high = np.clip(boxes[:, n:], 0, shape)
    before = np.prod(boxes[:, n:] - boxes[:, :n], axis=1)
    kept = np.flatnonzero(np.prod(high - low, axis=1) >= keep * np.maximum(before, 1e-9))
    return np.concatenate([low, high], axis=1)[kept], kept


def one_of(places: Array, rng: np.random.Generator) -> int:
    """Which box a patch is drawn around: first one of the classes that there are, so that rare ones are seen as often.

    places: (N,) of the boxes' classes, N above 0.
    """
    kinds = np.unique(places)
    own = np.flatnonzero(places == kinds[int(rng.integers(len(kinds)))]) if len(kinds) > 1 else np.arange(len(places))
    return int(own[int(rng.integers(len(own)))])


def shown(boxes: Array, patch: Sequence[int]) -> Array:
    """(N,) the largest share of each box (N, 2d) that a patch can show."""
    sides = boxes[:, len(patch) :] - boxes[:, : len(patch)]
    found: Array = np.prod(np.minimum(sides, patch), axis=1) / np.maximum(np.prod(sides, axis=1), 1e-9)
    return found


def unseen(shares: Mapping[str, Sequence[float]], patch: Sequence[int], keep: float) -> list[str]:
    """A sentence about boxes that are taught as background, as no patch shows the share `keep` of them.

    shares: {class: what a patch shows of each of its boxes at most}. Refused where a class has no others (HIL-PLAN-08).
    """
    lost = {name: sum(share < keep for share in own) for name, own in shares.items()}
    size = f"no patch of {' x '.join(map(str, patch))} pixels shows options.keep ({keep:g})"
    if never := [name for name, own in shares.items() if lost[name] == len(own)]:
        most = ", ".join(f"{name} ({max(shares[name]):.2g} at most)" for name in never)
        raise HilumError(
            "HIL-PLAN-08", f"{size[0].upper()}{size[1:]} of any training box of: {most}", LARGER.capitalize()
        )
    told = ", ".join(f"{name} ({count} of {len(shares[name])})" for name, count in lost.items() if count)
    of = "of some training boxes, which are taught as background"
    return [f"HIL-PLAN-08: {size} {of}: {told}; {LARGER}"] if told else []


def outside(boxes: Array, labels: Array, truth: Array, true_labels: Array, ignored: Array) -> Array:
    """Which found boxes (N, 4) are judged, (N,) bool: all but those that lie half or more where nothing is judged.

    One that overlaps a true box of its class by IoU 0.5 is judged there too. ignored: (H, W) bool.
    """
    from hilum.metrics._boxes import overlap

    size = np.array(ignored.shape)
    ends = np.clip(np.rint(boxes), 0, np.tile(size, 2)).astype(int)
    shares = [
        float(ignored[a:c, b:d].mean()) if c > a and d > b else 0.0 for a, b, c, d in ends.reshape(-1, 4).tolist()
    ]
    own = overlap(boxes, truth) * (labels[:, None] == true_labels[None, :])
    return (np.array(shares) < HALF) | (own >= HALF).any(axis=1)


def moved(boxes: Array, points: Callable[[Array], Array]) -> Array:
    """Boxes after their corners moved: the smallest upright boxes around them."""
    if not len(boxes):
        return boxes
    n = boxes.shape[1] // 2
    corners = []
    for bits in np.ndindex(*([2] * n)):
        corners.append(points(np.stack([boxes[:, a + n * bits[a]] for a in range(n)], axis=1)))
    stack = np.stack(corners)
    return np.concatenate([stack.min(axis=0), stack.max(axis=0)], axis=1)


def locations(shape: Sequence[int], stride: int) -> "Tensor":
    """Pixel-edge coordinates (L, 2) of the cell centres of a level."""
    import torch

    axes = [(torch.arange(n // stride) + 0.5) * stride for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


def assign(points: "Tensor", stride: int, last: bool, boxes: "Tensor") -> "tuple[Tensor, Tensor]":
    """For locations (L, 2) of one level: index of the box learned there (-1: none) and distances (L, 4) to its sides.

    A location learns the smallest box that holds it near its centre and whose size belongs to this level.
    """
    import torch

    if len(boxes) == 0:
        return torch.full((len(points),), -1, device=points.device), points.new_zeros(len(points), 4)
    low, high = boxes[None, :, :2], boxes[None, :, 2:]
    place = points[:, None]
    sides = torch.cat([place - low, high - place], dim=2)
    centre = (low + high) / 2
    half, off = (high - low) / 2, place - centre
    # a box no wider than a cell may hold no location, or have one on its edge: it is taken as so wide that the nearest
    # one lies inside; on coarse levels that is a long thin one
    half = torch.where(half <= stride / 2, torch.full_like(half, 0.75 * stride), half)
    near = (off.abs() < CENTRE * stride).all(dim=2) & (off.abs() < half).all(dim=2)
    far = sides.amax(dim=2)
    least = 0 if stride <= FINEST else RANGE * stride / 2
    fits = (far > least) & ((far <= RANGE * stride) | torch.tensor(last))
    area = (high - low).prod(dim=2).expand(len(points), -1).masked_fill(~(near & fits), float("inf"))
    smallest, index = area.min(dim=1)
    index = torch.where(smallest.isinf(), -1, index)
    # of the box as it was taken, for how near to its centre a location lies
    taken = torch.cat([half + off, half - off], dim=2)
    return index, taken[torch.arange(len(points)), index.clamp(min=0)]


def fcos_losses(
    outputs: dict[str, Any],
    boxes: "list[Tensor]",
    labels: "list[Tensor]",
    shape: tuple[int, ...],
    ignored: "Tensor | None" = None,
) -> "dict[str, Tensor]":
    """Named losses of a batch: class (focal), box (1 - GIoU, weighted by centre-ness), centre (cross-entropy).

    ignored: (B, *shape) bool; locations in it that belong to no box teach nothing.
    """
    import torch
    from torch.nn import functional

    from hilum.losses._together import summed
    from hilum.losses.focal import sigmoid_focal
    from hilum.losses.giou import giou_loss

    levels = list(outputs["class"])
    logits = torch.cat([o.flatten(2) for o in levels], dim=2).transpose(1, 2)
    sides = torch.cat([o.flatten(2) for o in outputs["box"]], dim=2).transpose(1, 2)
    centre = torch.cat([o.flatten(2) for o in outputs["centre"]], dim=2)[:, 0]
    strides = [shape[0] // o.shape[2] for o in levels]
    points = [locations(shape, s).to(logits.device) for s in strides]
    everywhere = torch.cat(points)
    class_targets, found, true, true_centre, predicted_centre = [], [], [], [], []
    for own, kinds, own_sides, own_centre in zip(boxes, labels, sides, centre, strict=True):
        pairs = [assign(p, s, i == len(strides) - 1, own) for i, (p, s) in enumerate(zip(points, strides, strict=True))]
        index, wanted = torch.cat([a for a, _ in pairs]), torch.cat([d for _, d in pairs])
        hit = index >= 0
        target = torch.zeros(len(index), logits.shape[2], device=logits.device)
        target[hit, kinds[index[hit]]] = 1
        class_targets.append(target)
        found.append(torch.cat([everywhere[hit] - own_sides[hit, :2], everywhere[hit] + own_sides[hit, 2:]], dim=1))
        true.append(own[index[hit]])
        ends = torch.stack([wanted[hit, :2], wanted[hit, 2:]])
        true_centre.append((ends.amin(dim=0).clamp(min=0) / ends.amax(dim=0)).prod(dim=1).sqrt())
        predicted_centre.append(own_centre[hit])
    near = torch.cat(true_centre)
    count = summed(torch.tensor(float(len(near)), device=logits.device)).clamp_min(1)
    wanted_classes = torch.stack(class_targets)
    if ignored is None:
        classes = summed(sigmoid_focal(logits, wanted_classes, reduction="sum")) / count
    else:
        rows, columns = everywhere.long().unbind(dim=1)
        counts = ~ignored[:, rows, columns] | (wanted_classes > 0).any(dim=2)
        each = sigmoid_focal(logits, wanted_classes, reduction="none")
        classes = summed((each * counts[..., None]).sum()) / count
    # without an object these are sums over nothing, which are 0 and keep their gradient's way
    overlap = summed((giou_loss(torch.cat(found), torch.cat(true)) * near).sum()) / summed(near.sum()).clamp(min=1e-6)
    even = functional.binary_cross_entropy_with_logits(torch.cat(predicted_centre), near, reduction="sum")
    return {"class": classes, "box": overlap, "centre": summed(even) / count}


def decode(
    outputs: dict[str, Any], shape: tuple[int, ...], score: float, overlap: float, most: int
) -> tuple[Array, Array, Array]:
    """One image's output -> boxes (N, 4), scores (N,), class places (N,), best first."""
    import torch

    boxes, scores, places = [], [], []
    for logits, sides, centre in zip(outputs["class"], outputs["box"], outputs["centre"], strict=True):
        at = locations(shape, shape[0] // logits.shape[2])
        own = (logits[0].flatten(1).sigmoid() * centre[0].flatten(1).sigmoid()).sqrt().T
        place, kind = torch.nonzero(own >= score, as_tuple=True)
        order = own[place, kind].argsort(descending=True)[:1000]
        place, kind = place[order], kind[order]
        away = sides[0].flatten(1).T[place]
        boxes.append(torch.cat([at[place] - away[:, :2], at[place] + away[:, 2:]], dim=1))
        scores.append(own[place, kind])
        places.append(kind)
    all_boxes = torch.cat(boxes).double().numpy()
    all_scores, all_places = torch.cat(scores).double().numpy(), torch.cat(places).numpy()
    kept = suppress(all_boxes, all_scores, all_places, overlap, most)
    return all_boxes[kept], all_scores[kept], all_places[kept]


def suppress(boxes: Array, scores: Array, places: Array, overlap: float, most: int | None = None) -> Array:
    """Indices kept by greedy non-maximum suppression within each class, best first; the first `most` of them."""
    n = boxes.shape[1] // 2
    area = np.prod(boxes[:, n:] - boxes[:, :n], axis=1)
    left, kept = np.argsort(-scores, kind="stable"), list[Any]()
    while len(left) and (most is None or len(kept) < most):
        first, rest = left[0], left[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :n], boxes[rest, :n])
        high = np.minimum(boxes[first, n:], boxes[rest, n:])
        both = np.prod(np.clip(high - low, 0, None), axis=1)
        iou = both / np.maximum(area[first] + area[rest] - both, 1e-9)
        left = rest[(iou <= overlap) | (places[rest] != places[first])]
    return np.array(kept, dtype=np.int64)
