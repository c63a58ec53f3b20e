"""How the library tells what it is doing: a function the caller passes in. The library itself never prints."""

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; the command line draws a bar with the time left from it."""

    def __call__(self, name: str, done: int, total: int, note: str = "") -> None:
        """name: the job ("train"); done of total units; note: a few words on how it goes."""


def quiet(name: str, done: int, total: int, note: str = "") -> None:
    """Say nothing."""
