"""Some of many, spread over all: what lies in order is often in the order of its classes, patients or times."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def evenly(things: Sequence[T], most: int) -> list[T]:
    """At most so many, in their order, from the first to the last; of one alone the first."""
    if len(things) <= most:
        return list(things)
    return [things[i] for i in np.linspace(0, len(things) - 1, most).astype(np.int64)]
