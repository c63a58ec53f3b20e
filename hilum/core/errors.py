"""Errors are sentences: a stable code, what was seen, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

RESUME = "go on with --resume"
# What helps where a training was cut off and its state is saved, in the words of `hilum train` (see `going_on`).


class HilumError(Exception):
    """An error a person can act on.

    code: stable, ``HIL-<row of faults.md>`` (HIL-D21) or ``HIL-<ROOM>-nn``; each one is explained in
    docs/reference/errors.md. seen: what was found, with the value. remedy: what to do.
    The command line prints it as one sentence and exits with 2.
    """

    def __init__(self, code: str, seen: str, remedy: str) -> None:
        end = "" if remedy.endswith("?") else "."
        super().__init__(f"{seen.rstrip('.')}. {remedy.rstrip('.')}{end} [{code}]")
        self.code = code
        self.seen = seen
        self.remedy = remedy


class Stopped(SystemExit):
    """A signal asked to end. The command line prints the words and exits with 128 + the signal, as schedulers expect.

    how: what became of the work ("after step 3; the state is saved").
    """

    def __init__(self, number: int, how: str) -> None:
        super().__init__(128 + number)
        self.number, self.how = number, how
        self.words = f"stopped by signal {number} {how}"


@contextmanager
def going_on(words: str) -> Iterator[None]:
    """What a training in here says of going on is said by these words: only `hilum train` has --resume."""
    try:
        yield
    except HilumError as error:
        if RESUME not in error.remedy:
            raise
        raise HilumError(error.code, error.seen, error.remedy.replace(RESUME, words)) from error
    except Stopped as stop:
        if RESUME not in stop.how:
            raise
        raise Stopped(stop.number, stop.how.replace(RESUME, words)) from stop


def near(word: str, known: list[str]) -> str:
    """'did you mean ...' for a mistyped word, or the list of what exists."""
    import difflib

    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(close) + "?"
    return "Known: " + ", ".join(sorted(known))
