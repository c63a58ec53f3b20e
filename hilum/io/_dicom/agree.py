"""Pixel data that agree with their header and transfer syntax, found out before anything is decoded or allocated."""

from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from hilum.core.errors import HilumError
from hilum.io._dicom.codec import FAMILIES, RLE, Stream, look
from hilum.io._dicom.fragments import Span, frame_spans, trailing
from hilum.io._dicom.layout import Layout, layout
from hilum.io._dicom.walk import Place
from hilum.io._dicom.window import Window

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
GE_PRIVATE = "1.2.840.113619.5.2"
# Implicit VR, little endian, but for big-endian pixel data.
NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED, GE_PRIVATE)
READ_AHEAD = 1 << 16
# Bytes of a first fragment that are looked at for the codestream's own header.
_NEW = {
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL, JPEG recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
# Names that the library's dictionary may lack.


@dataclass(frozen=True)
class Pixels:
    """Where and how the pixels lie. family: compression, "" for none. spans: fragments of each frame (compressed).

    stream: what the first codestream says of itself. big: byte order of uncompressed values. extra: bytes behind them.
    """

    place: Place
    layout: Layout
    family: str = ""
    stream: Stream | None = None
    big: bool = False
    extra: int = 0
    spans: list[list[Span]] = field(default_factory=list)


def agreed(found: Any, window: Window, stream: BinaryIO, size: int, place: Place, syntax: str) -> Pixels:
    """Pixel data that agree with the header and the transfer syntax."""
    shape = layout(found, place)
    notes = found.hilum_warnings
    if syntax in NATIVE or (not syntax and place.length is not None):
        big = place.big or syntax == GE_PRIVATE
        return _native(window, size, place, shape, big, notes)
    family = FAMILIES.get(syntax, "")
    if syntax and not family:
        import pydicom

        name = _NEW.get(syntax) or pydicom.uid.UID(syntax).name
        raise HilumError(
            "HIL-D06", f"The compression {name} ({syntax}) is not decoded here",
            "Export it uncompressed, or as JPEG 2000 or RLE",
        )  # fmt: skip
    if place.length is not None:
        raise HilumError(
            "HIL-D04", f"The file declares {family} ({syntax}), its pixel data are not compressed", "Export it again"
        )
    extended = found.get("ExtendedOffsetTable") or b""
    spans = frame_spans(stream, place, size, shape.frames, family, extended)
    stream.seek(spans[0][0][0])
    length = spans[0][0][1]
    first = stream.read(min(length, READ_AHEAD))
    said = look(first)
    if said is not None and not said.rows and length > READ_AHEAD:
        first += stream.read(length - READ_AHEAD)
        said = look(first)
    if not syntax:
        family = said.family if said and said.syntax else ""
        if not family:
            raise HilumError(
                "HIL-D03", "The transfer syntax is missing and the pixel data do not show it", "Export it again"
            )
    return _compressed(Pixels(place, shape, family, said, spans=spans), first, syntax, notes)


def _native(window: Window, size: int, place: Place, shape: Layout, big: bool, notes: list[str]) -> Pixels:
    """Uncompressed pixel data: as long as the header says."""
    begins = look(window.peek(place.offset + (16 if place.length is None else 0), 64))
    if place.length is None:
        raise HilumError(
            "HIL-D04", f"The file declares uncompressed pixels, they are {begins.family if begins else 'compressed'}",
            "Export it again",
        )  # fmt: skip
    if shape.colour == "YBR_FULL_422" and shape.columns % 2:
        raise HilumError("HIL-D17", f"YBR_FULL_422 can not have {shape.columns} columns (odd)", "Export it as RGB")
    wanted = (shape.frame_bits * shape.frames + 7) // 8
    full = shape.rows * shape.columns * 3 * shape.frames
    if shape.colour == "YBR_FULL_422" and place.length in (full, full + 1) and place.length > wanted + 1:
        notes.append("HIL-D17: YBR_FULL_422 is declared, but the colours are not subsampled; read as YBR_FULL")
        shape, wanted = replace(shape, colour="YBR_FULL"), full
    if begins is not None and (place.length != wanted or _of_size(window, place, shape)):
        raise HilumError(
            "HIL-D04", f"The file declares uncompressed pixels, they are {begins.family}", "Export it again"
        )
    if place.length < wanted:
        code = "HIL-D12" if shape.frames > 1 and place.length * 8 >= shape.frame_bits else "HIL-D01"
        raise HilumError(
            code, f"The pixel data have {place.length} bytes, {_size(shape)} need {wanted}", "Export it again"
        )  # fmt: skip
    if window.size is not None and place.offset + place.length > window.size:
        left = window.size - place.offset
        code = "HIL-D01" if place.length <= wanted + 1 else "HIL-D07"
        raise HilumError(
            code, f"The pixel data claim {place.length} bytes, the file has {left} left", "Export it again"
        )  # fmt: skip
    if place.deflated is None:
        trailing(window.stream, place, place.offset + place.length, size)
    return Pixels(place, shape, big=big, extra=place.length - wanted)


def _of_size(window: Window, place: Place, shape: Layout) -> bool:
    """Whether pixel data of the right length begin with a codestream of the right size, and so are no pixels."""
    said = look(window.peek(place.offset, READ_AHEAD))
    return said is not None and (said.rows, said.columns) == (shape.rows, shape.columns)


def _size(shape: Layout) -> str:
    return f"{shape.frames} x {shape.rows} x {shape.columns} pixels of {shape.allocated} bits"


def _compressed(pixels: Pixels, first: bytes, syntax: str, notes: list[str]) -> Pixels:
    """Compressed pixel data: what the first codestream says of itself must fit the header."""
    said, shape, family = pixels.stream, pixels.layout, pixels.family
    if shape.real or shape.allocated == 1:
        raise HilumError(
            "HIL-D13", f"Compressed pixels of {shape.allocated} bits are not understood", "Export it again"
        )
    if family == RLE:
        count = int.from_bytes(first[:4], "little")
        if said is not None or not 0 < count <= 15:
            raise HilumError(
                "HIL-D04", f"The file declares RLE, its pixel data begin with {first[:4].hex(' ')}", "Export it again"
            )
        return pixels
    if said is None or (said.family != family and said.family != "damaged JPEG"):
        seen = said.family if said else f"no codestream ({first[:4].hex(' ')})"
        raise HilumError("HIL-D04", f"The file declares {family} ({syntax}), its pixels are {seen}", "Export it again")
    if said.rows:
        check_stream(said, shape)
        if said.signed is not None and said.signed != shape.signed and shape.samples == 1:
            words = ("unsigned", "signed")
            notes.append(
                f"HIL-D14: the header says {words[shape.signed]} values, the codestream {words[said.signed]}; "
                f"read as {words[shape.signed]}"
            )
        if said.bits > shape.stored:
            notes.append(
                f"HIL-D13: BitsStored is {shape.stored}, the codestream holds {said.bits} bits; read as {said.bits}"
            )
            shape = replace(shape, stored=said.bits, high=said.bits - 1)
        elif said.bits < shape.stored and shape.signed and not said.signed and shape.samples == 1:
            notes.append(
                f"HIL-D14: the header says {shape.stored} signed bits, the codestream {said.bits} unsigned ones; "
                "read as numbers from 0 upwards"
            )
    return replace(pixels, layout=shape)


def check_stream(said: Stream, shape: Layout) -> None:
    """A codestream must have the header's size (HIL-D44) and no more bits than are allocated (HIL-D13)."""
    if (said.rows, said.columns, said.samples) != (shape.rows, shape.columns, shape.samples):
        raise HilumError(
            "HIL-D44", f"The codestream holds {said.rows} x {said.columns} pixels of {said.samples} samples, "
            f"the header says {shape.rows} x {shape.columns} of {shape.samples}", "Export it again",
        )  # fmt: skip
    if said.bits > shape.allocated:
        raise HilumError(
            "HIL-D13", f"The codestream holds {said.bits} bits, BitsAllocated is {shape.allocated}", "Export it again"
        )
