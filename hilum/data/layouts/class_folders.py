"""One folder per class, images inside."""

import re
from pathlib import Path

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.data.dataset import Dataset, Settings, listed
from hilum.data.layouts import _beside
from hilum.data.layouts._files import images, stem
from hilum.io import _names, _source

CARD = {"about": "one folder per class with images inside", "order": 40}
MASK = re.compile(r"(.+?)[ _.-]+(?:masks?|seg|segmentation|label|gt)(?:[ _.-]*\d+)?", re.IGNORECASE)
# A mask's name beside the image it was drawn on: "a_mask", "a_mask_1".
CONTRASTS = 8
# No more files a folder are one patient's images.


def _classes(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "_"))]


def recognises(folder: Path) -> bool:
    """Sub-folders that hold images, and are not themselves a DICOM series each; no image beside them.

    Images beside folders are the cases (`flat`) where what lies in the folders, as masks do, was made of them: by their
    names, or as there are no more. Refused (HIL-DATA-10): images beside folders that hold more, of other names.
    """
    if not folder.is_dir():
        return False
    # what holds no image however deep, a folder of results for example, is none of the classes
    inner = [p for p in _classes(folder) if any(map(_source.is_image, p.rglob("*")))]
    if not inner or any(_source.is_series(p) or not any(map(_source.is_image, p.iterdir())) for p in inner):
        return False
    beside = _pictures(folder)
    if not beside:
        return True
    within = [name for p in inner for name in _pictures(p)]
    if len(beside) >= len(within) or _made_of(within, beside):
        return False
    raise HilumError(
        "HIL-DATA-10", f"{folder} holds {len(beside)} images ({listed(beside[:3])}) beside folders that hold "
        f"{len(within)}: it may be a folder of images, or one of classes",
        "Say which in a dataset.yaml: `layout: class_folders` or `layout: flat`; or take out what does not belong",
    )  # fmt: skip


def doubtful(folder: Path) -> HilumError | None:
    """Why what is read as folders of classes may be none (HIL-DATA-10), for those who ask for classes: masks beside the
    images would be learned as images, a folder for each patient as a class."""
    names = {p.name: own for p in _classes(folder) if (own := _pictures(p))}
    masks = [f"{inner}/{name}" for inner, own in names.items() for name in own if _is_mask(name, set(own))]
    if masks:
        seen = f"{len(masks)} images in the folders of {folder} are called like masks of others: {listed(masks[:3])}"
        return HilumError("HIL-DATA-10", seen, "Take the masks out, or write `layout: class_folders` in a dataset.yaml")
    rests = [{name[len(inner) :] for name in own if _behind(inner, name)} for inner, own in names.items()]
    same = set[str]().union(*rests)
    whole = all(len(rest) == len(own) for rest, own in zip(rests, names.values(), strict=True))
    shared = all(2 * sum(one in rest for rest in rests) > len(rests) for one in same)
    if len(names) > 1 and len(same) <= CONTRASTS and whole and shared:
        seen = f"Every folder of {folder} holds {listed(sorted(same))} of its own name, as folders of cases do"
        remedy = "List the cases in a CSV with the columns case, image and label; or write `layout: class_folders`"
        return HilumError("HIL-DATA-10", seen, f"{remedy} in a dataset.yaml")
    return None


def _is_mask(name: str, known: set[str]) -> bool:
    """Whether it is called like another one with "_mask" or the like, and perhaps a number, behind."""
    found = MASK.fullmatch(name)
    return found is not None and found[1] in known


def _behind(inner: str, name: str) -> bool:
    """Whether a file is called like its folder, with a word behind and not a number alone."""
    rest = name[len(inner) :]
    return name.startswith(inner) and not rest[:1].isalnum() and any(map(str.isalpha, rest))


def _pictures(folder: Path) -> list[str]:
    """Names of the image files directly inside, without their extensions."""
    return [stem(p) for p in sorted(folder.iterdir()) if p.is_file() and _source.is_image(p)]


def _made_of(names: list[str], origins: list[str]) -> bool:
    """Whether half of the origins or more have something called like them, or so and with a word behind (a, a_mask)."""
    known = set(origins)
    found: set[str] = set()
    for name in names:
        ends = [k for k in range(1, len(name) + 1) if not name[k : k + 1].isalnum()]
        found |= known & {name[:k] for k in ends}
    return 2 * len(found) >= len(known)


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases named class/file with klass set. Refused (HIL-I12): two classes called alike, names that are unsafe."""
    cases: list[Case] = []
    known: dict[str, Path] = {}
    for inner in _classes(folder):
        pictures = images(inner, folder)
        if pictures:
            _names.usable(inner, folder)
        other = known.setdefault(_names.folded(inner.name), inner) if pictures else inner
        if other != inner:
            seen = f"{other.name!a} and {inner.name!a} in {folder} differ only by case or unicode form"
            raise HilumError("HIL-I12", seen, "Rename one, or put their images into one")
        klass = _names.plain(inner.name)
        cases += [
            Case(f"{klass}/{name}", "", {"image": _source.open(path)}, klass=klass) for name, path in pictures.items()
        ]
    return _beside.chosen(_beside.described(Dataset("", folder, "", tuple(cases), settings)))
