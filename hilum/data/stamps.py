"""Size and time of the files that cases come from: one that changes or vanishes while they are used is named (T11)."""

import os
from collections.abc import Iterable
from pathlib import Path

from hilum.core.errors import RESUME, HilumError
from hilum.core.image import Case


class Stamps:
    """Size and time of every file of the cases, taken when it is made."""

    def __init__(self, cases: Iterable[Case] = ()) -> None:
        # kept: a folder that is listed anew costs its headers, and says nothing of what has vanished from it
        self._files = {case.id: _files(case) for case in cases}
        self._known = {path: _stamp(path) for path in sorted(set[Path]().union(*self._files.values()))}

    def check(self, cases: Iterable[Case] | None = None) -> None:
        """Refuse when a file is not what it was (HIL-T11). cases: look at the files of these, or pairs, alone."""
        known = self._known
        if cases is not None:
            # a pair has a name of its own: its two images are known by theirs
            names = {name for c in cases for name in (c.id, c.attributes.get("fixed"), c.attributes.get("moving"))}
            wanted = set[Path]().union(*(files for name, files in self._files.items() if name in names))
            known = {path: known[path] for path in sorted(wanted)}
        gone = [p for p, stamp in known.items() if stamp is not None and _stamp(p) is None]
        changed = [p for p, stamp in known.items() if p not in gone and _stamp(p) != stamp]
        if gone or changed:
            words = [f"{p} has vanished" for p in gone] + [f"{p} has changed" for p in changed]
            more = f" and {len(words) - 3} more" if len(words) > 3 else ""
            raise HilumError(
                "HIL-T11", f"Data changed during training: {', '.join(words[:3])}{more}",
                f"Put the files back and {RESUME}, if a state was saved; or train anew on the new ones",
            )  # fmt: skip


def _files(case: Case) -> set[Path]:
    """Every file of a case, each once."""
    return {file for item in case.items.values() for file in getattr(item, "files", ())}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
