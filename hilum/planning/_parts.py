"""The parts of a data set, searched for leaks; or those of a run that was made with it, which keeps them."""

from collections.abc import Iterable
from dataclasses import replace

from hilum.data.dataset import Dataset
from hilum.data.groups import Looks
from hilum.data.leaks import Leaks, find, leaks
from hilum.data.splits import Known, again, given, split
from hilum.tasks._pairs import connected


def paired(dataset: Dataset, among: Iterable[str] = ()) -> Dataset:
    """Where pairs are listed, the images that they name, and those of `among`.

    Others are in no pair; they would only take places in the parts, and have a say in spacing and size.
    """
    if not dataset.pairs:
        return dataset
    return dataset.only({*among, *(name for pair in dataset.pairs for name in pair)})


def cut(
    opened: Dataset, grouped: Dataset, seed: int, grouping: str, seen: Looks
) -> tuple[Dataset, dict[str, str], Leaks]:
    """The data set with listed pairs in one group, its parts, and the leaks that are accepted; others are refused.

    opened: as it was before cases were grouped, for a group of look-alikes is no patient.
    """
    # before the parts are checked by group: this names the pairs, and what was done to the images
    found = leaks(opened, given(opened), seen) if opened.parts else Leaks()
    dataset = linked(grouped)
    parts = split(dataset, seed, grouping)
    if not opened.parts and grouping != "similarity":
        # groups by similarity can not leak; known patients can, where one image is filed under two of them
        found = leaks(opened, parts, seen)
    return dataset, parts, found


def kept(
    opened: Dataset, grouped: Dataset, seed: int, seen: Looks, known: Known
) -> tuple[Dataset, dict[str, str], Leaks]:
    """The same with the groups and parts of a run; what would be a leak by what is known today is warned of."""
    own, parts = again(linked(grouped), seed, known)
    # its parts are of another day: groups by similarity may be others now
    pairs = find(opened, parts, seen)
    found = Leaks(pairs, len(seen))
    if not pairs:
        return own, parts, found
    words = f"HIL-T09: the run keeps its parts, but {found.sentence}"
    return own, parts, replace(found, warnings=(words,))


def linked(dataset: Dataset) -> Dataset:
    """The data set with the groups of listed pairs joined, of those whose cases are both there."""
    groups = {c.id: c.group for c in dataset.cases}
    pairs = tuple(pair for pair in dataset.pairs if groups.keys() >= set(pair))
    if not pairs:
        return dataset
    groups = connected(pairs, groups)
    return replace(dataset, cases=tuple(replace(c, group=groups[c.id]) for c in dataset.cases))
