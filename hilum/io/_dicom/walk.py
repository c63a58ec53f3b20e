"""The element structure of a DICOM data set, walked without recursion before a library parses it.

Every tag, representation (VR) and length up to the pixel data is checked against what the file holds, so that what
follows never allocates or recurses by what a header merely claims.
"""

from dataclasses import dataclass, field
from struct import Struct

from hilum.core.errors import HilumError
from hilum.io._dicom.window import Window

BIG = 1 << 22
# A value longer than this is left out of the header: no image needs it.
DEEPEST = 64
# Sequences within sequences.
MOST_ELEMENTS, ITEM_COUNTS = 2_000_000, 3
# The library makes an object of each element, and a larger one of each item, which counts for so many. Real headers
# that say much of each frame hold fewer: 5,000 frames of 150 elements in 20 groups, as some makers write them, are
# 1,050,000, and a SEG of 40,000 frames, of 20 elements in 7 groups, is 1,640,000.
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SWAPPED_ITEM = 0xFEFF00E0
# An item tag in the other byte order.
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
# Float, double float and integer pixel data.
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
# Representations with a length of 32 bits.
ENCAPSULATING = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV"))
_EXPLICIT = (Struct("<HH2sH"), Struct(">HH2sH"))
_IMPLICIT = (Struct("<HHL"), Struct(">HHL"))
_LENGTH = (Struct("<L"), Struct(">L"))


@dataclass(frozen=True)
class Place:
    """Where a pixel data element lies.

    tag: (7FE0,0008), (7FE0,0009) or (7FE0,0010). offset: of its value's first byte, in the file, or in the inflated
    data set where `deflated` (file offset of the deflated part) is not None. length: bytes, None for fragments.
    """

    tag: int
    vr: bytes
    offset: int
    length: int | None
    big: bool
    implicit: bool
    deflated: int | None = None


@dataclass(slots=True)
class _Level:
    """A data set ("data"), a sequence ("items") or fragments that is open. end: position, or -1 where undefined."""

    what: str
    end: int
    implicit: bool
    big: bool
    tag: int = 0


@dataclass
class Walk:
    """One walk. pos: where. notes: warnings. Ends at the pixel data or at the end of the data."""

    window: Window
    pos: int
    implicit: bool
    big: bool
    notes: list[str] = field(default_factory=list)

    def run(self) -> Place | None:
        """The pixel data, None where there are none; `window.kept` then holds the header's bytes."""
        window = self.window
        self.levels = [_Level("data", -1, self.implicit, self.big)]
        self._swapped = False
        self._outer = self.pos
        self._seen = 0
        while True:
            level = self.levels[-1]
            if level.end == self.pos:
                self._close()
                continue
            if not window.upto(self.pos + 8):
                self._finish()
                return None
            if len(self.levels) == 1:
                self._outer = self.pos
            place = self._element(level) if level.what == "data" else self._item(level)
            if place is not None:
                window.keep(self._outer)
                return place

    def _finish(self) -> None:
        """The data end here: right between two elements, or with nothing but zeros behind the last."""
        window = self.window
        window.upto(self.pos + 1)
        rest = bytes(window.data[self.pos - window.base :])
        if len(self.levels) > 1:
            raise HilumError(
                "HIL-D09" if self.levels[-1].end < 0 else "HIL-D01",
                f"The file ends at byte {self.pos} inside {_name(self.levels[-1].tag)}, which is not closed",
                "Export it again",
            )
        if rest.strip(b"\0"):
            raise HilumError("HIL-D01", f"The file ends in the middle of a tag at byte {self.pos}", "Export it again")
        window.keep(self.pos)

    def _close(self) -> None:
        """The innermost level ends here."""
        self.levels.pop()
        if len(self.levels) == 1 and self._swapped:
            self.notes.append(
                f"HIL-D05: {_name(self._swapped_tag)} lies in the other byte order than its file; it was left out"
            )
            self.window.leave_out(self._outer, self.pos)
            self._swapped = False

    def _open(self, what: str, end: int, implicit: bool, big: bool, tag: int) -> None:
        parent = self.levels[-1].end
        if 0 <= parent < end:
            raise HilumError(
                "HIL-D09", f"{_name(tag)} at byte {self.pos} reaches past the end of what it lies in", "Export it again"
            )
        if what != "data" and sum(level.what != "data" for level in self.levels) >= DEEPEST:
            raise HilumError(
                "HIL-D08", f"{_name(tag)} is nested deeper than {DEEPEST} sequences", "Refused: export it again"
            )
        self.levels.append(_Level(what, end, implicit, big, tag))

    def _item(self, level: _Level) -> Place | None:
        """An item of a sequence, a fragment, or the end of the sequence."""
        at = self.pos - self.window.base
        group, element, length = _IMPLICIT[level.big].unpack_from(self.window.data, at)
        tag = group << 16 | element
        if tag == SWAPPED_ITEM and not self._swapped:
            level.big = not level.big
            self._swapped, self._swapped_tag = True, level.tag
            return None
        self.pos += 8
        if tag == SEQUENCE_END and level.end < 0:
            self._close()
        elif tag != ITEM:
            raise HilumError(
                "HIL-D09", f"{_name(level.tag)} holds {_name(tag)} at byte {self.pos - 8} where an item should begin",
                "Export it again",
            )  # fmt: skip
        elif level.what == "fragments":
            if length == UNDEFINED:
                raise HilumError("HIL-D07", f"{_name(level.tag)} has a fragment without a length", "Export it again")
            self._count(ITEM_COUNTS)
            self._skip(level.tag, length)
        else:
            self._count(ITEM_COUNTS)
            end = -1 if length == UNDEFINED else self.pos + length
            if end > self.pos:
                self._within(level.tag, end)
            implicit = level.implicit
            if not implicit and self.window.upto(self.pos + 6):
                at = self.pos - self.window.base
                vr = self.window.data[at + 4 : at + 6]
                implicit = not (vr.isalpha() and vr.isupper()) and self.window.data[at : at + 2] != b"\xfe\xff"
            self._open("data", end, implicit, level.big, level.tag)
        return None

    def _element(self, level: _Level) -> Place | None:
        """One element of a data set; its value is stepped over, a sequence is stepped into."""
        window, start = self.window, self.pos
        at = start - window.base
        group, element, vr, length = _EXPLICIT[level.big].unpack_from(window.data, at)
        tag = group << 16 | element
        implicit = level.implicit or not b"AA" <= vr <= b"ZZ"
        self.pos += 8
        if group == 0xFFFE:
            self._delimiter(level, tag)
            return None
        self._count()
        if implicit:
            (length,) = _LENGTH[level.big].unpack_from(window.data, at + 4)
            vr = b"SQ" if tag in _sequences() else b"  "
        elif vr in LONG:
            if not window.upto(start + 12):
                raise HilumError("HIL-D01", f"The file ends inside {_name(tag)} at byte {start}", "Export it again")
            (length,) = _LENGTH[level.big].unpack_from(window.data, start - window.base + 8)
            self.pos += 4
        if len(self.levels) == 1 and tag in PIXELS:
            fragments = length == UNDEFINED
            return Place(
                tag, b"" if implicit else vr, self.pos, None if fragments else length, level.big, implicit,
                window.deflated,
            )  # fmt: skip
        if length == UNDEFINED:
            self._undefined(level, tag, vr, implicit)
        elif vr == b"SQ" or (vr == b"UN" and tag in _sequences()):
            self._within(tag, self.pos + length)
            self._open("items", self.pos + length, implicit or vr == b"UN", level.big, tag)
        else:
            self._skip(tag, length, start)
        return None

    def _count(self, many: int = 1) -> None:
        """What holds more than any image needs was made to fill memory: it is not parsed."""
        self._seen += many
        if self._seen > MOST_ELEMENTS:
            raise HilumError(
                "HIL-D07", f"The header holds more than {MOST_ELEMENTS:,} elements, an item counted as {ITEM_COUNTS}",
                "Export it again, or leave it out",
            )  # fmt: skip

    def _delimiter(self, level: _Level, tag: int) -> None:
        if tag == ITEM_END and level.end < 0 and len(self.levels) > 1:
            self._close()
            return
        where = f"inside {_name(level.tag)}" if level.tag else "outside any sequence"
        raise HilumError("HIL-D09", f"{_name(tag)} at byte {self.pos - 8} {where} does not belong", "Export it again")

    def _undefined(self, level: _Level, tag: int, vr: bytes, implicit: bool) -> None:
        """A value without a length must consist of items."""
        if vr in ENCAPSULATING:
            self._open("fragments", -1, implicit, level.big, tag)
        elif vr in (b"SQ", b"UN") or (vr == b"  " and self._item_follows(level.big)):
            self._open("items", -1, implicit or vr == b"UN", level.big, tag)
        else:
            raise HilumError(
                "HIL-D07", f"{_name(tag)} at byte {self.pos} claims {UNDEFINED} bytes and holds no items",
                "Export it again",
            )  # fmt: skip

    def _item_follows(self, big: bool) -> bool:
        if not self.window.upto(self.pos + 4):
            return False
        at = self.pos - self.window.base
        wanted = (ITEM, SEQUENCE_END, SWAPPED_ITEM)
        first = bytes(self.window.data[at : at + 4])
        return any(first == _tag_bytes(tag, big) for tag in wanted)

    def _skip(self, tag: int, length: int, start: int | None = None) -> None:
        """Step over a value."""
        self._within(tag, self.pos + length)
        end = self.pos + length
        if length > BIG and len(self.levels) == 1 and start is not None:
            whole = self.window.leave_out(start, end)
            self._outer = end
        else:
            whole = self.window.upto(end)
        if not whole:
            raise HilumError("HIL-D01", f"The data end inside {_name(tag)} at byte {self.pos}", "Export it again")
        self.pos = end

    def _within(self, tag: int, end: int) -> None:
        """A value must end before the file and before what it lies in."""
        size, parent = self.window.size, self.levels[-1].end
        if size is not None and end > size:
            claimed = end - self.pos
            raise HilumError(
                "HIL-D07" if claimed > size else "HIL-D01",
                f"{_name(tag)} at byte {self.pos} claims {claimed} bytes, the file has {max(0, size - self.pos)} left",
                "Export it again",
            )
        if 0 <= parent < end:
            raise HilumError(
                "HIL-D09", f"{_name(tag)} at byte {self.pos} reaches past the end of the item it lies in",
                "Export it again",
            )  # fmt: skip


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _tag_bytes(tag: int, big: bool) -> bytes:
    order = "big" if big else "little"
    return (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order)  # type: ignore[arg-type]


_known: frozenset[int] = frozenset()


def _sequences() -> frozenset[int]:
    """Tags that are sequences by the standard's dictionary."""
    global _known
    if not _known:
        from pydicom.datadict import DicomDictionary

        _known = frozenset(tag for tag, row in DicomDictionary.items() if row[0] == "SQ")
    return _known
