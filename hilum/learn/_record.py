"""What a run leaves of its way: log.csv and the live page at every round, trackers where asked for, and the timing."""

import csv
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from hilum.core import card
from hilum.core.errors import Stopped
from hilum.core.image import Array
from hilum.core.plan import Plan
from hilum.core.run import write_rows
from hilum.learn import _guards, _pace
from hilum.learn._curve import Curve
from hilum.learn._state import State
from hilum.learn._track import Ended, Trackers

log = logging.getLogger(__name__)

KINDS = ("prepare", "plan", "wait", "step", "validate", "draw", "save")
# Of work, in the order in which a run meets them.


class Record:
    """Rows of log.csv, seconds of each kind of work, page and trackers. Only the leading process writes."""

    def __init__(self, folder: Path, plan: Plan, leads: bool, track: str | None = None) -> None:
        self.began = time.monotonic()
        self.folder, self.leads = folder, leads
        self.rows: list[dict[str, Any]] = []
        self.spent = dict.fromkeys(KINDS, 0.0)
        self.earlier = 0.0
        self.curve = Curve(folder, plan)
        self.trackers = Trackers(folder, track if leads else None)

    @contextmanager
    def told(self, cases: int) -> Iterator[None]:
        """A page from the start on, which says so when the run ends before its time."""
        if self.leads:
            with _guards.disk(self.folder):
                self.curve.prepare(cases)
        ended: Ended = "finished"
        try:
            yield
        except BaseException as error:
            ended = "killed" if isinstance(error, Stopped | KeyboardInterrupt) else "failed"
            keyboard = "Stopped from the keyboard" if isinstance(error, KeyboardInterrupt) else type(error).__name__
            words = getattr(error, "words", "") or str(error) or keyboard
            if self.leads:
                # what stopped the run, a full disk for example, may stop the page too
                with suppress(OSError):
                    self.curve.stop(words)
            raise
        finally:
            self.trackers.close(ended)

    @contextmanager
    def spend(self, kind: str) -> Iterator[None]:
        """Count the seconds of this block as `kind`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent[kind] += time.monotonic() - began

    def begin(self, step: int, plan: Plan, best: Mapping[str, Any] | None = None, done: bool = False) -> None:
        """Training goes on after this step; of a log that is there, what lies behind it is what was lost.

        What was learned until then is drawn again. best: of the rounds until then. done: no step is left.
        """
        self.curve.begin(step, plan)
        path = self.folder / "log.csv"
        # who does not lead writes none
        if self.leads and step and path.is_file():
            self.rows = self._earlier(path, step)
        self.earlier = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        if self.rows and self.leads:
            with self.spend("draw"), _guards.disk(self.folder):
                self.curve.draw(self.rows, (), best, done)

    def _earlier(self, path: Path, step: int) -> list[dict[str, Any]]:
        """Rows of a log up to this step. One that holds no numbers in its columns any more, as a spreadsheet may leave
        it, is laid aside with a warning, and the log begins anew: weights do not hang on it.
        """
        try:
            with open(path, encoding="utf-8", newline="") as stream:
                rows: list[dict[str, Any]] = list(csv.DictReader(stream))
            for row in rows:
                # what a round did not have is empty
                list(map(float, [row["seconds"], *(value or 0 for value in row.values())]))
            return [row for row in rows if int(row["step"]) <= step]
        except (KeyError, TypeError, ValueError, csv.Error):
            aside = next(p for n in count(1) if not (p := path.with_name(f"log.aside{n}.csv")).exists())
            with _guards.disk(self.folder):
                path.rename(aside)
            log.warning("%s is no table of numbers as training writes it: it is kept as %s, and the log begins anew "
                        "after step %d", path, aside.name, step)  # fmt: skip
            return []

    def row(self, state: State, step: int) -> dict[str, Any]:
        """What training gave since the last round: step, seconds so far, the highest rate, mean losses."""
        counted, sums = state.memory["counted"], state.memory["sums"]
        rate = max(g["lr"] for o in state.optimisers.values() for g in o.param_groups)
        seconds = round(self.earlier + time.monotonic() - self.began, 2)
        found: dict[str, Any] = {"step": step, "seconds": seconds, "rate": float(f"{rate:.6g}")}
        return found | {f"train {n}": round(v / counted, 6) for n, v in sums.items()}

    def round(self, row: dict[str, Any], state: State, pictures: list[tuple[Array, str]], done: bool) -> None:
        """Write the log with this row, the page and the trackers."""
        self.rows.append(row)
        if not self.leads:
            return
        with self.spend("draw"), _guards.disk(self.folder):
            write_rows(self.folder / "log.csv", self.rows)
            self.curve.draw(self.rows, pictures, state.memory.get("best"), done)
            self.trackers.round(row, state.plan)

    def timing(self, state: State) -> dict[str, Any]:
        """Seconds of this process: of each kind of work and the rest, which add up to `seconds`; its peak memory.

        Of a card the most that its tensors held there, where one was used.
        """
        whole = time.monotonic() - self.began
        spent = {n: round(v, 3) for n, v in self.spent.items()} | {"rest": round(whole - sum(self.spent.values()), 3)}
        best = {k: v for k, v in state.memory.get("best", {}).items() if k != "weights"}
        told = {"seconds": round(whole, 3), **spent, "best": best or None, "peak_bytes": _pace.peak_bytes()}
        held = card.peak()
        return told | {"card_bytes": held} if held else told
