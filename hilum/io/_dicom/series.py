"""Triage: a file, a series folder or a folder of anything becomes volumes; nothing is merged that does not belong.

Patients -> studies -> series -> volumes. What can not be read is set aside with its reason, what is no image is listed
with its kind, and a volume that can not be placed without guessing keeps its refusal. Only headers are read.
"""

import os
import re
import warnings as python_warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._dicom import split as splitting
from hilum.io._dicom import stack as stacking
from hilum.io._dicom.file import header as read_header
from hilum.io._dicom.file import is_dicom
from hilum.io._dicom.frames import Slice, is_capture, not_an_image, slices_of
from hilum.io._dicom.patients import digest, patients, person
from hilum.io._guard import reading

EXTENSIONS = (".dcm", ".dicom", ".ima")
VOLUMES = {"CT", "MR", "PT", "NM"}
# Modalities whose slices must say where they lie.
WORDS = 40
# Longest description in a volume's key.


@dataclass(frozen=True, eq=False)
class Volume:
    """One image that can be made, or why it can not.

    key: stable and readable, unique in its triage. patient: opaque id, "" where unknown. person: opaque too, tells
    apart the people who share one patient id; sharing: how many they are. kind: "volume" or "picture".
    slices: in order along the normal. affine: RAS+ mm, shape: (i, j, k), both None for pictures and refusals.
    apart: what sets it apart from other volumes of its series; why: the fault code of that, "" where it is alone.
    copies: those of the warnings that tell of files left out as copies, which nobody sees any more in the others.
    """

    key: str
    patient: str
    study_uid: str
    series_uid: str
    modality: str
    description: str
    kind: str
    slices: tuple[Slice, ...]
    affine: Array | None = None
    shape: tuple[int, ...] | None = None
    warnings: tuple[str, ...] = ()
    refusal: HilumError | None = None
    apart: str = ""
    why: str = ""
    localiser: bool = False
    frame_of_reference: str = ""
    stack: stacking.Stack | None = None
    person: str = ""
    sharing: int = 1
    copies: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files, in order along the normal, each once."""
        return list(dict.fromkeys(one.file for one in self.slices))

    @property
    def frames(self) -> list[tuple[Path, int]]:
        """(file, frame number from 0) in order along the normal."""
        return [(one.file, one.frame) for one in self.slices]

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """mm along (i, j, k), None where there is no affine."""
        return None if self.affine is None else geometry.spacing(self.affine)


@dataclass(frozen=True, eq=False)
class Triage:
    """What lies at a path.

    quarantined: files that can not be read, with the reason; series_of: their series where the header still says it.
    others: objects that are kept but are no images, with their kind.
    """

    path: Path
    volumes: tuple[Volume, ...]
    quarantined: tuple[tuple[Path, HilumError], ...] = ()
    others: tuple[tuple[Path, str], ...] = ()
    series_of: Mapping[Path, str] = field(default_factory=dict)

    @property
    def studies(self) -> dict[str, dict[str, list[Volume]]]:
        """{study uid: {series uid: volumes}}."""
        found: dict[str, dict[str, list[Volume]]] = {}
        for one in self.volumes:
            found.setdefault(one.study_uid, {}).setdefault(one.series_uid, []).append(one)
        return found


def triage(
    path: Path, accept: Collection[str] = (), files: Sequence[str | Path] | None = None, keep: bool = False
) -> Triage:
    """Look at every file under `path` (recursive, any names; hidden ones are passed over).

    accept: fault codes that are bridged instead of refused, as in `stacking.sort`. files: only these, relative to
    `path`. keep: hold on to the headers, for whoever decodes next.
    """
    path = Path(path)
    images: list[Slice] = []
    bad: list[tuple[Path, HilumError]] = []
    series_of: dict[Path, str] = {}
    others: list[tuple[Path, str]] = []
    with python_warnings.catch_warnings():
        # pydicom speaks about values that break its rules; what matters for geometry is checked here
        python_warnings.simplefilter("ignore")
        for file in candidates(path, files, bad):
            try:
                header = read_header(file, series_of)
                with reading(file):
                    kind = not_an_image(header)
                if kind is not None:
                    others.append((file, kind))
                    continue
                with reading(file):
                    header.check_identity()
                    found = slices_of(file, header)
                images += found if keep else [replace(one, header=None) for one in found]
            except HilumError as error:
                bad.append((file, error))
    volumes = _volumes(path, images, accept, bad)
    return Triage(path, tuple(_told(volumes, bad, series_of)), tuple(bad), tuple(others), series_of)


def candidates(
    path: Path, files: Sequence[str | Path] | None, bad: list[tuple[Path, HilumError]]
) -> Iterator[Path]:  # fmt: skip
    """Files that are DICOM by name or content; links to folders are set aside, they may run in circles."""
    if files is not None or path.is_file():
        yield from [path] if files is None or path.is_file() else (path / name for name in files)
        return

    def lost(error: OSError) -> None:
        bad.append((Path(error.filename or path), _closed(Path(error.filename or path))))

    for folder, inner, names in os.walk(path, onerror=lost):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for link in (Path(folder, name) for name in inner):
            if link.is_symlink():
                why = HilumError("HIL-I12", f"{link} is a link to a folder and was not followed", "Give that folder")
                bad.append((link, why))
        for name in sorted(names):
            file = Path(folder, name)
            if looks_like_dicom(file):
                yield file
            elif unreadable(file):
                bad.append((file, _closed(file)))


def _closed(path: Path) -> HilumError:
    return HilumError("HIL-IO-03", f"{path} can not be opened", "Check the rights, or leave it out")


def unreadable(file: Path) -> bool:
    """A file that nobody can look into, and that may be DICOM therefore."""
    return not file.name.startswith(".") and file.is_file() and not os.access(file, os.R_OK)


def looks_like_dicom(file: Path) -> bool:
    """DICOM by name or by content; hidden files and DICOMDIR are passed over."""
    if file.name.startswith(".") or file.name.upper() == "DICOMDIR" or not file.is_file():
        return False
    return file.suffix.lower() in EXTENSIONS or is_dicom(file)


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")[:WORDS].strip("-.")


def _volumes(
    path: Path, images: list[Slice], accept: Collection[str], bad: list[tuple[Path, HilumError]]
) -> list[Volume]:
    """Every volume and picture, in the order of their keys."""
    people = patients(map(person, images))
    series: dict[tuple[str, ...], list[Slice]] = defaultdict(list)
    for one in images:
        # without a number of its own, a series is what lies in one folder under one description
        alone = () if one.facts["SeriesInstanceUID"] else (
            str(one.file.parent), one.facts["Modality"], one.facts["SeriesNumber"], one.facts["SeriesDescription"],
        )  # fmt: skip
        key = (people[person(one)].name, one.facts["StudyInstanceUID"], one.facts["SeriesInstanceUID"], *alone)
        series[key].append(one)
    found: list[Volume] = []
    for slices in series.values():
        who = people[person(slices[0])]
        for volume in _of_series(path, who.key, slices, accept, bad):
            said = (*collision(who.sharing), *volume.warnings)
            found.append(replace(volume, person=who.name, sharing=who.sharing, warnings=said))
    return _unique(sorted(found, key=lambda volume: (_number(volume), volume.key)))


def collision(sharing: int) -> tuple[str, ...]:
    """The warning of a patient id that so many people share."""
    if sharing < 2:
        return ()
    return (
        f"HIL-D27: {sharing} patients of different name, birth date or sex share one patient id; "
        "their series are kept apart, a split keeps them together",
    )


def _number(volume: Volume) -> int:
    word = volume.slices[0].facts["SeriesNumber"]
    return int(word) if word.lstrip("-").isdigit() else 1 << 30


def _unique(volumes: list[Volume]) -> list[Volume]:
    """Keys that occur twice get a number."""
    seen: dict[str, int] = defaultdict(int)
    out = []
    for volume in volumes:
        seen[volume.key] += 1
        again = seen[volume.key]
        out.append(volume if again == 1 else replace(volume, key=f"{volume.key}-{again}"))
    return out


def _of_series(
    path: Path, patient: str, slices: list[Slice], accept: Collection[str], bad: list[tuple[Path, HilumError]]
) -> list[Volume]:
    """The volumes and pictures of one series."""
    placed = [one for one in slices if one.position is not None]
    rest = [one for one in slices if one.position is None]
    pictures = [one for one in rest if _is_picture(one) or len(slices) == 1]
    for one in rest:
        if one not in pictures:
            error = HilumError(
                "HIL-IO-06", f"{one.file} does not say where it lies", "Give slices with position and orientation"
            )
            bad.append((one.file, error))
    if len(placed) == 1 and placed[0].facts["Modality"] not in VOLUMES:
        pictures, placed = [*pictures, placed[0]], []
    pictures, said = splitting.without_copies(pictures)
    found = [_picture(patient, one, len(pictures) + len(placed) > 1, said) for one in pictures]
    parts = splitting.split(path, placed) if placed else []
    alone = len(parts) + len(pictures) == 1
    return found + [_stacked(path, patient, part, alone, accept) for part in parts]


def _is_picture(one: Slice) -> bool:
    return one.facts["Modality"] not in VOLUMES or is_capture(one.facts["SOPClassUID"])


def _base(patient: str, one: Slice, kind: str, slices: Sequence[Slice], *apart: str) -> Volume:
    facts = one.facts
    hashed = digest(facts["PatientID"], facts["StudyInstanceUID"], facts["SeriesInstanceUID"])
    words = [facts["SeriesNumber"], facts["SeriesDescription"] or facts["Modality"], hashed, *apart]
    return Volume(
        "-".join(filter(None, map(_slug, words))), patient, facts["StudyInstanceUID"], facts["SeriesInstanceUID"],
        facts["Modality"], facts["SeriesDescription"], kind, tuple(slices), apart=", ".join(apart),
        frame_of_reference=facts["FrameOfReferenceUID"],
    )  # fmt: skip


def _picture(patient: str, one: Slice, several: bool, said: tuple[str, ...]) -> Volume:
    apart = [digest(one.facts["SOPInstanceUID"] or one.file.name)] if several else []
    base = _base(patient, one, "picture", [one], *apart)
    return replace(
        base, warnings=said, copies=said, apart=one.file.name if several else "", why="HIL-D27" if several else ""
    )


def _stacked(path: Path, patient: str, part: splitting.Part, alone: bool, accept: Collection[str]) -> Volume:
    """A part of a series with its grid, or the reason why it has none."""
    known = (*part.warnings, *splitting.elsewhere(part.slices))
    base = replace(
        _base(patient, part.slices[0], "volume", part.slices, *part.words),
        why="" if alone else (part.why or ("HIL-D27",))[0], localiser=part.localiser, warnings=known,
        copies=part.warnings,
    )  # fmt: skip
    try:
        if part.refusal is not None:
            raise part.refusal
        if base.slices[0].facts["SamplesPerPixel"] not in ("", "1"):
            name = base.slices[0].file
            raise HilumError("HIL-D26", f"{name} is a colour picture inside a series", "Remove it")
        stack = stacking.sort(path, part.slices, accept)
    except HilumError as error:
        return replace(base, refusal=error)
    said = (*known, *_split_words(part), *stack.warnings)
    return replace(
        base, slices=stack.slices, affine=stack.affine, shape=stack.shape, warnings=said, stack=stack
    )  # fmt: skip


def _split_words(part: splitting.Part) -> tuple[str, ...]:
    if not part.why:
        return ()
    what = ", ".join(part.words) or "one part"
    return (f"{part.why[0]}: the series holds several volumes that do not belong together; this is {what}",)


def may_belong(file: Path, series: str, volume: Volume) -> bool:
    """Whether a file that can not be read is of this volume's series, or of none known and beside its files."""
    if series:
        return series == volume.series_uid
    return any(one.file.parent == file.parent for one in volume.slices)


def _told(
    volumes: list[Volume], bad: list[tuple[Path, HilumError]], series_of: Mapping[Path, str]
) -> Iterator[Volume]:  # fmt: skip
    """Volumes that know of files beside them that could not be read and may belong to them."""
    for volume in volumes:
        lost = [error for file, error in bad if may_belong(file, series_of.get(file, ""), volume)]
        if not lost:
            yield volume
            continue
        files = "1 file" if len(lost) == 1 else f"{len(lost)} files"
        said = (
            f"{lost[0].code}: {files} beside this image could not be read and may belong to it; first: {lost[0].seen}"
        )
        refusal = volume.refusal
        if refusal is not None and refusal.code == "HIL-D21":
            seen = f"{refusal.seen}; {files} could not be read, first: {lost[0].seen} [{lost[0].code}]"
            refusal = HilumError(refusal.code, seen, refusal.remedy)
        yield replace(volume, warnings=(*volume.warnings, said), refusal=refusal)
