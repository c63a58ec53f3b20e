"""The folder that one call of a verb writes into: made, locked, and gone again where nothing came into it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hilum.core.lock import NAME, locked
from hilum.core.run import free_folder, new_folder


def free(out: Path) -> None:
    """Refuse a folder that holds anything (HIL-CORE-03) but a lock, which may be left by a kill. Makes nothing."""
    if not (out.is_dir() and all(path.name == NAME for path in out.iterdir())):
        free_folder(out)


@contextmanager
def held(out: Path, known: bool = False, whole: bool = False) -> Iterator[None]:
    """The folder, locked. known: it may hold something; else that is refused (HIL-CORE-03).

    whole: files that a call wrote which ended in an error or was stopped go again: they would refuse the next one.
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
            try:
                yield
            except BaseException:
                if whole and not known:
                    _emptied(out)
                raise
    finally:
        if fresh and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _emptied(out: Path) -> None:
    """Take the files away; it was empty and nobody else works in it, so that all of them are ours."""
    for path in out.iterdir():
        if path.name != NAME and path.is_file():
            # what went wrong is told, and not that a disk which fails also keeps a file
            with suppress(OSError):
                path.unlink()
