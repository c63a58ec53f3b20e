"""The folder that one call of a verb writes into: made, locked, and gone again where nothing came into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hilum.core.lock import NAME, locked
from hilum.core.run import free_folder, new_folder


def free(out: Path) -> None:
    """Refuse a folder that holds anything (HIL-CORE-03) but a lock, which may be left by a kill. Makes nothing."""
    if not (out.is_dir() and all(path.name == NAME for path in out.iterdir())):
        free_folder(out)


@contextmanager
def held(out: Path, known: bool = False) -> Iterator[None]:
    """The folder, locked. known: it may hold something; else that is refused (HIL-CORE-03).

    Another process that works in it is refused (HIL-T12).
    """
    fresh = not out.exists()
    if not known:
        free(out)
        if fresh:
            new_folder(out)
    try:
        with locked(out):
            if not known:
                # somebody else's work may have begun and ended since we looked
                free(out)
            yield
    finally:
        if fresh and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
