"""Colours of DICOM pictures become RGB: palettes and the YCbCr kinds."""

from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array

MOST_COLOURS = 1 << 16
_NAMES = ("Red", "Green", "Blue")


def ybr_to_rgb(values: Array) -> Array:
    """(rows, columns, 3) YCbCr, full range, 8 bits -> RGB uint8 (ITU-R BT.601, as PS3.3 C.7.6.3.1.2 has it)."""
    from pydicom.pixels.processing import convert_color_space

    if values.dtype != np.uint8:
        raise HilumError("HIL-D17", f"YCbCr colours of {values.dtype} are not understood", "Export it as RGB")
    return np.asarray(convert_color_space(values, "YBR_FULL", "RGB"))


def from_422(flat: Array, rows: int, columns: int) -> Array:
    """Stored Y Y Cb Cr groups of two neighbouring pixels -> (rows, columns, 3) YCbCr; columns are even."""
    groups = flat.reshape(rows, columns // 2, 4)
    out = np.empty((rows, columns // 2, 2, 3), flat.dtype)
    out[..., 0] = groups[..., :2]
    out[..., 1:] = groups[..., None, 2:]
    return out.reshape(rows, columns, 3)


class Palette:
    """The colours of a PALETTE COLOR picture: table (n, 3) uint8 or uint16, and the stored value of its first row."""

    def __init__(self, header: Any, signed: bool) -> None:
        """Refused (HIL-D16): descriptors that differ or make no sense, tables shorter than they say."""
        channels = [_channel(header, name, signed) for name in _NAMES]
        if len({(len(table), first, table.dtype) for table, first in channels}) != 1:
            raise HilumError("HIL-D16", "The three tables of the palette differ in size", "Export it as RGB")
        self.table = np.stack([table for table, _ in channels], axis=-1)
        self.first = channels[0][1]

    def colours(self, stored: Array) -> tuple[Array, int]:
        """RGB of stored values, and how many lie beyond the table (they take its first or last colour)."""
        last = len(self.table) - 1
        low, high = int(stored.min()) - self.first, int(stored.max()) - self.first
        index = stored.astype(np.int64) - self.first if self.first else stored
        beyond = 0
        if high > last or low < 0:
            beyond = int((index > last).sum() + (index < 0).sum())
            index = np.clip(index, 0, last)
        return self.table[index], beyond


def _channel(header: Any, name: str, signed: bool) -> tuple[Array, int]:
    """(values, first stored value) of one colour's table."""
    big = header.hilum_pixels.place.big
    said = header.get(f"{name}PaletteColorLookupTableDescriptor")
    count, first, bits = descriptor(said, f"the {name.lower()} palette", "HIL-D16", signed)
    raw = table_bytes(header, f"{name}PaletteColorLookupTableData", big)
    segmented = table_bytes(header, f"Segmented{name}PaletteColorLookupTableData", big)
    if raw is None and segmented is not None:
        wide = bits > 8
        numbers = np.frombuffer(segmented[: len(segmented) // 2 * 2], "<u2" if wide else "<u1")
        table = _expand([int(v) for v in numbers], count, wide)
    elif raw is None:
        raise HilumError("HIL-D16", f"The {name.lower()} palette is missing", "Export it as RGB")
    elif bits == 8 and len(raw) in (count, count + count % 2):
        table = np.frombuffer(raw[:count], np.uint8)
    elif len(raw) >= 2 * count:
        table = np.frombuffer(raw[: 2 * count], "<u2")
    else:
        raise HilumError(
            "HIL-D16", f"The {name.lower()} palette has {len(raw)} bytes, {count} colours of {bits} bits are announced",
            "Export it as RGB",
        )  # fmt: skip
    if bits == 8 and table.dtype != np.uint8:
        # Eight bits in words of sixteen: in the low byte, or, as some write it, in both
        table = (table >> 8 if (table > 255).any() else table).astype(np.uint8)
    return table, first


def descriptor(said: Any, what: str, code: str, signed: bool) -> tuple[int, int, int]:
    """(entries, first stored value, bits) of a lookup table."""
    try:
        count, first, bits = (int(v) for v in said)
    except (TypeError, ValueError) as error:
        raise HilumError(code, f"The descriptor of {what} is {said}", "Export it again") from error
    count = count % MOST_COLOURS or MOST_COLOURS
    if signed and first > 32767:
        first -= MOST_COLOURS
    if not 8 <= bits <= 16:
        raise HilumError(code, f"The entries of {what} have {bits} bits", "Export it again")
    return count, first, 8 if bits == 8 else 16


def table_bytes(header: Any, keyword: str, big: bool) -> bytes | None:
    """The little-endian bytes of a lookup table, None where it is missing."""
    if keyword not in header:
        return None
    value = header[keyword].value
    if isinstance(value, bytes):
        return np.frombuffer(value[: len(value) // 2 * 2], ">u2").astype("<u2").tobytes() if big else value
    several = [value] if isinstance(value, int) else list(value or [])
    return np.array(several, "<u2").tobytes()


def _expand(numbers: list[int], count: int, wide: bool) -> Array:
    """A segmented table (PS3.3 C.7.9.2): segments of given, linear and repeated values. wide: entries of 16 bits."""
    found: list[int] = []
    starts: list[int] = []
    at = 0
    # One trailing zero may pad the table to an even length
    while at + 2 < len(numbers) and len(found) <= count:
        if numbers[at] == 2:
            words = numbers[at + 2 : at + (4 if wide else 6)]
            offset = sum(word << (16 if wide else 8) * n for n, word in enumerate(words)) // (2 if wide else 1)
            first = starts.index(offset) if offset in starts else len(starts)
            again = starts[first : first + numbers[at + 1]]
            if not again or len(again) < numbers[at + 1]:
                raise HilumError("HIL-D16", "A segmented palette repeats segments it does not have", "Export it as RGB")
            for start in again:
                _segment(numbers, start, found)
            at += 4 if wide else 6
        else:
            starts.append(at)
            at = _segment(numbers, at, found)
    if len(found) != count:
        raise HilumError(
            "HIL-D16", f"A segmented palette gives {len(found)} colours, {count} are announced", "Export it as RGB"
        )
    return np.array(found, np.uint16 if wide else np.uint8)


def _segment(numbers: list[int], at: int, found: list[int]) -> int:
    """Add the values of the segment at `at`; where the next one begins."""
    kind, length = numbers[at], numbers[at + 1]
    end = at + 2 + (length if kind == 0 else 1)
    if kind not in (0, 1) or not length or end > len(numbers) or (kind == 1 and not found):
        raise HilumError("HIL-D16", f"A segmented palette has a faulty segment at entry {at}", "Export it as RGB")
    if kind == 0:
        found += numbers[at + 2 : end]
    else:
        start, stop = found[-1], numbers[at + 2]
        found += [round(start + (stop - start) * n / length) for n in range(1, length + 1)]
    return end
