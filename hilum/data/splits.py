"""Train, validation and test parts: 70 / 10 / 20 by a seeded hash of the group, or k folds; no group in two parts."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hilum.core.errors import HilumError
from hilum.data.dataset import Dataset
from hilum.data.groups import Looks
from hilum.data.leaks import leaks

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
SHARES = (0.7, 0.1, 0.2)
ENOUGH = 0.5
# Share of the cases that training keeps where a part has to be filled with somebody's group.

Known = Mapping[str, tuple[str, str]]
# (group, part) by case, as a run was made with.


def split(dataset: Dataset, seed: int, grouping: str = "") -> dict[str, str]:
    """{case id: part}. A split column in the data wins; else groups in hash order, cut within each class.

    Classes of fewer than three groups are cut together. grouping: how groups were told, as `group_cases` says it.
    """
    if dataset.parts:
        return _given(dataset)
    members, stratum = _members(dataset)
    if len(members) < 3:
        raise _too_few(dataset, len(members), grouping)
    parts: dict[str, str] = {}
    few: list[list[str]] = []
    for kind in sorted(set(stratum.values())):
        groups = sorted((g for g in members if stratum[g] == kind), key=lambda g: _hash(seed, g))
        if len(groups) < len(PARTS):
            few.append(groups)
            continue
        for group, part in zip(groups, _cut([len(members[g]) for g in groups]), strict=True):
            parts.update(dict.fromkeys(members[group], part))
    parts |= _together(few, members, seed)
    _fill(parts, members, seed)
    return {case.id: parts[case.id] for case in dataset.cases}


def _too_few(dataset: Dataset, groups: int, grouping: str) -> HilumError:
    """The refusal of data that can not be cut in three (HIL-T08)."""
    remedy = "Training, validation and test need at least 3 different ones: add cases"
    if grouping == "patient" and dataset.settings.patients is None:
        # one id for all, as some who anonymise write it, looks like one patient
        remedy += (
            "; or, if the patient ids of these files are placeholders and every case is of another person, write "
            "`patients: case` in a dataset.yaml"
        )
    if dataset.pairs:
        remedy += (
            "; pairs that share an image are one group: where all share one (an atlas), list pairs that share none, or "
            "leave pairs.csv out"
        )
    return HilumError(
        "HIL-T08", f"{dataset.folder} has {len(dataset.cases)} cases in {groups} independent groups", remedy
    )


def again(dataset: Dataset, seed: int, known: Known) -> tuple[Dataset, dict[str, str]]:
    """The data set in the groups and parts that a run was made with, whatever would be found today.

    What tells patients apart, and the rule of cutting, change with versions; a run keeps its own. A split column of the
    data goes before it. Cases that the run does not know are cut as ever.
    """
    cases = tuple(replace(c, group=known[c.id][0]) if c.id in known else c for c in dataset.cases)
    dataset = replace(dataset, cases=cases)
    if not dataset.parts and all(c.id in known for c in cases):
        return dataset, {c.id: known[c.id][1] for c in cases}
    parts = split(dataset, seed)
    if not dataset.parts:
        parts |= {name: known[name][1] for name in parts if name in known}
    return dataset, parts


def _together(few: list[list[str]], members: dict[str, list[str]], seed: int) -> dict[str, str]:
    """{case: part} of classes that have fewer groups than there are parts, cut as one: alone, none would be tested.

    few: the groups of each in hash order. The first of each is in the train part, or nobody would learn the class; the
    others are shared out, so far as they go, by what the shares ask for.
    """
    parts = {name: "train" for groups in few for name in members[groups[0]]}
    rest = sorted((g for groups in few for g in groups[1:]), key=lambda g: _hash(seed, g))
    left = sum(len(members[g]) for g in rest)
    asked = sum(SHARES[1:]) * (len(parts) + left)
    test = min(asked, left) * SHARES[2] / sum(SHARES[1:])
    done = 0.0
    for group in rest:
        middle = done + len(members[group]) / 2
        part = "test" if middle < test else "val" if middle < min(asked, left) else "train"
        parts.update(dict.fromkeys(members[group], part))
        done += len(members[group])
    return parts


def folds(dataset: Dataset, k: int, seed: int, seen: Looks | None = None) -> list[dict[str, str]]:
    """k splits {case id: part}; every group is in the test part of exactly one, classes spread evenly.

    The validation part is about an eighth of what the test part leaves, so that five folds are 70 / 10 / 20. A `fold`
    column in the data wins: its values, sorted, are the test parts. Refused (HIL-T08): k below 2, fewer groups than
    folds, a column with another number of folds; a case without one (I11); and, unless accepted (T09), a group, a
    patient or an image, changed or not, in two folds. seen: from `groups.looks`, where images were read already.
    """
    members, stratum = _members(dataset)
    if k < 2 or len(members) < max(k, 3):
        raise HilumError(
            "HIL-T08", f"{dataset.folder} has {len(members)} independent groups for {k} folds",
            f"Ask for 2 to {max(2, len(members))} folds" if len(members) >= 3 else "Add cases",
        )  # fmt: skip
    given = _fold_column(dataset, k)
    place = given or _placed(members, stratum, k, seed)
    # a patient who is known keeps to one fold; one image that is filed under two of them would not
    words = {c.id: f"fold {str(c.attributes['fold']).strip() if given else place[c.id] + 1}" for c in dataset.cases}
    for warning in leaks(dataset, words, seen).warnings:
        log.warning("%s", warning)
    found = []
    for number in range(k):
        parts = {case.id: "test" for case in dataset.cases if place[case.id] == number}
        left = {g: [name for name in names if name not in parts] for g, names in members.items()}
        left = {g: names for g, names in left.items() if names}
        if len(left) < 2:
            raise HilumError(
                "HIL-T08", f"Test part {number + 1} of {k} leaves {len(left)} of {len(members)} independent groups",
                "Training and validation need one each: ask for more folds, or add cases",
            )  # fmt: skip
        parts |= _validation(left, stratum, seed, number)
        _fill(parts, left, seed, ("train", "val"))
        found.append({case.id: parts[case.id] for case in dataset.cases})
    return found


def _validation(members: dict[str, list[str]], stratum: dict[str, str], seed: int, number: int) -> dict[str, str]:
    """{case: "train" or "val"} of what fold `number` leaves, the share cut within each class."""
    parts: dict[str, str] = {}
    for kind in sorted({stratum[g] for g in members}):
        own = sorted((g for g in members if stratum[g] == kind), key=lambda g: _hash(seed, f"val:{number}:{g}"))
        share = SHARES[1] / (SHARES[0] + SHARES[1]) * sum(len(members[g]) for g in own)
        done = 0.0
        for group in own:
            part = "val" if done + len(members[group]) / 2 < share else "train"
            parts.update(dict.fromkeys(members[group], part))
            done += len(members[group])
    return parts


def _members(dataset: Dataset) -> tuple[dict[str, list[str]], dict[str, str]]:
    """{group: case ids} and {group: class of its first case}."""
    members: dict[str, list[str]] = defaultdict(list)
    stratum: dict[str, str] = {}
    for case in dataset.cases:
        members[case.group].append(case.id)
        stratum.setdefault(case.group, case.klass or "")
    return members, stratum


def _placed(members: dict[str, list[str]], stratum: dict[str, str], k: int, seed: int) -> dict[str, int]:
    """{case: fold}: within each class large groups first, then by hash, each into the emptiest fold."""
    place: dict[str, int] = {}
    total = [0] * k
    for kind in sorted(set(stratum.values())):
        own = sorted((g for g in members if stratum[g] == kind), key=lambda g: (-len(members[g]), _hash(seed, g)))
        if len(own) < k and kind:
            log.warning("HIL-T08: class %r has %d independent groups, so some of %d folds lack it", kind, len(own), k)
        filled = [0] * k
        for group in own:
            fold = min(range(k), key=lambda f: (filled[f], total[f], f))
            filled[fold] += len(members[group])
            total[fold] += len(members[group])
            place.update(dict.fromkeys(members[group], fold))
    return place


def _fold_column(dataset: Dataset, k: int) -> dict[str, int]:
    """{case: fold} from the attribute `fold`, {} where no case has one."""
    words = {c.id: str(c.attributes.get("fold", "")).strip() for c in dataset.cases}
    if not any(words.values()):
        return {}
    lacking = [name for name, word in words.items() if not word]
    if lacking:
        raise HilumError(
            "HIL-I11", f"{len(lacking)} cases have no fold, the first is {lacking[0]}", "Fill the fold column"
        )
    values = sorted(set(words.values()), key=lambda w: (not w.isdigit(), int(w) if w.isdigit() else 0, w))
    if len(values) != k:
        raise HilumError(
            "HIL-T08", f"The fold column of {dataset.folder} has {len(values)} folds, {k} were asked for",
            f"Ask for {len(values)} folds, or take the column out",
        )  # fmt: skip
    owner: dict[str, str] = {}
    for case in dataset.cases:
        if owner.setdefault(case.group, words[case.id]) != words[case.id] and "T09" not in dataset.settings.accept:
            raise HilumError(
                "HIL-T09", f"Group {case.group!r} (case {case.id}) is in fold {owner[case.group]} and {words[case.id]}",
                "Put all cases of one patient, and near-identical images, into one fold",
            )  # fmt: skip
    return {name: values.index(word) for name, word in words.items()}


def _fill(parts: dict[str, str], members: dict[str, list[str]], seed: int, among: tuple[str, ...] = PARTS) -> None:
    """A part that no class was large enough to fill takes a group of the part with most groups.

    The last one by hash; where that would leave training less than ENOUGH, the smallest one.
    """
    total = sum(len(names) for names in members.values())
    for wanted in among:
        if wanted not in parts.values():
            owned = {p: [g for g in members if parts[members[g][0]] == p] for p in among}
            giver = max(among, key=lambda p: len(owned[p]))
            able = owned[giver]
            group = max(able, key=lambda g: _hash(seed, g))
            left = sum(len(members[g]) for g in owned["train"] if g != group)
            if giver == "train" and left < ENOUGH * total:
                least = min(len(members[g]) for g in able)
                group = max((g for g in able if len(members[g]) == least), key=lambda g: _hash(seed, g))
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
    if len(sizes) < 3 or len(set(out)) == len(PARTS):
        return out
    beside = list(out)
    for place, part in ((-1, "test"), (-2, "val"), (0, "train")):
        if part not in beside:
            beside[place] = part
    held, least = _trained(beside, sizes), _least(out, sizes)
    # who trained before finds the same parts, unless one large patient was taken from training
    return beside if held >= ENOUGH * total or held >= _trained(least, sizes) else least


def _trained(parts: Sequence[str], sizes: Sequence[int]) -> int:
    """Cases of the train part."""
    return sum(size for part, size in zip(parts, sizes, strict=True) if part == "train")


def _least(parts: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """The parts with each missing one given to the smallest group of those that do not stand alone in their part.

    Of equal ones that next to where the part usually lies, at the end.
    """
    made = list(parts)
    for usual, part in ((len(sizes) - 1, "test"), (len(sizes) - 2, "val")):
        if part not in made:
            able = [n for n, own in enumerate(made) if made.count(own) > 1]
            made[min(able, key=lambda n: (sizes[n], abs(n - usual), n))] = part
    return made


def given(dataset: Dataset) -> dict[str, str]:
    """{case: part} of the split column; refused where a case has none or another word (HIL-I11)."""
    words = {"train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
    parts = {case.id: words.get(dataset.parts.get(case.id, "").lower(), "") for case in dataset.cases}
    for name, part in parts.items():
        if not part:
            raise HilumError("HIL-I11", f"Case {name} has no split (train, val or test)", "Fill the split column")
    return parts


def _given(dataset: Dataset) -> dict[str, str]:
    """The split column, checked: known words, every case, no group in two parts unless T09 is accepted."""
    parts = given(dataset)
    owner: dict[str, str] = {}
    for case in dataset.cases:
        part = parts[case.id]
        if owner.setdefault(case.group, part) != part and "T09" not in dataset.settings.accept:
            more = ", and both images of every pair of pairs.csv" if dataset.pairs else ""
            raise HilumError(
                "HIL-T09", f"Group {case.group!r} (case {case.id}) is in {owner[case.group]} and in {part}",
                f"Put all cases of one patient, and near-identical images{more}, into one part",
            )  # fmt: skip
    for part in PARTS:
        if part not in parts.values():
            raise HilumError("HIL-T08", f"The split column has no {part} case", "Name some")
    return parts
