"""Stored values of one DICOM file become modality values: rescale, lookup table, padding, MONOCHROME1."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._dicom.colour import descriptor, table_bytes
from hilum.io._dicom.layout import Layout

AIR_HU = -1024
# What padding outside the scanner's circle becomes.
MOST_HU = 30000
# No tissue or metal reads higher: padding written as a negative number without its sign, or a wrong sign flag.
QUANTITIES = ("CT", "PT")
# Modalities whose values have a unit: MONOCHROME1 says how to show them, and does not turn them.
_WHOLE = (np.uint8, np.int16, np.uint16, np.int32, np.uint32)


@dataclass(frozen=True)
class Rule:
    """value = slope * stored + intercept, or table[stored - first] where there is a lookup table."""

    slope: float = 1.0
    intercept: float = 0.0
    table: Array | None = None
    first: int = 0

    @property
    def whole(self) -> bool:
        """Whether whole numbers stay whole."""
        return self.slope == round(self.slope) and self.intercept == round(self.intercept)

    def ends(self, low: int, high: int) -> tuple[float, float]:
        """Lowest and highest value of stored low..high."""
        if self.table is not None:
            return float(self.table.min()), float(self.table.max())
        ends = sorted((self.slope * low + self.intercept, self.slope * high + self.intercept))
        return ends[0], ends[1]


class Values:
    """How one file's stored values are turned, known from its header alone.

    kind: dtype of every frame. inverted: MONOCHROME1 is turned. warnings: what the header lacks.
    """

    def __init__(self, header: Any, layout: Layout) -> None:
        """Refused: slope 0 or not finite (HIL-D18), a lookup table that is short (HIL-D19)."""
        self.warnings: list[str] = []
        self.modality = str(header.get("Modality") or "")
        self.rules = self._rules(header, layout)
        self.layout = layout
        self.low, self.high = _range(layout)
        self.padding = self._padding(header) if self.modality == "CT" and not layout.real else None
        self.inverted = layout.colour == "MONOCHROME1" and self.modality not in QUANTITIES and not layout.real
        if layout.colour == "MONOCHROME1" and not self.inverted:
            self.warnings.append("HIL-D15: MONOCHROME1 in an image whose values have a unit; they were not inverted")
        if self.modality == "PT" and header.get("Units") != "GML":
            self.warnings.append(f"HIL-D19: PET values are in {header.get('Units') or 'unknown units'}, not in SUV")
        self.kind = self._kind()

    def rule(self, frame: int) -> Rule:
        """The rule of a frame."""
        return self.rules[frame if len(self.rules) > 1 else 0]

    def _rules(self, header: Any, layout: Layout) -> list[Rule]:
        sequence = header.get("ModalityLUTSequence")
        if sequence:
            return [_table(header, sequence[0], layout.signed)]
        shared = _group(header.get("SharedFunctionalGroupsSequence"), 0)
        each = header.get("PerFrameFunctionalGroupsSequence")
        if "RescaleSlope" not in header and each is not None and (shared or _group(each, 0)):
            used = [_group(each, n) or shared or header for n in range(layout.frames)]
        else:
            used = [shared if "RescaleSlope" not in header and shared else header]
        if self.modality == "CT" and not all(map(_stated, used)):
            self.warnings.append(
                "HIL-D18: a CT slice has no rescale slope and intercept; values may not be Hounsfield units"
            )
        return [_rule(one) for one in used]

    def _padding(self, header: Any) -> tuple[int, int] | None:
        """Padding values as written, low and high; None where they are no padding (within what CT can measure)."""
        written = [_number(header, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
        known = [value for value in written if value is not None]
        return (min(known), max(known)) if written[0] is not None else None

    def _kind(self) -> np.dtype[Any]:
        if self.layout.real:
            return np.dtype(f"f{self.layout.real}")
        ends = [end for rule in self.rules for end in rule.ends(self.low, self.high)]
        if not all(rule.whole or rule.table is not None for rule in self.rules):
            return np.dtype(np.float32 if self.layout.stored <= 24 else np.float64)
        low, high = min(ends), max(ends)
        if self.padding is not None:
            low = min(low, AIR_HU)
        if self.layout.stored < self.layout.allocated and not self.layout.signed:
            # Room for the signed reading, where the values turn out to be sign-extended
            signed = [end for rule in self.rules for end in rule.ends(-(1 << self.layout.stored - 1), 0)]
            low, high = min(low, *signed), max(high, *signed)
        return smallest(low, high)

    def apply(self, stored: Array, frame: int, outside: Array | None) -> Array:
        """Modality values of stored ones; outside: mask of the padding, which becomes air."""
        rule = self.rule(frame)
        if rule.table is not None:
            index = np.clip(stored.astype(np.int64) - rule.first, 0, len(rule.table) - 1)
            values = rule.table[index].astype(self.kind)
        elif self.kind.kind == "f":
            values = (stored.astype(np.float64) * rule.slope + rule.intercept).astype(self.kind, copy=False)
        elif rule.slope == 1 and rule.intercept == 0:
            values = stored.astype(self.kind, copy=False)
        else:
            values = stored.astype(self.kind)
            # numbers may wrap around on the way, as a slope of -1 without a sign does; the result is back in range
            if rule.slope != 1:
                values *= np.array(int(rule.slope)).astype(self.kind)
            values += np.array(int(rule.intercept)).astype(self.kind)
        if self.inverted:
            total = sum(rule.ends(self.low, self.high))
            values = (total - values.astype(np.float64)).astype(self.kind)
        if outside is not None:
            values[outside] = AIR_HU
        return values

    def outside(self, stored: Array, frame: int) -> Array | None:
        """Mask of padding among stored values (read with or without their sign), or None where there is none."""
        if self.padding is None:
            return None
        rule, wide = self.rule(frame), 1 << self.layout.allocated
        mask: Array | None = None
        for shift in (-wide, 0, wide):
            low, high = self.padding[0] + shift, self.padding[1] + shift
            ends = rule.ends(low, high)
            within = ends[1] >= AIR_HU and ends[0] <= MOST_HU
            if within and (low == high or rule.table is not None):
                continue
            found = stored == low if low == high else (stored >= low) & (stored <= high)
            if within:
                # of a range that reaches into what CT measures, what lies beyond
                values = stored.astype(np.float64) * rule.slope + rule.intercept
                found &= (values < AIR_HU) | (values > MOST_HU)
            if found.any():
                mask = found if mask is None else mask | found
        return mask


def smallest(low: float, high: float) -> np.dtype[Any]:
    """The smallest of uint8, int16, uint16, int32, uint32 that holds low..high, else float64."""
    for kind in _WHOLE:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float64)


def common(kinds: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """The dtype that holds all of them: float where one is (float32 unless one is float64), else an integer one."""
    several = list(kinds)
    real = [kind for kind in several if kind.kind == "f"]
    if real:
        return max(real, key=lambda kind: kind.itemsize)
    return np.result_type(*several)


def _range(layout: Layout) -> tuple[int, int]:
    if layout.signed:
        return -(1 << layout.stored - 1), (1 << layout.stored - 1) - 1
    return 0, (1 << layout.stored) - 1


def _group(sequence: Any, number: int) -> Any:
    """The pixel value transformation of one functional group item, or None."""
    if not sequence or number >= len(sequence):
        return None
    found = sequence[number].get("PixelValueTransformationSequence")
    return found[0] if found else None


def _number(header: Any, keyword: str) -> int | None:
    """A padding value, whatever its representation; None where it is missing or no number."""
    try:
        value = header.get(keyword)
        if isinstance(value, bytes) and len(value) == 2:
            return int.from_bytes(value, "little")
        return None if value is None or value == "" else int(value)
    except (ValueError, TypeError, HilumError):
        return None


def _stated(header: Any) -> bool:
    """Whether slope and intercept are there, and not empty; of what is no number `_rule` says more."""
    try:
        return all(header.get(name) not in (None, "") for name in ("RescaleSlope", "RescaleIntercept"))
    except (ValueError, TypeError, OverflowError, HilumError):
        return True


def _rule(header: Any) -> Rule:
    """Rescale slope and intercept, 1 and 0 where they are missing."""
    seen = []
    for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        try:
            value = header.get(keyword)
            seen.append(default if value is None or value == "" else float(value))
        except (ValueError, TypeError, OverflowError, HilumError):
            seen.append(float("nan"))
    if seen[0] == 0 or not np.isfinite(seen).all():
        raise HilumError("HIL-D18", f"The rescale slope is {seen[0]}, the intercept {seen[1]}", "Mend the header")
    return Rule(seen[0], seen[1])


def _table(header: Any, item: Any, signed: bool) -> Rule:
    """The modality lookup table as a rule."""
    count, first, bits = descriptor(item.get("LUTDescriptor"), "the modality lookup table", "HIL-D19", signed)
    raw = table_bytes(item, "LUTData", header.hilum_pixels.place.big) or b""
    if len(raw) >= 2 * count:
        table = np.frombuffer(raw[: 2 * count], "<u2")
    elif bits == 8 and len(raw) >= count:
        table = np.frombuffer(raw[:count], np.uint8)
    else:
        raise HilumError(
            "HIL-D19", f"The modality lookup table has {len(raw)} bytes, {count} entries are announced",
            "Export with a rescale slope",
        )  # fmt: skip
    return Rule(table=table, first=first)
