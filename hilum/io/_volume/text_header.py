"""What MetaImage and NRRD share: a text header read strictly, and voxels in a file of their own beside it."""

from pathlib import Path

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.io._volume.stream import Stream
from hilum.io._volume.upright import upright
from hilum.io._volume.voxels import fill, three_axes

MOST_HEADER = 1 << 16
# Bytes of a text header; real ones have hundreds, with acquisition notes some thousands.
MOST_NUMBERS = 64
# Numbers in one field.


def lie(path: Path, seen: str, remedy: str = "Convert the original again") -> HilumError:
    """The sentence for a header that is not what it should be."""
    return HilumError("HIL-N16", f"{path} {seen}", remedy)


def lines(path: Path, last: str) -> tuple[list[str], int]:
    """Header lines up to and with the first that begins with `last` ("" stops at an empty line), and their bytes.

    The end of the file ends a header, too. Refused: longer than MOST_HEADER, or control bytes in it (HIL-N16).
    """
    with open(path, "rb") as stream:
        head = stream.read(MOST_HEADER)
    found: list[str] = []
    at = 0
    while at < len(head):
        end = head.find(b"\n", at)
        if end < 0 and len(head) == MOST_HEADER:
            raise lie(path, f"has a header that does not end within {MOST_HEADER} bytes")
        end = len(head) if end < 0 else end
        raw, at = head[at:end].removesuffix(b"\r"), min(end + 1, len(head))
        if any(byte < 32 and byte != 9 for byte in raw):
            raise lie(path, f"has bytes in its header that are no text (line {len(found) + 1})")
        # notes in other alphabets may stand in fields that are not used
        line = raw.decode("utf-8", "replace").strip()
        if not line and not last:
            return found, at
        found.append(line)
        if last and line.startswith(last):
            return found, at
    if len(head) == MOST_HEADER:
        raise lie(path, f"has a header that does not end within {MOST_HEADER} bytes")
    return found, at


def numbers(path: Path, field: str, text: str, count: int | None = None) -> list[float]:
    """Finite numbers separated by blanks; refused otherwise, or when they are not `count`."""
    words = text.split()
    try:
        if len(words) > MOST_NUMBERS:
            raise ValueError
        found = [float(word) for word in words]
    except ValueError as error:
        raise lie(path, f"has {field} = {text[:60]!r}, which are not numbers", "Mend the header") from error
    if count is not None and len(found) != count:
        raise lie(path, f"has {len(found)} numbers for {field}, not {count}: {text[:60]!r}", "Mend the header")
    if any(not abs(value) < 1e30 for value in found):
        raise lie(path, f"has {field} = {text[:60]!r}, which are not finite", "Mend the header")
    return found


def whole(path: Path, field: str, text: str, count: int | None = None) -> list[int]:
    """Whole numbers, as `numbers`."""
    found = numbers(path, field, text, count)
    if any(value != round(value) for value in found):
        raise lie(path, f"has {field} = {text[:60]!r}, which are not whole numbers", "Mend the header")
    return [int(value) for value in found]


def sizes(path: Path, field: str, text: str, count: int) -> tuple[int, ...]:
    """Sizes of the axes, each 1 or more (else HIL-N11)."""
    found = whole(path, field, text, count)
    if not found or min(found) < 1 or max(found) >= 2**40:
        raise HilumError("HIL-N11", f"{path} has {field} = {text!r}", "Mend the header or leave the file out")
    return tuple(found)


def beside(path: Path, name: str) -> Path:
    """The file that a header names, in the header's own folder or below; anywhere else is refused (HIL-N16)."""
    remedy = "Put both files in one folder and name the second without a path"
    if "://" in name or name.startswith(("/", "\\", "~")) or ":" in name or "\\" in name or ".." in Path(name).parts:
        raise lie(path, f"points to {name!r}, outside of its folder", remedy)
    if any(character in name for character in "%*?\0"):
        raise lie(path, f"names a pattern of files, {name!r}", "Save the volume as one file")
    folder, target = path.parent.resolve(), (path.parent / name).resolve()
    if not target.is_relative_to(folder):
        raise lie(path, f"points to {name!r}, a link that leads outside of its folder", remedy)
    if not target.is_file() or target == path.resolve():
        raise lie(path, f"has no {name} beside it", "Copy both files together")
    return path.parent / name


def volume(
    stream: Stream, shape: tuple[int, ...], kind: str, affine: Array, labels: bool, warnings: list[str], used: str
) -> Image:
    """The Image of voxels at the stream's place; `used` is meta["geometry"], path and format are to be added.

    Raw voxels must fill the rest of the file exactly: a header that speaks of less lies (HIL-N16).
    """
    space, element = three_axes(shape), np.dtype(kind)
    need = int(np.prod(space, dtype=object)) * element.itemsize
    left = stream.size - stream.start - stream.took
    if not stream.packed and left > need:
        raise lie(stream.path, f"holds {left} bytes of voxels, its header speaks of {need}")
    array, seen = fill(stream, space, element)
    if any("HIL-N02" in words for words in seen):
        raise lie(stream.path, f"holds more than the {need} bytes of voxels that its header speaks of")
    array, affine, turned, record = upright(array, affine, labels)
    meta = {"geometry": used, **record}
    return Image(array[None], affine, (*warnings, *turned, *seen), meta)
