"""Bytes of a file that may be compressed: exactly as many as asked for, straight into place, checksum verified.

By ISA-L where it is, which reads what zlib reads in little more than half the time, and packs several times as fast,
into somewhat more bytes.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from hilum.core.errors import HilumError
from hilum.io._guard import MOST_BYTES

try:
    from isal import isal_zlib as deflate

    LEVEL = 2
except ImportError:  # it is made for x86-64 and arm64 alone
    import zlib as deflate  # type: ignore[no-redef]

    LEVEL = 3
# Of packing: on noisy volumes higher ones take longer and save nothing.

FAULT: type[Exception] = deflate.error  # type: ignore[assignment]
STEP = 1 << 20
# Decompressed bytes at a time; so the packed and the plain bytes of a volume never lie in memory side by side.
MOST_DEFLATION = 1040
# Deflate can not shrink data further than about 1032 times, so a larger claim is a lie.
SLACK = 4096
# Bytes allowed for headers in front of the claim, and for padding behind it.


class Stream:
    """One file, read from `start` on. packed: "" for plain bytes, "gzip" (members in a row) or "zlib"."""

    def __init__(self, path: Path, packed: str = "", start: int = 0) -> None:
        self.path = path
        self.packed = packed
        self.start = start
        self.size = os.stat(path).st_size
        self.took = 0
        self._file = open(path, "rb")  # noqa: SIM115 - closed by `with`
        self._file.seek(start)
        self._engine = deflate.decompressobj(31 if packed == "gzip" else 15) if packed else None
        self._left = b""

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def check(self, need: int) -> None:
        """Refuse before anything is allocated if the file can not hold `need` more bytes (HIL-N01, HIL-N03)."""
        left = max(0, self.size - self.start - (0 if self.packed else self.took))
        most = left * MOST_DEFLATION + SLACK if self.packed else left
        if need > MOST_BYTES or (self.packed and need > most):
            raise HilumError(
                "HIL-N03", f"{self.path} has {self.size} bytes but speaks of {need} bytes of voxels",
                "Convert the original again; larger volumes must be cut in parts" if need <= most else "Copy it again",
            )  # fmt: skip
        if need > most:
            raise self.short(left, need)

    def short(self, seen: int, need: int) -> HilumError:
        """The sentence for a file that ends too early."""
        return HilumError(
            "HIL-N01", f"{self.path} is cut short: {seen} of {need} bytes of voxels", "Copy it again, it is incomplete"
        )

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer only where the data end."""
        parts = []
        while count > 0 and (part := self._some(min(count, STEP))):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Move on by `count` bytes, or to the end of the data."""
        if self._engine is None:
            self._file.seek(count, os.SEEK_CUR)
            self.took += count
            return
        while count > 0 and (part := self._some(min(count, STEP))):
            count -= len(part)

    def into(self, view: memoryview) -> None:
        """Fill a writable view of bytes; refused when the data end before it is full (HIL-N01)."""
        done = 0
        while done < len(view):
            if self._engine is None:
                count = self._file.readinto(view[done:])  # type: ignore[attr-defined]
                self.took += count
            else:
                part = self._some(min(STEP, len(view) - done))
                count = len(part)
                view[done : done + count] = part
            if count == 0:
                raise self.short(done, len(view))
            done += count

    def rest(self) -> int:
        """How many bytes follow, counted up to one more than SLACK; at the end of the data the checksum was right."""
        return len(self.take(SLACK + 1))

    def _some(self, most: int) -> bytes:
        """The next bytes, at most `most`; none at the end of the data."""
        if self._engine is None:
            part = self._file.read(most)
        else:
            try:
                part = self._unpacked(most)
            except FAULT as error:
                words = re.sub(r"^Error -?\d+ (while \S+ data: )?", "", str(error))
                raise HilumError("HIL-N02", f"{self.path} is damaged ({words})", "Copy it again") from error
        self.took += len(part)
        return part

    def _unpacked(self, most: int) -> bytes:
        assert self._engine is not None
        waiting = self._engine.unconsumed_tail
        while True:
            if self._engine.eof and not self._next_member():
                return b""
            block = waiting or self._left or self._file.read(STEP // 8)
            waiting, self._left = b"", b""
            part: bytes = self._engine.decompress(block, most)
            if part:
                return part
            waiting = self._engine.unconsumed_tail
            if not block and not self._engine.eof:
                raise HilumError(
                    "HIL-N01", f"{self.path} is cut short: its compressed data do not end", "Copy it again"
                )

    def _next_member(self) -> bool:
        """Go on to the next gzip member; zeros behind the last one are padding, anything else is refused."""
        assert self._engine is not None
        tail = self._engine.unused_data.lstrip(b"\0") or self._file.read(STEP // 8)
        while tail and not tail.strip(b"\0"):
            tail = self._file.read(STEP // 8)
        tail = tail.lstrip(b"\0")
        if not tail:
            return False
        if len(tail) < 2:
            tail += self._file.read(STEP // 8)
        if self.packed != "gzip" or not tail.startswith(b"\x1f\x8b"):
            raise HilumError("HIL-N02", f"{self.path} goes on after its compressed data", "Copy it again")
        self._left, self._engine = tail, deflate.decompressobj(31)
        return True


def packed(parts: Iterable[bytes], form: str) -> Iterator[bytes]:
    """Bytes compressed as "gzip", without a name or a time inside, or as "zlib"; the same by the same packer."""
    engine = deflate.compressobj(LEVEL, deflate.DEFLATED, 31 if form == "gzip" else 15)
    for part in parts:
        yield engine.compress(part)
    yield engine.flush()


def is_gzip(path: Path) -> bool:
    """Whether a file starts as gzip does."""
    with open(path, "rb") as stream:
        return stream.read(2) == b"\x1f\x8b"
