"""How the pixels of one file are laid out, as its header says, checked before anything is allocated."""

from dataclasses import dataclass
from typing import Any

from hilum.core.errors import HilumError
from hilum.io._dicom.walk import Place
from hilum.io._guard import MOST_BYTES

MOST_PIXELS = 1 << 28
# Rows x columns beyond this are refused before decoding (faults.md D11).
GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class Layout:
    """rows, columns, frames: sizes. samples: 1 or 3. allocated, stored, high: bits. colour: photometric interpretation.

    planar: whether the three colours lie one after the other. real: 0, or bytes of a floating point number.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    colour: str
    planar: bool
    real: int = 0

    @property
    def frame_bits(self) -> int:
        """Bits of one uncompressed frame."""
        samples = 2 if self.colour == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated


def layout(header: Any, place: Place) -> Layout:
    """Refused: sizes (HIL-D11), number of frames (D12), bits (D13), colours (D17) that can not be."""
    rows, columns = _side(header, "Rows"), _side(header, "Columns")
    if rows * columns > MOST_PIXELS:
        raise HilumError("HIL-D11", f"The header claims {rows} x {columns} pixels", "Refused: export it again")
    frames = _frames(header)
    real = {0x7FE00008: 4, 0x7FE00009: 8}.get(place.tag, 0)
    samples, colour = _samples(header)
    bits = (real * 8, real * 8, real * 8 - 1) if real else _bits(header)
    planar = _whole(header, "PlanarConfiguration", 0, "HIL-D17") if samples == 3 else 0
    if planar not in (0, 1):
        raise HilumError("HIL-D17", f"The planar configuration is {planar}, not 0 or 1", "Export it again")
    if samples == 3 and (real or bits[0] == 1):
        raise HilumError("HIL-D17", f"Colours of {bits[0]} bits are not understood", "Export it again")
    signed = _whole(header, "PixelRepresentation", 0, "HIL-D14")
    if signed not in (0, 1):
        raise HilumError("HIL-D14", f"PixelRepresentation is {signed}, not 0 or 1", "Export it again")
    total = rows * columns * samples * frames * max(1, bits[0] // 8)
    if total > MOST_BYTES:
        raise HilumError(
            "HIL-D12" if frames > 1 else "HIL-D11",
            f"The header claims {frames} frames of {rows} x {columns}, {total >> 30} GiB", "Refused: export it again",
        )  # fmt: skip
    return Layout(rows, columns, frames, samples, *bits, bool(signed), colour, bool(planar), real)


def _whole(header: Any, keyword: str, default: int | None, code: str) -> int:
    """One whole number of the header; text, several numbers or nothing (where there is no default) are refused."""
    try:
        value = header.get(keyword)
        if value is None or value == "":
            if default is None:
                raise HilumError(code, f"The header lacks {keyword}", "Export it again")
            return default
        number = int(value)
        if number != float(value):
            raise ValueError
        return number
    except (ValueError, TypeError, OverflowError, AttributeError, HilumError) as error:
        if isinstance(error, HilumError) and error.code == code:
            raise
        seen = getattr(header.get_item(keyword), "value", "")
        raise HilumError(code, f"{keyword} is {str(seen)[:40]!r}, not one whole number", "Export it again") from error


def _side(header: Any, keyword: str) -> int:
    vr = getattr(header.get_item(keyword), "VR", None)
    size = _whole(header, keyword, None, "HIL-D11")
    if not 0 < size < 65536 or vr not in (None, "US", "UN"):
        raise HilumError("HIL-D11", f"{keyword} is {size} ({vr or 'US'})", "Refused: export it again")
    return size


def _frames(header: Any) -> int:
    frames = _whole(header, "NumberOfFrames", 1, "HIL-D12")
    if frames < 1:
        raise HilumError("HIL-D12", f"NumberOfFrames is {frames}", "Export it again")
    return frames


def _bits(header: Any) -> tuple[int, int, int]:
    """(allocated, stored, highest bit)."""
    allocated = _whole(header, "BitsAllocated", None, "HIL-D13")
    if allocated not in (1, 8, 16, 32):
        raise HilumError("HIL-D13", f"BitsAllocated is {allocated}, not 1, 8, 16 or 32", "Export it again")
    stored = _whole(header, "BitsStored", allocated, "HIL-D13")
    high = _whole(header, "HighBit", stored - 1, "HIL-D13")
    if not 0 < stored <= allocated or not stored - 1 <= high < allocated:
        raise HilumError(
            "HIL-D13", f"BitsAllocated {allocated}, BitsStored {stored} and HighBit {high} contradict each other",
            "Export it again",
        )  # fmt: skip
    return allocated, stored, high


def _samples(header: Any) -> tuple[int, str]:
    """(samples per pixel, photometric interpretation) that fit each other."""
    samples = _whole(header, "SamplesPerPixel", 1, "HIL-D17")
    colour = str(header.get("PhotometricInterpretation") or "").strip().upper()
    if not colour and samples == 1:
        colour = "MONOCHROME2"
    if (samples, colour in GREY, colour in COLOUR) not in ((1, True, False), (3, False, True)):
        raise HilumError(
            "HIL-D17", f"{samples} samples per pixel as {colour or 'nothing stated'} are not understood",
            "Export it as RGB or grey",
        )  # fmt: skip
    return samples, colour
