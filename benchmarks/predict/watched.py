"""A command in a process of its own: seconds, the peak memory of it and of all that it starts, caps on both.

Memory of all processes together, sampled: what is theirs (anonymous and shared pages, in proportional shares), and the
most file pages that one of them holds, so that libraries count once and other programs change nothing. It is never
below the highest resident size that the kernel reports of any one of them, unless that one lets the kernel count anew.
"""

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PAUSE = 0.05
# Seconds between samples, at least.
SHARE = 0.02
# Of a processor that sampling may take: looking through the pages of a large process takes milliseconds.
TOLD = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc", "bad alloc",
    "unable to allocate", "memoryerror", "insufficient available cpu ram", "your ram was full",
)  # fmt: skip
# How libraries say that memory ran out.
TAIL = 4000


def run(
    command: Sequence[str], log: Path, cap: int, seconds: float, environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run it to its end; its words go to `log`. cap: bytes.

    seconds, peak (bytes), and "stopped" (it did not fit memory or time) or "failed" (its last words) where it did not
    succeed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    seen, stopped = Seen(), None
    with open(log, "w", encoding="utf-8") as stream:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environ,
            start_new_session=True, preexec_fn=_held(cap),
        )  # fmt: skip
        try:
            while (pause := seen.look(process.pid)) and not ended(process, pause):
                if seen.now > cap:
                    stopped = "out of memory"
                elif time.monotonic() - began > seconds:
                    stopped = f"over {seconds:.0f} s"
                if stopped:
                    break
        finally:
            spent = time.monotonic() - began
            _end(process)
    words = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    found: dict[str, Any] = {"seconds": round(spent, 2), "peak": seen.peak}
    if stopped or process.returncode == 0:
        return found | ({"stopped": stopped} if stopped else {})
    if process.returncode == -signal.SIGKILL or any(word in words.lower() for word in TOLD):
        return found | {"stopped": "out of memory"}
    return found | {"failed": words.strip() or f"status {process.returncode}"}


def ended(process: "subprocess.Popen[Any]", pause: float) -> bool:
    """Whether it ended within the pause."""
    try:
        process.wait(pause)
    except subprocess.TimeoutExpired:
        return False
    return True


class Seen:
    """Memory of a family of processes while it is looked at. now, peak: bytes."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def look(self, leader: int) -> float:
        """Take a sample; seconds to wait before the next."""
        # its own time: on a busy machine waiting for a processor is no reason to look away
        began = time.process_time()
        family = [(_shares(pid), _sizes(pid)) for pid in members(leader)]
        self.now = sum(share for share, _ in family) + max((files for _, (files, _) in family), default=0)
        self.peak = max(self.peak, self.now, *(highest for _, (_, highest) in family), 0)
        return max(PAUSE, (time.process_time() - began) / SHARE)


def members(leader: int) -> list[int]:
    """Processes of the leader's session and their descendants, by number."""
    parents, found = dict[int, int](), {leader}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # the name in brackets may hold anything
                rest = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(rest[1])
                if int(rest[3]) == leader:
                    found.add(int(folder.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def _shares(pid: int) -> int:
    """Bytes of anonymous and shared memory, shared pages in shares; 0 of a process that is gone."""
    found = _lines_of(Path(f"/proc/{pid}/smaps_rollup"))
    return found.get("Pss_Anon", 0) + found.get("Pss_Shmem", 0)


def _sizes(pid: int) -> tuple[int, int]:
    """Bytes of file pages that are held, and the most resident bytes that there ever were."""
    found = _lines_of(Path(f"/proc/{pid}/status"))
    return found.get("RssFile", 0), found.get("VmHWM", 0)


def _lines_of(path: Path) -> dict[str, int]:
    """{name: bytes} of the lines in kB; nothing of a process that is gone."""
    found = dict[str, int]()
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                found[words[0].rstrip(":")] = int(words[1]) << 10
    return found


def _held(cap: int) -> Callable[[], None]:
    """What a child does before it starts: no more than the cap, and the first that the system ends."""

    def before() -> None:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
            stream.write("1000")

    return before


def _end(process: "subprocess.Popen[Any]") -> None:
    """End what is left of the family."""
    for pid in members(process.pid):
        if pid != process.pid or process.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    process.wait()
