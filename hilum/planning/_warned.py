"""What training is warned of: what readers say, values that are no numbers or of another range, classes that a part
lacks, too small a training part.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image, Measurement
from hilum.data.dataset import Dataset
from hilum.data.splits import ENOUGH, PARTS

NAMED = 10
# Cases or classes named in a sentence.
FAR = 20
# So many times wider or narrower than most, the values of an image are in other units.
SHIFTED = 500
# Hounsfield units by which an image may be less dark than most, if nothing in it is below 0: without fat, air and table
# it was stored before slope and intercept.
SAID = 160
# Letters of a reader's sentence that are kept.
NAMING = re.compile(r"[/\\]|\w\.\w*[A-Za-z]|(\d+\.){3}|\d{6}")
# How a sentence looks that names a path, a file, a UID, a date or a number of a patient.


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
    seen = "where networks see the least value of the image (0 where only what is not 0 is scored)"
    return [f"HIL-N09: NaN or infinite voxels, {seen}: {_listed(found)}"]


def by_reader(*items: Image | Measurement | None) -> dict[str, dict[str, str]]:
    """{"warnings": {code: sentence}} of what the readers of an image and its label warned of; {} where of nothing.

    Of each code the first one, cut after SAID letters; "" in place of one that names a file or a long
    number, which may tell the patient. Not HIL-N09, of which `of_numbers` speaks.
    """
    found: dict[str, str] = {}
    for item in items:
        if item is None:
            continue
        files = [Path(str(file)).name for file in (item.meta.get("path", ""), *(item.meta.get("files") or ()))]
        for words in item.warnings:
            code, _, said = words.partition(": ")
            if not code.startswith("HIL-") or code == "HIL-N09":
                continue
            # in brackets stand particulars, the names of files among them
            said = re.sub(r" \([^()]*\)", "", said)
            # a name of three letters, such as 107, is nobody's, and stands in many sentences by chance
            named = NAMING.search(said) or any(len(file) > 3 and file in said for file in files)
            found.setdefault(code, "" if named else said[:SAID])
    return {"warnings": found} if found else {}


def of_reading(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each code of which readers warned in any case. rows: of the fingerprint, which names the cases.

    Sentences do not: a plan goes into bundles, and cases are called as their files are, which may be as patients are.
    """
    counts, first = Counter[str](), dict[str, str]()
    for row in rows:
        for code, said in row.get("warnings", {}).items():
            counts[code] += 1
            first[code] = first.get(code) or (said and f"first: {said}")
    return [
        f"{code}: the reader warns of {count} of {len(rows)} cases (fingerprint.json names them); "
        f"{first[code] or '`hilum inspect` says why'}"
        for code, count in sorted(counts.items())
    ]


def of_ranges(
    rows: Sequence[Mapping[str, Any]], rules: Sequence[Mapping[str, Any]], channels: Sequence[str]
) -> list[str]:
    """Sentences about images whose values reach elsewhere than those of most, where a value means the same in all.

    rows: of training cases. rules: the normalisation of every channel; of CT and of what is scaled by fixed ends values
    have one meaning, while a z-score takes any.
    """
    rows, found = [row for row in rows if len(row.get("range", ())) == len(rules)], []
    for number, rule in enumerate(rules if rows else ()):
        if rule["scheme"] not in ("ct", "scale"):
            continue
        ends = np.array([row["range"][number] for row in rows])
        low, spans = np.array([row["low"][number] for row in rows]), ends[:, 1] - ends[:, 0]
        odd = (spans * FAR < np.median(spans)) | (spans > FAR * np.median(spans))
        if rule["scheme"] == "ct":
            odd |= (low > np.median(low) + SHIFTED) & (ends[:, 0] >= 0)
        # of an image of one value something else is said
        odd &= spans > 0
        names = [f"{row['id']} ({a:g} to {b:g})" for row, (a, b), far in zip(rows, ends, odd, strict=True) if far]
        if names:
            usual = " to ".join(f"{v:g}" for v in np.median(ends, axis=0))
            where = f" of {channels[number]}" if len(rules) > 1 else ""
            found.append(
                f"HIL-LEARN-08: values{where} that reach elsewhere than in most training images ({usual}): "
                f"{_listed(names)}; bring them to the same units (CT: slope and intercept) or leave them out"
            )
    return found


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
