"""The members of a bundle (a zip file from somebody else), read no further than such files ever are large."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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


def read(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """The bytes of a member; KeyError where there is none, refused (HIL-M05) as by `digest`."""
    with _opened(archive, name, path) as stream:
        return stream.read()


def digest(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """Its SHA-256, read in blocks; refused (HIL-M05): a damaged one, or one larger than it could be."""
    total = hashlib.sha256()
    with _opened(archive, name, path) as stream:
        while block := stream.read(BLOCK):
            total.update(block)
    return total.hexdigest()


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
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise HilumError("HIL-M05", f"{name} in {path.name} is damaged ({error})", "Copy it again") from error
