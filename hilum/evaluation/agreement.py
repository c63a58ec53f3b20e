"""How far readers agree: kappa of classes, overlap and distance of masks, soft labels, and a consensus (STAPLE)."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from hilum.core import catalogue
from hilum.core.image import Array

Values = dict[str, dict[str, float | None]]
# {measure: {class name: value, None where it is undefined}}
MASKS = ("dice", "hd95_mm")
# Metrics that two masks are compared by; both are the same whichever mask is called the truth.
CERTAIN = 0.5
# Probability from which STAPLE's consensus holds a voxel to be of the class.
ROUNDS = 1000
# Most rounds of expectation and maximisation; the filter ends earlier, when its estimates stand still.


def cohen_kappa(first: Sequence[int], second: Sequence[int], classes: int) -> float | None:
    """Cohen's kappa of two readers of the same cases, -1..1: agreement beyond chance.

    first, second: (n,) class of each case, 0..classes-1. None without cases, and where both name one and the same class
    throughout: chance alone then explains everything. Cohen 1960.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} readings are not of the same cases")
    named = {*first, *second}
    if not named <= set(range(classes)):
        raise ValueError(f"classes {sorted(named)} do not all lie in 0..{classes - 1}")
    if len(named) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(list(first), list(second), labels=list(range(classes))))


def fleiss_kappa(counts: Array) -> float | None:
    """Fleiss' kappa of two or more readers: agreement beyond chance, at most 1.

    counts: (n, K), how many readers put case i into class k; the same number of readers for every case. None without
    cases and where only one class was ever named. Fleiss 1971.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 2 or (counts < 0).any() or len(np.unique(counts.sum(axis=1))) > 1:
        raise ValueError("counts must be (n, K) with the same number of readers in every row")
    if not len(counts):
        return None
    readers = float(counts[0].sum())
    if readers < 2:
        raise ValueError(f"{readers:g} readers can not agree: two are needed")
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    seen = float(((counts**2).sum(axis=1) - readers).mean() / (readers * (readers - 1)))
    return None if (counts > 0).any(axis=0).sum() < 2 else (seen - chance) / (1 - chance)


def compared(first: Array, second: Array, names: Sequence[str], spacing: tuple[float, ...]) -> Values:
    """Dice and 95 % Hausdorff distance (mm) of two masks, class by class.

    first, second: (*space) places in `names` from 1, 0 the background, below 0 not judged; what either does not judge
    counts for neither. spacing: mm per axis.
    """
    counted = (first >= 0) & (second >= 0)
    found: Values = {}
    for name in MASKS:
        measure = catalogue.load("hilum.metrics", name).measure
        found[name] = {
            label: measure((first == place) & counted, (second == place) & counted, spacing)
            for place, label in enumerate(names, 1)
        }
    return found


def pairwise(
    masks: Mapping[str, Array], names: Sequence[str], spacing: tuple[float, ...]
) -> dict[tuple[str, str], Values]:
    """`compared` for every two readers, {(one, other): values}; {} for fewer than two."""
    return {(a, b): compared(masks[a], masks[b], names, spacing) for a, b in combinations(sorted(masks), 2)}


def soft_labels(masks: Sequence[Array], classes: int) -> Array:
    """Mean of the readers' one-hot masks, (1 + classes, *space) float32: the share that names background, 1, 2, ...

    masks: (*space) 0..classes; below 0 a reader does not judge, and the share is of those who do. All are 0 where
    nobody does; everywhere else they add up to 1.
    """
    stack = _stacked(masks)
    judging = np.maximum((stack >= 0).sum(axis=0), 1)
    return np.stack([(stack == place).sum(axis=0) / judging for place in range(1 + classes)]).astype(np.float32)


def disputed(masks: Sequence[Array], classes: int) -> float | None:
    """Share of the voxels that some reader gave a class on which the readers do not all agree, 0..1.

    None where no reader found anything. The background that nobody disputes is not counted: it would hide the rest.
    """
    shares = soft_labels(masks, classes)
    anyone = shares[1:].max(axis=0) > 0
    return float((shares.max(axis=0)[anyone] < 1).mean()) if anyone.any() else None


def staple(masks: Sequence[Array], classes: int) -> Array:
    """A consensus of the readers' masks, (*space) int16, by STAPLE (Warfield et al. 2004), computed by SimpleITK.

    masks: two or more, (*space) 0..classes; what one does not judge (below 0) is -1 in the consensus. One class:
    the voxels whose probability is at least one half. Several: every class by itself against all others, and a voxel
    takes the class of the highest probability, the lower number on a tie, if that is at least one half; else it is
    background. The probability comes from the box around what all readers marked, one voxel wider on every side: a
    wide background would make every reader seem nearly perfect.
    """
    stack = _stacked(masks)
    if len(stack) < 2:
        raise ValueError("a consensus needs two readers")
    found = np.zeros(stack.shape[1:], dtype=np.int16)
    best = np.full(found.shape, np.nextafter(CERTAIN, 0))
    for place in range(1, 1 + classes):
        chance = _probability(stack == place)
        found[chance > best] = place
        best = np.maximum(best, chance)
    found[(stack < 0).any(axis=0)] = -1
    return found


def _probability(votes: Array) -> Array:
    """STAPLE's probability of one class, (*space) float64. votes: (readers, *space) bool."""
    import SimpleITK as sitk
    from scipy import ndimage

    chance = np.zeros(votes.shape[1:])
    union = votes.any(axis=0)
    if not union.any():
        return chance
    box = ndimage.find_objects(union.astype(np.uint8))[0]
    staple = sitk.STAPLEImageFilter()
    staple.SetForegroundValue(1.0)
    staple.SetMaximumIterations(ROUNDS)
    readings = [sitk.GetImageFromArray(np.pad(vote[box], 1).astype(np.uint8)) for vote in votes]
    found = sitk.GetArrayFromImage(staple.Execute(readings))
    chance[box] = found[(slice(1, -1),) * found.ndim]
    return chance


def _stacked(masks: Sequence[Array]) -> Array:
    """(readers, *space); masks of different shapes are refused."""
    if len({mask.shape for mask in masks}) != 1:
        raise ValueError(f"the masks have shapes {[mask.shape for mask in masks]}: one shape is needed")
    return np.stack(masks)
