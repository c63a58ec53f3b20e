"""The members of a bundle (a zip file from somebody else), read no further than such files ever are large."""

import hashlib
import json
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hilum.core.errors import HilumError

NUMBERS = (".safetensors", ".onnx", ".bin")
LARGEST = 4 << 30
# Bytes of one member of numbers that we are willing to read.
LARGEST_TEXT = 64 << 20
# The same of all else: JSON, CSV, Markdown. What reads it holds several times as much.
SWELL = 100
# Times that a member may be larger than what is stored of it: text is 5 to 20 times, weights hardly at all.
FREE = {True: 64 << 20, False: 1 << 20}
# Bytes, of numbers and of all else, up to which it may be any number of times: a small golden pair may be zeros.
BLOCK = 1 << 20
MOST = 10_000
# Members of a bundle: a system of fifty networks with all that there can be has a few hundred.
LISTED = 512
# Bytes that the list of an archive may take for each of so many: 46, the name and a little more.
PACKED = (".zip", ".hilum")


def admitted(path: Path) -> zipfile.ZipFile:
    """The archive at the path, whose list of members was looked through; BadZipFile where it is none.

    Refused (HIL-M05): very many members, and one that is encrypted, a link, packed itself, lies outside by its name, or
    has one that can not be printed. Nothing here unpacks them; whoever made such a bundle hoped for somebody who does.
    """
    if words := crowded(path):
        raise HilumError("HIL-M05", f"{path.name}: {words}", "Do not use it, and ask its maker for another")
    archive = zipfile.ZipFile(path)
    members = archive.infolist()
    # the end of the file need not tell the truth
    faults = [f"it holds {len(members)} members, more than {MOST}"] if len(members) > MOST else []
    faults = faults or [words for words in map(_fault, members) if words]
    if not faults and sum(member.compress_size for member in members) > path.stat().st_size:
        # one place read again and again, each time as something else
        faults = ["its members overlap"]
    if faults:
        archive.close()
        raise HilumError("HIL-M05", f"{path.name}: {faults[0]}", "Do not use it, and ask its maker for another")
    return archive


def crowded(path: Path) -> str:
    """Why a zip file is not to be opened, by the record at its end; "" where nothing speaks against it, or it is none.

    zipfile makes an object of every member that its list holds, before anybody can ask how many there are.
    """
    with open(path, "rb") as stream:
        # what zipfile itself goes by: a reader of our own might take another record for the last one
        end: list[Any] | None = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
    if end is None:
        return ""
    members, size = int(end[zipfile._ECD_ENTRIES_TOTAL]), int(end[zipfile._ECD_SIZE])  # type: ignore[attr-defined]
    if members > MOST:
        return f"it holds {members} members, more than {MOST}"
    return f"the list of its members takes {size} bytes" if size > MOST * LISTED else ""


def _fault(member: zipfile.ZipInfo) -> str:
    """What no member of a bundle is, "" where it is not that."""
    steps = member.filename.replace("\\", "/").split("/")
    faults = {
        # its bytes could steer the terminal that it is told on
        "has a name that can not be printed": not member.filename.isprintable(),
        "is encrypted": bool(member.flag_bits & 1),
        "is a link": stat.S_ISLNK(member.external_attr >> 16),
        # others are unpacked whole before their size is known
        "is packed in a way that no bundle is": member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        "is packed itself": member.filename.lower().endswith(PACKED),
        "lies outside of it by its name": ".." in steps or not steps[0] or ":" in steps[0],
    }
    return next((f"{member.filename!r} {words}" for words, found in faults.items() if found), "")


def read(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """The bytes of a member; KeyError where there is none, refused (HIL-M05) as by `digest`."""
    with _opened(archive, name, path) as stream:
        # without a size it would ask for a gigabyte at once
        return b"".join(iter(lambda: stream.read(BLOCK), b""))


def digest(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """Its SHA-256, read in blocks; refused (HIL-M05): a damaged one, or one larger than it could be."""
    total = hashlib.sha256()
    with _opened(archive, name, path) as stream:
        while block := stream.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def twice(content: bytes) -> list[str]:
    """Names that the header of a safetensors file, which was read without complaint, has more than once.

    Of two entries of one name the last one counts here; what looks the file through elsewhere may see the other one.
    """
    found: list[str] = []

    def noted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return dict(pairs)

    json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")].decode(), object_pairs_hook=noted)
    return found


@contextmanager
def _opened(archive: zipfile.ZipFile, name: str, path: Path) -> Iterator[IO[bytes]]:
    info = archive.getinfo(name)
    numbers = name.endswith(NUMBERS)
    # what is said to be stored can not be more than the file
    stored = min(info.compress_size, path.stat().st_size)
    swollen = info.file_size > max(FREE[numbers], SWELL * stored)
    if swollen or info.file_size > (LARGEST if numbers else LARGEST_TEXT):
        raise HilumError(
            "HIL-M05", f"{name} in {path.name} claims {info.file_size} bytes, of which {stored} are stored", "Refused"
        )
    try:
        # a stream ends where the member is said to end
        with archive.open(info) as stream:
            yield stream
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, UnicodeDecodeError, RuntimeError) as error:
        raise HilumError("HIL-M05", f"{name} in {path.name} is damaged ({error})", "Copy it again") from error
