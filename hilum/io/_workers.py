"""Files from outside are decoded in pre-started processes with caps on memory and time; pixels come back uncopied.

A codec that crashes, panics, loops or asks for too much memory costs that file only: its process is replaced. Requests
and replies are plain data (JSON over a socket, never pickle), arrays are descriptors of shared memory. Where the system
can not hand over descriptors, or HILUM_DECODE is "inline", the same functions run in this process.
"""

import atexit
import contextlib
import importlib
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.io._guard import reading
from hilum.io._parcel import pack_options, unpack

PROCESSES = max(1, min(2, os.cpu_count() or 1))
SECONDS = 10.0
# Time for a small file; larger ones get a second more for each SLOWEST bytes on disk.
SLOWEST = 5_000_000
START_SECONDS = 120.0
# A new process imports its libraries; on a busy machine that takes a while.
MOST_ARRAYS = 253
# Descriptors in one message, as Linux limits them.
LEAST_MEMORY = 2 << 30
# The cap is half of the machine's memory and at least this.


class Lost(Exception):
    """The process ended, or did not answer in time."""


class Worker:
    """One decoding process and the socket to it."""

    def __init__(self, memory: int) -> None:
        ours, theirs = socket.socketpair()
        here = str(Path(__file__).parents[2])
        path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        # one thread each: the processes are the parallelism, and thread pools reserve memory
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # -P: Python files in the current folder (a data folder, perhaps) are never imported
        command = [sys.executable, "-P", "-m", "hilum.io._worker", str(theirs.fileno()), str(memory)]
        quiet = subprocess.DEVNULL
        # a process group of its own: Ctrl-C in a terminal is for us, and must not end processes that stand ready
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=env, stdin=quiet, stdout=quiet, stderr=quiet, process_group=0
        )
        theirs.close()
        self.socket = ours
        self.ready = False
        self.unused: list[int] = []
        # Names of buffers that nobody looks at any more, for the next request to give back.

    def ask(self, request: dict[str, Any], seconds: float) -> tuple[dict[str, Any], list[int]]:
        """The reply to one request and the descriptors that came with it; Lost when there is none in time."""
        if not self.ready:
            self._answer(time.monotonic() + START_SECONDS)
            self.ready = True
        given_back = [self.unused.pop() for _ in range(len(self.unused))]
        data = json.dumps({**request, "unused": given_back}).encode()
        try:
            self.socket.settimeout(seconds)
            self.socket.sendall(struct.pack("!I", len(data)) + data)
        except OSError as error:
            raise Lost("ended") from error
        return self._answer(time.monotonic() + seconds)

    def _answer(self, until: float) -> tuple[dict[str, Any], list[int]]:
        data, wanted = b"", 4
        handles: list[int] = []
        while len(data) < wanted:
            left = until - time.monotonic()
            if left <= 0:
                raise Lost("late")
            self.socket.settimeout(left)
            try:
                more, found, _, _ = socket.recv_fds(self.socket, 1 << 20, MOST_ARRAYS)
            except TimeoutError as error:
                raise Lost("late") from error
            except OSError as error:
                raise Lost("ended") from error
            if not more:
                raise Lost("ended")
            data, handles = data + more, handles + found
            if wanted == 4 and len(data) >= 4:
                wanted = 4 + int(struct.unpack("!I", data[:4])[0])
        return json.loads(data[4:]), handles

    def stop(self) -> int | None:
        """End the process; its exit status where it had ended by itself."""
        self.socket.close()
        try:
            # a process whose socket is closed leaves by itself; one that loops does not
            status = self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None
        return status


class Pool:
    """Processes that stand ready; each serves one file at a time. One is started at once, others when all are busy."""

    def __init__(self, processes: int = PROCESSES, memory: int | None = None, seconds: float = SECONDS) -> None:
        self.memory, self.seconds = memory or default_memory(), seconds
        # the last one put is the first one taken: None, a process still to be started, comes when no other is left
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(processes - 1):
            self._idle.put(None)
        self._idle.put(Worker(self.memory))

    def decode(self, module: str, function: str, path: Path, options: dict[str, Any]) -> Any:
        """What `module.function(path, **options)` gives there; its HilumError is raised here."""
        seconds = self.seconds + _size(path, options.get("files") or (), module) / SLOWEST
        request: dict[str, Any] = {"module": module, "function": function, "path": str(path), "seconds": seconds}
        request["options"] = pack_options(options)
        worker = self._taken()
        try:
            if worker.process.poll() is not None:
                # ended while it stood ready (somebody else's kill): this file is not to blame
                worker.stop()
                worker = Worker(self.memory)
            reply, handles = worker.ask(request, seconds)
            unused = worker.unused
        except Lost as error:
            status = worker.stop()
            worker = Worker(self.memory)
            raise _lost(path, error, status, seconds) from None
        except BaseException:
            # an answer that nobody waits for must not reach the next one who asks
            worker.stop()
            worker = Worker(self.memory)
            raise
        finally:
            self._idle.put(worker)
        if "error" in reply:
            code, seen, remedy = reply["error"]
            raise HilumError(code, seen if str(path) in seen else f"{path}: {seen}", remedy)
        return unpack(reply["value"], handles, reply["names"], unused)

    def _taken(self) -> Worker:
        """One that is idle; a new one where all that were started are busy."""
        worker = self._idle.get()
        if worker is not None:
            return worker
        try:
            return Worker(self.memory)
        except BaseException:
            self._idle.put(None)
            raise

    def close(self) -> None:
        """End every process that is idle."""
        while not self._idle.empty():
            if worker := self._idle.get():
                worker.stop()


def _lost(path: Path, error: Lost, status: int | None, seconds: float) -> HilumError:
    """What the loss of a process says of the file that it was decoding. status: as of `Worker.stop`."""
    if str(error) == "late":
        return HilumError(
            "HIL-D45", f"{path} was not decoded within {seconds:.0f} s", "Leave it out, or export it again"
        )
    if status == -signal.SIGKILL:
        # no codec does that to itself: whoever watches over memory ended it, and the file may be well
        return HilumError(
            "HIL-IO-09", f"The process that decoded {path} was killed, as where memory runs out",
            "Free memory, or give the job more, and try again",
        )  # fmt: skip
    how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
    return HilumError(
        "HIL-D45", f"{path} made its decoder crash ({how})", "Leave it out, or export it again uncompressed"
    )


def files_of(module: str, path: Path) -> list[Path]:
    """Every file that a path is read from, as the format of that module says: beside a header its voxels, too.

    Where the format does not say it, or can not: the file itself, or all that lies below a folder.
    """
    card = next((c for c in catalogue.cards("hilum.io").values() if c["module"] == module), {})
    if card.get("files"):
        # what can not be looked at is refused by its reader, with a reason
        with contextlib.suppress(HilumError), reading(path):
            named: list[Path] = importlib.import_module(module).files_of(path)
            return named
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _size(path: Path, files: Sequence[str] = (), module: str = "") -> int:
    """Bytes on disk: of a file, with what belongs to it; of a folder those named, else those directly inside."""
    total = 0
    named = [path / name for name in files]
    for one in named or (list(path.iterdir()) if path.is_dir() else files_of(module, path)):
        # what can not be looked at is refused by its reader, with a reason
        with contextlib.suppress(OSError):
            total += one.stat().st_size
    return total


def default_memory() -> int:
    """Half of the machine's memory."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        whole = 0
    return max(LEAST_MEMORY, whole // 2)


_pool: Pool | None = None
_alone = threading.Lock()


def pool() -> Pool:
    """The processes of this program, started at the first call and kept warm."""
    global _pool
    with _alone:
        if _pool is None:
            _pool = Pool()
            atexit.register(_pool.close)
        return _pool


def _forget() -> None:
    """A forked child must not speak on its parent's sockets, nor hold them open."""
    global _pool, _alone
    if _pool is not None:
        atexit.unregister(_pool.close)
    _pool, _alone = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def decode(module: str, function: str, path: Path, options: dict[str, Any]) -> Any:
    """`module.function(path, **options)`, guarded: in a decoding process where the system allows it."""
    if os.environ.get("HILUM_DECODE") == "inline" or not hasattr(socket, "send_fds"):
        with reading(path):
            return getattr(importlib.import_module(module), function)(path, **options)
    if not path.exists():
        raise HilumError("HIL-IO-02", f"There is no file or folder {path}", "Check the path")
    # the process has another current folder in mind once ours changes
    return pool().decode(module, function, Path(os.path.abspath(path)) if not path.is_absolute() else path, options)
