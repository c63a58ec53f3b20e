"""Memory for decoded pixels; in a decoding worker it can be handed to the parent process without a copy."""

import mmap
import os
import tempfile
from typing import Any

import numpy as np

from hilum.core.image import Array

_shared: dict[int, tuple[int, int]] = {}
# In a worker: {address: (bytes, descriptor)} of every buffer handed out since the last reply.
_sharing = False


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
    handle = anonymous(size)
    flat = np.frombuffer(mmap.mmap(handle, size), np.uint8)
    _shared[flat.__array_interface__["data"][0]] = (size, handle)
    return flat.view(kind).reshape(shape)


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
    for start, (size, handle) in _shared.items():
        if start <= low and high <= start + size:
            return handle, array.__array_interface__["data"][0] - start
    return None


def forget() -> None:
    """Close every descriptor handed out (the mappings end with their arrays)."""
    for _, handle in _shared.values():
        os.close(handle)
    _shared.clear()
