"""Train, validation and test parts: 70 / 10 / 20 by a seeded hash of the group, no group in two parts."""

import hashlib
from collections import defaultdict

from hilum.core.errors import HilumError
from hilum.data.dataset import Dataset

PARTS = ("train", "val", "test")
SHARES = (0.7, 0.1, 0.2)


def split(dataset: Dataset, seed: int) -> dict[str, str]:
    """{case id: part}. A split column in the data wins; else groups in hash order, cut within each class."""
    if dataset.parts:
        return _given(dataset)
    members: dict[str, list[str]] = defaultdict(list)
    stratum: dict[str, str] = {}
    for case in dataset.cases:
        members[case.group].append(case.id)
        stratum.setdefault(case.group, case.klass or "")
    if len(members) < 3:
        raise HilumError(
            "HIL-T08", f"{dataset.folder} has {len(dataset.cases)} cases in {len(members)} independent groups",
            "Training, validation and test need at least 3 different ones: add cases",
        )  # fmt: skip
    parts: dict[str, str] = {}
    for kind in sorted(set(stratum.values())):
        groups = sorted((g for g in members if stratum[g] == kind), key=lambda g: _hash(seed, g))
        for group, part in zip(groups, _cut([len(members[g]) for g in groups]), strict=True):
            parts.update(dict.fromkeys(members[group], part))
    _fill(parts, members, seed)
    return {case.id: parts[case.id] for case in dataset.cases}


def _fill(parts: dict[str, str], members: dict[str, list[str]], seed: int) -> None:
    """A part that no class was large enough to fill takes a group, the last by hash, of the part with most groups."""
    for wanted in PARTS:
        if wanted not in parts.values():
            owned = {p: [g for g in members if parts[members[g][0]] == p] for p in PARTS}
            giver = max(PARTS, key=lambda p: len(owned[p]))
            group = max(owned[giver], key=lambda g: _hash(seed, g))
            parts.update(dict.fromkeys(members[group], wanted))


def _hash(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _cut(sizes: list[int]) -> list[str]:
    """A part per group, in order; with three groups or more every part gets one."""
    total, done, out = sum(sizes), 0.0, []
    for size in sizes:
        middle = (done + size / 2) / total
        out.append("train" if middle < SHARES[0] else "val" if middle < SHARES[0] + SHARES[1] else "test")
        done += size
    if len(sizes) >= 3:
        for place, part in ((-1, "test"), (-2, "val"), (0, "train")):
            if part not in out:
                out[place] = part
    return out


def _given(dataset: Dataset) -> dict[str, str]:
    """The split column, checked: known words, every case, no group in two parts (T09)."""
    words = {"train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
    owner: dict[str, str] = {}
    parts: dict[str, str] = {}
    for case in dataset.cases:
        part = words.get(dataset.parts.get(case.id, "").lower())
        if part is None:
            raise HilumError("HIL-I11", f"Case {case.id} has no split (train, val or test)", "Fill the split column")
        if owner.setdefault(case.group, part) != part:
            raise HilumError(
                "HIL-T09", f"Group {case.group!r} (case {case.id}) is in {owner[case.group]} and in {part}",
                "Put all cases of one patient, and near-identical images, into one part",
            )  # fmt: skip
        parts[case.id] = part
    for part in PARTS:
        if part not in parts.values():
            raise HilumError("HIL-T08", f"The split column has no {part} case", "Name some")
    return parts
