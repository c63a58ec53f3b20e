"""How much memory this process holds, and held at most since somebody last asked (Linux; elsewhere 0, "not known")."""

import os
from pathlib import Path

STATUS = Path("/proc/self/status")
FORGET = Path("/proc/self/clear_refs")


def now() -> int:
    """Bytes that lie in memory now, shared ones included."""
    return _row("VmRSS")


def peak() -> int:
    """The most bytes since the process began, or since `forget` was called."""
    return _row("VmHWM")


def forget() -> bool:
    """Count the peak anew from here on; False where the system does not allow it."""
    try:
        FORGET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _row(name: str) -> int:
    if os.name != "posix":
        return 0
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), 0)
