"""Mean average precision: the mean of average precision over the IoU thresholds 0.5, 0.55 ... 0.95 and over classes.

Matching rule, at each threshold anew and as in ap50: per class and case a candidate, best score first, takes the free
true box it overlaps most, if the IoU reaches the threshold; every other candidate is a false positive, duplicates
included. Differences from COCO's script: the whole area under the curve (COCO reads it at 101 recalls), equal scores
enter together, no limit of 100 candidates, no sizes, no crowds. A box that is drawn loosely is found at 0.5 and false
at 0.95, so leaving such a box out can raise this number: read it beside froc, which asks only whether it was found.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hilum.metrics import ap50

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "boxes",
    "aggregate": "all cases together at each threshold, mean over classes, then over thresholds",
    "missing": "no box found: all its true boxes are missed; without any it is left out",
    "empty": "a class without true boxes is left out of the mean; no true box at all: undefined",
    "source": "Lin et al. 2014 (COCO), IoU 0.5:0.95 in steps of 0.05; area as in Everingham et al. 2010 (all-point)",
}

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


def prepare(case: Mapping[str, Any]) -> list[ap50.Matched]:
    """One case's candidates matched with its true boxes, once per threshold."""
    return ap50.match(case, THRESHOLDS)


def summarise(records: Iterable[list[ap50.Matched]]) -> float | None:
    """The mean over thresholds for cases that were matched by `prepare`."""
    records = list(records)
    values = [ap50.summarise([record[k] for record in records]) for k in range(len(THRESHOLDS))]
    # whether a class occurs does not depend on the threshold: all are defined or none
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def measure(cases: Iterable[Mapping[str, Any]]) -> float | None:
    """cases: dicts of boxes (N, 2d), scores (N,), labels (N,), true_boxes (M, 2d), true_labels (M,). Returns 0..1."""
    return summarise([prepare(case) for case in cases])
