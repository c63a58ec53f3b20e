"""Cases without a result, in words: which metrics count them as the worst answer, and which leave them out."""

from hilum.evaluation.evaluator import Evaluation
from hilum.metrics import _names
from hilum.tasks._task import Judged, headline_value

SPEED = ("latency_s", "throughput")
# Measured on results alone.
SHOWN = 5
# Cases that are named with their reason.


def sentences(done: Evaluation) -> list[str]:
    """One about the cases that count as the worst, one about those that are in no number; none where none is lost."""
    names = [name for name in done.metrics if name not in SPEED]
    left = [[name for name in names if not _counts(name, lost)] for lost in done.lost]
    total = len(done.judged) + len(done.missing)
    worst = [place for place, out in enumerate(left) if len(out) < len(names)]
    nowhere = [place for place, out in enumerate(left) if len(out) == len(names)]
    found = []
    if worst:
        counts = {name: sum(name in left[place] for place in worst) for name in names}
        but = ", ".join(f"{name} leaves out {n} of them" for name, n in counts.items() if n)
        words = f" ({but}: no worst value there)" if but else ""
        found.append(f"No result, counted as worst: {len(worst)} of {total} cases{words}. {_told(done, worst)}")
    if nowhere:
        found.append(
            f"Not judged, and left out of every number: {len(nowhere)} of {total} cases. {_told(done, nowhere)}"
        )
    return found


def _counts(name: str, lost: Judged) -> bool:
    """Whether a metric counts a lost case."""
    if _names.card(name)["level"] == "set":
        return lost.record is not None
    return headline_value(lost.values.get(name, {})) is not None


def _told(done: Evaluation, places: list[int]) -> str:
    """The first of these cases, each with what was wrong."""
    rows = [done.missing[place] for place in places[:SHOWN]]
    return "; ".join(f"{case.id}: {why}" for case, why in rows)
