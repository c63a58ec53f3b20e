"""Cases in which nothing is there: beside a network that found something, to have found nothing is the best answer.

By itself such an answer has no value, and a mean over cases leaves it out. In a comparison that would let false alarms
cost nothing: the case would leave the pairs, and stay in the mean of the network that raised the alarm alone.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hilum.evaluation._left_out import anew
from hilum.metrics import _names

if TYPE_CHECKING:
    from hilum.evaluation.comparison import Cell

TAKES = ("masks", "instances")
# Metrics of these are undefined only where neither the truth nor the answer holds anything. What other metrics leave
# undefined hangs on the truth alone, and so is for every network.


def filled(cells: Sequence["Cell"]) -> tuple[list["Cell"], list[str]]:
    """The cells with a headline value for every case that any of them has one for, and sentences about what was set.

    To have found nothing counts as the best end of the metric's range, a case without a result as the worst one. Where
    the range has no such end the case stays as it is, and so do cases that are undefined for all.
    """
    headline = next(iter(cells[0].metrics))
    card = _names.card(headline)
    if card["level"] != "case" or card["takes"] not in TAKES:
        return list(cells), []
    worst, best = _names.ends(headline)
    known = {case for cell in cells for case, value in cell.values.items() if value is not None}
    given: list[dict[str, float]] = []
    for cell in cells:
        gaps = [case for case, value in cell.values.items() if value is None and case in known]
        ends = {case: worst if case in cell.missing else best for case in gaps}
        given.append({case: end for case, end in ends.items() if end is not None})
    made = [anew(cell, {**cell.values, **own}, headline) for cell, own in zip(cells, given, strict=True)]
    return made, _sentences(cells, given, headline, best)


def _sentences(
    cells: Sequence["Cell"], given: Sequence[Mapping[str, float]], headline: str, best: float | None
) -> list[str]:
    """One about what counts as the best, one about what counts as the worst; none where nothing does."""
    right: dict[str, int] = {}
    lost: dict[str, int] = {}
    for cell, own in zip(cells, given, strict=True):
        for case in own:
            counts = lost if case in cell.missing else right
            counts[cell.net] = counts.get(cell.net, 0) + 1
    said = []
    if right:
        assert best is not None  # what was set
        said.append(
            f"Where nothing is there and a network found nothing, but another network or seed found something, the "
            f"answer counts as {headline} {best:g}, the best there is: {_told(right)}."
        )
    if lost:
        said.append(f"In such cases an answer that failed counts as the worst {headline} there is: {_told(lost)}.")
    return said


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} of {net}" for net, n in counts.items())
