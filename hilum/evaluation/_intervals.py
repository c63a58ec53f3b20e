"""Intervals of a comparison, cut at what a metric can be: of a network's number, and of a difference of two."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hilum.evaluation import _sets
from hilum.evaluation.bootstrap import Estimate, Paired
from hilum.evaluation.evaluator import honest
from hilum.evaluation.seeds import SeedsPaired, Values, interval_of_seeds
from hilum.metrics import _names

if TYPE_CHECKING:
    from hilum.evaluation.comparison import Cell

Ends = tuple[float | None, float | None]

SAME = 1e-4
# A mean of case values further than this from the metric says that the metric is no mean of them.


def of_network(own: Sequence["Cell"], table: Values, groups: Sequence[str], name: str, mean: float | None) -> Ends:
    """Of one seed the metric's own interval; of several the one over seeds and groups, where values give the metric.

    Values of single scans do not give that of boxes: there it is of the records that `_sets` keeps.
    """
    if len(own) == 1:
        return own[0].metrics[name]["low"], own[0].metrics[name]["high"]
    found = _sets.of_seeds(own) if name == _sets.NAME else None
    if found is None:
        seeds = interval_of_seeds(table, groups)
        found = honest(Estimate(seeds.mean, seeds.low, seeds.high, seeds.n, seeds.groups), name)
    if mean is None or found.mean is None or abs(found.mean - mean) > SAME:
        return None, None
    return within(found, name)


def within(found: Estimate, name: str) -> Ends:
    """The interval, cut at what the metric can be."""
    least, most = _names.card(name)["range"]
    low = found.low if found.low is None or least is None else max(found.low, least)
    return low, found.high if found.high is None or most is None else min(found.high, most)


def apart(gap: Paired | SeedsPaired, name: str) -> Paired | SeedsPaired:
    """The difference with its interval cut at the width of the metric's range; as it is where that has an open end.

    Few seeds that disagree give Student's t an interval of any width.
    """
    least, most = _names.card(name)["range"]
    if least is None or most is None or gap.low is None or gap.high is None:
        return gap
    return replace(gap, low=max(gap.low, least - most), high=min(gap.high, most - least))
