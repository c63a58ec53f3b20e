"""Prepared cases, kept in memory while they fit."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from hilum.core.image import Case

Prepared = dict[str, Any]


class Store:
    """Calls `prepare(case)` once per case and keeps the result while it fits `limit` bytes (oldest go first)."""

    def __init__(self, prepare: Callable[[Case], Prepared], limit: int = 4 << 30) -> None:
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
        self._bytes += _size(made)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return made


def _size(prepared: Prepared) -> int:
    return sum(v.nbytes for v in prepared.values() if isinstance(v, np.ndarray))
