"""The slices of one DICOM series that belong together: localisers, orientations, sizes, echoes, times kept apart."""

import functools
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hilum.core.errors import HilumError
from hilum.io._dicom.frames import Slice
from hilum.io._dicom.stack import SAME_PLACE_MM

TURN = 1e-3
# Largest change of a direction cosine within a volume.
ALIKE = 1e-3
# Share by which pixel spacing may differ within a volume.
STRONG = {
    "EchoTime": "echo time {} ms", "EchoNumbers": "echo {}", "TemporalPositionIdentifier": "time {}",
    "DiffusionBValue": "b {}", "ConvolutionKernel": "kernel {}",
    "NominalPercentageOfCardiacPhase": "cardiac phase {} percent",
    "NominalPercentageOfRespiratoryPhase": "respiratory phase {} percent",
}  # fmt: skip
# Facts that part a series even where the positions differ: such slices were never one volume.
WEAK = {
    "FlipAngle": "flip angle {}", "InversionTime": "inversion time {} ms",
    "DiffusionGradientOrientation": "direction {}", "TriggerTime": "trigger time {} ms",
    "NominalCardiacTriggerDelayTime": "trigger delay {} ms", "ImageType": "{}", "KVP": "{} kV",
    "AcquisitionNumber": "acquisition {}", "StackID": "stack {}", "FrameReferenceTime": "time {} ms",
    "AcquisitionDateTime": "acquired {}", "AcquisitionTime": "acquired {}", "ContentTime": "made {}",
}  # fmt: skip
# Facts that part a series only where slices lie at the same places.
CLOCKS = ("TriggerTime", "NominalCardiacTriggerDelayTime", "FrameReferenceTime", "AcquisitionDateTime",
          "AcquisitionTime")  # fmt: skip
# Where every slice has a time of its own, the copies of a position are phases in this order.
DATES = {"AcquisitionDateTime", "AcquisitionTime", "ContentTime"}
# Digits of dates and times of day: as a number 20260101101010.5 would lose its minutes.


@dataclass(frozen=True)
class Part:
    """Slices of one volume; words: what sets them apart from the rest of the series. why: fault codes, first found
    first. localiser: a scout. refusal: the slices overlap and no tag tells them apart."""

    slices: tuple[Slice, ...]
    words: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    localiser: bool = False
    warnings: tuple[str, ...] = ()
    refusal: HilumError | None = None


def split(path: Path, slices: Sequence[Slice]) -> list[Part]:
    """The volumes of one series (placed slices), each with what sets it apart.

    Copies are left out, see `without_copies`. Parted: localisers and orientations (D25), frames of reference, sizes,
    spacing and bit depth (D26), echoes, times, b-values (D30). Overlapping slices that no tag tells apart: refusal D22
    or D30.
    """
    kept, warnings = without_copies(slices)
    parts = [Part(tuple(kept), warnings=warnings)]
    parts = _each(parts, _scout, "HIL-D25", lambda value: "localiser" if value else "")
    parts = [replace(part, localiser="localiser" in part.words) for part in parts]
    parts = [piece for part in parts for piece in _by_turn(part)]
    parts = _each(parts, lambda s: s.size, "HIL-D26", lambda size: f"{size[1]} x {size[0]} pixels")
    parts = [piece for part in parts for piece in _by_spacing(part)]
    for name, words in (
        ("BitsAllocated", "{} bits"), ("PixelRepresentation", "sign {}"), ("SamplesPerPixel", "{} colours"),
        ("FrameOfReferenceUID", "frame of reference {}"), ("Modality", "{}"),
    ):  # fmt: skip
        parts = _each(parts, lambda s, n=name: s.facts[n], "HIL-D26", words.format)  # type: ignore[misc]
    for name, words in STRONG.items():
        parts = [piece for part in parts for piece in _strong(part, name, words)]
    return [piece for part in parts for piece in _apart(path, part)]


def without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], tuple[str, ...]]:
    """The slices of each object once, and sentences on files that were left out.

    Left out: byte for byte a copy of another (HIL-D22); the same object at the same place with other content, as where
    it was sent again: the first by name is kept (HIL-D32). Without a place (pictures) both are kept, and it is said. At
    another place both are kept, too, see `elsewhere`.
    """
    # two files of many frames meet once for each frame
    copies = functools.cache(_same_bytes)
    seen: dict[Hashable, list[tuple[Hashable, Slice]]] = defaultdict(list)
    kept, dropped, left, again = [], set[Path](), set[Path](), dict[Path, str]()
    for one in sorted(slices, key=lambda s: (s.file.name, str(s.file), s.frame)):
        place = _place(one)
        uid = one.facts["SOPInstanceUID"]
        known = seen[(uid, one.frame) if uid else (*place, one.frame)]
        if any(copies(one.file, other.file) for _, other in known):
            dropped.add(one.file)
            continue
        first = next((other.file for there, other in known if uid and there == place and _one_time(one, other)), None)
        if first is not None:
            again[one.file] = f"{one.file.name} as {first.name}"
        if first is not None and place:
            left.add(one.file)
            continue
        known.append((place, one))
        kept.append(one)
    words = [f"HIL-D22: {len(dropped)} files are exact copies of others and were left out"] * bool(dropped)
    if again:
        named = next(iter(again.values()))
        said = f"HIL-D32: {len(again)} files hold the same object as another with other content ({named})"
        words.append(f"{said}; {len(left)} were left out" if left else said)
    return kept, tuple(words)


def elsewhere(slices: Sequence[Slice]) -> tuple[str, ...]:
    """A sentence where one object stands at several places of a volume (HIL-D32): a slice that was sent again with its
    position corrected, or by mistake. Nothing is left out. Where all have one name an anonymiser gave it.
    """
    found: dict[Hashable, dict[Hashable, Slice]] = defaultdict(dict)
    for one in slices:
        if uid := one.facts["SOPInstanceUID"]:
            found[uid, one.frame].setdefault(_place(one), one)
    several = [list(places.values()) for places in found.values() if len(places) > 1]
    if not several or len({one.facts["SOPInstanceUID"] for one in slices}) == 1:
        return ()
    files = len({one.file for places in several for one in places})
    first, other = sorted(one.file.name for one in several[0])[:2]
    return (
        f"HIL-D32: {files} files of this volume hold the same object as another, at another place ({first} and "
        f"{other}): one was sent again with its position changed; all were kept, take out what is wrong",
    )


def _place(one: Slice) -> tuple[float, ...]:
    """Its position in steps of SAME_PLACE_MM, () where it has none."""
    return () if one.position is None else tuple(np.round(one.position / SAME_PLACE_MM).tolist())


def _one_time(one: Slice, other: Slice) -> bool:
    """Whether nothing tells slices at one place apart: else they are of two volumes, whatever they are called."""
    return all(one.facts.get(name) == other.facts.get(name) for name in STRONG | WEAK)


def _same_bytes(a: Path, b: Path) -> bool:
    if a.stat().st_size != b.stat().st_size:
        return False
    return hashlib.sha256(a.read_bytes()).digest() == hashlib.sha256(b.read_bytes()).digest()


def _each(
    parts: list[Part], value: Callable[[Slice], Hashable], why: str, words: Callable[..., str]
) -> list[Part]:  # fmt: skip
    """Every part divided by a value of its slices; parts with one value stay as they are."""
    found = []
    for part in parts:
        groups: dict[Hashable, list[Slice]] = defaultdict(list)
        for one in part.slices:
            groups[value(one)].append(one)
        found += _pieces(part, [(words(v), group) for v, group in groups.items()], why)
    return found


def _pieces(part: Part, groups: list[tuple[str, list[Slice]]], why: str) -> list[Part]:
    if len(groups) == 1:
        return [part]
    return [
        replace(part, slices=tuple(group), words=(*part.words, *filter(None, [name])), why=(*part.why, why))
        for name, group in groups
    ]


def _scout(one: Slice) -> bool:
    kinds = one.facts["ImageType"].upper().split("\\")
    return "LOCALIZER" in kinds or "SCOUT" in kinds


def _by_turn(part: Part) -> list[Part]:
    """Slices of one orientation each."""
    groups: list[list[Slice]] = []
    for one in part.slices:
        for group in groups:
            if max(np.abs(one.across - group[0].across).max(), np.abs(one.down - group[0].down).max()) <= TURN:
                group.append(one)
                break
        else:
            groups.append([one])
    named = [(_direction(group[0]), group) for group in groups]
    again = Counter(name for name, _ in named)
    numbered = [(f"{name} {n}" if again[name] > 1 else name, group) for n, (name, group) in enumerate(named, 1)]
    return _pieces(part, numbered, "HIL-D25")


def _direction(one: Slice) -> str:
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(one.normal)))]


def _by_spacing(part: Part) -> list[Part]:
    groups: list[list[Slice]] = []
    for one in part.slices:
        for group in groups:
            if np.allclose(one.pixel_mm, group[0].pixel_mm, rtol=ALIKE):
                group.append(one)
                break
        else:
            groups.append([one])
    named = [(f"{group[0].pixel_mm[0]:g} x {group[0].pixel_mm[1]:g} mm", group) for group in groups]
    return _pieces(part, named, "HIL-D26")


def _places(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices at one place each, in order along the normal."""
    along = sorted(((float(s.position @ slices[0].normal), s) for s in slices if s.position is not None),
                   key=lambda pair: pair[0])  # fmt: skip
    groups: list[list[Slice]] = []
    last = -np.inf
    for at, one in along:
        if at - last < SAME_PLACE_MM:
            groups[-1].append(one)
        else:
            groups.append([one])
            last = at
    return groups


def _fact(one: Slice, name: str) -> str:
    """A fact as a word; numbers to ten digits, so that 0.0460 and 0.046 are one."""
    word = one.facts.get(name, "")
    if name in DATES:
        return word
    try:
        return f"{float(word):.10g}"
    except ValueError:
        return word


def _grouped(part: Part, name: str, words: str) -> list[tuple[str, list[Slice]]]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for one in part.slices:
        groups[_fact(one, name)].append(one)
    return [(words.format(value or "not given"), groups[value]) for value in sorted(groups, key=_order)]


def _order(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def _strong(part: Part, name: str, words: str) -> list[Part]:
    """Divided by a fact, unless it changes from slice to slice as some scanners' do."""
    groups = _grouped(part, name, words)
    if len(groups) == 1 or len(groups) > max(1, len(part.slices) // 2):
        return [part]
    return _pieces(part, groups, "HIL-D30")


def _apart(path: Path, part: Part) -> list[Part]:
    """Divided until no two slices lie at one place, by the first fact that helps."""
    places = _places(part.slices)
    most = max(len(place) for place in places)
    if most == 1:
        return [part]
    for name, words in (STRONG | WEAK).items():
        groups = _grouped(part, name, words)
        if 1 < len(groups) <= most and all(max(map(len, _places(g))) < most for _, g in groups):
            return [piece for p in _pieces(part, groups, "HIL-D30") for piece in _apart(path, p)]
    if len(places) > 1 and all(len(place) == most for place in places):
        for name in CLOCKS:
            phases = _phases(places, name)
            if phases:
                return _pieces(part, phases, "HIL-D30")
        refusal = HilumError(
            "HIL-D30", f"{path} holds {most} volumes at the same positions and no tag tells them apart",
            "Put each in a folder of its own",
        )  # fmt: skip
        return [replace(part, refusal=refusal)]
    clash = next(place for place in places if len(place) > 1)
    refusal = HilumError(
        "HIL-D22", f"{path}: {clash[0].file.name} and {clash[1].file.name} lie at the same place", "Remove one"
    )
    return [replace(part, refusal=refusal)]


def _phases(places: list[list[Slice]], name: str) -> list[tuple[str, list[Slice]]]:
    """The n-th in time of every position, for each n; nothing where the clock stands still or is not set."""
    rows = []
    for place in places:
        values = [_fact(one, name) for one in place]
        if "" in values or len(set(values)) < len(values):
            return []
        rows.append([one for _, one in sorted(zip(map(_order, values), place, strict=True), key=lambda pair: pair[0])])
    return [(f"time {n + 1} of {len(rows[0])}", [row[n] for row in rows]) for n in range(len(rows[0]))]
