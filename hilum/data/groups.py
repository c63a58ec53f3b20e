"""Which cases must stay together: by patient where known, else because their images are the same once more."""

import contextlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Case
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import Dataset, patient
from hilum.data.likeness import Look, alike, look_at, one_thread
from hilum.io import _names
from hilum.io._dicom.patients import Person, patients, person_of
from hilum.io._dicom.series import looks_like_dicom
from hilum.io._source import FileSource

Looks = Mapping[str, Look]
# What is kept of each case's image for comparison, by case id.
SHOWN = 5
# Spellings that are named in a sentence.
SPELT = "Spell every patient and class in one way, in names and tables"
UNCLEAR = "Write the names of columns in lower case, or rename what is another thing, and list every row once"


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
    """The patient of each case by the settings, else as the layout gave it, else an opaque key by the header of DICOM.

    "" where unknown.
    """
    named = _told(dataset)
    if all(named):
        return named
    keys = _by_header(dataset)
    # whom a table names in one case goes by that name in cases that only a header knows
    known = {key: name for key, name in zip(keys, named, strict=True) if key and name}
    return [name or known.get(key, key) for key, name in zip(keys, named, strict=True)]


def _told(dataset: Dataset) -> list[str]:
    """The patient of each case without its header, "" where unknown."""
    return [patient(dataset.settings, c.id) or c.group for c in dataset.cases]


def clash(dataset: Dataset) -> HilumError | None:
    """Patients, and classes, that differ by letter case only: to learn from, they would be two people or two classes.

    And what is `unclear` in tables: a patient nobody knows of, a box that counts twice. Not raised here: who only
    predicts, or keeps the groups of a run, needs none of it. HIL-I12 where `patients` of the settings finds such
    patients in names, HIL-I11 where tables have them.
    """
    cases = dataset.cases
    # whom nobody names is no clash: "" is one spelling
    people = _spelt("patient", zip(_told(dataset), (c.id for c in cases), strict=True))
    classes = _spelt("class", ((c.klass, c.id) for c in cases if c.klass))
    spelt = [*people, *classes, *_spelt("class", (one for c in cases for one in _boxed(c)))]
    faults = [*dataset.unclear, *spelt]
    if not faults:
        return None
    more = f" (and {len(faults) - SHOWN} more)" if len(faults) > SHOWN else ""
    return HilumError(
        "HIL-I12" if people and dataset.settings.patients is not None and not dataset.unclear else "HIL-I11",
        f"{dataset.folder}: {'; '.join(faults[:SHOWN])}{more}",
        "; ".join([UNCLEAR] * bool(dataset.unclear) + [SPELT] * bool(spelt)),
    )


def _boxed(case: Case) -> list[tuple[str, str]]:
    """The names of the classes that boxes of the case have, each with its id."""
    values = set() if case.boxes is None else {int(row[0]) for row in case.boxes if len(row)}
    return [(name, case.id) for value, name in case.box_classes.items() if value in values]


def _spelt(what: str, words: Iterable[tuple[str, str]]) -> list[str]:
    """A sentence on each spelling that is not the first one of its word. words: with the cases that have them."""
    first: dict[str, tuple[str, str]] = {}
    faults: dict[str, str] = {}
    for word, case in words:
        other, place = first.setdefault(_names.folded(word), (word, case))
        if word != other:
            seen = f"the {what} {word!r} of case {case} differs from {other!r} of case {place} by letter case only"
            faults.setdefault(word, seen)
    return list(faults.values())


def _by_header(dataset: Dataset) -> list[str]:
    """The key of each case's patient, by one header a case; "" where it is no DICOM or does not say."""
    people = [_person(case) for case in dataset.cases]
    found = patients(who for who in people if who)
    return [found[who].key if who else "" for who in people]


def _person(case: Case) -> Person:
    """Whom the first DICOM file of a case that can be read speaks of, () where there is none."""
    items = [one for item in case.items.values() for one in getattr(item, "sources", (item,))]
    for source in (one for one in items if isinstance(one, FileSource) and one.format == "dicom"):
        # below a series may lie another one
        for file in sorted(source.files, key=lambda path: len(path.parts)):
            with contextlib.suppress(HilumError):
                if looks_like_dicom(file):
                    return person_of(file)
    return ()


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
    names = [c.id for c in dataset.cases]
    # images of one value are nobody's: the black slices of two patients join nothing
    places = [n for n, name in enumerate(names) if not seen[name].empty]
    pairs = [(places[p.first], places[p.second]) for p in alike([seen[names[n]] for n in places])]
    return _with(dataset, joined(pairs, names, named)), "similarity"


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
