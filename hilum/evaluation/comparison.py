"""One table of several networks on the same data: what each reached and cost, and which differences are supported.

Differences are of the values of single cases, each network against the best. p is adjusted by Holm for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hilum.evaluation import areas, delong
from hilum.evaluation.bootstrap import Estimate
from hilum.evaluation.evaluator import honest
from hilum.evaluation.multiple import holm
from hilum.evaluation.ranking import stability
from hilum.evaluation.seeds import interval_of_seeds, paired_of_seeds, variances
from hilum.metrics import _names

Row = dict[str, Any]
Table = list[list[float | None]]

SAME = 1e-4
# A mean of case values further than this from the metric says that the metric is no mean of them.


@dataclass(frozen=True)
class Cell:
    """One network trained with one seed and judged.

    values: {case: headline value, None where undefined}. groups: {case: patient}. metrics: as in metrics.json, the
    headline first. seconds, peak_bytes: of training.
    scores: {case: {class: probability}} and truth: {case: class}, of a classification; else empty.
    """

    net: str
    seed: int
    values: dict[str, float | None]
    groups: dict[str, str]
    metrics: dict[str, Any]
    steps: int
    seconds: float
    parameters: int
    peak_bytes: int | None = None
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    truth: dict[str, str] = field(default_factory=dict)


def compared(cells: Sequence[Cell]) -> dict[str, Any]:
    """headline, better, rows (best first), sentences (one per row below the best), notes, ranking and auroc.

    Every network has the same seeds and cases. ranking: None where groups or networks are too few. auroc: rows of
    `areas.compare_areas`, empty where there are no probabilities.
    """
    headline = next(iter(cells[0].metrics))
    better = cells[0].metrics[headline]["better"]
    by_net: dict[str, list[Cell]] = {}
    for cell in cells:
        by_net.setdefault(cell.net, []).append(cell)
    cases = list(cells[0].values)
    groups = [cells[0].groups[c] for c in cases]
    values = {net: [[c.values.get(case) for case in cases] for c in own] for net, own in by_net.items()}
    rows = [_row(own, values[net], groups, headline) for net, own in by_net.items()]
    sign = -1 if better == "higher" else 1
    rows.sort(key=lambda r: float("inf") if r[headline] is None else sign * r[headline])
    sentences = _differences(rows, values, groups)
    notes = _notes(rows, values, groups, headline)
    ranking = stability({net: _over_seeds(table) for net, table in values.items()}, groups, better)
    placed = None
    if ranking is not None:
        notes.append(ranking.sentence)
        placed = {"shares": {n: list(s) for n, s in ranking.shares.items()}, "tau": ranking.tau}
    found, said = _areas(by_net, rows[0]["net"])
    return {
        "headline": headline, "better": better, "rows": rows, "sentences": sentences, "notes": notes,
        "ranking": placed, "auroc": found, "auroc sentences": said,
    }  # fmt: skip


def _row(own: list[Cell], table: Table, groups: list[str], headline: str) -> Row:
    """What one network reached and cost."""
    scores = [c.metrics[headline]["mean"] for c in own if c.metrics[headline]["mean"] is not None]
    row: Row = {"net": own[0].net, headline: sum(scores) / len(scores) if scores else None}
    row |= dict(zip(("low", "high"), _interval(own, table, groups, headline, row[headline]), strict=True))
    if len(own) > 1:
        between = variances(table, groups).between_seeds
        row |= {"lowest seed": min(scores, default=None), "highest seed": max(scores, default=None)}
        row["between seeds"] = None if between is None else between**0.5
    cost = [s for c in own if (s := c.metrics.get("latency_s", {}).get("mean")) is not None]
    peaks = [c.peak_bytes for c in own if c.peak_bytes is not None]
    return row | {
        "seeds": len(own),
        "steps": own[0].steps,
        "seconds": round(sum(c.seconds for c in own) / len(own), 1),
        "seconds a case": round(sum(cost) / len(cost), 4) if cost else None,
        "parameters": own[0].parameters,
        "peak bytes": max(peaks, default=None),
    }


def _interval(
    own: list[Cell], table: Table, groups: list[str], headline: str, mean: float | None
) -> tuple[float | None, float | None]:
    """Of one seed the metric's own interval; of several the one over seeds and groups, where values give the metric."""
    if len(own) == 1:
        return own[0].metrics[headline]["low"], own[0].metrics[headline]["high"]
    found = interval_of_seeds(table, groups)
    if mean is None or found.mean is None or abs(found.mean - mean) > SAME:
        return None, None
    kept = honest(Estimate(found.mean, found.low, found.high, found.n, found.groups), headline)
    least, most = _names.card(headline)["range"]
    low = kept.low if kept.low is None or least is None else max(kept.low, least)
    return low, kept.high if kept.high is None or most is None else min(kept.high, most)


def _differences(rows: list[Row], values: dict[str, Table], groups: list[str]) -> list[str]:
    """Fill the columns of the differences to the best, the first row, and say in words what they support."""
    best = rows[0]["net"]
    for row in rows[1:]:
        found = paired_of_seeds(values[row["net"]], values[best], groups)
        # equal differences of all cases are no certainty, so an interval without width is none
        low, high = (None, None) if found.low == found.high else (found.low, found.high)
        row |= {"difference": found.difference, "difference low": low, "difference high": high, "p": found.p}
    for row, p in zip(rows[1:], holm([r["p"] for r in rows[1:]]), strict=True):
        row |= {"p holm": p, "supported": areas.supported(p, row["difference low"], row["difference high"])}
    return [_sentence(row, best) for row in rows[1:]]


def _sentence(row: Row, best: str) -> str:
    if row["p holm"] is None:
        return f"{row['net']} against {best}: no paired comparison is possible on these cases."
    return f"{row['net']} against {best}: {areas.verdict(row)}"


def _notes(rows: list[Row], values: dict[str, Table], groups: list[str], headline: str) -> list[str]:
    """What must be known to read the table."""
    notes = []
    if len(rows) > 1:
        notes.append(
            f"p is adjusted by Holm, comparisons with the best: {len(rows) - 1}. A difference is called supported "
            f"when the adjusted p is at most {areas.ALPHA:g} and its interval leaves out zero."
        )
    if rows[0]["seeds"] == 1:
        notes.append(
            "One seed: intervals and p hold the doubt of the cases alone. How much another seed would change the "
            "numbers is not known; --seeds 3 or more tells."
        )
    else:
        notes.append("Intervals resample seeds and groups.")
        notes += [f"{row['net']}: {variances(values[row['net']], groups).sentence}" for row in rows]
    if any(_apart(row[headline], values[row["net"]]) for row in rows):
        notes.append(
            f"{headline} is a metric of the whole set. Differences and ranking are of the values of single cases, "
            "which is not quite the same."
        )
    return notes


def _apart(mean: float | None, table: Table) -> bool:
    """Whether the metric is something else than the mean of the case values."""
    known = [v for v in _over_seeds(table) if v is not None]
    return mean is not None and bool(known) and abs(float(np.mean(known)) - mean) > SAME


def _over_seeds(table: Table) -> list[float | None]:
    """(n,) means over seeds, None where any seed has none."""
    out: list[float | None] = []
    for column in zip(*table, strict=True):
        known = [v for v in column if v is not None]
        out.append(sum(known) / len(known) if len(known) == len(column) else None)
    return out


def _areas(by_net: dict[str, list[Cell]], best: str) -> tuple[list[Row], list[str]]:
    """AUROC rows and sentences, where every network has probabilities of the same cases."""
    first = next(iter(by_net.values()))[0]
    cases = list(first.scores)
    if not cases or any(c.scores.keys() != first.scores.keys() for own in by_net.values() for c in own):
        return [], []
    classes = list(first.scores[cases[0]])
    scores = {
        net: np.array([[[c.scores[case][k] for k in classes] for case in cases] for c in own])
        for net, own in by_net.items()
    }
    truth = np.array([classes.index(first.truth[case]) for case in cases])
    groups = [first.groups[case] for case in cases]
    rows = areas.compare_areas(scores, truth, classes, groups, best)
    said = areas.sentences(rows, best)
    clustered = bool(said) and not delong.independent(groups)
    return rows, [delong.CLUSTERED, *said] if clustered else said
