"""PNG: every checksum is checked before decoding, and 16-bit colour is decoded without loss."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io import _itk

MARK = b"\x89PNG\r\n\x1a\n"
BLOCK = 1 << 20
GREY_ALPHA, COLOURS = 4, (2, 6)
# Colour types of the header.


@dataclass(frozen=True)
class Facts:
    """What the chunks say. bits: per channel. colour: the header's colour type. frames: of an animation, else 1."""

    size: tuple[int, int]
    bits: int
    colour: int
    frames: int
    keyed: bool

    @property
    def deep_colour(self) -> bool:
        """16-bit colour or 16-bit grey with alpha, which Pillow would cut to 8 bits."""
        return self.bits == 16 and self.colour in (GREY_ALPHA, *COLOURS)


def facts(path: Path) -> Facts:
    """Walk all chunks of a PNG. Refused: a wrong checksum, a chunk that is cut or out of place (HIL-I06)."""
    with open(path, "rb") as stream:
        chunks = _chunks(path, stream)
        name, head = next(chunks)
        if name != b"IHDR" or len(head) != 13:
            raise _damaged(path, "it does not start with its header")
        width, height, bits, colour = struct.unpack(">IIBB", head[:10])
        seen, frames = {name}, 1
        for name, data in chunks:
            seen.add(name)
            if name == b"acTL" and len(data) == 8:
                frames = int(struct.unpack(">I", data[:4])[0])
            if name == b"IEND":
                break
    if not {b"IDAT", b"IEND"} <= seen:
        raise _damaged(path, "its pixels or its end are missing")
    return Facts((width, height), bits, colour, frames, b"tRNS" in seen)


def _chunks(path: Path, stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """(name, data) of each chunk; data longer than a block are checked but not kept."""
    end = path.stat().st_size
    stream.seek(len(MARK))
    while head := stream.read(8):
        if len(head) < 8:
            raise _damaged(path, "a chunk is cut")
        length, name = struct.unpack(">I4s", head)
        if length > end - stream.tell() - 4:
            raise _damaged(path, f"a chunk claims {length} bytes, {end - stream.tell()} are left")
        check, data, left = zlib.crc32(name), b"", length
        while left:
            block = stream.read(min(left, BLOCK))
            check, left = zlib.crc32(block, check), left - len(block)
            data = block if length <= BLOCK else b""
        if stream.read(4) != struct.pack(">I", check):
            raise _damaged(path, f"the checksum of its {name.decode('latin-1')!r} chunk is wrong")
        yield name, data


def _grey_alpha(path: Path) -> Array:
    """(row, column, 2) uint16: a pixel has four bytes, as one of 8-bit RGBA has, so it is decoded under that name."""
    from PIL import Image as Pillow

    data = bytearray(path.read_bytes())
    data[24:26] = bytes((8, 6))
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with Pillow.open(io.BytesIO(data), formats=["PNG"]) as opened:
        stored = np.asarray(opened)
    return stored.view(">u2").astype(np.uint16)


def _damaged(path: Path, why: str) -> HilumError:
    return HilumError("HIL-I06", f"{path} is damaged or cut short: {why}", "Copy or save it again")


def deep(path: Path, known: Facts) -> Array:
    """(row, column, channel) uint16 of a 16-bit colour PNG, alpha included.

    Refused: one colour that counts as see-through (HIL-I04); SimpleITK returns such files with bytes swapped.
    """
    if known.colour == GREY_ALPHA:
        return _grey_alpha(path)
    import SimpleITK

    if known.keyed:
        raise HilumError("HIL-I04", f"{path} names a see-through colour (tRNS)", "Save it without transparency")
    with _itk.named(path) as text:
        array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(text, imageIO="PNGImageIO"))
    if array.dtype != np.uint16 or array.ndim != 3:
        raise _damaged(path, f"it holds {array.dtype} of shape {array.shape} instead of 16-bit colour")
    return array
