"""What the decoders of pictures hand to each other."""

from dataclasses import dataclass, field
from typing import Any

from hilum.core.image import Array

MOST_PIXELS = 1 << 27
MOST_BYTES = 1 << 30
# Refused before decoding (faults.md I05); larger pictures belong in a pyramid.


@dataclass
class Decoded:
    """A picture in memory: (C, row, column), turned, without alpha.

    kind: "PNG", "TIFF", ... lossy: its codec blurs edges. facts: plain data for Image.meta.
    """

    array: Array
    kind: str
    lossy: bool = False
    warnings: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
