"""Graphs that were made of a network before: those in its run or bundle, and a cache of the user's that may be lost."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hilum.core.atomic import writing

PLACE = "HILUM_CACHE"
# The environment variable that names the folder of the cache; "off" is none.
LIMIT = 2 << 30
# Bytes that the cache may hold; what was written first goes first.
BUILT_OF = ("torch", "monai", "onnxscript", "openvino")
Read = Callable[[str], bytes | None]


def nothing(name: str) -> None:
    """Of a model that holds no graphs."""
    return None


class Stored:
    """own: reads a file below graphs/ of the model, None where there is none. key: of what is cached; "" for none.

    The cache only saves time: what can not be written, read or trusted is made again.
    """

    def __init__(self, own: Read = nothing, key: str = "") -> None:
        self.own, self.key = own, key

    def cached(self, name: str) -> bytes | None:
        """What was kept under this name for the same network; None where nothing whole is there."""
        path = self._path(name)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, rest = content[:32], content[32:]
        return rest if hashlib.sha256(rest).digest() == digest else None

    def keep(self, name: str, content: bytes) -> None:
        """Put it into the cache, and let go of the oldest beyond LIMIT."""
        path = self._path(name)
        if path is None:
            return
        with contextlib.suppress(OSError):
            with writing(path) as part:
                part.write_bytes(hashlib.sha256(content).digest() + content)
            _trim(path.parent)

    def forget(self, name: str) -> None:
        """Take it out of the cache."""
        path = self._path(name)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path | None:
        place = folder()
        if place is None or not self.key:
            return None
        return place / "graphs" / hashlib.sha256(f"{self.key} {name}".encode()).hexdigest()


def folder() -> Path | None:
    """Where this user's caches lie: HILUM_CACHE, else the system's usual place; None where it is off or unknown."""
    named = os.environ.get(PLACE)
    if named:
        return None if named == "off" else Path(named)
    usual = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(usual) if usual else Path.home() / ".cache") / "hilum"
    except RuntimeError:
        return None


def key(net: Any, *facts: Any) -> str:
    """What tells a network from every other: all its numbers, its code and what it is built of, and the facts given."""
    import inspect

    total = hashlib.sha256(repr(facts).encode())
    for name, tensor in net.state_dict().items():
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(dtype=_bytes()).numpy())
    with contextlib.suppress(OSError, TypeError):
        # of features alone: the network that they are of
        total.update(Path(inspect.getfile(type(getattr(net, "net", net)))).read_bytes())
    return hashlib.sha256(f"{total.hexdigest()} {_code()}".encode()).hexdigest()


@functools.cache
def _code() -> str:
    """The zoo's files, and the versions of what its networks are built of and converted by."""
    found = []
    for package in BUILT_OF:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    total, zoo = hashlib.sha256(" ".join(found).encode()), Path(__file__).parents[2] / "zoo"
    for path in sorted(zoo.rglob("*.py")):
        total.update(path.relative_to(zoo).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8


def _trim(place: Path) -> None:
    """Delete the oldest files until the folder is within LIMIT."""
    files = sorted((p for p in place.iterdir() if p.is_file()), key=lambda p: p.stat().st_mtime)
    size = sum(p.stat().st_size for p in files)
    for path in files:
        if size <= LIMIT:
            break
        size -= path.stat().st_size
        path.unlink(missing_ok=True)
