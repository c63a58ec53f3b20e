"""A lock on a folder: one process writes there. The system frees it when the process ends, however it ends."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from hilum.core.errors import HilumError

NAME = ".lock"
UNABLE = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)
# What a disk in a network says that can not lock files, such as Lustre without flock or NFS without its daemon.


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, or refuse (HIL-T12) while another process holds it. A lock left by a kill is free.

    Refused too (HIL-CORE-04): a disk that can not lock files, where two processes could not be told apart.
    """
    path = Path(folder) / NAME
    handle = _taken(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


@contextlib.contextmanager
def waiting(folder: Path) -> Iterator[None]:
    """Hold the folder itself, once whoever holds it is done; no file is made. For moments, and besides `locked`.

    Where the file system can not lock a folder, as some in a network, it is not held.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _taken(path: Path) -> int:
    """An open, locked handle on the file that lies at `path`."""
    while True:
        handle, there = os.open(path, os.O_RDWR | os.O_CREAT, 0o666), -1
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, 20, 0).decode() or "unknown"
            os.close(handle)
            raise HilumError(
                "HIL-T12", f"Another process (number {owner}) works in {path.parent}",
                "Wait for it, stop it, or choose another --out",
            ) from error  # fmt: skip
        except OSError as error:
            # a holder wrote its number: a disk that is unable for a moment must not take its lock away
            empty = os.fstat(handle).st_size == 0
            os.close(handle)
            if error.errno not in UNABLE:
                raise
            if empty:
                path.unlink(missing_ok=True)
            raise HilumError(
                "HIL-CORE-04", f"The disk of {path.parent} can not lock files ({error.strerror})",
                "Give a folder on another disk, such as one of this machine, or have that one mounted with flock",
            ) from error  # fmt: skip
        try:
            with contextlib.suppress(FileNotFoundError):
                there = path.stat().st_ino
            if there == os.fstat(handle).st_ino:
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                return handle
        except BaseException:
            # a signal that ends the process just now must not leave our file behind, nor take another's away
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(handle).st_ino:
                    path.unlink()
            os.close(handle)
            raise
        # its owner finished and removed the file between our two calls
        os.close(handle)
