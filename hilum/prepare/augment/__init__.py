"""Augmentations, one file each: sample the parameters, apply them, hand them back as the record.

A file has CARD (``about``, ``spatial``, ``options`` with their defaults), ``sample(rng, dims, **options) -> params``
(plain data), ``apply(params, array (C, *space), kind "image" | "label")``, and where it moves space
``points(params, coordinates, shape)`` and, to share one interpolation with its neighbours in the record,
``pull(params, places, shape)`` (see `_spatial`). ``exact`` in the card: its `apply` interpolates nothing. ``factors``:
options that are above 0, for something is divided by them or raised to them.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.core import catalogue
from hilum.core.errors import HilumError, near
from hilum.core.image import Array
from hilum.core.plan import AugmentPlan
from hilum.prepare import patches
from hilum.prepare.augment import _spatial
from hilum.prepare.augment._strong import strong, weakened

__all__ = ["Record", "apply", "check", "cut", "draw", "move_points", "strong", "weakened"]

Record = list[tuple[str, dict[str, Any]]]


def check(plans: list[AugmentPlan]) -> None:
    """Refuse an unknown augmentation, an unknown option, or a value of another kind or range than the default's."""
    for plan in plans:
        card = catalogue.card(__name__, plan.name)
        known = card["options"]
        for option, value in plan.options.items():
            if option not in known:
                hint = near(option, list(known))
                raise HilumError("HIL-PLAN-02", f"Augmentation {plan.name!r} has no option {option!r}", hint)
            hint = f"Give something like {known[option]}"
            if _alike(value, known[option]):
                hint = _range(option, value, known[option], option in card.get("factors", ()))
            if hint:
                seen = f"Option {option!r} of {plan.name!r} can not be {value!r}"
                raise HilumError("HIL-PLAN-03", seen, hint)


def _alike(value: Any, default: Any) -> bool:
    """A number for a number, a list of numbers for a list (pairs stay pairs)."""
    if isinstance(default, list):
        pair = len(default) == 2 and isinstance(value, list) and len(value) != 2
        return isinstance(value, list) and not pair and all(_alike(v, 0) for v in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(option: str, value: Any, default: Any, factor: bool) -> str:
    """What to give instead of a value that no augmentation can use; "" where it can."""
    several = value if isinstance(value, list) else [value]
    # below 0 it would be the channels, which lie before them
    if option == "axes":
        wrong = len(set(value)) < len(value) or any(type(v) is not int or v < 0 for v in value)
        return "Count axes from 0, each once" if wrong else ""
    if not all(math.isfinite(v) and v >= 0 for v in several) or (factor and min(several) <= 0):
        return f"Give numbers {'above' if factor else 'from'} 0{'' if factor else ' on'}"
    if isinstance(default, list) and value[0] > value[1]:
        return "Give the lower end first"
    if option == "probability" and value > 1:
        return "Give a share, 0 to 1"
    whole = type(default) is int and (type(value) is not int or value < 1)
    return "Give a whole number from 1 on" if whole else ""


def draw(plans: list[AugmentPlan], rng: np.random.Generator, dims: int) -> Record:
    """Sample the parameters of every planned augmentation, in order: the record to apply and keep."""
    check(plans)
    record = []
    for plan in plans:
        card = catalogue.card(__name__, plan.name)
        module = catalogue.load(__name__, plan.name)
        record.append((plan.name, module.sample(rng, dims, **(card["options"] | plan.options))))
    return record


def apply(record: Record, array: Array, kind: str = "image", fill: float | None = 0) -> Array:
    """(C, *space) through the record; kind "image" or "label". Neighbours that move space interpolate once.

    fill: of a label, outside of the array; None: it repeats its edges, as an image does.
    """
    place = 0
    while place < len(record):
        count, places = _together(record[place:], array.shape[1:])
        if places is not None:
            array = _spatial.pulled(array, places, kind, fill)
        for name, params in record[place : place + max(count, 1)] if places is None else []:
            array = catalogue.load(__name__, name).apply(params, array, kind)
        place += max(count, 1)
    return np.ascontiguousarray(array)


def cut(
    record: Record,
    image: Array,
    labels: Sequence[tuple[Array, float | None]],
    start: Sequence[int],
    size: Sequence[int],
) -> tuple[Array, list[Array]]:
    """A patch of an image and its labels (C, *space), cut at `start` (may be negative), through the record.

    labels: each with the value it has outside of the image, where the image repeats its edges; None: as the image.
    What moves space at the head of the record is pulled straight out of the whole image: a turned patch shows what lies
    beside it, as where a larger patch is cut, turned and cropped (nnU-Net), without the larger patch's cost.
    """
    count, places = _together(record, tuple(size))
    if places is None:
        parts = [patches.cut(image, start, size), *[patches.cut(a, start, size, fill=fill) for a, fill in labels]]
        rest = record
    else:
        places = [p + np.float32(s) for p, s in zip(places, start, strict=True)]
        parts = [_spatial.pulled(image, places, "image")]
        parts += [_spatial.pulled(a, places, "label", fill) for a, fill in labels]
        rest = record[count:]
    fills = [fill for _, fill in labels]
    return apply(rest, parts[0]), [apply(rest, a, "label", f) for a, f in zip(parts[1:], fills, strict=True)]


def _together(record: Record, shape: tuple[int, ...]) -> tuple[int, _spatial.Places | None]:
    """How many of the record's first entries move space by `pull`, and the places for all of them.

    None where none of them moves anything, or where all that do are exact by themselves.
    """
    run = []
    for name, params in record:
        module = catalogue.load(__name__, name)
        if not hasattr(module, "pull"):
            break
        run.append((module, params))
    places = whole = _spatial.grid(shape) if run else []
    exact = True
    # the last one's output is the grid; what it pulls from is the output of the one before
    for module, params in reversed(run):
        before, places = places, module.pull(params, places, shape)
        exact &= places is before or module.CARD.get("exact", False)
    return len(run), None if exact or places is whole else places


def move_points(record: Record, coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Points (N, d) in voxel-edge coordinates through the spatial part of the record."""
    for name, params in record:
        module = catalogue.load(__name__, name)
        if module.CARD["spatial"]:
            coordinates = module.points(params, coordinates, shape)
    return coordinates
