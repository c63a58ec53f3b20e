"""What training is warned of: values that are no numbers, classes that a part lacks, too small a training part."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.data.dataset import Dataset
from hilum.data.splits import ENOUGH, PARTS

NAMED = 10
# Cases or classes named in a sentence.


def no_numbers(case: Case, image: Image) -> int:
    """Voxels that are NaN or infinite, where the reader has warned of them.

    Refused: a channel without any number (HIL-N09), and no numbers that the reader has said nothing of (HIL-T06).
    """
    if image.array.dtype.kind != "f":
        return 0
    finite = np.isfinite(image.array)
    odd = finite.size - int(np.count_nonzero(finite))
    if odd and not finite.reshape(len(finite), -1).any(axis=1).all():
        raise HilumError("HIL-N09", f"The image of case {case.id} has no finite value", "Mend it or leave it out")
    if odd and not any("HIL-N09" in words for words in image.warnings):
        raise HilumError(
            "HIL-T06", f"The image of case {case.id} holds {odd} values that are no numbers",
            "Look at it with: hilum inspect; mend it or leave the case out",
        )  # fmt: skip
    return odd


def of_numbers(odd: Mapping[str, int]) -> list[str]:
    """The sentence about all images with such voxels. odd: {case: voxels}."""
    found = [f"{name} ({count})" for name, count in odd.items() if count]
    if not found:
        return []
    return [f"HIL-N09: NaN or infinite voxels, where networks see the least value of the image: {_listed(found)}"]


def absent(dataset: Dataset, parts: Mapping[str, str], facts: Mapping[str, Any], task: str) -> list[str]:
    """Sentences about classes that no case of a part has."""
    seen: dict[str, set[str]] = defaultdict(set)
    labels = {row["id"]: row["labels"] or {} for row in facts["cases"]}
    for case in dataset.cases:
        for name in _classes(case, labels[case.id], facts["settings"], task):
            seen[name].add(parts[case.id])
    found = []
    for part in PARTS:
        lacking = sorted(name for name, own in seen.items() if part not in own)
        if lacking:
            means = {"train": "nothing is learned of it", "val": "the curve and the limits of trust leave it out"}
            found.append(f"HIL-T08: no {part} case has {_listed(lacking)}: {means.get(part, 'it is not judged')}")
    return found


def outweighed(dataset: Dataset, parts: Mapping[str, str]) -> list[str]:
    """A sentence where fewer than ENOUGH of the cases train, though nobody said so: one patient may outweigh all."""
    held = sum(part == "train" for part in parts.values())
    if dataset.parts or held >= ENOUGH * len(parts):
        return []
    sizes = Counter(case.group for case in dataset.cases if parts[case.id] != "train")
    group, most = max(sizes.items(), key=lambda row: (row[1], row[0]))
    part = next(parts[case.id] for case in dataset.cases if case.group == group and parts[case.id] != "train")
    return [
        f"HIL-T08: {held} of {len(parts)} cases are in the train part, where 70 % are meant to be; the largest group "
        f"of the others, {group!r} with {most} cases, is in the {part} part"
    ]


def _classes(case: Case, labels: Mapping[int, int], settings: Mapping[str, Any], task: str) -> set[str]:
    """Classes that a case shows, where the task learns any. labels: {stored value: voxels}."""
    if task == "classify":
        return {str(case.klass)}
    if task == "detect" and case.boxes is not None:
        values = {int(row[0]) for row in case.boxes}
        return {case.box_classes.get(v, settings["classes"].get(str(v), f"class {v}")) for v in values}
    if task != "segment" and not (task == "detect" and len(settings["labels"] or settings["classes"]) > 1):
        return set()
    shown = {v for v in labels if v not in (0, settings["ignore"])}
    if not settings["labels"]:
        return {settings["classes"].get(str(v), f"class {v}") for v in shown}
    rules = settings["labels"].items()
    return {n for n, rule in rules if shown & (shown if isinstance(rule, str) else set(np.atleast_1d(rule).tolist()))}


def _listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
