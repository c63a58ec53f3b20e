"""The process that decodes files for another one: python -m hilum.io._worker SOCKET BYTES (see _workers.py)."""

import contextlib
import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.io import _buffer
from hilum.io._confined import confine
from hilum.io._guard import reading
from hilum.io._parcel import pack, unpack_options

AFTER = 5.0
# Seconds after its time is up at which the system ends this process, should nobody be left to do so.


def main() -> None:
    """Answer requests until the socket closes."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    _cap(int(sys.argv[2]))
    _buffer.share()
    _warm()
    # what was imported so far may have been compiled and kept
    confine()
    _send(connection, {"value": "ready"}, [])
    while (request := _receive(connection)) is not None:
        # the signal's default action ends the process even inside a codec's loop
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + AFTER)
        _buffer.take_back(request["unused"])
        handles: list[int] = []
        reply = _answer(request, handles)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if "error" in reply:
            handles = []
        _buffer.lend(handles)
        _send(connection, reply | {"names": handles}, handles)


def _answer(request: dict[str, Any], handles: list[int]) -> dict[str, Any]:
    path = Path(request["path"])
    try:
        with reading(path):
            function = getattr(importlib.import_module(request["module"]), request["function"])
            return {"value": pack(function(path, **unpack_options(request["options"])), handles)}
    except HilumError as error:
        if isinstance(error.__cause__, MemoryError):
            return {"error": ["HIL-IO-09", f"{path} needs more memory than decoding may take", "Cut it into parts"]}
        return {"error": [error.code, error.seen, error.remedy]}
    except BaseException as error:  # a codec's panic is no Exception
        words = " ".join(str(error).split())[:200]
        seen = f"{path} made its decoder panic ({type(error).__name__}: {words})"
        return {"error": ["HIL-D45", seen, "Leave it out, or export it again uncompressed"]}


def _cap(memory: int) -> None:
    """Most address space; a system without such a limit goes on without."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _warm() -> None:
    """Import what the first file would wait for."""
    for name in ("numpy", "pydicom", "pydicom.pixels", "nibabel", "PIL.Image"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _send(connection: socket.socket, reply: Any, handles: list[int]) -> None:
    try:
        data = json.dumps(reply).encode()
    except (TypeError, ValueError) as error:
        # a reader gave something that is no plain data: its fault, and no reason to end
        words = f"A decoder gave what can not be handed over ({error})"
        data, handles = json.dumps({"error": ["HIL-IO-03", words, "Report this as a bug in Hilum"]}).encode(), []
    data = struct.pack("!I", len(data)) + data
    sent = socket.send_fds(connection, [data], handles)
    connection.sendall(data[sent:])


def _receive(connection: socket.socket) -> Any:
    """The next request, or None when the other side is gone."""
    head = _exactly(connection, 4)
    data = _exactly(connection, struct.unpack("!I", head)[0]) if head else b""
    return json.loads(data) if data else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


if __name__ == "__main__":
    main()
    # whoever asked waits for the end, and there is nothing to tidy up
    os._exit(0)
