"""Which cases must stay together: by patient where known, else by a simple image hash."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hilum.core.image import Array, Case, Image
from hilum.core.progress import Progress, quiet
from hilum.core.warp import resize
from hilum.data.dataset import Dataset, patient

BITS = 16
# Pictures are hashed at 16 x 16 brightness steps along each axis (512 bits), volumes at 8 x 8 x 8 (1536 bits).
NEAR = 0.08
# Two images whose hashes differ in fewer than this share of bits are one group.


def difference_hash(image: Image) -> Array:
    """Is each cell of a coarse grid brighter than the one before it, along every axis: bool (bits,)."""
    side = BITS if image.dims == 2 else BITS // 2
    grey = np.nan_to_num(image.array.astype(np.float32)).mean(axis=0, keepdims=True)
    small = resize(grey, (side + 1,) * image.dims)[0]
    inner = (slice(0, side),) * image.dims
    return np.concatenate([(np.diff(small, axis=a)[inner] > 0).ravel() for a in range(image.dims)])


def group_cases(dataset: Dataset, progress: Progress = quiet) -> tuple[Dataset, str]:
    """The data set with every case's group set, and how: "patient" or "similarity" or "case" (no images to compare).

    Where only some patients are known, look-alikes are grouped and each known patient's cases are joined as well.
    """
    named = [patient(dataset.settings, c.id) or c.group for c in dataset.cases]
    if all(named):
        return _with(dataset, list(named)), "patient"
    role = next((r for r in ("image", "fixed") if all(r in c.items for c in dataset.cases)), None)
    if role is None:
        return _with(dataset, [name or c.id for name, c in zip(named, dataset.cases, strict=True)]), "case"
    hashes = []
    for number, case in enumerate(dataset.cases):
        hashes.append(difference_hash(case.read(role)))
        progress("compare images", number + 1, len(dataset.cases))
    return _with(dataset, similar(hashes, [c.id for c in dataset.cases], named)), "similarity"


def similar(hashes: list[Array], names: list[str], patients: Sequence[str | None] = ()) -> list[str]:
    """A group name per item: items within NEAR of each other, also by a chain, share the first one's name.

    patients: of each item, None or "" where unknown; items of one patient are one group too.
    """
    parent = list(range(len(hashes)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for size in {len(h) for h in hashes}:
        rows = [i for i, h in enumerate(hashes) if len(h) == size]
        signs = np.stack([hashes[i] for i in rows]).astype(np.float32) * 2 - 1
        for number, i in enumerate(rows):
            agreement = signs[number:] @ signs[number] / size
            for other in np.flatnonzero(agreement > 1 - 2 * NEAR) + number:
                first, second = sorted((root(i), root(rows[other])))
                parent[second] = first
    first_of: dict[str, int] = {}
    for i, patient_name in enumerate(patients):
        if patient_name:
            first, second = sorted((root(first_of.setdefault(patient_name, i)), root(i)))
            parent[second] = first
    return [names[root(i)] for i in range(len(hashes))]


def _with(dataset: Dataset, groups: list[str]) -> Dataset:
    cases: tuple[Case, ...] = tuple(replace(c, group=g) for c, g in zip(dataset.cases, groups, strict=True))
    return replace(dataset, cases=cases)
