"""Which cases must stay together: by patient where known, else because their images are the same once more."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from hilum.core.image import Array, Case
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import Dataset, patient
from hilum.data.likeness import Look, alike, look_at, one_thread

Looks = Mapping[str, Look]
# What is kept of each case's image for comparison, by case id.


def seen_role(dataset: Dataset) -> str | None:
    """The role whose images are compared, None where there is none that all cases have."""
    roles = ("image", "fixed", "kspace")
    return next((r for r in roles if all(r in c.items for c in dataset.cases)), None)


def looks(dataset: Dataset, progress: Progress = quiet) -> Looks:
    """Every case's image read once, and what is kept of it; empty where the cases share no role with pixels."""
    role, found = seen_role(dataset), {}
    with one_thread():
        for number, case in enumerate(dataset.cases if role else ()):
            found[case.id] = look_at(case.read(str(role)))
            progress("compare images", number + 1, len(dataset.cases))
    return found


def patients_of(dataset: Dataset) -> list[str]:
    """The patient of each case by the settings, else as the layout gave it; "" where unknown."""
    return [patient(dataset.settings, c.id) or c.group for c in dataset.cases]


def group_cases(dataset: Dataset, progress: Progress = quiet, seen: Looks | None = None) -> tuple[Dataset, str]:
    """The data set with every case's group set, and how: "patient" or "similarity" or "case" (no images to compare).

    Where only some patients are known, look-alikes are grouped and each known patient's cases are joined as well.
    seen: from `looks`, where the images were read already.
    """
    named = patients_of(dataset)
    if all(named):
        return _with(dataset, named), "patient"
    if seen_role(dataset) in (None, "kspace"):
        return _with(dataset, [name or c.id for name, c in zip(named, dataset.cases, strict=True)]), "case"
    seen = looks(dataset, progress) if seen is None else seen
    pairs = [(p.first, p.second) for p in alike([seen[c.id] for c in dataset.cases])]
    return _with(dataset, joined(pairs, [c.id for c in dataset.cases], named)), "similarity"


def joined(pairs: Iterable[tuple[int, int]], names: list[str], patients: Sequence[str] = ()) -> list[str]:
    """A group name per item: items linked by pairs, also by a chain, share the first one's name.

    patients: of each item, "" where unknown; items of one patient are one group too.
    """
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_of: dict[str, int] = {}
    same = [(first_of.setdefault(name, i), i) for i, name in enumerate(patients) if name]
    for one, other in [*pairs, *same]:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    return [names[root(i)] for i in range(len(names))]


def _with(dataset: Dataset, groups: list[str]) -> Dataset:
    cases: tuple[Case, ...] = tuple(replace(c, group=g) for c, g in zip(dataset.cases, groups, strict=True))
    return replace(dataset, cases=cases)


def numbered(groups: Sequence[Hashable]) -> tuple[Array, int]:
    """Group numbers (n,) int64 in order of first appearance, and how many groups there are."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(g, len(seen)) for g in groups], dtype=np.int64), len(seen)
