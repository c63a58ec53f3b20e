"""Compressed frames: what a codestream says of itself, checked, and decoded by one chosen library per compression."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array

JPEG, LOSSLESS, JPEG_LS, J2K, RLE = "JPEG", "lossless JPEG", "JPEG-LS", "JPEG 2000", "RLE"
FAMILIES = {
    "1.2.840.10008.1.2.4.50": JPEG,
    "1.2.840.10008.1.2.4.51": JPEG,
    "1.2.840.10008.1.2.4.57": LOSSLESS,
    "1.2.840.10008.1.2.4.70": LOSSLESS,
    "1.2.840.10008.1.2.4.80": JPEG_LS,
    "1.2.840.10008.1.2.4.81": JPEG_LS,
    "1.2.840.10008.1.2.4.90": J2K,
    "1.2.840.10008.1.2.4.91": J2K,
    "1.2.840.10008.1.2.4.201": J2K,
    "1.2.840.10008.1.2.4.202": J2K,
    "1.2.840.10008.1.2.4.203": J2K,
    "1.2.840.10008.1.2.5": RLE,
}
# Transfer syntaxes that are decoded, by what their codestreams look like.
_PROCESS = {0xC0: JPEG, 0xC1: JPEG, 0xC2: JPEG, 0xC3: LOSSLESS, 0xF7: JPEG_LS}
_SIZ = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


@dataclass(frozen=True)
class Stream:
    """What a codestream says of itself. Sizes are 0 where only its family is known (its head was cut off).

    colour: "rgb" or "ybr" where markers say so. signed: None where the compression knows no sign.
    syntax: the transfer syntax that it proves.
    """

    family: str
    rows: int = 0
    columns: int = 0
    samples: int = 0
    bits: int = 0
    signed: bool | None = None
    colour: str = ""
    syntax: str = ""


def look(data: bytes) -> Stream | None:
    """What a codestream says of itself, None where it is none that we know (RLE bears no mark)."""
    if data[:4] == _SIZ or data[:12] == _JP2:
        return _look_j2k(data)
    if data[:3] == b"\xff\xd8\xff":
        return _look_jpeg(data)
    return None


def _look_j2k(data: bytes) -> Stream:
    at = data.find(_SIZ)
    siz = data[at + 4 : at + 49]
    if at < 0 or len(siz) < 39:
        return Stream(J2K)
    number = [int.from_bytes(siz[n : n + 4], "big") for n in range(4, 20, 4)]
    high = bool(int.from_bytes(siz[2:4], "big") & 0x4000)
    syntax = "1.2.840.10008.1.2.4.203" if high else "1.2.840.10008.1.2.4.91"
    return Stream(
        J2K, number[1] - number[3], number[0] - number[2], int.from_bytes(siz[36:38], "big"),
        (siz[38] & 0x7F) + 1, bool(siz[38] >> 7), "", syntax,
    )  # fmt: skip


def _look_jpeg(data: bytes) -> Stream:
    """Walks the marker segments up to the frame header, or to the scan where colour markers may still follow."""
    at, colour = 2, ""
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            colour = "rgb" if body[11] == 0 else "ybr"
        elif marker == 0xE0 and body[:4] == b"JFIF":
            colour = colour or "ybr"
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return _frame_header(marker, body, colour)
        elif marker in (0xD9, 0xDA):
            break
        at += 2 + length
    return Stream(JPEG if at + 4 > len(data) else "damaged JPEG")


def _frame_header(marker: int, body: bytes, colour: str) -> Stream:
    family = _PROCESS.get(marker, f"JPEG process SOF{marker & 0xF}")
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        return Stream(family)
    names = bytes(body[6 + 3 * n] for n in range(body[5]))
    if names in (b"RGB", b"rgb"):
        colour = "rgb"
    syntax = {0xC0: "50", 0xC1: "51", 0xC3: "57", 0xF7: "81"}.get(marker, "")
    return Stream(
        family, int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5], body[0], None, colour,
        syntax and f"1.2.840.10008.1.2.4.{syntax}",
    )  # fmt: skip


def whole(data: bytes, family: str) -> None:
    """Refuse a codestream that lacks its end: decoders fill what is missing with zeros or grey (HIL-D44)."""
    if family == RLE:
        return
    body = data.rstrip(b"\0\xff") if not data.endswith(b"\xff\xd9") else data
    if not body.endswith(b"\xff\xd9"):
        what = "is cut short" if b"\xff\xd9" not in body else "has bytes behind its end"
        raise HilumError("HIL-D44", f"The {family} codestream of a frame {what}", "Export it again")
    if family == J2K:
        _tiles(body)


def _tiles(data: bytes) -> None:
    """The tile parts of a JPEG 2000 codestream must follow each other up to its end."""
    at = data.find(_SIZ) + 2
    while data[at : at + 2] != b"\xff\x90":
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at : at + 1] != b"\xff" or length < 2 or at > len(data):
            raise HilumError("HIL-D44", "The JPEG 2000 codestream of a frame is damaged", "Export it again")
        at += 2 + length
    while data[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if length == 0:
            return
        # A length of 0: the last part, it reaches to the end
        at += max(length, 12)
    if at != len(data) - 2:
        raise HilumError(
            "HIL-D44", f"The JPEG 2000 codestream of a frame ends at byte {len(data)} and not {at + 2}",
            "Export it again",
        )  # fmt: skip


def decode(data: bytes, family: str, stream: Stream | None, shape: tuple[int, int, int], bits: int) -> Array:
    """Stored values (rows, columns, samples) of one frame, checked against `shape`.

    bits: allocated for each sample (RLE knows no other). Whatever a library raises becomes HIL-D44, and HIL-D45 where
    it broke down (a panic of a compiled codec, which no `except Exception` sees).
    """
    try:
        if family == RLE:
            array = _rle(data, shape, bits)
        else:
            assert stream is not None
            array = _first(_DECODERS[family], data, stream, shape)
    except (HilumError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:150] or type(error).__name__
        code = "HIL-D45" if isinstance(error, SystemError | MemoryError) else "HIL-D44"
        raise HilumError(code, f"A {family} frame can not be decoded ({words})", "Export it again") from error
    except BaseException as error:
        raise HilumError(
            "HIL-D45", f"The {family} decoder broke down ({type(error).__name__})", "Export it again"
        ) from error
    if array.shape != shape:
        raise HilumError(
            "HIL-D44", f"A decoded frame is {array.shape}, the header says {shape}", "Export it again"
        )  # fmt: skip
    return array


def _first(decoders: tuple[Callable[..., Array], ...], data: bytes, stream: Stream, shape: Any) -> Array:
    """The first decoder whose library is installed; another is never asked because one refused the data."""
    lacking = ""
    for decoder in decoders:
        try:
            return decoder(data, stream, shape)
        except ImportError as error:
            lacking = str(error)
    raise HilumError(
        "HIL-D06", f"{stream.family} can not be decoded here ({lacking})", "Install it, or export uncompressed"
    )


def _openjpeg(data: bytes, stream: Stream, shape: tuple[int, int, int]) -> Array:
    if not stream.signed and shape[2] == 1 and stream.bits <= 16 and stream.syntax.endswith(".91"):
        try:
            # the same library without a detour over streams of Python
            return _gdcm(data, stream, shape)
        except ImportError:
            pass
    import openjpeg

    return np.asarray(openjpeg.decode(data)).reshape(shape)


def _charls(data: bytes, stream: Stream, shape: tuple[int, int, int]) -> Array:
    import jpeg_ls

    buffer, info = jpeg_ls.decode_pixel_data(data)
    flat = np.frombuffer(buffer, "<u1" if info["bits_per_sample"] <= 8 else "<u2")
    if shape[2] > 1 and info["interleave_mode"] == 0:
        return np.moveaxis(flat.reshape(shape[2], shape[0], shape[1]), 0, -1)
    return flat.reshape(shape)


def _pillow(data: bytes, stream: Stream, shape: tuple[int, int, int]) -> Array:
    from PIL import Image

    if stream.bits != 8:
        raise ImportError("Pillow reads 8 bits only")
    picture = Image.open(io.BytesIO(data), formats=("JPEG",))
    if shape[2] == 3 and not stream.colour:
        # Without a marker libjpeg takes any three channels for YCbCr; the DICOM header knows better.
        picture.draft("YCbCr", picture.size)
    return np.asarray(picture).reshape(shape)


def _gdcm(data: bytes, stream: Stream, shape: tuple[int, int, int]) -> Array:
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((shape[1], shape[0], 1))
    image.SetDataElement(element)
    name = "MONOCHROME2" if shape[2] == 1 else "RGB"
    kind = gdcm.PhotometricInterpretation.GetPIType(name)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(stream.syntax)))
    allocated = 8 if stream.bits <= 8 else 16
    image.SetPixelFormat(gdcm.PixelFormat(shape[2], allocated, stream.bits, stream.bits - 1, 0))
    text = image.GetBuffer()
    if text is None:
        raise ValueError("GDCM refuses it")
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), f"<u{allocated // 8}").reshape(shape)


_DECODERS: dict[str, tuple[Callable[..., Array], ...]] = {
    JPEG: (_pillow, _gdcm),
    LOSSLESS: (_gdcm,),
    JPEG_LS: (_charls, _gdcm),
    J2K: (_openjpeg, _gdcm),
}


def _rle(data: bytes, shape: tuple[int, int, int], bits: int) -> Array:
    """DICOM RLE: each byte of each sample is a segment of its own, packed as PackBits, highest byte first."""
    from PIL import Image

    rows, columns, samples = shape
    count, size = samples * bits // 8, rows * columns
    heads = np.frombuffer(data[:64], "<u4") if len(data) >= 64 else np.zeros(1, np.uint32)
    if heads[0] != count:
        raise HilumError("HIL-D44", f"An RLE frame has {heads[0]} segments and not {count}", "Export it again")
    starts = [*(int(v) for v in heads[1 : count + 1]), len(data)]
    if starts[0] < 64 or any(b <= a for a, b in pairwise(starts)):
        raise HilumError("HIL-D44", f"The segments of an RLE frame begin at {starts[:-1]}", "Export it again")
    planes = np.empty((samples, bits // 8, size), np.uint8)
    for number, (start, end) in enumerate(pairwise(starts)):
        # Runs may go on over the ends of rows, so that a segment is unpacked as one long row
        plane = Image.frombytes("L", (size, 1), data[start:end], "packbits", "L")
        planes[number // (bits // 8), bits // 8 - 1 - number % (bits // 8)] = np.asarray(plane).reshape(-1)
    values = np.ascontiguousarray(planes.transpose(2, 0, 1)).view(f"<u{bits // 8}")
    return values.reshape(rows, columns, samples)
