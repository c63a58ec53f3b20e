"""Metrics without a number, and means over fewer classes than the model knows, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hilum.core.plan import Plan
from hilum.evaluation._rarest import OVER_CLASSES
from hilum.metrics import _names
from hilum.tasks._labels import unnamed
from hilum.tasks._task import Judged

Metrics = Mapping[str, Mapping[str, Any]]
# As in metrics.json.


def unmeasured(metrics: Metrics) -> list[str]:
    """One sentence per metric that is undefined, with what its CARD says of that."""
    lacking = [name for name, row in metrics.items() if row["mean"] is None]
    return [f"{name} is undefined on these cases ({_names.card(name)['empty']})." for name in lacking]


def absent(metrics: Metrics, judged: Sequence[Judged], plan: Plan) -> list[str]:
    """A sentence that names the classes no case has, where a metric is a mean over classes.

    judged: those without a result as well. Classes that the labels do not name are not among them.
    """
    over = [n for n, row in metrics.items() if _names.split(n)[0] in OVER_CLASSES and row["mean"] is not None]
    if not over:
        return []
    boxes, there = _names.card(over[0])["takes"] == "boxes", set[int]()
    for one in judged:
        if one.record is not None:
            there |= set(np.unique(one.record["true_labels"]).tolist()) if boxes else {one.record[1]}
    silent = unnamed(plan)
    known = {(c.value if boxes else place): c.name for place, c in enumerate(plan.classes) if c.name not in silent}
    lacking = [name for key, name in known.items() if key not in there]
    if not lacking:
        return []
    means, counts = ", ".join(n for n in over if n != "macro_f1"), f"{len(known) - len(lacking)} of {len(known)}"
    false = "; macro_f1 also takes in, as 0, a class that was found all the same" if "macro_f1" in over else ""
    return [f"No case has the class {', '.join(lacking)}: means over classes ({means}) are over {counts}{false}."]
