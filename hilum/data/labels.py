"""Label facts: whether a label lies on its image's grid, which values it holds, and what they should be mapped to."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import Dataset, Settings, listed

EXACT_MM = 1e-4
# Closer than this is the same place: headers store coordinates with about seven digits.
TURN = 1e-3
# Largest difference of two unit axes that is one direction (0.06 degrees).
MANY = 64
# More values than this are numbered objects, whatever they are called.
FEW_OBJECTS = 8
# More values than this, without a gap from 1 on, look like numbered objects.
SHOWN = 50
# Files written out in a sentence, and values.
WHITE = (255, 65535)
# What drawing programs store for "inside".

Counts = Mapping[int, int]
# {value: voxels} of a label.


# The grid (N14)


def compare_grids(image: Image, label: Image, name: str) -> tuple[str, ...]:
    """Warnings where the grids of image and label differ by less than the tolerance; more is refused (HIL-N14).

    The corners are compared in mm. Where the geometry of one is unknown (HIL-N05) the other's must be the same, known
    or not, and no command to resample is offered: a label is never moved by a guess.
    """
    picture, mask = _of(image, "image"), _of(label, "label")
    words = ["hilum", "resample", mask, "--like", picture, "--labels", "--out", "NEW.nii.gz"]
    remedy = f"Put the label on the image's grid: {shlex.join(words)}"
    if image.affine is None or label.affine is None:
        remedy = "Give a label of the image's own size, or leave the case out"
    if image.shape != label.shape:
        raise HilumError(
            "HIL-N14", f"{name}: image {image.shape} and label {label.shape} differ in shape"
            + _spacings(image, label) + _unknown(image, label),
            "Give a label on the image's grid, or leave the case out" if _guessed(image, label) else remedy,
        )  # fmt: skip
    if image.affine is None or label.affine is None:
        return ()
    far = geometry.corner_distance(image.affine, image.shape, label.affine, label.shape)
    if far > geometry.GEOMETRY_TOLERANCE_MM:
        raise HilumError(
            "HIL-N14", f"{name}: the corners of image and label lie {far:.3f} mm apart"
            + _spacings(image, label) + _directions(image, label) + _unknown(image, label),
            "Write the geometry of one into the other where they are known to match, or leave the case out"
            if _guessed(image, label) else remedy,
        )  # fmt: skip
    if far > EXACT_MM:
        return (f"HIL-N14: {name}: the corners of image and label lie {far:.4f} mm apart; accepted as the same grid",)
    return ()


def _of(image: Image, role: str) -> str:
    """The path of an image for a command, or its role in capitals."""
    return str(image.meta.get("path", role.upper()))


def _floating(image: Image) -> bool:
    """Whether direction and position of a volume are assumed."""
    return any(w.startswith("HIL-N05") for w in image.warnings)


def _guessed(image: Image, label: Image) -> bool:
    return _floating(image) or _floating(label)


def _unknown(image: Image, label: Image) -> str:
    where = [role for role, one in (("image", image), ("label", label)) if _floating(one)]
    return f"; the geometry of the {' and of the '.join(where)} is unknown (HIL-N05)" if where else ""


def _spacings(image: Image, label: Image) -> str:
    """The spacings, where both are known and differ."""
    if image.affine is None or label.affine is None:
        return ""
    first, second = image.spacing, label.spacing
    if all(abs(a - b) <= 1e-4 * max(a, b) for a, b in zip(first, second, strict=False)):
        return ""
    words = [" x ".join(f"{s:.4g}" for s in spacing) for spacing in (first, second)]
    return f"; spacing {words[0]} mm against {words[1]} mm"


def _directions(image: Image, label: Image) -> str:
    """The directions of the axes, where they differ."""
    assert image.affine is not None and label.affine is not None
    turned = abs(image.affine[:3, :3] / image.spacing - label.affine[:3, :3] / label.spacing).max()
    if turned <= TURN:
        return ""
    first, second = geometry.orientation(image.affine), geometry.orientation(label.affine)
    return f"; direction {first} against {second}" if first != second else f"; axes turned by up to {turned:.3f}"


# The values (N15)


def counted(dataset: Dataset, progress: Progress = quiet) -> dict[str, dict[int, int]]:
    """{case: {value: voxels}} of every label; all that can not be read as labels are refused together, by file."""
    import numpy as np

    found: dict[str, dict[int, int]] = {}
    faults: list[HilumError] = []
    labelled = [c for c in dataset.cases if "label" in c.items]
    for number, case in enumerate(labelled):
        item = case.items["label"]
        try:
            label = item.read_labels() if hasattr(item, "read_labels") else item
            values, counts = np.unique(label.array, return_counts=True)
            found[case.id] = {int(v): int(n) for v, n in zip(values, counts, strict=True)}
        except HilumError as error:
            faults.append(error)
        progress("look at the labels", number + 1, len(labelled), case.id)
    if faults:
        some = "; ".join(fault.seen for fault in faults[:SHOWN])
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise HilumError(
            faults[0].code, f"{len(faults)} of {len(labelled)} labels are no labels: {some}{more}", faults[0].remedy
        )
    return found


def check_values(seen: Mapping[str, Counts], settings: Settings, files: Mapping[str, Path] | None = None) -> list[str]:
    """A warning of cases that are background only; values that are no class, or background everywhere, are refused.

    seen: {case: {value: voxels}}. files: {case: label file}, to name those instead of cases. All values are listed with
    the files that hold them (HIL-N15). Without names for values, masks of one class that hold 1 in some files and 255
    in others are refused too: they would be two classes.
    """
    names = {case: str((files or {}).get(case, case)) for case in seen}
    allowed = known_values(settings)
    if allowed is not None:
        odd: dict[int, list[str]] = {}
        for case, counts in seen.items():
            for value in counts:
                if value not in allowed:
                    odd.setdefault(value, []).append(names[case])
        if odd:
            raise _strange(odd, allowed)
    if not (settings.labels or settings.classes) and (twofold := _one_class(seen.values(), settings.ignore)):
        raise _written_apart(twofold, seen, names)
    empty = [case for case, counts in seen.items() if not any(v not in (0, settings.ignore) for v in counts)]
    if seen and len(empty) == len(seen):
        raise HilumError("HIL-N15", "Every label is background only", "Check that labels/ holds the right files")
    if not empty:
        return []
    who = [names[case] for case in empty]
    words = f"the label {who[0]} is" if len(who) == 1 else f"{len(who)} labels ({listed(who)}) are"
    return [f"HIL-N15: {words} background only"]


def known_values(settings: Settings) -> set[int] | None:
    """Values that a label may hold by dataset.yaml; None where any may (no classes named, `nonzero`, `instances`)."""
    if any(rule in ("nonzero", "instances") for rule in settings.labels.values()) or not (
        settings.labels or settings.classes
    ):
        return None
    named = set(settings.classes) if not settings.labels else set()
    for rule in settings.labels.values():
        if not isinstance(rule, str):
            named |= set(rule) if isinstance(rule, list) else {rule}
    return named | {0} | ({settings.ignore} if settings.ignore is not None else set())


def _strange(odd: Mapping[int, list[str]], allowed: set[int]) -> HilumError:
    """The refusal of values that are no class, with every value and every file up to a length one can read."""
    values = sorted(odd)
    files = list(dict.fromkeys(f for v in values for f in odd[v]))
    held = [f"{v} in {len(odd[v])} ({', '.join(odd[v][:SHOWN])})" for v in values[:SHOWN]]
    more = f"; and {len(values) - SHOWN} more values" if len(values) > SHOWN else ""
    objects = " They look like numbered objects: say `labels: {foreground: nonzero}`" if len(values) > MANY else ""
    return HilumError(
        "HIL-N15", f"{len(files)} labels hold {len(values)} values that are no class (known: "
        f"{', '.join(map(str, sorted(allowed)))}): {'; '.join(held)}{more}",
        f"Map them under `labels` in a dataset.yaml, or name one value `ignore`.{objects}",
    )  # fmt: skip


def _one_class(cases: Iterable[Counts], ignore: int | None = None) -> list[int]:
    """The values of masks of one class, some of which hold 1 inside and others 255 or 65535; [] where it is not so.

    Two of them in one label, or any other value, are classes.
    """
    own = [{int(value) for value in counts} - {0, ignore} for counts in cases]
    found = set[int]().union(*own)
    apart = len(found) > 1 and found <= {1, *WHITE} and all(len(one) <= 1 for one in own)
    return sorted(found) if apart else []


def _written_apart(values: Sequence[int], seen: Mapping[str, Counts], names: Mapping[str, str]) -> HilumError:
    """The refusal of such masks, with the files that hold each value."""
    held = {v: [names[case] for case, counts in seen.items() if v in counts] for v in values}
    told = "; ".join(f"{v} in {len(own)} ({listed(own)})" for v, own in held.items())
    return HilumError(
        "HIL-N15", f"The labels look like masks of one class that was written in several ways, one value each: {told}",
        "Say `labels: {foreground: nonzero}` in a dataset.yaml; if they are classes, name them under `classes`",
    )  # fmt: skip


# A proposal


def propose_mapping(
    values: Sequence[int] | Counts, cases: Iterable[Counts] = (), ignore: int | None = None
) -> tuple[str, str] | None:
    """(why, lines for dataset.yaml) where stored values want a mapping, None where they are 0..n as they should be.

    values: all that the labels hold, with or without counts. cases: those of each label, where they are known. ignore:
    of the settings. Classes are named by their value: names only people know.
    """
    found = sorted(int(v) for v in values if int(v) not in (0, ignore))
    if not found:
        return None
    if len(found) == 1:
        if found[0] == 1:
            return None
        besides = "0" if ignore is None else f"0 and {ignore}, which is ignored,"
        return f"the only value besides {besides} is {found[0]}", _yaml({"foreground": found[0]})
    if _one_class(cases, ignore):
        why = f"no label holds two of the values {', '.join(map(str, found))}, as masks of one class do"
        return why, _yaml({"foreground": "nonzero"})
    whole = found == list(range(1, len(found) + 1))
    if len(found) > MANY or (whole and len(found) > FEW_OBJECTS):
        return f"{len(found)} values look like numbered objects", _yaml({"foreground": "nonzero"})
    if whole:
        return None
    apart = found[-1] in WHITE and found[-1] - found[-2] > 1 and found[-2] < WHITE[0] - 1
    unsaid = found[-1] if apart and ignore is None else None
    classes = [v for v in found if v != unsaid]
    why = f"the values {', '.join(map(str, found))} are not 1 to {len(found)}"
    lines = _yaml({f"class_{v}": v for v in classes})
    return why, lines + (f"ignore: {unsaid}  # or one more class\n" if unsaid is not None else "")


def _yaml(rules: Mapping[str, Any]) -> str:
    """`labels:` with a line for each class."""
    rows = [f"  {name if re.fullmatch('[a-z_0-9]+', name) else repr(name)}: {value}" for name, value in rules.items()]
    return "labels:\n" + "\n".join(rows) + "\n"
