"""One DICOM file, from bytes to a header that can be trusted."""

import io
from pathlib import Path
from struct import unpack_from
from typing import Any, BinaryIO

from hilum.core.errors import HilumError
from hilum.io._dicom.agree import BIG, DEFLATED, GE_PRIVATE, IMPLICIT, agreed
from hilum.io._dicom.codec import FAMILIES
from hilum.io._dicom.walk import LONG, Walk
from hilum.io._dicom.window import Window
from hilum.io._guard import reading

_LETTERS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)

SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
# VL Whole Slide Microscopy Image Storage: tiles of one level of a slide, or the label or overview beside it.


def header(file: Path, series_of: dict[Path, str] | None = None) -> Any:
    """The data set up to the pixel data, as a pydicom FileDataset; values above 4 MiB are left out.

    Besides the elements it carries `filename` (str), `hilum_warnings` (list of "code: ..." sentences, which
    `_dicom_pixels.frames` also puts into its record) and `hilum_pixels` (Pixels, None where the file has none).
    series_of: takes down the series of the file, should its pixels be refused later.

    Refused: cut short (HIL-D01), not DICOM (D02), transfer syntax missing and not provable (D03) or contradicted by the
    content (D04), compression that is not decoded (D06), lengths (D07), nesting (D08), items and delimiters (D09),
    deflated bombs (D10), sizes (D11), frames (D12), bits (D13), colours (D17), fragments (D44), whole slides (I10).
    """
    file = Path(file)
    with reading(file), open(file, "rb", buffering=0) as stream:
        from hilum.io._dicom.header import quiet

        size = stream.seek(0, io.SEEK_END)
        with quiet():
            return _header(file, stream, size, {} if series_of is None else series_of)


def is_dicom(file: Path) -> bool:
    """Whether the content is DICOM: by its mark, or by a plausible first element without one. Never raises."""
    try:
        with open(file, "rb", buffering=0) as stream:
            head = stream.read(132)
            size = stream.seek(0, io.SEEK_END)
    except OSError:
        return False
    return head[128:] == b"DICM" or _order(head, size) is not None


def capped(file: Path | str) -> Path:
    """The file, for a reader that inflates a deflated one whole, without a limit: a bomb is refused first (HIL-D10)."""
    file = Path(file)
    try:
        with reading(file), open(file, "rb", buffering=0) as stream:
            size = stream.seek(0, io.SEEK_END)
            window = Window(stream, size)
            meta, body = _meta(window, _start(window, size, []))
            if str(meta.get("TransferSyntaxUID", "")).strip() == DEFLATED:
                # to its end, of which nothing is held
                Window(stream, size, body).leave_out(0, 1 << 62)
    except HilumError as error:
        # whatever else is wrong, its own reader says
        if error.code == "HIL-D10":
            raise
    return file


def _header(file: Path, stream: BinaryIO, size: int, series_of: dict[Path, str]) -> Any:
    notes: list[str] = []
    window = Window(stream, size)
    start = _start(window, size, notes)
    meta, body = _meta(window, start)
    syntax = str(meta.get("TransferSyntaxUID", "")).strip()
    if syntax == DEFLATED:
        window = Window(stream, size, body)
        body = 0
    else:
        window.keep(body)
        window.kept.clear()
    implicit, big = _encoding(window, body, size, syntax, notes)
    walk = Walk(window, body, implicit, big, notes)
    place = walk.run()
    found = _parsed(file, b"".join(window.kept), meta, implicit, big, notes)
    series_of[file] = str(found.get("SeriesInstanceUID") or "")
    if str(found.get("SOPClassUID") or "").strip() == SLIDE:
        raise HilumError(
            "HIL-I10", "The file is part of a whole slide (VL Whole Slide Microscopy), which is not read from DICOM",
            "Export the slide as SVS, OME-TIFF or pyramidal TIFF: hilum.io.slide reads those in Python, by region",
        )  # fmt: skip
    if place is not None:
        found.hilum_pixels = agreed(found, window, stream, size, place, syntax)
    elif "Rows" in found or _image_class(found):
        raise HilumError("HIL-D01", "The file is cut short before its pixel data, or has none", "Export it again")
    return found


def _image_class(found: Any) -> bool:
    return bool(getattr(found.get("SOPClassUID"), "name", "").endswith("Image Storage"))


def _start(window: Window, size: int, notes: list[str]) -> int:
    """Where the first element begins."""
    head = window.peek(0, 132)
    if head[128:] == b"DICM":
        if size == 132:
            raise HilumError("HIL-D01", "The file ends right after its mark", "Export it again")
        return 132
    if _order(head, size) is not None:
        notes.append("HIL-D03: the file has no preamble; it was read from its first byte")
        return 0
    if head and not head.strip(b"\0") and size < 132:
        raise HilumError("HIL-D01", f"The file is cut short in its preamble ({size} bytes)", "Export it again")
    seen = f"it begins with {head[:8]!r}" if head else "it is empty"
    raise HilumError("HIL-D02", f"The file is not DICOM, whatever its name: {seen}", "Remove or export it again")


def _order(head: bytes, size: int) -> tuple[bool, bool] | None:
    """(implicit, big endian) by what stands first in a data set, None where that is no DICOM element."""
    if len(head) < 8:
        return None
    big = head[0] == 0 and head[1] != 0
    order = ">" if big else "<"
    group, element, vr = unpack_from(f"{order}HH2s", head)
    if group not in (0x0002, 0x0004, 0x0008, 0x0010, 0x0018, 0x0020, 0x0028) or element > 0x2000:
        return None
    if vr in _LETTERS:
        return False, big
    from pydicom.datadict import dictionary_has_tag

    (length,) = unpack_from(f"{order}L", head, 4)
    known = element == 0 or dictionary_has_tag(group << 16 | element)
    return (True, big) if known and length % 2 == 0 and length <= size else None


def _meta(window: Window, pos: int) -> tuple[Any, int]:
    """(file meta information as a FileMetaDataset, where the data set begins)."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset

    start, big = pos, window.peek(pos, 2) == b"\x00\x02"
    order, implicit = ">" if big else "<", False
    while window.upto(pos + 12):
        group, element, vr, length = unpack_from(f"{order}HH2sH", window.data, pos - window.base)
        if group != 2:
            break
        if vr not in _LETTERS:
            implicit = True
            (length,) = unpack_from(f"{order}L", window.data, pos - window.base + 4)
        elif vr in LONG:
            (length,) = unpack_from(f"{order}L", window.data, pos - window.base + 8)
            pos += 4
        pos += 8 + length
        if not (window.size is None or pos <= window.size) or not window.upto(pos):
            raise HilumError(
                "HIL-D07" if length > (window.size or 0) else "HIL-D01",
                f"(0002,{element:04X}) claims {length} bytes, the file ends before", "Export it again",
            )  # fmt: skip
    raw = bytes(window.data[start - window.base : pos - window.base])
    if not window.upto(pos + 8) and raw:
        raise HilumError(
            "HIL-D01", f"The file ends at byte {window.end}, right after its meta group", "Export it again"
        )
    try:
        found: Any = read_dataset(io.BytesIO(raw), implicit, not big) if raw else {}
        return FileMetaDataset(found), pos
    except Exception as error:
        raise HilumError("HIL-D09", "The meta group of the file can not be understood", "Export it again") from error


def _encoding(window: Window, body: int, size: int, syntax: str, notes: list[str]) -> tuple[bool, bool]:
    """(implicit, big endian) of the data set: as declared, where its first element agrees."""
    head = window.peek(body, 16)
    found = _order(head, window.size or 1 << 31)
    if len(head) < 8:
        raise HilumError("HIL-D01", f"The file ends at byte {body + len(head)}, before its data set", "Export it again")
    if not syntax:
        if found is None:
            raise HilumError(
                "HIL-D03", "The transfer syntax is missing and the content does not show it", "Export it again"
            )
        notes.append(f"HIL-D03: the transfer syntax is missing; the content is {_words(*found)}")
        return found
    declared = (syntax in (IMPLICIT, GE_PRIVATE), syntax == BIG)
    if found is None or found == declared:
        return declared
    if found[0] == declared[0]:
        notes.append(f"HIL-D05: {_words(*declared)} is declared; the content is {_words(*found)} and was read as such")
        return found
    if syntax in FAMILIES and not found[1]:
        # The codestream will prove the pixels; only the header is written the other way
        notes.append(f"HIL-D04: {_words(*declared)} is declared; the header is {_words(*found)} and was read as such")
        return found
    raise HilumError(
        "HIL-D04", f"The file declares {_words(*declared)} ({syntax}), its content is {_words(*found)}",
        "Export it again",
    )  # fmt: skip


def _words(implicit: bool, big: bool) -> str:
    return f"{'implicit' if implicit else 'explicit'} VR, {'big' if big else 'little'} endian"


def _parsed(file: Path, raw: bytes, meta: Any, implicit: bool, big: bool, notes: list[str]) -> Any:
    """The library's data set; its elements are decoded when they are asked for."""
    from pydicom.filereader import read_dataset

    from hilum.io._dicom.header import Header

    try:
        plain = read_dataset(io.BytesIO(raw), implicit, not big)
    except Exception as error:
        raise HilumError("HIL-D09", "The header can not be understood", "Export it again") from error
    found = Header(str(file), plain, b"", meta, implicit, not big)
    found.hilum_warnings = notes
    found.hilum_pixels = None
    found.without_bad_numbers()
    return found.ready()
