"""Size and time of the files that cases come from: one that changes or vanishes while they are used is named (T11)."""

import os
from collections.abc import Iterable
from pathlib import Path

from hilum.core.errors import HilumError
from hilum.core.image import Case


class Stamps:
    """Size and time of every file of the cases, taken when it is made."""

    def __init__(self, cases: Iterable[Case] = ()) -> None:
        self._known = {path: _stamp(path) for path in sorted(_files(cases))}

    def check(self, cases: Iterable[Case] | None = None) -> None:
        """Refuse when a file is not what it was (HIL-T11). cases: look at the files of these alone."""
        known = self._known
        if cases is not None:
            known = {path: known[path] for path in sorted(_files(cases) & known.keys())}
        gone = [p for p, stamp in known.items() if stamp is not None and _stamp(p) is None]
        changed = [p for p, stamp in known.items() if p not in gone and _stamp(p) != stamp]
        if gone or changed:
            words = [f"{p} has vanished" for p in gone] + [f"{p} has changed" for p in changed]
            more = f" and {len(words) - 3} more" if len(words) > 3 else ""
            raise HilumError(
                "HIL-T11", f"Data changed during training: {', '.join(words[:3])}{more}",
                "Put the files back and go on with --resume, if a state was saved; or train anew on the new ones",
            )  # fmt: skip


def _files(cases: Iterable[Case]) -> set[Path]:
    """Every file of the cases, each once."""
    return {file for case in cases for item in case.items.values() for file in getattr(item, "files", ())}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
