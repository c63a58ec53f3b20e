"""The scaling of a validation part's answers, and those answers as a new patient would get them.

That is, scaled by fits which had not seen their patient. What the part is too small for is left out, with a note.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.trust import calibration, voxels
from hilum.trust.voxels import Voxels

FOLDS, SEED = 5, 0
T = TypeVar("T")


def or_note(work: Callable[[], T], notes: list[str]) -> T | None:
    """What the work gives, or None and a note where the part is too small for it."""
    try:
        return work()
    except HilumError as error:
        notes.append(f"{error.seen}.")
        return None


def of_classes(raw: Array, truth: Array, groups: Sequence[Hashable], notes: list[str]) -> tuple[Scaling, Array]:
    """The scaling of class probabilities (n, K), and the probabilities of each case scaled out of fold, (n, K)."""
    chosen = or_note(lambda: calibration.choose(raw, truth, groups, FOLDS, SEED), notes)
    if chosen is None:
        return Scaling(), raw
    notes.append(chosen.why)
    if chosen.scaling.method == "none":
        return chosen.scaling, raw
    return chosen.scaling, calibration.out_of_fold(raw, truth, groups, chosen.scaling.method, FOLDS, SEED)


def of_masks(seen: Sequence[Voxels], groups: Sequence[Hashable], notes: list[str]) -> tuple[Scaling, list[Scaling]]:
    """The scaling of voxels, and for each case the one that the others gave; an empty case has one as well."""
    chosen = or_note(lambda: voxels.choose(seen, groups, FOLDS, SEED), notes)
    if chosen is None:
        return Scaling(), [Scaling()] * len(seen)
    notes.append(chosen.why)
    if chosen.scaling.method == "none":
        return chosen.scaling, [chosen.scaling] * len(seen)
    return chosen.scaling, voxels.out_of_fold(seen, groups, FOLDS, SEED)
