"""What a round of validation counts: voxels of every class, or images of every pair of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.core.strongest import strongest
from hilum.tasks._labels import IGNORE

FEW = 8
# Images: fewer are called alike by a network that learns, too.


def voxels(logits: Any, target: Any) -> Array:
    """(K, 3): true and found, found only, true only, of each class; `IGNORE` counts nowhere.

    logits: (B, K, *space). target: (B, *space).
    """
    found, known = strongest(logits, 1), target != IGNORE
    rows = []
    for channel in range(logits.shape[1]):
        here, there = (found == channel) & known, (target == channel) & known
        rows.append([int((here & there).sum()), int((here & ~there).sum()), int((~here & there).sum())])
    return np.array(rows, dtype=np.int64)


def dice(counts: Array) -> dict[str, float]:
    """Dice of all counted voxels together, mean of the classes that occur; background is no class."""
    both, extra, missed = counts[1:].T.astype(np.float64)
    there = both + missed > 0
    if not there.any():
        return {"dice": float("nan")}
    return {"dice": float(np.mean(2 * both[there] / (2 * both + extra + missed)[there]))}


def nothing_found(counts: Array, names: Sequence[str]) -> str | None:
    """A sentence when only background, or only one class, is found although there is more than that."""
    found, true = counts[:, 0] + counts[:, 1], counts[:, 0] + counts[:, 2]
    # patches may lie wholly inside one class: who finds that and nothing else is right
    right = bool(((found > 0) == (true > 0)).all())
    if right or true[1:].sum() == 0 or (found > 0).sum() > 1:
        return None
    what = ["background", *names][int(np.argmax(found))]
    return f"the network finds nothing but {what}, while {true[1:].sum() / max(1, true.sum()):.1%} are foreground"


def confusion(logits: Any, target: Any) -> Array:
    """(K, K): images by true class and by the class that was found. logits: (B, K). target: (B,)."""
    kinds = logits.shape[1]
    pairs = (target * kinds + strongest(logits, 1)).cpu().numpy()
    return np.bincount(pairs, minlength=kinds * kinds).reshape(kinds, kinds)


def balanced(counts: Array) -> dict[str, float]:
    """Balanced accuracy (mean recall of the classes that occur) and accuracy."""
    true = counts.sum(axis=1)
    there = true > 0
    if not there.any():
        return {"balanced_accuracy": float("nan")}
    right = np.diag(counts)
    return {
        "balanced_accuracy": float(np.mean(right[there] / true[there])),
        "accuracy": float(right.sum() / counts.sum()),
    }


def one_answer(counts: Array, names: Sequence[str]) -> str | None:
    """A sentence when every image of several classes is called the same; nothing of fewer than FEW.

    Nor where fewer than half of FEW are of another class: one hard image of a rare class is no collapse.
    """
    if counts.sum() < FEW or (counts.sum(axis=0) > 0).sum() > 1:
        return None
    answer = int(np.argmax(counts.sum(axis=0)))
    if counts.sum() - counts[answer].sum() < FEW // 2:
        return None
    return f"the network calls each of {counts.sum()} images {names[answer]!r}"
