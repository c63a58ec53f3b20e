"""Paths as SimpleITK takes them: it ends the whole process at one that is no UTF-8."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def named(path: Path) -> Iterator[str]:
    """The path as text; of one that is no text, a link to it from elsewhere with the same ending."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            packed = path.with_suffix("").suffix if path.suffix == ".gz" else ""
            link = Path(folder) / f"file{packed}{path.suffix}"
            os.symlink(path.absolute(), link)
            yield str(link)
        return
    yield str(path)
