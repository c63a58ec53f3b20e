"""The bytes of a DICOM header, read and inflated only as far as they are needed, and never beyond a cap."""

import zlib
from typing import BinaryIO

from hilum.core.errors import HilumError

CHUNK, MOST_AT_ONCE = 1 << 16, 1 << 22
# Bytes read at a time: most headers fit into the first chunk.
MOST_HEADER = 256 << 20
# Bytes of header held in memory at most.
MOST_INFLATED = 512 << 20
MOST_RATIO = 200
# A deflated data set may always grow to the first, and beyond it by this factor.


class Window:
    """The first bytes of a data set, read on (and inflated) only as far as they are needed.

    Positions count from the start of the file, or of the inflated data set. size: bytes in all, None where deflated.
    """

    def __init__(self, stream: BinaryIO, size: int, deflated: int | None = None) -> None:
        self.stream = stream
        self.deflated = deflated
        self.size = size if deflated is None else None
        self.data = bytearray()
        self.base = 0
        self.end = 0
        self.kept: list[bytes] = []
        self._held = 0
        self.most = MOST_HEADER
        self._limit = max(MOST_INFLATED, MOST_RATIO * size)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if deflated is not None else None
        stream.seek(deflated or 0)

    def upto(self, end: int) -> bool:
        """Whether the data reach to position `end`; read up to there if they do."""
        while self.end < end:
            if self.size is not None and end > self.size:
                return False
            more = self._more(max(CHUNK, min(end - self.end, MOST_AT_ONCE)))
            if not more:
                return False
            if self._held + len(self.data) > self.most:
                raise HilumError(
                    "HIL-D07", f"The header is longer than {self.most >> 20} MiB", "Export it again, or leave it out"
                )
            self.data += more
            self.end += len(more)
        return True

    def _more(self, wanted: int) -> bytes:
        if self._inflate is None:
            return self.stream.read(wanted)
        while not self._inflate.eof:
            fresh = self._inflate.unconsumed_tail or self.stream.read(CHUNK)
            try:
                more = self._inflate.decompress(fresh, wanted)
            except zlib.error as error:
                raise HilumError(
                    "HIL-D01", f"The deflated data set is damaged at byte {self.end} ({error})", "Export it again"
                ) from error
            if self.end + len(more) > self._limit:
                raise HilumError(
                    "HIL-D10", f"The deflated data set grows beyond {self._limit >> 20} MiB", "Export it uncompressed"
                )
            if more:
                return more
            if not fresh:
                raise HilumError("HIL-D01", "The deflated data set is cut short", "Export it again")
        return b""

    def keep(self, end: int) -> None:
        """What lies before `end` and was not left out belongs to the header."""
        self.kept.append(bytes(self.data[: end - self.base]))
        self._held += end - self.base
        del self.data[: end - self.base]
        self.base = end

    def leave_out(self, start: int, end: int) -> bool:
        """Leave start..end out of the header, without holding it in memory; False where the data end before."""
        self.keep(start)
        if self.size is not None and end > self.size:
            return False
        if self._inflate is None and end > self.end:
            self.stream.seek(end)
            self.data.clear()
            self.base = self.end = end
            return True
        while self.end < end:
            more = self._more(CHUNK)
            if not more:
                return False
            self.data[:] = more
            self.base = self.end
            self.end += len(more)
        del self.data[: end - self.base]
        self.base = end
        return True

    def peek(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`, fewer where the data end."""
        if not self.upto(start + length) and self.size is not None:
            self.upto(self.size)
        return bytes(self.data[start - self.base : start - self.base + length])
