"""Optional tracking: the rows of log.csv also into TensorBoard, MLflow, or whatever file lies in hilum/learn/track."""

import importlib.util
import logging
from pathlib import Path
from typing import Any, Literal, Protocol

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.extras import install
from hilum.core.plan import Plan

log = logging.getLogger(__name__)

PACKAGE = "hilum.learn.track"
Ended = Literal["finished", "failed", "killed"]
# How a run may end: done or stopped early, by an error, or by a signal.


class Tracker(Protocol):
    """Every file of hilum/learn/track has such a class, `Tracker(folder, plan, step)`, which writes below `folder`.

    step: of the first row it will be given; what it holds from there on is from steps that were lost.
    """

    def row(self, step: int, values: dict[str, float]) -> None:
        """The numbers of a round, by the column names of log.csv."""

    def close(self, ended: Ended) -> None:
        """Write what is left, and how the run ended."""


def check(track: str | None) -> list[str]:
    """The names in "tensorboard,mlflow"; unknown ones and missing packages (HIL-LEARN-05) are refused."""
    names = [n.strip() for n in (track or "").split(",") if n.strip()]
    for name in names:
        card = catalogue.card(PACKAGE, name)
        if importlib.util.find_spec(card["package"]) is None:
            raise HilumError(
                "HIL-LEARN-05", f"Tracking with {name} needs the package {card['package']}, which is not installed",
                f"{install(card['extra'])}, or leave out --track",
            )  # fmt: skip
    return names


class Trackers:
    """The trackers of a run, opened at its first round. One that fails is left out with a warning: the run goes on."""

    def __init__(self, folder: Path, track: str | None) -> None:
        self.folder, self.waiting = folder, check(track)
        self.open: dict[str, Tracker] = {}

    def round(self, row: dict[str, Any], plan: Plan) -> None:
        """Hand a row of log.csv on."""
        step, values = int(row["step"]), {k: float(v) for k, v in row.items() if k != "step"}
        while self.waiting:
            name = self.waiting.pop()
            self._try(name, lambda name=name: self._add(name, plan, step))  # type: ignore[misc]
        for name, tracker in list(self.open.items()):
            self._try(name, lambda tracker=tracker: tracker.row(step, values))  # type: ignore[misc]

    def _add(self, name: str, plan: Plan, step: int) -> None:
        self.open[name] = catalogue.load(PACKAGE, name).Tracker(self.folder, plan, step)

    def _try(self, name: str, work: Any) -> None:
        try:
            work()
        except Exception as error:
            log.warning("tracking with %s is left out from here on: %s", name, error)
            self.open.pop(name, None)

    def close(self, ended: Ended = "finished") -> None:
        """Close them all. ended: how the run did."""
        for name, tracker in list(self.open.items()):
            self._try(name, lambda tracker=tracker: tracker.close(ended))  # type: ignore[misc]
        self.open = {}
