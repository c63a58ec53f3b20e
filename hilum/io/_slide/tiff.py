"""Tiled and pyramidal TIFF (plain, Aperio SVS, OME): only the tiles that a region touches are read and decoded.

Each tile becomes a TIFF of its own in memory, which Pillow's libtiff decodes: shared JPEG tables, RGB or YCbCr JPEG,
LZW, deflate and predictors behave as libtiff defines them. JPEG 2000 tiles go to Pillow's own decoder.
"""

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._raw.xml import parsed

MOST_PAGES = 64
MOST_TILE = 1 << 26
# Pixels of one tile or strip.
MOST_XML = 1 << 24
JPEG, JPEG2000, APERIO_YCC = 7, (33003, 33005, 34712), 33003
GREY, RGB, YCBCR = 1, 2, 6
SUFFIX = "Save it as tiled 8-bit RGB TIFF"
UNITS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
FINEST, COARSEST = 0.01, 100.0
# Micrometres per pixel outside of these are a default that nobody set (72 dpi, 1 pixel per unit).


class TiffSlide:
    """An open slide. shapes: (rows, columns) of each level. mpp: micrometres (row, column) at level 0, or None.

    channels: 1 or 3. exotic: the maker's name where its tiles do not simply lie side by side. orientation: 1 to 8 as
    in EXIF, 1 is upright.
    """

    backend = "tiff"

    def __init__(self, path: Path) -> None:
        import tifffile

        self.path = path
        try:
            # flags are switched off where their files could name other files
            self._file = tifffile.TiffFile(path, is_ome=False, is_micromanager=False, is_stk=False)
        except tifffile.TiffFileError as error:
            raise HilumError("HIL-I07", f"{path} is no TIFF ({error})", SUFFIX) from error
        try:
            self._size = path.stat().st_size
            self.pages = _levels(path, self._file)
            first: Any = self.pages[0]
            self.shapes = [(int(page.imagelength), int(page.imagewidth)) for page in self.pages]
            self.tiled, self.description = bool(first.is_tiled), str(first.description)
            self.channels = int(first.samplesperpixel)
            self.exotic = _exotic(self._file, first)
            self.vendor = self.exotic or ("aperio" if self.description.startswith("Aperio") else "tiff")
            self.lossy = int(first.compression) == JPEG or int(first.compression) in JPEG2000
            self.mpp = _mpp(first, self.description)
            said = first.tags.get(274)
            self.orientation = int(said.value) if said is not None and said.value in range(1, 9) else 1
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "TiffSlide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def plain(self) -> bool:
        """8 bits, grey or RGB."""
        first: Any = self.pages[0]
        bits = first.bitspersample if isinstance(first.bitspersample, tuple) else (first.bitspersample,)
        kinds = {1: (GREY,), 3: (RGB, YCBCR)}.get(self.channels, ())
        return set(bits) == {8} and int(first.photometric) in kinds and int(first.sampleformat or 1) == 1

    def check(self) -> None:
        """Refuse what can not be shown as 8-bit RGB (HIL-I02)."""
        first: Any = self.pages[0]
        if not self.plain:
            raise HilumError(
                "HIL-I02",
                f"{self.path} is a slide of {self.channels} channels, {first.bitspersample} bits, "
                f"kind {getattr(first.photometric, 'name', first.photometric)}",
                SUFFIX,
            )
        apart = self.channels > 1 and int(first.planarconfig) == 2
        if int(first.photometric) == YCBCR and (apart or int(first.compression) not in (JPEG, *JPEG2000)):
            raise HilumError("HIL-I02", f"{self.path} is a YCbCr slide without JPEG compression", SUFFIX)
        images = _planes(self.description)
        if images > 1:
            raise HilumError("HIL-I04", f"{self.path} has {images} planes (depths, times or channels)", SUFFIX)

    def fill(self, level: int, top: int, left: int, out: Array) -> int:
        """Pixels from (top, left) on into `out` (channels or 3, rows, columns); gives how many pixels are empty: 0."""
        page: Any = self.pages[level]
        high, wide = _tile(page)
        rows, columns = out.shape[1:]
        with open(self.path, "rb") as stream:
            for y in range(top // high, -(-(top + rows) // high)):
                for x in range(left // wide, -(-(left + columns) // wide)):
                    tile = self._decoded(stream, page, level, y, x)
                    y0, x0 = y * high - top, x * wide - left
                    skip_y, skip_x = max(0, -y0), max(0, -x0)
                    part = tile[:, skip_y : rows - y0, skip_x : columns - x0]
                    y0, x0 = y0 + skip_y, x0 + skip_x
                    out[:, y0 : y0 + part.shape[1], x0 : x0 + part.shape[2]] = part
        return 0

    def _decoded(self, stream: Any, page: Any, level: int, y: int, x: int) -> Array:
        """One tile (channels, rows, columns); a missing, cut or undecodable one is refused by name (HIL-I09)."""
        high, wide = _tile(page)
        if not page.is_tiled:
            high = min(high, int(page.imagelength) - y * high)
        across, down = -(-int(page.imagewidth) // wide), -(-int(page.imagelength) // _tile(page)[0])
        apart = self.channels > 1 and int(page.planarconfig) == 2
        number, planes = y * across + x, self.channels if apart else 1
        where = f"{self.path}: {'tile' if page.is_tiled else 'strip'} (row {y}, column {x}) of level {level}"
        parts = []
        for plane in range(planes):
            data = self._bytes(stream, page, number + plane * across * down, where)
            try:
                parts.append(_pixels(data, page, high, wide, 1 if apart else self.channels))
            except Exception as error:
                words = " ".join(str(error).split())[:120]
                raise HilumError("HIL-I09", f"{where} can not be decoded ({words})", "Use another region") from error
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _bytes(self, stream: Any, page: Any, number: int, where: str) -> bytes:
        offsets, counts = page.dataoffsets, page.databytecounts
        if number >= len(offsets) or number >= len(counts) or not offsets[number] or not counts[number]:
            raise HilumError("HIL-I09", f"{where} is missing", "Use another region or level")
        offset, count = int(offsets[number]), int(counts[number])
        high, wide = _tile(page)
        if offset + count > self._size or count > 4 * high * wide * self.channels + (1 << 16):
            raise HilumError(
                "HIL-I09", f"{where} claims bytes {offset} to {offset + count} of {self._size}", "Copy it again"
            )
        stream.seek(offset)
        data: bytes = stream.read(count)
        if int(page.compression) == JPEG and b"\xff\xd9" not in data.rstrip(b"\0")[-8:]:
            # libjpeg would fill the rest with grey
            raise HilumError("HIL-I09", f"{where} is cut short", "Use another region or level")
        return data


def _tile(page: Any) -> tuple[int, int]:
    """Rows and columns of a tile, or of a strip."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return max(1, min(int(page.rowsperstrip), int(page.imagelength))), int(page.imagewidth)


def _levels(path: Path, file: Any) -> list[Any]:
    """Full resolution first; pages with another shape (label, macro, thumbnail) are left out."""
    pages = []
    for number in range(MOST_PAGES):
        try:
            pages.append(file.pages[number])
        except IndexError:
            break
    if not pages:
        raise HilumError("HIL-I07", f"{path} has no image", SUFFIX)
    _unbroken(path, file, pages[-1])
    base = pages[0]
    inner: Any = base.pages
    pages += [inner[number] for number in range(min(len(base.subifds or ()), MOST_PAGES))]
    rows, columns = int(base.imagelength), int(base.imagewidth)
    found, planes = {(rows, columns): base}, 1
    for page in pages[1:]:
        shape = (int(page.imagelength), int(page.imagewidth))
        planes += shape == (rows, columns)
        like = page.is_tiled and page.samplesperpixel == base.samplesperpixel and min(shape) > 0
        if like and shape[1] < columns and abs(shape[0] - rows * shape[1] / columns) <= max(2, 0.01 * shape[0]):
            found.setdefault(shape, page)
    if planes > 1:
        raise HilumError("HIL-I04", f"{path} has {planes} planes of one size", "Save the one that is meant")
    kept = [found[shape] for shape in sorted(found, reverse=True)]
    for page in kept:
        high, wide = _tile(page)
        if high < 1 or wide < 1 or high * wide > MOST_TILE:
            raise HilumError("HIL-I05", f"{path} has tiles of {high} x {wide} pixels", "Save it in tiles of 256 x 256")
    return kept


def _unbroken(path: Path, file: Any, last: Any) -> None:
    """Refuse a file whose last page speaks of another one past the end: levels are cut off (HIL-I06)."""
    form, stream = file.tiff, file.filehandle
    stream.seek(last.offset)
    (tags,) = struct.unpack(form.tagnoformat, stream.read(form.tagnosize))
    stream.seek(last.offset + form.tagnosize + tags * form.tagsize)
    (onward,) = struct.unpack(form.offsetformat, stream.read(form.offsetsize))
    if onward >= stream.size:
        raise HilumError("HIL-I06", f"{path} is cut short: a page at byte {onward} of {stream.size}", "Copy it again")


def _exotic(file: Any, page: Any) -> str:
    """Makers whose tiles overlap, lie in another order or are left out on purpose; "" for all others."""
    for name in ("ndpi", "scn", "bif", "philips"):
        if getattr(file, f"is_{name}"):
            return name
    return "trestle" if str(page.software).startswith("MedScan") else ""


def _pixels(data: bytes, page: Any, high: int, wide: int, channels: int) -> Array:
    """(channels, rows, columns) uint8 of one tile."""
    from PIL import Image as Pillow

    kind = int(page.compression)
    packed = kind in JPEG2000
    raw = data if packed else _alone(data, page, high, wide, channels)
    with Pillow.open(io.BytesIO(raw), formats=["JPEG2000" if packed else "TIFF"]) as opened:
        picture: Any = opened
        if picture.size != (wide, high):
            raise ValueError(f"{picture.size[0]} x {picture.size[1]} pixels instead of {wide} x {high}")
        if kind == APERIO_YCC and picture.mode == "RGB":
            picture = Pillow.merge("YCbCr", picture.split()).convert("RGB")
        if picture.mode != ("L" if channels == 1 else "RGB"):
            raise ValueError(f"{picture.mode} pixels")
        array = np.asarray(picture)
    return array[None] if channels == 1 else np.moveaxis(array, -1, 0)


def _alone(data: bytes, page: Any, high: int, wide: int, channels: int) -> bytes:
    """A TIFF (little endian) with one strip, which is this tile."""
    photometric = int(page.photometric) if channels > 1 else GREY
    tags: dict[int, tuple[str, tuple[int, ...] | bytes]] = {
        256: ("I", (wide,)), 257: ("I", (high,)), 258: ("H", (8,) * channels), 259: ("H", (int(page.compression),)),
        262: ("H", (photometric,)), 266: ("H", (int(page.fillorder or 1),)), 273: ("I", (0,)),
        277: ("H", (channels,)), 278: ("I", (high,)), 279: ("I", (len(data),)), 284: ("H", (1,)),
        317: ("H", (int(page.predictor or 1),)),
    }  # fmt: skip
    if page.jpegtables:
        tags[347] = ("B", bytes(page.jpegtables))
    if photometric == YCBCR and page.subsampling:
        tags[530] = ("H", tuple(int(v) for v in page.subsampling))
    start = 8 + 2 + 12 * len(tags) + 4
    extra = b""
    entries = []
    for tag in sorted(tags):
        letter, values = tags[tag]
        plain = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{letter}", *values)
        if len(plain) > 4:
            place = struct.pack("<I", start + len(extra))
            extra += plain + b"\0" * (len(plain) % 2)
        else:
            place = plain.ljust(4, b"\0")
        entries.append((tag, {"B": 1, "H": 3, "I": 4}[letter], len(values), place))
    body = b"".join(
        struct.pack("<HHI", tag, kind, count) + (struct.pack("<I", start + len(extra)) if tag == 273 else place)
        for tag, kind, count, place in entries
    )
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + body + b"\0\0\0\0" + extra + data


def _ome(description: str) -> Any:
    """The first <Pixels> of an OME header, or None."""
    if "<OME" not in description[:4096]:
        return None
    root = parsed(description.encode(), MOST_XML, "HIL-I09")
    return root.find("{*}Image/{*}Pixels")


def _planes(description: str) -> int:
    """Depths x times x separate channels that an OME header speaks of; 1 where there is none."""
    pixels = _ome(description)
    if pixels is None:
        return 1
    sizes = {name: int(pixels.get(f"Size{name}", "1")) for name in "ZTC"}
    return sizes["Z"] * sizes["T"] * (1 if sizes["C"] == 3 else sizes["C"])


def _mpp(page: Any, description: str) -> tuple[float, float] | None:
    """Micrometres per pixel (row, column): Aperio's, else OME's, else the resolution tags; None where not credible."""
    found: tuple[float, float] | None = None
    aperio = re.search(r"\bMPP\s*=\s*([0-9]+\.?[0-9]*)", description) if description.startswith("Aperio") else None
    pixels = _ome(description)
    if aperio:
        found = (float(aperio[1]), float(aperio[1]))
    elif pixels is not None and pixels.get("PhysicalSizeX") and pixels.get("PhysicalSizeY"):
        x, y = (
            float(pixels.get(f"PhysicalSize{axis}")) * UNITS.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), 0.0)
            for axis in "XY"
        )
        found = (y, x)
    else:
        down, across = (page.tags.valueof(tag, default=(0, 1)) for tag in (283, 282))
        found = by_resolution(down, across, page.tags.valueof(296, default=2))
    return credible(found)


def by_resolution(down: Any, across: Any, unit: int) -> tuple[float, float] | None:
    """Micrometres (row, column) from pixels per inch (2) or centimetre (3), given as numerator and denominator."""
    per = {2: 25400.0, 3: 10000.0}.get(int(unit))
    if per is None or not (down[0] and down[1] and across[0] and across[1]):
        return None
    return per * down[1] / down[0], per * across[1] / across[0]


def credible(mpp: tuple[float, float] | None) -> tuple[float, float] | None:
    """The resolution, unless it can not be that of a slide."""
    return mpp if mpp is not None and all(FINEST <= v <= COARSEST for v in mpp) else None
