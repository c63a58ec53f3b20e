"""TIFF: checked against the size of the file, then decoded strip by strip (or tile by tile) into one array.

tifffile reads the tags. It has no LZW of its own and fills missing strips with zeros, so strips are decoded here: what
is missing or short is refused. JPEG and fax strips are left to Pillow's libtiff.
"""

import io
import itertools
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._raster.colour import inked, opaque
from hilum.io._raster.decoded import MOST_BYTES, MOST_PIXELS, Decoded
from hilum.io._raster.turn import ROWS, place

NONE, LZW, PACKBITS, LZMA, ZSTD = 1, 5, 32773, 34925, 50000
DEFLATE = (8, 32946)
JPEG, FAX = (6, 7), (2, 3, 4)
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INKS, YCBCR = 0, 1, 2, 3, 5, 6
SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, INKS: 4, YCBCR: 3}
# Samples that each photometric interpretation needs; what comes on top are extra samples, for example alpha.
KINDS = {
    (1, 1): "u1", (1, 2): "u1", (1, 4): "u1", (1, 8): "u1", (1, 16): "u2", (1, 32): "u4", (1, 64): "u8",
    (2, 8): "i1", (2, 16): "i2", (2, 32): "i4", (2, 64): "i8", (3, 16): "f2", (3, 32): "f4", (3, 64): "f8",
}  # fmt: skip
# (sample format, bits): the numpy type it becomes.
MOST_TILE = 1 << 24
MOST_TAGS = 4096
DECIDING = frozenset(
    {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347}
)
# Tags without which pixels would come out otherwise.


def decode(path: Path, labels: bool) -> Decoded | None:
    """The picture, or None where Pillow should decode it (JPEG and fax strips), with everything checked before.

    Refused: odd kinds (HIL-I02), several pages and see-through (I04), too large (I05), damaged (I06).
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        _whole_tags(path, file, page)
        _one_page(path, file, page)
        _checked(path, page, path.stat().st_size)
        code = int(page.compression)
        if code in FAX or code in JPEG:
            _ended(path, page, file.filehandle)
            return None
        orientation, strange = _orientation(page)
        array = _pixels(path, page, file.filehandle, orientation)
        facts: dict[str, Any] = {"bits": int(page.bitspersample), "orientation": orientation}
        warnings = [strange] if strange else []
        array = _meaning(path, page, array, labels, facts, warnings)
        if page.iccprofile:
            facts["profile_bytes"] = bytes(page.iccprofile)
        return Decoded(array, "TIFF", False, tuple(warnings), facts)


def _whole_tags(path: Path, file: Any, page: Any) -> None:
    """tifffile passes over a tag that it can not read and guesses its value: refused where the tag decides pixels."""
    big = bool(file.is_bigtiff)
    form, wide, step = (file.byteorder + "Q", 8, 20) if big else (file.byteorder + "H", 2, 12)
    stream = file.filehandle
    stream.seek(page.offset)
    (count,) = struct.unpack(form, stream.read(wide))
    entries = stream.read(min(count, MOST_TAGS) * step)
    listed = {struct.unpack_from(file.byteorder + "H", entries, at)[0] for at in range(0, len(entries) - 1, step)}
    lost = sorted(code for code in listed & DECIDING if page.tags.get(code) is None)
    if lost:
        raise _damaged(path, f"its tag {lost[0]} can not be read")


def _one_page(path: Path, file: Any, page: Any) -> None:
    pages = len(file.pages)
    if pages == 1 and file.is_imagej:
        pages = int((file.imagej_metadata or {}).get("images", 1))
    if pages == 1 and file.is_shaped:
        shapes = [s["shape"] for s in file.shaped_metadata or () if "shape" in s]
        pages = max([1, *(int(np.prod(s, dtype=np.int64)) // max(1, int(page.size)) for s in shapes)])
    if pages == 1:
        pages = max(int(page.imagedepth), 2 if file.is_stk or file.is_lsm else 1)
    if pages > 1:
        raise HilumError("HIL-I04", f"{path} has {pages} pages", "Save the one page that is meant")
    if page.is_reduced:
        raise HilumError(
            "HIL-I04", f"{path} shows only a thumbnail of a picture (raw camera file)", "Export it as TIFF"
        )


def _checked(path: Path, page: Any, size: int) -> None:
    """Everything the tags claim, before a byte of pixels is read or allocated."""
    width, height, samples = int(page.imagewidth), int(page.imagelength), int(page.samplesperpixel)
    if min(width, height, samples) < 1:
        raise _damaged(path, f"it claims {width} x {height} pixels of {samples} samples")
    per_pixel = samples * max(1, _largest(page) // 8)
    if width * height > MOST_PIXELS or width * height * per_pixel > MOST_BYTES:
        raise HilumError("HIL-I05", f"{path} has {width} x {height} pixels of {per_pixel} bytes", "Cut or shrink it")
    photometric, code = int(page.photometric), int(page.compression)
    known = code in (NONE, LZW, PACKBITS, LZMA, ZSTD, *DEFLATE, *JPEG, *FAX)
    by_pillow = code in FAX or code in JPEG
    kind = f"{getattr(page.photometric, 'name', photometric)}, {getattr(page.compression, 'name', code)}"
    if photometric not in SAMPLES or not known or (photometric == YCBCR and code not in JPEG):
        raise HilumError("HIL-I02", f"{path} is a TIFF of kind {kind}", "Save it as grey or RGB")
    extra = samples - SAMPLES[photometric]
    if extra not in (0, 1) or (by_pillow and extra):
        raise HilumError("HIL-I02", f"{path} has {samples} samples in each pixel ({kind})", "Save it as grey or RGB")
    if isinstance(page.bitspersample, tuple) or (_format(page), int(page.bitspersample)) not in KINDS:
        raise HilumError(
            "HIL-I02", f"{path} has samples of {page.bitspersample} bits, format {_format(page)}", "Save 8 or 16 bits"
        )
    predictor, bits = int(page.predictor), int(page.bitspersample)
    if predictor != 1 and (bits < 8 or predictor not in (2, 3) or (predictor == 3 and _format(page) != 3)):
        raise HilumError("HIL-I02", f"{path} has predictor {predictor} on {bits} bits", "Save it without predictor")
    _segments_fit(path, page, size)


def _segments_fit(path: Path, page: Any, size: int) -> None:
    rows, columns = _block(page)
    if rows * columns > MOST_TILE and page.is_tiled:
        raise HilumError("HIL-I05", f"{path} has tiles of {columns} x {rows} pixels", "Save it with smaller tiles")
    planes = int(page.samplesperpixel) if int(page.planarconfig) == 2 else 1
    needed = planes * -(-int(page.imagelength) // rows) * -(-int(page.imagewidth) // columns)
    if not len(page.dataoffsets) == len(page.databytecounts) == needed:
        raise _damaged(path, f"it needs {needed} strips or tiles and lists {len(page.dataoffsets)}")
    for number, (start, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        if count < 1 or start < 8 or start + count > size:
            raise _damaged(path, f"strip {number} claims bytes {start} to {start + count}, the file has {size}")


def _ended(path: Path, page: Any, stream: Any) -> None:
    """libtiff fills the rest of a cut JPEG strip with grey and says nothing: each must end with its own mark."""
    if int(page.compression) != JPEG[1]:
        return
    for number, (start, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        stream.seek(start + max(0, count - 16))
        if not stream.read(min(count, 16)).rstrip(b"\0").endswith(b"\xff\xd9"):
            raise _damaged(path, f"JPEG strip {number} has no end")


def _largest(page: Any) -> int:
    bits = page.bitspersample
    return int(max(bits) if isinstance(bits, tuple) else bits)


def _format(page: Any) -> int:
    kind = page.sampleformat
    return int(kind[0] if isinstance(kind, tuple) and len(set(kind)) == 1 else 0 if isinstance(kind, tuple) else kind)


def _block(page: Any) -> tuple[int, int]:
    """Rows and columns of one strip or tile."""
    if page.is_tiled:
        return max(1, int(page.tilelength)), max(1, int(page.tilewidth))
    return max(1, min(int(page.rowsperstrip), int(page.imagelength))), int(page.imagewidth)


def _orientation(page: Any) -> tuple[int, str]:
    """1 to 8, and a warning where the tag says something else."""
    tag = page.tags.get(274)
    found = tag.value if tag is not None else 1
    if found in range(1, 9):
        return int(found), ""
    return 1, f"HIL-I01: the orientation tag says {found!r}, which has no meaning; the picture was not turned."


def _pixels(path: Path, page: Any, stream: Any, orientation: int) -> Array:
    """(samples, row, column) of all strips or tiles, values as stored."""
    samples, height, width = int(page.samplesperpixel), int(page.imagelength), int(page.imagewidth)
    out, stored = place(samples, height, width, KINDS[_format(page), int(page.bitspersample)], orientation)
    rows, columns = _block(page)
    inside = 1 if int(page.planarconfig) == 2 else samples
    places = itertools.product(range(0, samples, inside), range(0, height, rows), range(0, width, columns))
    row = -(-columns * inside * int(page.bitspersample) // 8)
    for number, (channel, top, left) in enumerate(places):
        high = rows if page.is_tiled else min(rows, height - top)
        # a strip that is not packed may be as large as the picture and is read in bands
        band = min(high, ROWS) if int(page.compression) == NONE else high
        for first in range(0, high, band):
            some = min(band, high - first)
            raw = _unpacked(path, page, stream, number, first * row, some * row, some)
            block = _numbers(page, raw, some, columns, inside)
            part = stored[channel : channel + inside, top + first : top + first + some, left : left + columns]
            part[...] = np.moveaxis(block, -1, 0)[:, : part.shape[1], : part.shape[2]]
    return out


def _unpacked(path: Path, page: Any, stream: Any, number: int, start: int, wanted: int, rows: int) -> bytes:
    """The unpacked bytes of one strip or tile, never more than `wanted`; fewer are refused (HIL-I06).

    start: bytes to pass over, where the strip is not packed.
    """
    stream.seek(page.dataoffsets[number] + start)
    code, count = int(page.compression), page.databytecounts[number]
    data = stream.read(max(0, min(count - start, wanted)) if code == NONE else count)
    if int(page.fillorder) == 2:
        data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tobytes()
    if code in DEFLATE:
        data = zlib.decompressobj().decompress(data, wanted)
    elif code == LZMA:
        data = lzma.LZMADecompressor().decompress(data, wanted)
    elif code != NONE:
        data = _by_libtiff(data, code, wanted, rows)
    if len(data) < wanted:
        raise _damaged(path, f"strip {number} gives {len(data)} of {wanted} bytes")
    return data


def _by_libtiff(data: bytes, code: int, wanted: int, rows: int) -> bytes:
    """One compressed strip, wrapped as a whole TIFF of grey bytes that Pillow's libtiff unpacks."""
    from PIL import Image as Pillow

    tags = {256: wanted // rows, 257: rows, 258: 8, 259: code, 262: 1, 273: 0, 277: 1, 278: rows, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    head += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()) + bytes(4)
    with Pillow.open(io.BytesIO(head + data), formats=["TIFF"]) as strip:
        return strip.tobytes()


def _numbers(page: Any, raw: bytes, rows: int, columns: int, samples: int) -> Array:
    """(rows, columns, samples) of one strip or tile, its predictor undone."""
    bits = int(page.bitspersample)
    if bits < 8:
        single = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(rows, -1), axis=1).reshape(rows, -1, bits)
        values = single @ (1 << np.arange(bits - 1, -1, -1)).astype(np.uint8)
        return values[:, : columns * samples].reshape(rows, columns, samples)
    kind = np.dtype(KINDS[_format(page), bits])
    if int(page.predictor) == 3:
        # bytes of equal weight lie together in each row, most significant first
        planes = np.frombuffer(raw, np.uint8).reshape(rows, -1, samples).cumsum(axis=1, dtype=np.uint8)
        turned = np.moveaxis(planes.reshape(rows, kind.itemsize, -1), 1, -1)
        return np.ascontiguousarray(turned).view(kind.newbyteorder(">")).reshape(rows, columns, samples)
    whole = np.dtype(f"u{kind.itemsize}")
    stored = whole.newbyteorder(">" if page.parent.byteorder == ">" else "<")
    values = np.frombuffer(raw, stored).reshape(rows, columns, samples).astype(whole)
    # differences were taken between the bits of neighbours, of fractions too
    return (values.cumsum(axis=1, dtype=whole) if int(page.predictor) == 2 else values).view(kind)


def _meaning(path: Path, page: Any, array: Array, labels: bool, facts: dict[str, Any], warnings: list[str]) -> Array:
    """Grey or RGB out of the stored samples; alpha must be opaque."""
    photometric, bits = int(page.photometric), int(page.bitspersample)
    colours = SAMPLES[photometric]
    if array.shape[0] > colours:
        top = (
            (1 << bits) - 1 if array.dtype.kind == "u" else 1 if array.dtype.kind == "f" else np.iinfo(array.dtype).max
        )
        opaque(path, array[-1], top)
        array = array[:colours]
    # a label is the number that was stored, whatever it looks like
    if photometric == WHITE_IS_ZERO and not labels:
        if array.dtype.kind != "u":
            raise HilumError("HIL-I02", f"{path} has white as zero in {array.dtype}", "Save it with black as zero")
        np.subtract((1 << bits) - 1, array, out=array, dtype=array.dtype, casting="unsafe")
    if photometric == PALETTE and not labels:
        facts["stored"] = "palette"
        table = np.asarray(page.colormap)
        if table.shape != (3, 1 << bits):
            raise _damaged(path, f"its palette has shape {table.shape} for {bits} bits")
        # colours of a TIFF palette have 16 bits; most writers fill the upper byte only or repeat it
        return (table >> 8 if table.max() > 255 else table).astype(np.uint8)[:, array[0]]
    if photometric == INKS:
        if bits != 8:
            raise HilumError("HIL-I02", f"{path} has CMYK inks of {bits} bits", "Save it as RGB")
        facts["stored"] = "CMYK"
        return inked(array, warnings)
    if bits < 8 and photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and not labels:
        array *= np.uint8(255 // ((1 << bits) - 1))
    return array


def _damaged(path: Path, why: str) -> HilumError:
    return HilumError("HIL-I06", f"{path} is damaged or cut short: {why}", "Copy or save it again")
