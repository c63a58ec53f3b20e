"""What kind of picture an image is: DICOM's modality codes, words for them, and a guess where nobody says."""

import re
from collections.abc import Iterable
from typing import Any

from hilum.core.errors import HilumError, near
from hilum.core.image import Image

FAMILIES: dict[str, tuple[str, ...]] = {
    "mr": ("MR",),
    "ct": ("CT",),
    "nuclear": ("PT", "NM"),
    "ultrasound": ("US", "IVUS", "BDUS"),
    "xray": ("CR", "DX", "MG", "RF", "XA", "PX", "IO", "RG"),
    "histology": ("SM",),
    "microscopy": ("GM",),
    "photograph": ("OP", "XC", "DMS", "ES"),
    "grey": ("OPT", "OCT", "IVOCT", "OT"),
}
# Modalities that are augmented alike. DMS: dermoscopy, GM: microscopy, OP: fundus, SM: slides, XC: photographs.
WORDS = {
    "dermoscopy": "DMS", "endoscopy": "ES", "fundus": "OP", "histology": "SM", "mammography": "MG",
    "microscopy": "GM", "mri": "MR", "pet": "PT", "photograph": "XC", "ultrasound": "US", "x-ray": "DX", "xray": "DX",
}  # fmt: skip
SIDE = re.compile(
    r"(?<![A-Za-z0-9])(?i:left|right|lt|rt|lh|rh|l|r)(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])(?:[Ll]eft|[Rr]ight)(?=[A-Z0-9])|(?<![A-Za-z0-9])[LR](?=[A-Z][a-z])"
    r"|(?<=[a-z])(?:Left|Right|[LR])(?![A-Za-z0-9])"
)
# A word of a name that says the side of the body: the two kidneys look alike, and who finds one must know the other. By
# itself (kidney_left, lh), before a capital (LeftLung, LLung) or at the end (ParotidL).


def code(word: str) -> str:
    """The DICOM code of a code or word in any case; "" stays. Refused: a modality that is not known (HIL-DATA-17)."""
    if word and not known(word):
        codes = [c for group in FAMILIES.values() for c in group]
        raise HilumError("HIL-DATA-17", f"There is no modality {word!r}", near(word.upper(), [*codes, *WORDS]))
    return known(word)


def known(word: str) -> str:
    """The DICOM code of a code or word in any case; "" where it names no modality."""
    found = WORDS.get(word.lower(), word.upper())
    return found if any(found in group for group in FAMILIES.values()) else ""


def family(fingerprint: dict[str, Any]) -> str:
    """The family of a data set: as stated (of the first channel "CT" counts too); else what looks like CT, and is not
    called another modality, is ct, three channels "colour", the rest grey.

    Three channels of one intensity are a grey picture stored as colour.
    """
    for name, group in FAMILIES.items():
        if fingerprint.get("modality") in group and name != "grey":
            return name
    first = known(str(next(iter(fingerprint["channels"]), "")))
    if first == "CT" or (first in ("", "OT") and hounsfield(fingerprint, 0)):
        return "ct"
    alike = all(row == fingerprint["intensity"][0] for row in fingerprint["intensity"])
    return "colour" if len(fingerprint["channels"]) == 3 and not alike and not fingerprint["physical"] else "grey"


def hounsfield(fingerprint: dict[str, Any], channel: int) -> bool:
    """Whether most training images reach down to the Hounsfield units of air in that channel."""
    found = fingerprint.get("hounsfield", [])
    return bool(found[channel]) if channel < len(found) else False


def oriented(fingerprint: dict[str, Any], unknown: bool = False) -> bool:
    """Whether images have an up and a left: bodies do, what lies under a microscope or a lens does not.

    unknown: what to take of pictures (no place in a patient) of a family that nobody stated.
    """
    found = family(fingerprint)
    if found in ("grey", "colour"):
        return bool(fingerprint["physical"]) or unknown
    return found not in ("histology", "microscopy", "photograph")


def vague(image: Image) -> bool:
    """Whether nobody knows which way a volume lies, whatever its affine says: HIL-N05, but for a mere position."""
    said = [words for words in image.warnings if words.startswith("HIL-N05")]
    return any(not words.endswith("the position is taken as 0") for words in said)


def adrift(fingerprint: dict[str, Any]) -> bool:
    """Whether nobody knows which way some volume of a data set lies: it has no place in a patient, or a `vague` one."""
    rows = fingerprint.get("cases", [])
    return fingerprint["dims"] == 3 and (not fingerprint["physical"] or any(row.get("vague") for row in rows))


def sided(names: Iterable[str]) -> list[str]:
    """The names that say a side of the body."""
    return [name for name in names if SIDE.search(name)]


def mirrors(fingerprint: dict[str, Any], names: Iterable[str]) -> list[int]:
    """Axes along which images may be mirrored without a class of these names becoming that of the other side.

    Where no name says a side, all. Else not from left to right: axis 0 of a volume (RAS), axis 1 of a picture. None at
    all where nobody knows how volumes lie, nor where images turn freely: turned by half, an image that is mirrored up
    and down is one that is mirrored from left to right.
    """
    axes = list(range(int(fingerprint["dims"])))
    if not sided(names):
        return axes
    if not oriented(fingerprint) or adrift(fingerprint):
        return []
    axes.remove(0 if len(axes) == 3 else 1)
    return axes
