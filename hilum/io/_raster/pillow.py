"""Pictures of up to 8 bits per channel, and 16-bit grey PNG, by Pillow; never by a format that is not on the list."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._raster.colour import inked, opaque
from hilum.io._raster.decoded import Decoded
from hilum.io._raster.turn import filled, place

ADOBE_ENDS = ("CMYK", "YCCK")
KEPT = {"1": np.uint8, "L": np.uint8, "P": np.uint8, "RGB": np.uint8, "CMYK": np.uint8, "I;16": np.uint16}
# Modes that are taken as they are; "1" counts 0 and 1.
LOOK_AHEAD = b"\xff\0" * 8
# Bytes of ones, which are no code in a JPEG: enough for a decoder that reads ahead, not for more than two blocks.


def stream(path: Path) -> Path | io.BytesIO:
    """What Pillow should read: the file, or a JPEG of one scan without its end mark.

    At an end mark the decoder fills what is missing with grey and says nothing. Without the mark it asks for more bytes
    and the file is refused as cut; a whole one needs no mark, only a few bytes to look ahead. (Several scans need it.)
    """
    from PIL import Image as Pillow

    with open(path, "rb") as start:
        if start.read(3) != b"\xff\xd8\xff":
            return path
    with Pillow.open(path, formats=["JPEG"]) as opened:
        if opened.format != "JPEG" or opened.info.get("progressive"):
            return path
        components = len(opened.getbands())
    data = path.read_bytes()
    if not _one_scan(data, components):
        return path
    end = data.rfind(b"\xff\xd9")
    return path if end < 0 else io.BytesIO(data[:end] + LOOK_AHEAD)


def _one_scan(data: bytes, components: int) -> bool:
    """Whether the first scan of a JPEG holds all its components."""
    place = 2
    while place + 4 < len(data) and data[place] == 0xFF:
        if data[place + 1] == 0xDA:
            return data[place + 4] == components
        # a marker may have bytes of ones before it
        place += 1 if data[place + 1] == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return True


def decode(path: Path, opened: Any, labels: bool, bits: int) -> Decoded:
    """The picture as grey or RGB; palette indices for labels, and their stored values where they have 1, 2 or 4 bits.

    Refused: no grey or colour (HIL-I02), see-through (I04), an orientation that can not be read (I01).
    """
    kind, warnings = str(opened.format), list[str]()
    orientation = _orientation(path, opened, warnings)
    facts: dict[str, Any] = {"bits": bits, "orientation": orientation}
    picture = _without_alpha(path, opened, bits)
    if picture.mode == "YCbCr" or (picture.mode == "P" and not labels):
        facts["stored"] = "palette" if picture.mode == "P" else "YCbCr"
        picture = picture.convert("RGB")
    if picture.mode == "CMYK":
        _plain_inks(path, opened, facts)
    if picture.mode not in KEPT:
        raise HilumError("HIL-I02", f"{path} is stored as {picture.mode}", "Save it as grey or RGB")
    array = filled(picture, orientation, KEPT[picture.mode])
    if picture.mode == "CMYK":
        array = inked(array, warnings)
    array = _spread(array, picture.mode, labels, bits)
    if opened.info.get("icc_profile"):
        facts["profile_bytes"] = bytes(opened.info["icc_profile"])
    return Decoded(array, kind, _lossy(path, opened), tuple(warnings), facts)


def _orientation(path: Path, opened: Any, warnings: list[str]) -> int:
    """EXIF orientation 1 to 8. Pillow turns TIFF by itself."""
    if opened.format == "TIFF":
        return 1
    # decoding comes first, so that its errors are not taken for errors of the EXIF data
    opened.load()
    try:
        found = opened.getexif().get(274, 1)
    except Exception as error:
        raise HilumError(
            "HIL-I01", f"{path} has EXIF data that can not be read ({error}), so its orientation is unknown",
            "Save it again without EXIF",
        ) from error  # fmt: skip
    if found in range(1, 9):
        return int(found)
    warnings.append(f"HIL-I01: the orientation tag says {found!r}, which has no meaning; the picture was not turned.")
    return 1


def _without_alpha(path: Path, opened: Any, bits: int) -> Any:
    """The picture without its alpha channel or see-through colour, which must not be used anywhere (HIL-I04)."""
    mode = opened.mode
    if not opened.has_transparency_data:
        return opened
    if mode == "I;16" or (mode == "L" and bits in (2, 4)):
        # the key is a stored value, which Pillow spreads over 0 to 255 in the picture alone
        key = opened.info["transparency"] * (1 if mode == "I;16" else 255 // ((1 << bits) - 1))
        opaque(path, np.where(np.asarray(opened) == key, 0, 255), 255)
        return opened
    if mode == "P":
        opaque(path, _shown(opened), 255)
        return opened
    alpha = opened if mode in ("RGBA", "LA") else opened.convert("RGBA")
    opaque(path, np.asarray(alpha.getchannel("A")), 255)
    if mode in ("1", "L", "RGB"):
        return opened
    return opened.convert("L" if mode == "LA" else "RGB")


def _shown(opened: Any) -> Array:
    """Alpha (row, column) of a palette picture: its transparency is one index, or a byte for each index."""
    clear = opened.info.get("transparency")
    table = np.full(256, 255, np.uint8)
    if isinstance(clear, int):
        table[clear] = 0
    elif clear is not None:
        table[: len(clear)] = np.frombuffer(clear, np.uint8)
    else:
        # the palette itself holds alpha
        return np.asarray(opened.convert("RGBA").getchannel("A"))
    return table[np.asarray(opened)]


def _plain_inks(path: Path, opened: Any, facts: dict[str, Any]) -> None:
    """Which way round the inks of a JPEG lie is known only when Adobe's mark is there."""
    facts["stored"] = "CMYK"
    if opened.format != "JPEG":
        return
    if "adobe" not in opened.info:
        raise HilumError(
            "HIL-I02", f"{path} is a CMYK JPEG that does not say whether 0 is no ink or full ink", "Save it as RGB"
        )
    facts["stored"] = ADOBE_ENDS[opened.info.get("adobe_transform") == 2]


def _spread(array: Array, mode: str, labels: bool, bits: int) -> Array:
    """Grey of 1, 2 or 4 bits: stored values for labels, spread over 0 to 255 for pictures."""
    if mode == "1" and not labels:
        array *= np.uint8(255)
    if mode == "L" and labels and bits in (1, 2, 4):
        array //= np.uint8(255 // ((1 << bits) - 1))
    return array


def _lossy(path: Path, opened: Any) -> bool:
    """Whether the codec changes values at edges: JPEG, JPEG strips in TIFF, WebP other than its lossless kind."""
    if opened.format == "TIFF":
        return int(opened.tag_v2.get(259, 1)) in (6, 7)
    if opened.format == "WEBP":
        with open(path, "rb") as stream:
            data = stream.read()
        return b"VP8 " in data and b"VP8L" not in data
    return bool(opened.format == "JPEG")


def deep(path: Path, stored: Array, opened: Any) -> Decoded:
    """A 16-bit colour PNG decoded to (row, column, channel), turned and without its alpha, which must be opaque."""
    warnings = list[str]()
    orientation = _orientation(path, opened, warnings)
    channels = stored.shape[-1]
    if channels in (2, 4):
        opaque(path, stored[..., -1], 65535)
        channels -= 1
    array, place_of = place(channels, stored.shape[0], stored.shape[1], stored.dtype, orientation)
    place_of[...] = np.moveaxis(stored[..., :channels], -1, 0)
    facts: dict[str, Any] = {"bits": 16, "orientation": orientation}
    if opened.info.get("icc_profile"):
        facts["profile_bytes"] = bytes(opened.info["icc_profile"])
    return Decoded(array, "PNG", False, tuple(warnings), facts)
