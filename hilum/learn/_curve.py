"""The live page of a run (training.html): curves, time left, and what the network makes of a few validation cases."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.core.evenly import evenly
from hilum.core.image import Array
from hilum.core.plan import Plan
from hilum.pictures.page import Page

PICTURES = 6
# Validation cases that are drawn.
REFRESH = 10
# Seconds after which an open page looks for news while the run goes on.
SPARING = 20
# A round is not drawn where drawing would take over a twentieth of the time since the last one.
PARTS = ("train", "val")
# Their lines have the same colours in every drawing.

Lines = dict[str, dict[str, list[tuple[float, float]]]]


class Curve:
    """Draws training.html anew at every round; open it in a browser, it renews itself until the run is done."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.path, self.plan = folder / "training.html", plan
        self.rows: Sequence[Mapping[str, Any]] = ()
        self.pictures: Sequence[tuple[Array, str]] = ()
        self.best: Mapping[str, Any] | None = None
        self.begun: tuple[int, float] | None = None
        self.drawn = self.drawing = 0.0

    def prepare(self, cases: int) -> None:
        """The first page, while cases are prepared and steps are timed."""
        words = f"{cases:,} cases are prepared, then steps are timed. The curve begins after the first round."
        self._write("info", f"{words} {_now()}", REFRESH)

    def begin(self, step: int, plan: Plan) -> None:
        """Steps begin after this one: time left is reckoned from here."""
        self.plan, self.begun = plan, (step, time.monotonic())

    def draw(
        self,
        rows: Sequence[Mapping[str, Any]],
        pictures: Sequence[tuple[Array, str]],
        best: Mapping[str, Any] | None,
        done: bool,
    ) -> None:
        """rows: of log.csv. pictures: (rgb, caption) of this round. best: score and step of the best round so far."""
        self.rows, self.pictures, self.best = rows, pictures, best
        before = time.monotonic()
        if not done and before - self.drawn < SPARING * self.drawing:
            return
        self._write("good" if done else "info", f"{self._where(done)} {_now()}", None if done else REFRESH)
        self.drawn = time.monotonic()
        self.drawing = self.drawn - before

    def stop(self, words: str) -> None:
        """The run ended before its time: why, above what the last round showed."""
        self._write("refused", f"{words}. {_now()}", None)

    def _write(self, kind: str, words: str, refresh: int | None) -> None:
        page = Page(f"Training: {self.plan.task} on {self.plan.data.get('name', '')}").note(kind, words)
        numbers = [{k: _number(v) for k, v in row.items() if v not in ("", None)} for row in self.rows]
        if numbers:
            self._curves(page, numbers)
        if self.pictures:
            page.heading(f"Validation cases after step {numbers[-1]['step']:,}")
            page.pictures(evenly(self.pictures, PICTURES))
        if numbers:
            page.heading("Last rounds").table(list(reversed(numbers[-10:])))
        names = ", ".join(f"{role}: {net.name}" for role, net in self.plan.networks.items())
        page.details(f"Plan ({names})", self.plan.text()).write(self.path, refresh)

    def _curves(self, page: Page, numbers: Sequence[Mapping[str, float]]) -> None:
        """All drawings over the whole planned length, the best round marked where validation is drawn."""
        mark = [(float(self.best["step"]), "best")] if self.best else []
        drawings = Page("")
        for title, lines in curves(numbers).items():
            judged = any(name != "train" for name in lines) and title != RATE
            drawings.curve(lines, "step", title, title, marks=mark if judged else (), reach=(0, self.plan.steps or 1))
        page.abreast(drawings)

    def _where(self, done: bool) -> str:
        """How far the run is and how long it will go on, in words."""
        step, steps, seconds = int(self.rows[-1]["step"]), self.plan.steps or 1, float(self.rows[-1]["seconds"])
        best = f" Best validation at step {self.best['step']:,}." if self.best else ""
        if done:
            early = "" if step >= steps else " Stopped early: validation was no longer getting better."
            return f"Done: {step:,} of {steps:,} steps in {_words(seconds)}.{early}{best}"
        left = ""
        if self.begun and step > self.begun[0]:
            each = (time.monotonic() - self.begun[1]) / (step - self.begun[0])
            left = f"; about {_words(each * (steps - step))} left"
        return f"Step {step:,} of {steps:,}{left}.{best} This page renews itself every {REFRESH} s."


RATE = "learning rate"


def curves(rows: Sequence[Mapping[str, float]]) -> Lines:
    """Columns of log.csv as drawings: {what: {line: [(step, value), ...]}}, a loss with its validation.

    "val psnr_db/zero-filled" is the line "zero-filled" in the drawing of psnr_db.
    """
    found: Lines = {}
    rate: list[tuple[float, float]] = []
    for row in rows:
        for column, value in row.items():
            part, _, name = column.partition(" ")
            if column == "rate":
                rate.append((row["step"], value))
            elif part in PARTS and name:
                name, _, variant = name.partition("/")
                lines = found.setdefault(name, {p: [] for p in PARTS})
                lines.setdefault(variant or part, []).append((row["step"], value))
    return found | ({RATE: {"rate": rate}} if rate else {})


def _number(value: Any) -> float | int:
    """Numbers as they are, words of a log that was read again as numbers; whole ones stay whole."""
    number = float(value)
    return int(number) if str(value).lstrip("-").isdigit() else number


def _now() -> str:
    return f"Written at {time.strftime('%H:%M:%S')}."


def _words(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 1 else f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
