"""A decoding process gives up what no decoder needs: other machines, and to write beside the temporary files.

Both by the system: namespaces of Linux (unshare(2)) and Landlock (landlock(7)), which Python 3.11 has no calls for.
"""

import ctypes
import os
import struct
import sys
import tempfile
from contextlib import suppress
from typing import Any

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
CREATE, ADD, RESTRICT = 444, 445, 446
# Landlock's system calls, of the same numbers on all processors that we know of.
VERSION, BENEATH, NO_NEW_PRIVILEGES = 1, 1, 38
WRITE = 1 << 1
MAKE = sum(1 << n for n in range(4, 13))
# To make and to remove files, folders, links, pipes and devices.
TRUNCATE, TCP = 1 << 14, 0b11
# Known from the third, and to bind and to connect from the fourth version of Landlock on.


def confine() -> None:
    """From now on this process, which has one thread, reaches no other machine and changes no file of its user.

    Where the system does not offer that (not Linux, an older one, a container that forbids it), nothing changes.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        # root keeps its own name space of users: in a new one it could not read the files of others any more
        libc.unshare(NEW_NETWORK if os.geteuid() == 0 else NEW_USER | NEW_NETWORK)
        _read_only(libc)


def _read_only(libc: Any) -> None:
    version = libc.syscall(CREATE, None, 0, VERSION)
    if version < 1:
        return
    files = WRITE | MAKE | (TRUNCATE if version >= 3 else 0)
    rules = struct.pack("=QQ", files, TCP if version >= 4 else 0)
    handle = libc.syscall(CREATE, rules, len(rules), 0)
    if handle < 0:
        return
    # a path that is no text is read by a link to it, which lies there
    for path, allowed in ((tempfile.gettempdir(), files), (os.devnull, WRITE)):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        libc.syscall(ADD, handle, BENEATH, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        libc.syscall(RESTRICT, handle, 0)
    os.close(handle)
