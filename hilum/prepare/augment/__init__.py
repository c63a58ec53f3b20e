"""Augmentations, one file each: sample the parameters, apply them, hand them back as the record.

A file has CARD (``about``, ``spatial``, ``options`` with their defaults), ``sample(rng, dims, **options) -> params``
(plain data), ``apply(params, array (C, *space), kind "image" | "label")``, and ``points(params, coordinates, shape)``
when it moves space.
"""

from typing import Any

import numpy as np

from hilum.core import catalogue
from hilum.core.errors import HilumError, near
from hilum.core.image import Array
from hilum.core.plan import AugmentPlan

Record = list[tuple[str, dict[str, Any]]]


def check(plans: list[AugmentPlan]) -> None:
    """Refuse an unknown augmentation, an unknown option, or a value of another kind than the default's."""
    for plan in plans:
        known = catalogue.card(__name__, plan.name)["options"]
        for option, value in plan.options.items():
            if option not in known:
                hint = near(option, list(known))
                raise HilumError("HIL-PLAN-02", f"Augmentation {plan.name!r} has no option {option!r}", hint)
            if not _alike(value, known[option]):
                raise HilumError(
                    "HIL-PLAN-03", f"Option {option!r} of {plan.name!r} can not be {value!r}",
                    f"Give something like {known[option]}",
                )  # fmt: skip


def _alike(value: Any, default: Any) -> bool:
    """A number for a number, a list of numbers for a list (pairs stay pairs)."""
    if isinstance(default, list):
        pair = len(default) == 2 and isinstance(value, list) and len(value) != 2
        return isinstance(value, list) and not pair and all(_alike(v, 0) for v in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def draw(plans: list[AugmentPlan], rng: np.random.Generator, dims: int) -> Record:
    """Sample the parameters of every planned augmentation, in order: the record to apply and keep."""
    check(plans)
    record = []
    for plan in plans:
        card = catalogue.card(__name__, plan.name)
        module = catalogue.load(__name__, plan.name)
        record.append((plan.name, module.sample(rng, dims, **(card["options"] | plan.options))))
    return record


def apply(record: Record, array: Array, kind: str = "image") -> Array:
    """(C, *space) through the record; kind "image" or "label"."""
    for name, params in record:
        array = catalogue.load(__name__, name).apply(params, array, kind)
    return np.ascontiguousarray(array)


def move_points(record: Record, coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Points (N, d) in voxel-edge coordinates through the spatial part of the record."""
    for name, params in record:
        module = catalogue.load(__name__, name)
        if module.CARD["spatial"]:
            coordinates = module.points(params, coordinates, shape)
    return coordinates
