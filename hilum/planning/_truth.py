"""What is to be learned of a case, as a digest: a label that was corrected may hold as many voxels as before."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from hilum.core.image import Array, Case, Image
from hilum.prepare.grid import to_ras
from hilum.tasks import _labels

PART = 1 << 20
# Values that are widened at a time, so that no whole copy is made.


def digest(case: Case, label: Image | None = None, target: Array | None = None) -> str:
    """Of label, validity mask, target, and boxes with their classes: 32 hex digits, also where there is none of them.

    label: read already, in RAS order. target: of raw data. The validity mask is read here.
    """
    found = hashlib.blake2b(digest_size=16)
    if label is not None:
        _add(found, "label", label.array)
    if _labels.VALIDITY in case.items:
        _add(found, "validity", to_ras(_labels.stored(case, _labels.VALIDITY)).array != 0)
    if target is not None:
        _add(found, "target", target)
    found.update(repr(_boxes(case)).encode())
    return found.hexdigest()


def of_operator(operator: Mapping[str, Any]) -> str:
    """Of how raw data were measured, by the coil maps and the sampling mask that a file brings: 32 hex digits."""
    found = hashlib.blake2b(digest_size=16)
    for name in ("maps", "mask"):
        if operator.get(name) is not None:
            _add(found, name, np.asarray(operator[name]))
    return found.hexdigest()


def _add(found: Any, name: str, array: Array) -> None:
    """An array by its shape and values; whole numbers alike, however wide they are stored."""
    found.update(f"{name} {array.shape}".encode())
    kind = np.dtype(np.int32) if array.dtype.kind in "biu" else array.dtype
    flat = np.ascontiguousarray(array).reshape(-1)
    for start in range(0, len(flat), PART):
        found.update(flat[start : start + PART].astype(kind, copy=False).data)


def _boxes(case: Case) -> list[list[Any]]:
    """Rows (class, low..., high...) in an order of their own; classes by name, as a new one would number them anew."""
    rows = [] if case.boxes is None else case.boxes.tolist()
    return sorted([case.box_classes.get(int(row[0]), str(int(row[0]))), *row[1:]] for row in rows)
