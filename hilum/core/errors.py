"""Errors are sentences: a stable code, what was seen, and what to do about it."""


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
        self.words = f"stopped by signal {number} {how}"


def near(word: str, known: list[str]) -> str:
    """'did you mean ...' for a mistyped word, or the list of what exists."""
    import difflib

    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(close) + "?"
    return "Known: " + ", ".join(sorted(known))
