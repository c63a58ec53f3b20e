"""How doubtful a result is, without its truth: of a class, a mask, boxes, a registration, a picture. What is wrong."""

import math
from dataclasses import dataclass

import numpy as np

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Result
from hilum.core.image import Array, Case
from hilum.infer import streamed
from hilum.infer.near import REACH, Near
from hilum.infer.predictor import Opinion
from hilum.metrics._boxes import overlap
from hilum.prepare import grid, intensity
from hilum.tasks import _pairs
from hilum.tasks._labels import VALIDITY, valid
from hilum.tasks._task import Judged, Task, headline_value
from hilum.tasks.detect import SURE
from hilum.trust import foreseen
from hilum.trust.calibration import applied, log_softmax
from hilum.trust.uncertainty import expected_dice

MEASURES = {
    "classify": "1 - probability of the class",
    "segment": "1 - expected Dice",
    "detect": "1 - expected F1 of the boxes",
    "register": "1 - correlation of the fixed and the moved image",
    "reconstruct": "expected error (root mean square, of the picture's maximum)",
}
# Tasks that have a doubt, and what it is called.
WRONG = {
    "classify": "the class is wrong",
    "segment": "Dice below {:g}",
    "detect": "F1 of the boxes below {:g}, at an overlap of 0.5",
    "register": "Dice below {:g}",
    "reconstruct": "PSNR below {:g} dB",
}
# What counts as wrong, with the least that is acceptable.
ACCEPTABLE = {"segment": 0.7, "detect": 0.7, "register": 0.7, "reconstruct": 30.0}
# The least that is, unless a person says otherwise: Dice, F1 of boxes, PSNR in dB. No limit of a clinic.
DECIBELS = (1.0, 150.0)
# A PSNR is above and at most: 0.7 is a Dice that was meant for another run.
TOUCHING = 3
# Squared distance, in voxels, up to which two of them touch by faces, edges or corners.


@dataclass(frozen=True)
class Sight:
    """What is kept of a mask's probabilities: (n, K) of voxels near what was found, or of the likeliest one (1, K).

    found: (n,) the channel each was found to be. weights: (n,) how many voxels each stands for.
    """

    probabilities: Array
    empty: bool
    found: Array
    weights: Array


def of_class(probabilities: Array) -> float:
    """1 - the highest of the scaled probabilities (K,)."""
    return 1.0 - float(np.max(probabilities))


def sight(near: Near) -> Sight:
    """Probabilities of the voxels that were kept near what was found, or of the likeliest one."""
    return Sight(np.exp(log_softmax(near.logits.astype(np.float64))), near.empty, near.labels, near.weights)


def of_opinion(opinion: Opinion, task: Task, case: Case) -> Sight:
    """What is kept of a segmentation, of the mask as it is delivered."""
    near = opinion.near or streamed.of_scores(opinion.logits[: 1 + len(task.plan.classes)])
    placed = opinion.prepared["placed"]
    where = valid(case, placed.image)[0] if VALIDITY in case.items else None
    return sight(delivered(near, opinion.result["mask"].array, placed, task, where))


def delivered(near: Near, mask: Array, placed: grid.Placed, task: Task, where: Array | None) -> Near:
    """Without what was taken out of the mask: pieces beside the largest of a class, and what is not valid.

    With them goes what lay near them alone. mask, where: (*space) on the image's own grid, values of classes or numbers
    of objects, and bool (None: all is valid).
    """
    if near.empty or (where is None and not task.single):
        return near
    values = np.array([0, *[c.value for c in task.plan.classes]])
    known = grid.ras_view(mask[None], placed.image)[0]
    kept = np.ones(len(near.labels), dtype=bool)
    if where is not None:
        kept = np.asarray(grid.ras_view(where[None], placed.image)[0][_own(near.places, placed)] > 0)
    for channel in (0, *task.single):
        here = np.flatnonzero(kept & (near.labels == channel))
        # on the image's own grid the edge of a piece may lie a little elsewhere; another piece does not touch it
        reach, wanted = (TOUCHING, values[channel]) if channel else (REACH**2, None)
        kept[here] = _within(known, placed, near.places[here], wanted, reach)
    return Near(near.logits[kept], False, near.labels[kept], near.weights[kept], near.places[kept])


def _own(places: Array, placed: grid.Placed) -> tuple[Array, ...]:
    """Places (n, dims) of the network's grid as indices of the image's own, in RAS order."""
    return tuple(
        np.clip(((line + 0.5) * own / n).astype(np.intp), 0, own - 1)
        for line, own, n in zip(places.T, placed.ras_shape, placed.shape, strict=True)
    )


def _within(known: Array, placed: grid.Placed, places: Array, wanted: int | None, reach: int) -> Array:
    """(n,) whether there is `wanted` (None: anything but 0) at most so far from the places (n, dims).

    known: what is where, on the image's own grid in RAS order. reach: squared, in voxels of the network's grid.
    """
    side, found = np.arange(-math.isqrt(reach), math.isqrt(reach) + 1), np.zeros(len(places), dtype=bool)
    steps = np.stack(np.meshgrid(*[side] * places.shape[1], indexing="ij"), axis=-1).reshape(-1, places.shape[1])
    far = (steps**2).sum(axis=1)
    for step in steps[np.argsort(far, kind="stable")][: int((far <= reach).sum())]:
        left = np.flatnonzero(~found)
        if not len(left):
            break
        there = known[_own(places[left] + step, placed)]
        found[left] = (there != 0) if wanted is None else (there == wanted)
    return found


def of_mask(seen: Sight, scaling: Scaling) -> float:
    """1 - the expected Dice, mean over the classes found; of an empty mask the chance of the likeliest voxel.

    NaN of a mask from which all that was found was taken out.

    The expected Dice is a ratio of sums over voxels, so a sample of them gives it; voxels far from the mask, where a
    foreground probability is next to nothing, are left out.
    """
    chances = applied(scaling, seen.probabilities)
    if seen.empty:
        return 1.0 - float(chances[0, 0])
    # the scaling of masks is a temperature: it leaves the mask as it is
    classes = [k for k in np.unique(seen.found) if k > 0]
    expected = [expected_dice(chances[:, k], seen.found == k, seen.weights) for k in classes]
    return 1.0 - float(np.mean([e for e in expected if e is not None])) if expected else float("nan")


def of_boxes(boxes: Boxes) -> float:
    """1 - the expected F1 of the boxes that are shown (score SURE or more); where none is, the highest score.

    F1 of boxes is Dice of sets: with scores as chances that a box is right, its expectation is that of a mask.
    """
    shown = boxes.scores >= SURE
    if not shown.any():
        return float(boxes.scores.max(initial=0.0))
    expected = expected_dice(boxes.scores, shown)
    assert expected is not None
    return 1.0 - expected


def of_registration(result: Result, case: Case) -> float:
    """1 - Pearson's correlation of the fixed and the moved image, 0 (alike) to 2; colour counts as grey.

    It sees structures that do not lie on each other, where both images are of one modality; not a field that folds.
    """
    pair = case.read("fixed"), case.read("moving")
    fixed, moving = (i.like(intensity.match_channels(i.array, 1, i)) for i in pair)
    moved = _pairs.pull(moving, result["field"])
    a, b = (x.astype(np.float64).ravel() - float(x.mean()) for x in (fixed.array, moved))
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return 1.0 - (float((a * b).sum()) / size if size > 0 else 0.0)


def acceptable(task: str, wanted: float | None) -> float | None:
    """The least Dice, F1 or PSNR (dB) of a right answer: as wanted, or the usual; None of tasks that know only wrong.

    One that the metric can not have, or that was meant for another metric or task, is refused (HIL-TRUST-23).
    """
    if task not in ACCEPTABLE:
        if wanted is not None:
            raise HilumError(
                "HIL-TRUST-23", f"A result of {task} is to be acceptable from {wanted:g} on, but no such number makes "
                "it right or wrong", "Leave --acceptable out",
            )  # fmt: skip
        return None
    least = ACCEPTABLE[task] if wanted is None else wanted
    low, high = DECIBELS if task == "reconstruct" else (0.0, 1.0)
    if not low < least <= high:
        raise HilumError(
            "HIL-TRUST-23", f"A result of {task} is to be acceptable from {least:g} on",
            f"Give a number above {low:g} and at most {high:g}; {ACCEPTABLE[task]:g} is usual",
        )  # fmt: skip
    return least


def loss(task: str, judged: Judged, least: float | None) -> tuple[float, bool] | None:
    """(0..1, whether it counts as wrong) of a judged case; None where no truth says so, and for tasks without a doubt.

    least: of `acceptable`. A mask without a defined Dice has nothing to find and found nothing: right. The loss of a
    picture is its error as a share of the maximum.
    """
    if task == "classify":
        wrong = int(np.argmax(judged.record[0])) != judged.record[1]
        return float(wrong), wrong
    if least is None:
        return None
    if task == "reconstruct":
        psnr = headline_value(judged.values["psnr_db"])
        return None if psnr is None else (foreseen.doubt(psnr), psnr < least)
    if task == "detect":
        value: float | None = f1(judged.record)
    elif task in WRONG and "dice" in judged.values:
        value = headline_value(judged.values["dice"])
        value = 1.0 if value is None and task == "segment" else value
    else:
        return None
    return None if value is None else (1 - value, value < least)


def f1(record: dict[str, Array]) -> float:
    """F1 of the boxes shown, the surest first, each true one matched once at an overlap of 0.5; 1 where none is due."""
    shown = np.flatnonzero(record["scores"] >= SURE)
    shown = shown[np.argsort(-record["scores"][shown], kind="stable")]
    free = np.ones(len(record["true_boxes"]), dtype=bool)
    if not len(shown) and not len(free):
        return 1.0
    hits = 0
    for place in shown:
        able = free & (record["true_labels"] == record["labels"][place])
        if able.any():
            share = np.where(able, overlap(record["boxes"][[place]], record["true_boxes"])[0], 0)
            best = int(share.argmax())
            if share[best] >= 0.5:
                free[best] = False
                hits += 1
    return 2 * hits / (len(shown) + len(free))


def of_result(task: str, result: Result, case: Case) -> float | None:
    """The doubt of boxes or a registration, which needs no scaling; None of other tasks."""
    if task == "detect":
        return of_boxes(result["boxes"])
    if task == "register":
        return of_registration(result, case)
    return None
