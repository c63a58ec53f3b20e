"""A mask against its truth: every metric of voxels, of ranked voxels and of numbered objects."""

from collections.abc import Sequence

import numpy as np

from hilum.core import catalogue
from hilum.core.findings import Mask
from hilum.core.image import Array
from hilum.core.plan import Plan
from hilum.metrics.pixel_auroc_pooled import counts
from hilum.tasks._labels import unnamed

Values = dict[str, dict[str, float | None]]
# {metric: {class name: value, None where it is undefined}}


def judged(
    mask: Mask, truth: Array, plan: Plan, spacing: tuple[float, ...], names: Sequence[str], objects: Array | None = None
) -> tuple[Values, Array | None]:
    """The case metrics of `names`, and the counts of pixel_auroc_pooled where it is one of them.

    truth: (*space) places in plan.classes, 0 background, below 0 not judged. objects: (*space) true objects as
    numbered, where mask numbers objects too. mask.probability: where a metric takes probabilities. Undefined of a class
    that the labels do not name.
    """
    counted, silent = truth >= 0, unnamed(plan)
    values: Values = {}
    record = None
    for name in names:
        card, module = catalogue.card("hilum.metrics", name), catalogue.load("hilum.metrics", name)
        if card["takes"] == "instances":
            assert objects is not None
            shown = truth > 0
            values[name] = {
                plan.classes[0].name: module.measure(np.where(counted, mask.array, 0), np.where(shown, objects, 0))
            }
        elif card["takes"] == "masks":
            values[name] = {
                c.name: None
                if c.name in silent
                else module.measure(_of(mask, c.value) & counted, truth == channel, spacing)
                for channel, c in enumerate(plan.classes, 1)
            }
        else:
            assert mask.probability is not None
            voxels = mask.probability[counted], truth[counted] == 1
            if card["level"] == "case":
                values[name] = {plan.classes[0].name: module.measure(*voxels)}
            else:
                record = counts(*voxels)
    return values, record


def _of(mask: Mask, value: int) -> Array:
    """Voxels of a class: of numbered objects, all of them."""
    found: Array = mask.array != 0 if mask.instances else mask.array == value
    return found
