"""Stored pixel values of one DICOM file become modality values (Hounsfield units for CT), frame by frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._dicom.agree import Pixels, check_stream
from hilum.io._dicom.codec import JPEG, RLE, decode, look, whole
from hilum.io._dicom.colour import Palette, from_422, ybr_to_rgb
from hilum.io._dicom.layout import Layout
from hilum.io._dicom.values import MOST_HU, Values, common
from hilum.io._dicom.window import Window
from hilum.io._guard import reading
from hilum.io._volume.voxels import not_finite

__all__ = ["Record", "common", "frame_count", "frames", "kind"]


@dataclass
class Record:
    """What was done to the stored values; `frames` fills it while it runs.

    inverted: MONOCHROME1 was turned. padding_voxels: padding pixels that became air (CT), all frames together.
    signed: the reading of the stored values. odd: values that are NaN or infinite, all frames together. warnings:
    "code: ..." sentences of header and pixels, each once.
    """

    inverted: bool = False
    padding_voxels: int = 0
    signed: bool = False
    odd: int = 0
    warnings: list[str] = field(default_factory=list)

    def warn(self, words: str) -> None:
        """Add a warning, once."""
        if words not in self.warnings:
            self.warnings.append(words)


def kind(header: Any) -> np.dtype[Any]:
    """The dtype of every frame that `frames` gives, from the header alone.

    uint8, int16, uint16, int32 or uint32 where rescaling keeps whole numbers whole, else float32 (float64 beyond 24
    bits). Colours are uint8 or uint16. Several files go together as `common(kinds)`.
    """
    rule = _rule(header)
    if rule is None:
        return np.dtype(f"u{_of(header).layout.allocated // 8}")
    return rule.table.dtype if isinstance(rule, Palette) else rule.kind


def frame_count(header: Any) -> int:
    """Number of frames, at least 1; the file was found to hold so many."""
    return _of(header).layout.frames


def frames(file: Path, header: Any, only: Sequence[int] | None = None, record: Record | None = None) -> Iterator[Array]:
    """Each frame (rows, columns) in modality values, or (rows, columns, 3) RGB; one frame at a time is in memory.

    header: what `_dicom_file.header` gave for this file. only: frame numbers from 0, in any order. record: filled.
    Refused: pixels missing or short (HIL-D01), palettes (D16), colours (D17), rescale (D18), lookup tables (D19),
    codestreams that are short, damaged or of another size (D44), decoders that break down (D45).
    """
    record = Record() if record is None else record
    with reading(Path(file)):
        pixels = _of(header)
        for words in header.hilum_warnings:
            record.warn(words)
        record.signed = pixels.layout.signed
        rule = _rule(header)
        with open(file, "rb", buffering=0) as stream:
            source = _Stored(stream, pixels, record)
            for number in range(pixels.layout.frames) if only is None else only:
                stored = source.frame(number)
                yield _turned(stored, number, pixels, rule, record)


def _of(header: Any) -> Pixels:
    pixels: Pixels | None = header.hilum_pixels
    if pixels is None:
        raise HilumError("HIL-D01", f"{header.filename} has no pixels", "Export it again")
    return pixels


def _rule(header: Any) -> Values | Palette | None:
    """How the stored values are turned (made once for a header), None for true colours, which stay as they are."""
    if not hasattr(header, "hilum_rule"):
        shape = _of(header).layout
        made: Values | Palette | None = None
        if shape.colour == "PALETTE COLOR":
            made = Palette(header, shape.signed)
        elif shape.samples == 1:
            made = Values(header, shape)
        header.hilum_rule = made
    found: Values | Palette | None = header.hilum_rule
    return found


class _Stored:
    """Stored values of one file, a frame at a time."""

    def __init__(self, stream: BinaryIO, pixels: Pixels, record: Record) -> None:
        self.stream, self.pixels, self.layout, self.record = stream, pixels, pixels.layout, record
        self._inflated: Array | None = None
        if pixels.extra > 1:
            self._check_extra()

    def frame(self, number: int) -> Array:
        """(rows, columns) or (rows, columns, 3): unsigned as stored, or real numbers."""
        if not 0 <= number < self.layout.frames:
            raise HilumError(
                "HIL-IO-07", f"The file has {self.layout.frames} frames, {number} was asked for", "Ask for another"
            )
        return self._compressed(number) if self.pixels.family else self._native(number)

    def _compressed(self, number: int) -> Array:
        layout, family = self.layout, self.pixels.family
        parts = []
        for offset, length in self.pixels.spans[number]:
            self.stream.seek(offset)
            parts.append(self.stream.read(length))
            if len(parts[-1]) < length:
                raise HilumError("HIL-D01", f"Frame {number + 1} is cut short", "Export it again")
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        shape = (layout.rows, layout.columns, layout.samples)
        said = None
        if family != RLE:
            said = look(data)
            if said is None or not said.rows or said.family != family:
                raise HilumError("HIL-D44", f"Frame {number + 1} holds no {family} codestream", "Export it again")
            check_stream(said, layout)
            whole(data, family)
        array = decode(data, family, said, shape, layout.allocated)
        if array.dtype.kind == "i":
            if layout.signed and array.itemsize * 8 < layout.stored:
                # it has a sign, which wider numbers must keep
                array = array.astype(f"i{layout.allocated // 8}")
            array = array.view(f"u{array.itemsize}")
        if layout.samples == 1:
            return array[..., 0]
        done = family == JPEG and said is not None and said.colour in ("rgb", "ybr")
        return ybr_to_rgb(array) if layout.colour.startswith("YBR_FULL") and not done else array

    def _native(self, number: int) -> Array:
        layout, bits = self.layout, self.layout.frame_bits
        first, last = bits * number // 8, (bits * (number + 1) + 7) // 8
        if layout.allocated == 1:
            return self._bits(first, last, bits * number % 8)
        raw = self._bytes(first, last)
        if layout.real:
            flat = raw.view(f"{'>' if self.pixels.big else '<'}f{layout.real}")
        else:
            flat = raw.view(f"{'>' if self.pixels.big else '<'}u{layout.allocated // 8}")
        if not flat.dtype.isnative:
            flat = flat.byteswap(inplace=True).view(flat.dtype.newbyteorder())
        if layout.colour == "YBR_FULL_422":
            return ybr_to_rgb(from_422(flat, layout.rows, layout.columns))
        if layout.samples == 1:
            return flat.reshape(layout.rows, layout.columns)
        shape = (3, layout.rows, layout.columns) if layout.planar else (layout.rows, layout.columns, 3)
        values = flat.reshape(shape)
        values = np.ascontiguousarray(np.moveaxis(values, 0, -1)) if layout.planar else values
        return ybr_to_rgb(values) if layout.colour == "YBR_FULL" else values

    def _bits(self, first: int, last: int, skip: int) -> Array:
        """One bit per pixel, the lowest bit first; frames follow each other without a gap."""
        flat = np.unpackbits(self._bytes(first, last), bitorder="little")[skip : skip + self.layout.frame_bits]
        return flat.reshape(self.layout.rows, self.layout.columns)

    def _bytes(self, first: int, last: int) -> Array:
        """Bytes first..last of the pixel data, in memory of their own."""
        place = self.pixels.place
        if self.pixels.big and place.vr == b"OW" and self.layout.allocated <= 8:
            # Words of two bytes in big-endian order, whatever they hold
            low, high = first // 2 * 2, (last + 1) // 2 * 2
            return self._read(low, high).reshape(-1, 2)[:, ::-1].reshape(-1)[first - low : last - low].copy()
        return self._read(first, last)

    def _read(self, first: int, last: int) -> Array:
        """Bytes first..last as they lie in the file."""
        place = self.pixels.place
        if place.deflated is not None:
            return self._inflate()[first:last].copy()
        raw = np.empty(last - first, np.uint8)
        self.stream.seek(place.offset + first)
        got = self.stream.readinto(raw.data)  # type: ignore[attr-defined]
        if got != last - first:
            raise HilumError(
                "HIL-D01", f"The pixel data end {last - first - (got or 0)} bytes early", "Export it again"
            )
        return raw

    def _inflate(self) -> Array:
        """All pixel data of a deflated file (it can only be inflated from its start)."""
        if self._inflated is None:
            place = self.pixels.place
            assert place.length is not None
            size = self.stream.seek(0, 2)
            window = Window(self.stream, size, place.deflated)
            window.most = place.length + (1 << 23)
            if not window.leave_out(0, place.offset) or not window.upto(place.offset + place.length):
                raise HilumError("HIL-D01", "The deflated pixel data are cut short", "Export it again")
            self._inflated = np.frombuffer(window.data, np.uint8, place.length, place.offset - window.base)
        return self._inflated

    def _check_extra(self) -> None:
        """Bytes behind the last frame are left out where they are zeros; anything else may be a shifted picture."""
        place, extra = self.pixels.place, self.pixels.extra
        assert place.length is not None
        for start in range(place.length - extra, place.length, 1 << 20):
            if self._bytes(start, min(start + (1 << 20), place.length)).any():
                raise HilumError(
                    "HIL-D01", f"The pixel data have {extra} bytes more than the header says", "Export it again"
                )
        self.record.warn(f"HIL-D01: {extra} zero bytes behind the pixels were left out")


def _turned(stored: Array, number: int, pixels: Pixels, rule: Values | Palette | None, record: Record) -> Array:
    """Modality values, or colours, of one frame of stored values."""
    layout = pixels.layout
    if rule is None:
        return stored
    if isinstance(rule, Palette):
        picture, beyond = rule.colours(_signed(stored, layout.stored) if layout.signed else stored)
        if beyond:
            record.warn("HIL-D16: some pixels point beyond the palette; they took its first or last colour")
        return picture
    for words in rule.warnings:
        record.warn(words)
    record.inverted = rule.inverted
    if layout.real:
        values = rule.apply(stored, number, None)
        record.odd += not_finite(values.reshape(-1))
        return values
    raw = stored.view(f"i{stored.itemsize}") if layout.signed and not pixels.family else stored
    outside = None if pixels.family else rule.outside(raw, number)
    stored = _within(stored, layout, pixels.family, outside, record)
    if pixels.family:
        outside = rule.outside(stored, number)
    record.padding_voxels += 0 if outside is None else int(np.count_nonzero(outside))
    result = rule.apply(stored, number, outside)
    if rule.modality == "CT" and not layout.signed and layout.stored == 16 and result.max() > MOST_HU:
        record.warn(
            f"HIL-D14: CT values reach {result.max():g}; the header says unsigned and they were read so, "
            "but may be negative ones"
        )
    return result


def _within(stored: Array, layout: Layout, family: str, outside: Array | None, record: Record) -> Array:
    """Stored values within their bits, with their sign. family: compressed ones bear no bits above."""
    bits, wide = layout.stored, stored.itemsize * 8
    if family and family != RLE:
        if layout.signed:
            return _signed(stored, bits)
        return stored & stored.dtype.type((1 << bits) - 1) if bits < wide and stored.max() >> bits else stored
    if layout.high > bits - 1:
        stored = _from_high_bit(stored, layout, record)
    if layout.signed or bits == wide:
        return _signed(stored, bits) if layout.signed else stored
    if not stored.max() >> bits:
        return stored
    above, kept = stored >> bits, stored & stored.dtype.type((1 << bits) - 1)
    seen = above if outside is None else np.where(outside, 0, above)
    negative = seen == (1 << wide - bits) - 1
    if not seen.any():
        return kept
    if negative.any() and not seen[~negative].any() and (kept[negative] >> bits - 1).all():
        record.signed = True
        record.warn(
            "HIL-D14: the header says unsigned values, but they are negative numbers with their sign extended; "
            "read as signed"
        )
        return _signed(stored, wide)
    record.warn(f"HIL-D13: bits above the {bits} stored ones are set (an overlay, or damage); they were left out")
    return kept


def _from_high_bit(stored: Array, layout: Layout, record: Record) -> Array:
    """Values whose highest bit does not lie where BitsStored says: shifted down, where the bits below are empty."""
    shift = layout.high + 1 - layout.stored
    if not (stored & stored.dtype.type((1 << shift) - 1)).any():
        record.warn(f"HIL-D13: HighBit is {layout.high}; values were shifted down by {shift} bits")
        return stored >> shift
    if not stored.max() >> layout.stored:
        record.warn(f"HIL-D13: HighBit is {layout.high}, but the values lie in the lowest {layout.stored} bits")
        return stored
    raise HilumError(
        "HIL-D13",
        f"HighBit is {layout.high} with {layout.stored} bits stored, the pixels fit neither",
        "Export it again",
    )


def _signed(stored: Array, bits: int) -> Array:
    """The lowest `bits` bits as signed numbers."""
    wide = stored.itemsize * 8
    if bits > wide:
        # a codestream of fewer bits than the header says: its highest bit is no sign
        return stored.astype(f"i{2 * stored.itemsize}")
    values = stored.view(f"i{stored.itemsize}")
    if bits == wide:
        return values
    shift = wide - bits
    return np.right_shift(np.left_shift(values, shift), shift)
