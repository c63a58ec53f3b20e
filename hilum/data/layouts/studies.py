"""A folder of DICOM studies, at any depth and under any names: every volume is a case, SEG objects are its labels."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts import _beside
from hilum.data.layouts._files import others
from hilum.io import _source
from hilum.io._dicom.file import header
from hilum.io._dicom.patients import digest
from hilum.io._dicom.series import Triage, Volume, collision, looks_like_dicom, may_belong, triage

CARD = {"about": "a folder of DICOM studies, with DICOM SEG as labels", "order": 35}
# Before class_folders, which would take a patient's folder with a preview picture in it for a class.
READERS = ("ContentCreatorName", "SeriesDescription")
# Tags of a SEG that may say whose it is, the surer one first.
NUMBERED = ("readings", "numbered")
# Attribute of a case whose readings go by the order of their files.
Series = tuple[str, str, str, Path | None]
# Person, study, series, and the folder where a file names no series.
Reading = tuple[tuple[str, ...], _source.FileSource]
# What a SEG has as READERS, and its file.
MAKER = "Hilum"
# Manufacturer of the SEGs that are written here.
FOUND = (
    "HIL-DATA-11: the label is a SEG that Hilum wrote, every segment of it drawn by an algorithm; unless a person has "
    "looked it through it is what a network found, and no truth"
)
log = logging.getLogger(__name__)


class FoundSource(_source.FileSource):
    """A SEG that holds what a network found: its labels say so wherever they are used."""

    def read_labels(self, like: Image | None = None) -> Image:
        """As of any file, with the warning (HIL-DATA-11)."""
        label = super().read_labels(like)
        return replace(label, warnings=(FOUND, *label.warnings))


def recognises(folder: Path) -> bool:
    """DICOM in every sub-folder that holds images, or several images directly inside; one volume alone is `flat`."""
    if not folder.is_dir():
        return False
    inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    deep = [p for p in inner if any(_source.is_series(q) for q in _folders(p))]
    if _source.is_series(folder):
        return bool(deep) or _several(folder)
    if any(p.is_file() and _source.is_image(p) for p in folder.iterdir()):
        return False
    rest = [p for p in inner if p not in deep and any(map(_source.is_image, _source.inside(p)))]
    return bool(deep) and not rest


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and all below it."""
    for where, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield Path(where)


def _several(folder: Path) -> bool:
    """Whether files directly inside make more than one image; one image, or none, is read as it always was."""
    files = [file.name for file in sorted(folder.iterdir()) if looks_like_dicom(file)]
    return len(triage(folder, files=files).volumes) > 1


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases named patient/series with "image", and "label" where one SEG refers to that volume.

    group: the patient's opaque key where known, one for a patient id that several people share (each image is then
    warned of it, HIL-D27). attributes: study, modality, description, and what sets a volume apart in its series. Two
    segmentations of one volume become label@1 and label@2, of which `roles` chooses one, in the order of their readers
    where all such volumes are of the same; one without its volume, and files that can not be read and have no volume to
    warn, are cases of their own, so that nothing is passed over. cases.csv of the folder is read, by these names.
    """
    found = triage(folder)
    series: dict[Series, list[Volume]] = defaultdict(list)
    for volume in found.volumes:
        if volume.kind == "volume":
            series[_series(volume)].append(volume)
    cases = {volume.key: _case(found, volume, series[_series(volume)]) for volume in found.volumes}
    labels: dict[str, list[Reading]] = {}
    for file, kind in found.others:
        if kind == "segmentation":
            owner, names, source = _owner(found, file)
            labels.setdefault(owner, []).append((names, source))
    lost = labels.pop("", [])
    out = _labelled(cases, labels, "label" in settings.roles)
    for number, (_, source) in enumerate(lost, 1):
        out.append(Case(f"segmentation-without-image-{number}", "", {"label": source}))
    kept = [(file, kind) for file, kind in found.others if kind != "segmentation"]
    places = sorted({file.parent for volume in found.volumes for file in volume.files})
    kept += [(file, "a file, not read") for place in places for file in others(place)]
    aside = tuple({"what": str(file.relative_to(folder)), "kind": kind} for file, kind in kept)
    return _beside.chosen(_beside.described(Dataset("", folder, "", (*out, *_unread(found)), settings, aside=aside)))


def _labelled(cases: Mapping[str, Case], labels: Mapping[str, list[Reading]], chosen: bool) -> list[Case]:
    """The cases with their SEGs. chosen: of several one is the label; beside those a single one is a reading, too."""
    several = sum(len(own) > 1 for own in labels.values())
    by, who = _readers(labels)
    # a single SEG of somebody else takes a further number, so that it changes nobody's; who is not known has the last
    single = {own[0][0][by] for own in labels.values() if len(own) == 1}
    who += sorted(single.difference(who), key=lambda name: (not name, name)) if who else []
    if several and not who:
        log.warning(
            "%d of %d volumes have several SEGs that do not say alike who drew them: label@1, label@2, ... are numbers "
            "by the names of files, and no persons", several, len(cases),
        )  # fmt: skip
    out = []
    for key, case in cases.items():
        own = labels.get(key, [])
        places = [who.index(names[by]) + 1 if who else number for number, (names, _) in enumerate(own, 1)]
        roles = ["label"] if len(own) == 1 and not chosen else [f"label@{place}" for place in places]
        items = {**case.items, **{role: source for role, (_, source) in zip(roles, own, strict=True)}}
        numbered = dict([NUMBERED]) if len(own) > 1 and not who else {}
        out.append(Case(case.id, case.group, items, {**case.attributes, **numbered}))
    return out


def _readers(labels: Mapping[str, Sequence[Reading]]) -> tuple[int, list[str]]:
    """Who read, in the order of names, and by which of READERS that is known; nobody where neither tells it.

    It does where every volume with several SEGs has one of each reader.
    """
    for by in range(len(READERS)):
        told = [sorted(names[by] for names, _ in own) for own in labels.values() if len(own) > 1]
        who = next(iter(told), [])
        apart = len(set(who)) == len(who) and "" not in who
        if apart and all(row == who for row in told):
            return by, who
    return 0, []


def _case(found: Triage, volume: Volume, kin: list[Volume]) -> Case:
    """kin: the volumes of its series, itself among them."""
    attributes = {
        "study": digest(volume.study_uid, length=8) if volume.study_uid else "",
        "modality": volume.modality,
        "description": volume.description,
    }
    if volume.apart:
        attributes["part"] = volume.apart
    if volume.localiser:
        attributes["localiser"] = "yes"
    name = f"{volume.patient}/{volume.key}" if volume.patient else volume.key
    return Case(name, volume.patient, {"image": _image(found, volume, kin)}, attributes)


def _image(found: Triage, volume: Volume, kin: list[Volume]) -> _source.FileSource:
    """The files of the volume's series, those that could not be read too, and which of its volumes is meant."""
    # of the files that are kept nobody sees any more that another person shares the id, or that there were copies
    said = [*collision(volume.sharing), *volume.copies]
    options: dict[str, Any] = {"said": said} if said else {}
    if volume.kind == "picture":
        return _files(volume.files, options)
    if len(kin) > 1:
        options["volume"] = volume.key
    lost = [file for file, _ in found.quarantined if may_belong(file, found.series_of.get(file, ""), volume)]
    return _files([*(file for one in kin for file in one.files), *lost], options)


def _series(volume: Volume) -> Series:
    alone = None if volume.series_uid else volume.files[0].parent
    return volume.person, volume.study_uid, volume.series_uid, alone


def _files(files: list[Path], options: dict[str, Any]) -> _source.FileSource:
    """A source for some files of the folder that holds them all."""
    root = Path(os.path.commonpath([file.parent for file in files]))
    names = sorted({str(file.relative_to(root)) for file in files})
    return _source.FileSource(root, "dicom", options={"files": names, **options})


def _owner(found: Triage, file: Path) -> tuple[str, tuple[str, ...], _source.FileSource]:
    """The key of the volume that a segmentation was made from, or "", what it has as READERS, and its file."""
    try:
        data = header(file)
    except HilumError:
        return "", ("",) * len(READERS), _source.open(file)
    names = tuple(str(data.get(tag) or "").strip() for tag in READERS)
    referred = data.get("ReferencedSeriesSequence") or []
    series = {str(item.get("SeriesInstanceUID") or "") for item in referred}
    instances = {
        str(one.get("ReferencedSOPInstanceUID") or "")
        for item in referred
        for one in item.get("ReferencedInstanceSequence") or []
    }
    fitting = [one for one in found.volumes if one.series_uid and one.series_uid in series]
    if len(fitting) > 1:
        fitting = [one for one in fitting if any(s.facts["SOPInstanceUID"] in instances for s in one.slices)]
    frame = str(data.get("FrameOfReferenceUID") or "")
    if not series and frame:
        fitting = [one for one in found.volumes if one.frame_of_reference == frame]
    return (fitting[0].key if len(fitting) == 1 else ""), names, _opened(file, data)


def _opened(file: Path, data: Any) -> _source.FileSource:
    """The file of a segmentation, by its header: a FoundSource where Hilum wrote it and no person drew any of it."""
    source = _source.open(file)
    drawn = [str(one.get("SegmentAlgorithmType") or "").strip() for one in data.get("SegmentSequence") or []]
    if str(data.get("Manufacturer") or "").strip() != MAKER or set(drawn) != {"AUTOMATIC"}:
        return source
    return FoundSource(source.path, source.format, source.part, source.options)


def _unread(found: Triage) -> Iterator[Case]:
    """Files that can not be read and that no volume warns of, by their folder."""
    volumes = [volume for volume in found.volumes if volume.kind == "volume"]
    lost: dict[Path, list[Path]] = {}
    for file, _ in found.quarantined:
        if any(may_belong(file, found.series_of.get(file, ""), volume) for volume in volumes):
            continue
        lost.setdefault(file.parent, []).append(file)
    for number, files in enumerate(lost.values(), 1):
        yield Case(f"unreadable-{number}", "", {"image": _files(files, {})})
