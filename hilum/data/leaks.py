"""Leaks: the same pixels, the same image changed, or the same patient in two parts; refused unless accepted (T09)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hilum.core.errors import HilumError
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import Dataset
from hilum.data.groups import Looks, looks, patients_of
from hilum.data.likeness import alike

PATIENT = "the same patient"
LISTED = 5
# Pairs named in a sentence; all are in `Leaks.pairs`.


@dataclass(frozen=True)
class Leak:
    """Two cases of different parts that must not be apart.

    why: "the same pixels", "the same patient", or what gives the first image when done to the second ("rotated by 90
    degrees, inverted"). score: correlation of detail 0..1, 1 where exact.
    """

    first: str
    second: str
    parts: tuple[str, str]
    why: str
    score: float = 1.0

    def __str__(self) -> str:
        return f"{self.first} ({self.parts[0]}) and {self.second} ({self.parts[1]}): {self.why}"


@dataclass(frozen=True)
class Leaks:
    """What was found. compared: cases whose images were looked at. warnings: what was accepted, by name."""

    pairs: tuple[Leak, ...] = ()
    compared: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by kind: "same pixels", "near-identical", "same patient"."""
        kinds = {"the same pixels": "same pixels", PATIENT: "same patient"}
        return dict(Counter(kinds.get(pair.why, "near-identical") for pair in self.pairs))

    @property
    def sentence(self) -> str:
        """Counts, and the first pairs by name."""
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.counts.items()))
        more = f"; and {len(self.pairs) - LISTED} more" if len(self.pairs) > LISTED else ""
        return f"{len(self.pairs)} pairs across parts ({kinds}): " + "; ".join(map(str, self.pairs[:LISTED])) + more


def find(
    dataset: Dataset, parts: Mapping[str, str], seen: Looks | None = None, progress: Progress = quiet
) -> tuple[Leak, ...]:
    """All leaks, nothing refused; patients first, then images. parts: {case id: part}. seen: from `looks`.

    Images of one value are left out: the black slices of two patients tell neither from the other.
    """
    seen = looks(dataset, progress) if seen is None else seen
    found = _patients(dataset, parts)
    cases = [c.id for c in dataset.cases if c.id in seen and c.id in parts and not seen[c.id].empty]
    for pair in alike([seen[name] for name in cases]):
        first, second = cases[pair.first], cases[pair.second]
        if parts[first] != parts[second]:
            found.append(Leak(first, second, (parts[first], parts[second]), pair.how, round(pair.score, 4)))
    return tuple(found)


def leaks(dataset: Dataset, parts: Mapping[str, str], seen: Looks | None = None, progress: Progress = quiet) -> Leaks:
    """Leaks refused (HIL-T09), or, where dataset.yaml says `accept: [T09]`, found with a warning."""
    seen = looks(dataset, progress) if seen is None else seen
    found = Leaks(find(dataset, parts, seen), len(seen))
    if not found.pairs:
        return found
    if "T09" not in dataset.settings.accept:
        raise HilumError(
            "HIL-T09", f"{dataset.folder} has {found.sentence}",
            "Put each patient and each image with its copies into one part, leave copies out, or, to go on with too "
            "good results, write `accept: [T09]` in a dataset.yaml",
        )  # fmt: skip
    return Leaks(found.pairs, found.compared, (f"HIL-T09: accepted by dataset.yaml: {found.sentence}",))


def _patients(dataset: Dataset, parts: Mapping[str, str]) -> list[Leak]:
    """Each patient's first case of a part with the first of every other part."""
    first: dict[str, dict[str, str]] = {}
    for case, name in zip(dataset.cases, patients_of(dataset), strict=True):
        if name and case.id in parts:
            first.setdefault(name, {}).setdefault(parts[case.id], case.id)
    found = []
    for owned in first.values():
        (part, case_id), *others = owned.items()
        found += [Leak(case_id, other, (part, own), PATIENT) for own, other in others]
    return found
