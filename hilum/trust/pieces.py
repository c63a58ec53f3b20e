"""Of which classes only the largest piece is kept: chosen on validation, as nnU-Net does (Isensee et al. 2021)."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from hilum.core.findings import Mask
from hilum.core.image import Array, Case
from hilum.tasks._labels import IGNORE, judged_channels, stored
from hilum.tasks._pieces import largest
from hilum.tasks._task import Task
from hilum.trust.calibration import LEAST_GROUPS
from hilum.trust.risk_control import by_group

CLEAR = 2.0
# Standard errors that the mean gain over patients must exceed.


def gains(task: Task, mask: Mask, case: Case) -> dict[str, float]:
    """By how much the Dice of each class that the case has rises where only its largest piece is kept."""
    truth = judged_channels(case, stored(case), task.plan)[0]
    # a mask holds the values of classes, which need not be those in the label files
    found = np.zeros_like(truth)
    for number, klass in enumerate(task.plan.classes, 1):
        found[(mask.array == klass.value) & (truth != IGNORE)] = number
    one = largest(found, range(1, 1 + len(task.plan.classes)))
    there = ((n, c.name) for n, c in enumerate(task.plan.classes, 1) if (truth == n).any())
    return {name: _dice(one == n, truth == n) - _dice(found == n, truth == n) for n, name in there}


def chosen(rows: Sequence[Mapping[str, float]], groups: Sequence[Hashable]) -> tuple[list[str], list[str]]:
    """Names of the classes that clearly gain, mean over patients, and a sentence for each. rows: `gains` by case."""
    names, words = list[str](), list[str]()
    for name in dict.fromkeys(name for row in rows for name in row):
        has = [i for i, row in enumerate(rows) if name in row]
        means = by_group(np.array([[rows[i][name]] for i in has]), [groups[i] for i in has])[:, 0]
        if len(means) < LEAST_GROUPS:
            continue
        gain, error = float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))
        if gain > CLEAR * error and gain > 0:
            names.append(name)
            words.append(
                f"Of {name} only the largest piece is kept: Dice rises by {gain:.4f} on {len(means)} validation "
                f"patients (standard error {error:.4f})."
            )
    return names, words


def _dice(found: Array, truth: Array) -> float:
    return 2 * float((found & truth).sum()) / max(1, int(found.sum()) + int(truth.sum()))
