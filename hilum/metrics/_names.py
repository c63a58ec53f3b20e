"""Names with a suffix: psnr_db@hu400 is psnr_db with its peak set to 400.

A window or a range changes the value, so it stands in the name. A metric's CARD lists its suffixes:
{word: argument of `measure`}; an empty argument only says what was measured (kid@pca64: which features).
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from hilum.core import catalogue


def split(name: str) -> tuple[str, dict[str, int]]:
    """("psnr_db", {"data_range": 400}) of "psnr_db@hu400"; a suffix that the CARD does not list is refused."""
    base, _, suffix = name.partition("@")
    if not suffix:
        return base, {}
    words: dict[str, str] = catalogue.card("hilum.metrics", base).get("suffix", {})
    found = re.fullmatch(r"([a-z]+)([1-9][0-9]*)", suffix)
    if found is None or found[1] not in words:
        raise ValueError(f"{base} knows no suffix {suffix!r}, only {sorted(words)} with a number")
    argument = words[found[1]]
    return base, {argument: int(found[2])} if argument else {}


def card(name: str) -> dict[str, Any]:
    """The CARD of a metric, named with or without a suffix."""
    return catalogue.card("hilum.metrics", split(name)[0])


def ends(name: str) -> tuple[float | None, float | None]:
    """The worst and the best value that the metric can take; None where its range has no such end."""
    own = card(name)
    low, high = own["range"]
    return (low, high) if own["better"] == "higher" else (high, low)


def function(name: str) -> Callable[..., float | None]:
    """The metric's `measure`, with the arguments that the suffix sets."""
    base, arguments = split(name)
    measure: Callable[..., float | None] = catalogue.load("hilum.metrics", base).measure
    return partial(measure, **arguments) if arguments else measure
