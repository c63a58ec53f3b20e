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


def draw(plans: list[AugmentPlan], rng: np.random.Generator, dims: int) -> Record:
    """Sample the parameters of every planned augmentation, in order: the record to apply and keep."""
    record = []
    for plan in plans:
        card = catalogue.card(__name__, plan.name)
        unknown = sorted(plan.options.keys() - card["options"].keys())
        if unknown:
            hint = near(unknown[0], list(card["options"]))
            raise HilumError("HIL-PLAN-02", f"Augmentation {plan.name!r} has no option {unknown[0]!r}", hint)
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
