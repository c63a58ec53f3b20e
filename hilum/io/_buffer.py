"""Memory for decoded pixels; in a decoding worker it can be handed to the parent process without a copy.

Fresh pages cost time that decoding plain pixels does not, so that a buffer whose last user is gone is taken again.
"""

import mmap
import os
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.core.image import Array

KEPT = 256 << 20
# Bytes of buffers that a worker holds for its next file.
MOST = 32
# Such buffers; each takes two descriptors.


@dataclass(frozen=True, eq=False)
class Shared:
    """flat: bytes that another process can map. handle: their descriptor."""

    flat: Array
    handle: int

    @property
    def address(self) -> int:
        """Where the bytes begin in this process."""
        return int(self.flat.__array_interface__["data"][0])


_sharing = False
_used: list[Shared] = []
# Given out since the last reply.
_lent: dict[int, Shared] = {}
# With the parent, by descriptor.
_free: list[Shared] = []
# To be taken again, the oldest first.


def share() -> None:
    """From now on `empty` gives memory that another process can map (called once, by a worker)."""
    global _sharing
    _sharing = True


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised array (C order). Decoders fill it in place, so that a volume lies in memory once."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if not _sharing or size == 0:
        return np.empty(shape, kind)
    again = next((one for one in _free if size <= one.flat.size <= 2 * size), None)
    if again is not None:
        _free.remove(again)
    else:
        handle = anonymous(size)
        again = Shared(np.frombuffer(mmap.mmap(handle, size), np.uint8), handle)
    _used.append(again)
    return again.flat[:size].view(kind).reshape(shape)


def anonymous(size: int) -> int:
    """A descriptor of `size` bytes of memory that vanishes with its last user, whatever kills it."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("hilum", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as stream:
            handle = os.dup(stream.fileno())
    os.ftruncate(handle, size)
    return handle


def find(array: Array) -> tuple[int, int] | None:
    """(descriptor, offset in bytes) of the shared buffer that holds all of `array`, or None."""
    low, high = np.lib.array_utils.byte_bounds(array)
    for one in _used:
        if one.address <= low and high <= one.address + one.flat.size:
            return one.handle, int(array.__array_interface__["data"][0]) - one.address
    return None


def lend(handles: list[int]) -> None:
    """Of the buffers given out since the last reply, those descriptors are the parent's now; the others are free."""
    for one in _used:
        if one.handle in handles:
            _lent[one.handle] = one
        else:
            _free.append(one)
    _used.clear()
    _trim()


def take_back(handles: list[int]) -> None:
    """The parent needs those no more; of ~handle, a process that it forked may still look at the memory."""
    for handle in handles:
        if handle >= 0:
            _free.append(_lent.pop(handle))
        else:
            os.close(_lent.pop(~handle).handle)
    _trim()


def _trim() -> None:
    while len(_free) > MOST or sum(one.flat.size for one in _free) > KEPT:
        os.close(_free.pop(0).handle)
