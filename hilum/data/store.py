"""Prepared cases, kept in memory while they fit."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from hilum.core.image import Case

Prepared = dict[str, Any]

LIMIT = 4 << 30
# Bytes, where a plan names no limit.


class Store:
    """Calls `prepare(case)` once per case and keeps the result while it fits `limit` bytes (oldest go first)."""

    def __init__(self, prepare: Callable[[Case], Prepared], limit: int = LIMIT) -> None:
        self._prepare = prepare
        self._limit = limit
        self._kept: OrderedDict[str, Prepared] = OrderedDict()
        self._bytes = 0
        self._alone = threading.Lock()

    def __call__(self, case: Case) -> Prepared:
        # validation asks while the next training batches are being made on another thread
        with self._alone:
            return self._get(case)

    def _get(self, case: Case) -> Prepared:
        if case.id in self._kept:
            self._kept.move_to_end(case.id)
            return self._kept[case.id]
        made = self._prepare(case)
        self._kept[case.id] = made
        self._bytes += held(made)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= held(self._kept.popitem(last=False)[1])
        return made


def held(value: Any, seen: set[int] | None = None) -> int:
    """Bytes of all arrays in a prepared case, also of the image that it was placed from; a shared one counts once."""
    seen = set() if seen is None else seen
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
        fresh = id(value) not in seen
        seen.add(id(value))
        return value.nbytes if fresh else 0
    if isinstance(value, dict):
        return sum(held(inner, seen) for inner in value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return sum(held(getattr(value, field.name), seen) for field in fields(value))
    return sum(held(inner, seen) for inner in value) if isinstance(value, list | tuple) else 0
