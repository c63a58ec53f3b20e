"""Encapsulated pixel data: fragments found in the file without reading them, and put together into frames."""

from itertools import pairwise
from struct import unpack
from typing import BinaryIO

from hilum.core.errors import HilumError
from hilum.io._dicom.codec import RLE, look
from hilum.io._dicom.walk import ITEM, PIXELS, SEQUENCE_END, UNDEFINED, Place

Span = tuple[int, int]
# (offset in the file, bytes).
MOST_FRAGMENTS = 1 << 20


def frame_spans(
    stream: BinaryIO, place: Place, size: int, frames: int, family: str, extended: bytes = b""
) -> list[list[Span]]:
    """The fragments of each frame.

    extended: the extended offset table (64-bit offsets), where the header has one. Refused: fragments that do not
    close or reach past the end (HIL-D01, HIL-D07, HIL-D09), fewer fragments than frames (HIL-D12), tables that do not
    point at fragments, and fragments that belong to no frame (HIL-D44).
    """
    table, fragments = _fragments(stream, place, size)
    if len(fragments) < frames:
        raise HilumError(
            "HIL-D12", f"The header claims {frames} frames, the pixel data hold {len(fragments)} fragments",
            "Export it again",
        )  # fmt: skip
    if extended:
        if len(extended) % 8:
            raise HilumError("HIL-D44", f"The extended offset table has {len(extended)} bytes", "Export it again")
        table = list(unpack(f"<{len(extended) // 8}Q", extended))
    if table:
        return _by_table(table, fragments, frames)
    if len(fragments) == frames:
        return [[one] for one in fragments]
    if family == RLE:
        raise HilumError(
            "HIL-D44", f"{len(fragments)} RLE fragments do not make {frames} frames", "Export it again"
        )  # fmt: skip
    return _by_marks(stream, fragments, frames)


def _fragments(stream: BinaryIO, place: Place, size: int) -> tuple[list[int], list[Span]]:
    """(basic offset table, fragments)."""
    pos, found, table = place.offset, [], None
    while True:
        stream.seek(pos)
        head = stream.read(8)
        if len(head) < 8:
            raise HilumError(
                "HIL-D09", f"The file ends at byte {size} within compressed pixel data that are not closed",
                "Export it again",
            )  # fmt: skip
        group, element, length = unpack("<HHL", head)
        tag = group << 16 | element
        pos += 8
        if tag == SEQUENCE_END:
            break
        if tag != ITEM:
            raise HilumError(
                "HIL-D09", f"({group:04X},{element:04X}) stands at byte {pos - 8} where a fragment should begin",
                "Export it again",
            )  # fmt: skip
        if length > size - pos:
            raise HilumError(
                "HIL-D07" if length == UNDEFINED or length > size else "HIL-D01",
                f"A fragment at byte {pos} claims {length} bytes, the file has {size - pos} left", "Export it again",
            )  # fmt: skip
        if table is None:
            if length % 4:
                raise HilumError("HIL-D44", f"The offset table has {length} bytes", "Export it again")
            table = list(unpack(f"<{length // 4}L", stream.read(length)))
        else:
            found.append((pos, length))
            if len(found) > MOST_FRAGMENTS:
                raise HilumError("HIL-D12", f"There are over {MOST_FRAGMENTS} fragments", "Export it again")
        pos += length
    trailing(stream, place, pos, size)
    return table or [], found


def trailing(stream: BinaryIO, place: Place, pos: int, size: int) -> None:
    """What follows the pixel data must be zeros or another element; anything else is refused (HIL-D44)."""
    if pos >= size:
        return
    stream.seek(pos)
    head = stream.read(64)
    if not head.strip(b"\0"):
        return
    if len(head) >= 8:
        group, element, vr, short = unpack(">HH2sH" if place.big else "<HH2sH", head[:8])
        long = unpack(">L" if place.big else "<L", head[4:8])[0]
        fits = short <= size - pos if not place.implicit and vr.isalpha() and vr.isupper() else long <= size - pos
        if fits and (group << 16 | element) > PIXELS[0]:
            return
    raise HilumError("HIL-D44", f"{size - pos} bytes behind the pixel data are no DICOM element", "Export it again")


def _by_table(table: list[int], fragments: list[Span], frames: int) -> list[list[Span]]:
    """Frames begin where the offset table says; offsets count from the first fragment's item."""
    starts = {offset - 8 - (fragments[0][0] - 8): number for number, (offset, _) in enumerate(fragments)}
    if len(table) != frames or table[0] != 0 or any(offset not in starts for offset in table):
        raise HilumError(
            "HIL-D44", f"The offset table {table[:4]} does not point at the {frames} frames", "Export it again"
        )  # fmt: skip
    numbers = [starts[offset] for offset in table] + [len(fragments)]
    if any(b <= a for a, b in pairwise(numbers)):
        raise HilumError("HIL-D44", f"The offset table {table[:4]} is out of order", "Export it again")
    return [fragments[a:b] for a, b in pairwise(numbers)]


def _by_marks(stream: BinaryIO, fragments: list[Span], frames: int) -> list[list[Span]]:
    """Without a table a frame begins at every fragment that begins a codestream."""
    spans: list[list[Span]] = []
    for offset, length in fragments:
        stream.seek(offset)
        if look(stream.read(min(length, 64))) is not None:
            spans.append([])
        if not spans:
            raise HilumError("HIL-D44", "The first fragment begins no codestream", "Export it again")
        spans[-1].append((offset, length))
    if len(spans) != frames:
        raise HilumError(
            "HIL-D44", f"The header says {frames} frames, the fragments hold {len(spans)}", "Export it again"
        )  # fmt: skip
    return spans
