"""Atomic writing: a file is there whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def _sync(path: Path) -> None:
    """Put a file on the disk, or the names in a folder (where a rename lives)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


UNFINISHED = ".part-"
# How the name of what is not whole yet begins; left behind where the process is killed.


def clear(folder: Path) -> None:
    """Take away what killed processes were writing below a folder; nobody else may be writing there."""
    for part in folder.rglob(f"{UNFINISHED}*"):
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` (same suffixes); on success it is synced and renamed to `path`."""
    part = _begun(path)
    try:
        yield part
        _finish(part)
        _publish(part, path)
    finally:
        part.unlink(missing_ok=True)


def _begun(path: Path) -> Path:
    """An empty file beside `path`, with a name of its own."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    return Path(name)


def _finish(part: Path) -> None:
    """What was written lies on the disk, and all may read it whom the user lets."""
    _sync(part)
    # mkstemp makes the file private; what we publish follows the user's umask
    umask = os.umask(0)
    os.umask(umask)
    part.chmod(0o666 & ~umask)


def _publish(part: Path, path: Path) -> None:
    """It takes its place."""
    os.replace(part, path)
    _sync(Path(path).parent)


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success, synced, it becomes `path`, which must be absent or empty.

    A folder that is there stays the one it is, as somebody may stand in it and a mount can not be replaced: what was
    written moves up into it, name by name, once all of it is on the disk. One that holds something, or that can not be
    written to, is an OSError before anything is made.
    """
    path = Path(path).resolve()
    there = path.is_dir()
    if there:
        _check_empty(path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path if there else path.parent))
    try:
        yield part
        # a name that outlives a power cut must not stand for files that do not
        for inner in (*part.rglob("*"), part):
            if not inner.is_symlink() and (inner.is_file() or inner.is_dir()):
                _sync(inner)
        if there:
            _check_empty(path, part)
            for inner in sorted(part.iterdir()):
                os.replace(inner, path / inner.name)
            _sync(path)
        else:
            umask = os.umask(0)
            os.umask(umask)
            part.chmod(0o777 & ~umask)
            os.replace(part, path)
            _sync(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_empty(path: Path, but: Path | None = None) -> None:
    """An OSError where the folder holds anything else."""
    if any(inner != but for inner in path.iterdir()):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with writing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write several files, which take their places in that order; all are on the disk before the first one does.

    So a disk that is full changes nothing, and one that is cut off between two of them leaves each of them whole.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            parts[path] = _begun(path)
            parts[path].write_bytes(content)
            _finish(parts[path])
        for path, part in parts.items():
            _publish(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def json_text(value: Any) -> str:
    """Readable, diffable JSON; NaN and infinity are refused (they are not JSON)."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `json_text` atomically."""
    write_text(path, json_text(value))


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
