"""nnU-Net and Medical Segmentation Decathlon: imagesTr/, labelsTr/, dataset.json; imagesTs/ is not read."""

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image, Source
from hilum.data.dataset import Dataset, Settings, listed
from hilum.data.layouts import _beside
from hilum.data.layouts._files import Channels, sources, within
from hilum.io import _source

CARD = {"about": "imagesTr/ labelsTr/ dataset.json (nnU-Net, Decathlon)", "order": 10}


def recognises(folder: Path) -> bool:
    """A folder with imagesTr/."""
    return (folder / "imagesTr").is_dir()


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases with "image" (channels of _0000, _0001, ... stacked) and "label".

    dataset.json gives class names (`labels`, either way round; one called "ignore" is none), channel names
    (`channel_names`, or the Decathlon's `modality`) and `file_ending`. Refused: regions, labels of several values
    (HIL-DATA-09), an ending Hilum can not read (IO-01), cases with too few or too many channels and labels without an
    image (T10), all listed.
    """
    facts = _facts(folder / "dataset.json")
    ending, channels = str(facts.get("file_ending", "")), _channels(facts)
    place = folder / "labelsTr"
    labels = _files(place, ending) if place.is_dir() else {}
    count = len(channels) if "channel_names" in facts else 0
    pictures = _sources(folder / "imagesTr", ending, count, set(labels) or _beside.listed_cases(folder))
    _beside.owned(place, labels, set(pictures))
    more = _beside.items(folder, settings, pictures)
    # an image without a label is listed when labels are asked for, not passed over
    own = {} if "label" in settings.roles else {n: {"label": _source.open(p)} for n, p in labels.items()}
    cases = [Case(n, "", {"image": s} | own.get(n, {}) | more.get(n, {})) for n, s in pictures.items()]
    classes = _classes(facts, folder / "dataset.json")
    # nnU-Net's name for what nobody looked at
    unseen = next((value for value, name in classes.items() if name == "ignore"), None)
    if settings.ignore is None and unseen is not None and unseen not in settings.classes:
        settings = settings.model_copy(update={"ignore": unseen})
    if not settings.classes:
        settings = settings.model_copy(update={"classes": {v: n for v, n in classes.items() if v != settings.ignore}})
    if not settings.channels:
        settings = settings.model_copy(update={"channels": channels})
    return _beside.described(Dataset("", folder, "", tuple(cases), settings))


def _facts(path: Path) -> dict[str, Any]:
    """dataset.json, {} where there is none."""
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise HilumError("HIL-DATA-03", f"{path} is not JSON ({error})", "Mend it") from error
    if not isinstance(facts, dict):
        raise HilumError("HIL-DATA-03", f"{path} is no JSON object", "Mend it")
    return facts


def _files(folder: Path, ending: str) -> dict[str, Path]:
    """{name: file} of those with this ending, or of all that can be read where none is stated."""
    if not ending:
        return within(folder)
    every = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    found = [p for p in every if p.name.lower().endswith(ending.lower())]
    if found and not _source.is_image(found[0]):
        raise HilumError("HIL-IO-01", f"dataset.json says {ending!r}, which Hilum can not read", "Convert to .nii.gz")
    wanted = set(found)
    # the same checks of names as everywhere, by the one that knows them
    return {name: path for name, path in within(folder).items() if path in wanted}


def _sources(folder: Path, ending: str, channels: int, named: set[str]) -> dict[str, Source]:
    """{case: source}; with named channels every case has all of them, numbered from _0000, or one picture that does.

    Without (0), labels (or, where there are none, rows of cases.csv) called NAME_0000 say that the numbers count cases.
    """
    files = _files(folder, ending)
    if not channels:
        return sources(folder, named, pictures=files)
    cases: dict[str, dict[int, Path]] = {}
    numbered = bool(files) and all(re.fullmatch(r".+_\d{4}", name) for name in files)
    for name, path in files.items():
        case, number = (name[:-5], int(name[-4:])) if numbered else (name, 0)
        cases.setdefault(case, {})[number] = path
    wanted = [0] if _whole(cases, channels) else list(range(channels))
    odd = [f"{case} has {sorted(own)}" for case, own in cases.items() if sorted(own) != wanted]
    if odd:
        raise HilumError(
            "HIL-T10", f"dataset.json names {channels} channels, {len(odd)} cases in {folder} differ: {listed(odd)}",
            "Add the missing files (NAME_0000, NAME_0001, ...) or mend channel_names",
        )  # fmt: skip
    opened = {case: [_source.open(own[n]) for n in sorted(own)] for case, own in cases.items()}
    return {case: own[0] if len(own) == 1 else Channels(tuple(own)) for case, own in opened.items()}


def _whole(cases: Mapping[str, Mapping[int, Path]], channels: int) -> bool:
    """Whether every case is one picture and some hold all channels themselves, as nnU-Net keeps colour."""
    files = [own[0] for own in cases.values() if [*own] == [0]]
    if channels == 1 or len(files) < len(cases) or {_source.by_name(path) for path in files} != {"raster"}:
        return False
    for path in files:
        # what can not be read says nothing, and is named when it is read
        with contextlib.suppress(HilumError):
            image = _source.open(path).read()
            if isinstance(image, Image) and len(image.array) == channels:
                return True
    return False


def _channels(facts: dict[str, Any]) -> list[str]:
    """Channel names in order of their numbers."""
    named = facts.get("channel_names", facts.get("modality", {}))
    if not isinstance(named, dict) or not all(str(k).isdigit() for k in named):
        return []
    return [str(named[key]) for key in sorted(named, key=lambda k: int(k))]


def _classes(facts: dict[str, Any], path: Path) -> dict[int, str]:
    """{value: name} from either order: the Decathlon writes {"1": "liver"}, nnU-Net {"liver": 1}."""
    labels = facts.get("labels", {})
    if not isinstance(labels, dict):
        raise HilumError("HIL-DATA-03", f"{path}: labels is no object", 'Write it as {"background": 0, "liver": 1}')
    regions = [str(name) for name, value in labels.items() if isinstance(value, list)]
    if regions or facts.get("regions_class_order"):
        raise HilumError(
            "HIL-DATA-09", f"{path} defines regions of several values ({', '.join(regions) or 'regions_class_order'})",
            "Name the single values under `classes`, or merge values under `labels`, in a dataset.yaml",
        )  # fmt: skip
    out: dict[int, str] = {}
    for key, value in labels.items():
        if str(key).isdigit():
            out[int(key)] = str(value)
        elif isinstance(value, int) or str(value).isdecimal():
            out[int(value)] = str(key)
    out.pop(0, None)
    return out
