"""Labels beside labels: the share of equal voxels, and Dice of every class between them or to a truth."""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.image import Array

SLAB = 32
# Slices compared at a time, so that a large volume needs little memory.


def read(path: Path) -> Array:
    """Stored labels as they are."""
    if path.name.endswith(".png"):
        from PIL import Image

        with Image.open(path) as opened:
            return np.asarray(opened)
    import nibabel

    found: Any = nibabel.load(path)
    return np.asarray(found.dataobj).astype(np.int32 if found.get_data_dtype().kind == "f" else found.get_data_dtype())


def counts(first: Array, second: Array, values: int) -> Array:
    """(values, values): voxels that hold a in the first and b in the second."""
    if first.shape != second.shape:
        raise ValueError(f"labels of {first.shape} and {second.shape}")
    total = np.zeros(values * values, dtype=np.int64)
    for start in range(0, first.shape[-1], SLAB):
        a, b = (part[..., start : start + SLAB].astype(np.intp) for part in (first, second))
        total += np.bincount((a * values + b).ravel(), minlength=values * values)
    return total.reshape(values, values)


def equal(table: Array) -> float:
    """Share of voxels with the same label."""
    return float(np.trace(table) / max(1, table.sum()))


def dice(table: Array) -> dict[int, float]:
    """{value: Dice} of every value but 0 that is in either."""
    rows, columns, both = table.sum(1), table.sum(0), np.diag(table)
    return {
        int(v): float(2 * both[v] / (rows[v] + columns[v])) for v in range(1, len(table)) if rows[v] + columns[v] > 0
    }


def compared(
    mine: list[Path], reference: list[Path], lookup: Array | None, truth: list[Path], single: bool = False
) -> dict[str, Any]:
    """equal: share of voxels; dice: mean between both over cases and classes; truth_dice: of mine and of the reference.

    lookup: (channels,) stored values where mine holds channel numbers, else None. truth: labels, or none; single: any
    value but 0 in them is the one class.
    """
    tables, judged = [], dict[str, list[float]](mine=[], reference=[])
    for number, (path, other) in enumerate(zip(mine, reference, strict=True)):
        first, second = read(path), read(other)
        first = first if lookup is None else lookup[first.astype(np.intp)]
        values = 1 + int(max(first.max(), second.max()))
        tables.append(counts(first, second, values))
        if truth:
            real = read(truth[number])
            real = (real > 0).astype(np.uint8) if single else real
            for name, found in (("mine", first), ("reference", second)):
                table = counts(found, real, 1 + int(max(found.max(), real.max())))
                judged[name] += list(dice(table).values())
    shares = [equal(table) for table in tables]
    between = [value for table in tables for value in dice(table).values()]
    voxels = [int(table.sum()) for table in tables]
    out: dict[str, Any] = {"equal": float(np.average(shares, weights=voxels)), "least": min(shares)}
    out["dice"] = float(np.mean(between)) if between else None
    if truth:
        out |= {f"truth_dice_{name}": float(np.mean(found)) for name, found in judged.items() if found}
    return out
