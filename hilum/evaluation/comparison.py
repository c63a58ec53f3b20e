"""One table of several networks on the same data: what each reached and cost, and which differences are supported.

Differences are of the values of single cases, each network against the best; of boxes they are of the whole part
(`_sets`). As the best is found on the same cases, p is adjusted by Holm for all pairs of networks, not only for those
with the best.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from hilum.evaluation import _left_out, _nothing_there, _sets, areas, delong, voxels
from hilum.evaluation.bootstrap import Estimate
from hilum.evaluation.evaluator import honest
from hilum.evaluation.multiple import holm
from hilum.evaluation.ranking import stability
from hilum.evaluation.seeds import RESAMPLES, interval_of_seeds, paired_of_seeds, variances
from hilum.metrics import _names

Row = dict[str, Any]
Known = tuple[_sets.Records, list[str]]
Table = list[list[float | None]]

SAME = 1e-4
# A mean of case values further than this from the metric says that the metric is no mean of them.


@dataclass(frozen=True)
class Cell:
    """One network trained with one seed and judged.

    values: {case: headline value, None where undefined}. groups: {case: patient}. metrics: as in metrics.json, the
    headline first. seconds, peak_bytes: of training.
    scores: {case: {class: probability}} and truth: {case: class}, of a classification; else empty.
    voxels: {metric: {case: value or None}} of the probabilities of masks near foreground (`evaluation.voxels`).
    missing: cases without a result. records: of boxes, by case what the whole part's number is made of (`_sets.kept`).
    Its fields are plain data: benchmarks keep cells as JSON and make them again from it.
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
    voxels: dict[str, dict[str, float | None]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    records: dict[str, Any] = field(default_factory=dict)


def compared(cells: Sequence[Cell], every_pair: bool = True) -> dict[str, Any]:
    """headline, better, rows (best first), sentences (one per row below the best), notes, ranking, auroc and sureness;
    and compared: "cases" where differences are of single cases, "set" where of the whole part.

    Every network has the same seeds and cases. ranking: None where groups or networks are too few. auroc: rows of
    `areas.compare_areas`, sureness: NLL, Brier score and ECE; both empty where there are no probabilities. every_pair:
    whether Holm counts every pair of networks, or (lax, as the best was found on the same cases) those with the best.
    """
    cells, words = _nothing_there.filled(cells)
    cells, lost = _left_out.shared(cells)
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
    known = _sets.read(by_net) if headline == _sets.NAME else None
    other = known is None and any(_of_set(row[headline], values[row["net"]], headline) for row in rows)
    sentences = _differences(rows, values, groups, every_pair, known, headline if other else "")
    notes = words + lost + _notes(rows, values, groups, every_pair) + _whole(headline, known is not None, other)
    placed = None if other else _placed(values, groups, better, known, notes)
    found, said = _areas(by_net, rows[0]["net"])
    sure, words = _sureness(by_net, [r["net"] for r in rows], dict(zip(cases, groups, strict=True)))
    return {
        "headline": headline, "better": better, "compared": "cases" if known is None else "set",
        "rows": rows, "sentences": sentences, "notes": notes,
        "ranking": placed, "auroc": found, "auroc sentences": said,
        "sureness": sure, "sureness sentences": words,
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
    counts = [n for c in own if (n := c.metrics[headline].get("n")) is not None]
    return row | {
        "cases": min(counts, default=None),
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
    return _within(honest(Estimate(found.mean, found.low, found.high, found.n, found.groups), headline), headline)


def _within(found: Estimate, name: str) -> tuple[float | None, float | None]:
    """The interval, cut at what the metric can be."""
    least, most = _names.card(name)["range"]
    low = found.low if found.low is None or least is None else max(found.low, least)
    return low, found.high if found.high is None or most is None else min(found.high, most)


def _differences(
    rows: list[Row], values: dict[str, Table], groups: list[str], every_pair: bool, known: Known | None, other: str
) -> list[str]:
    """Fill the columns of the differences to the best, the first row, and say in words what they support.

    known: of `_sets.read`, where it is the metric of the whole set that differs. other: the headline, where it is no
    mean of the values that differ, which then support nothing.
    """
    best = rows[0]["net"]
    # those with the best come first
    pairs = list(combinations([r["net"] for r in rows], 2))[: None if every_pair else len(rows) - 1]
    if known is None:
        # enough sign flips for the smallest p to stay below 0.05 after Holm
        flips = max(RESAMPLES, 40 * len(pairs)) if every_pair else RESAMPLES
        found = [paired_of_seeds(values[other], values[one], groups, flips) for one, other in pairs]
    else:
        draws = max(_sets.DRAWS, 40 * len(pairs))
        found = [_sets.difference(known[0], one, other, known[1], draws) for one, other in pairs]
    said = []
    for row, gap, p in zip(rows[1:], found, holm([f.p for f in found]), strict=False):
        # equal differences of all cases are no certainty, so an interval without width is none
        low, high = (None, None) if gap.low == gap.high else (gap.low, gap.high)
        row |= {"difference": gap.difference, "difference low": low, "difference high": high, "p": gap.p}
        row |= {"p holm": p, "supported": areas.supported(p, low, high) and not other}
        said.append(_sentence(row, best, other))
    return said


def _sentence(row: Row, best: str, other: str) -> str:
    if row["p holm"] is None:
        return f"{row['net']} against {best}: no paired comparison is possible on these cases."
    why = f" These are values of single cases, whose mean is not the {other} of the whole part." if other else ""
    return f"{row['net']} against {best}: {areas.verdict(row)}{why}"


def _placed(
    values: dict[str, Table], groups: list[str], better: str, known: Known | None, notes: list[str]
) -> dict[str, Any] | None:
    """How firm the order is, and a note of it. known: as of `_differences`."""
    if known is None:
        ranking = stability({net: _over_seeds(table) for net, table in values.items()}, groups, better)
    else:
        ranking = _sets.ranking(*known)
    if ranking is None:
        return None
    notes.append(ranking.sentence)
    return {"shares": {n: list(s) for n, s in ranking.shares.items()}, "tau": ranking.tau}


def _notes(rows: list[Row], values: dict[str, Table], groups: list[str], every_pair: bool) -> list[str]:
    """What must be known to read the table."""
    notes = []
    if len(rows) > 1:
        many = f"pairs of networks: {len(rows) * (len(rows) - 1) // 2}, as the best was found on the same cases"
        if not every_pair:
            many = f"comparisons with the best: {len(rows) - 1}. That it was found on the same cases is not counted"
        notes.append(
            f"p is adjusted by Holm, {many}. A difference is called supported when the adjusted p is at most "
            f"{areas.ALPHA:g} and its interval leaves out zero."
        )
    if rows[0]["seeds"] == 1:
        notes.append(
            "One seed: intervals and p hold the doubt of the cases alone. How much another seed would change the "
            "numbers is not known; --seeds 3 or more tells."
        )
    else:
        notes.append("Intervals resample seeds and groups.")
        notes += [f"{row['net']}: {variances(values[row['net']], groups).sentence}" for row in rows]
    return notes


def _whole(headline: str, sets: bool, other: bool) -> list[str]:
    """What was compared of a metric of the whole set: itself (sets), or something else."""
    if sets:
        return [
            f"{headline} is a metric of the whole set, and so are differences, p and order: groups are drawn anew, and "
            "two networks change places in them. What is said of seeds one by one is of the values of single cases."
        ]
    if not other:
        return []
    return [
        f"{headline} is a metric of the whole set, and these cells hold the values of single cases alone, which are "
        "something else (a false alarm where nothing is there has none): no difference is supported, no order shown. "
        "A cell whose folder `done` is taken away is judged anew, and keeps what the whole set needs."
    ]


def _of_set(mean: float | None, table: Table, headline: str) -> bool:
    """Whether the metric of a network is something else than the mean of its case values."""
    known = [v for v in _over_seeds(table) if v is not None]
    if _names.card(headline)["level"] != "set" or mean is None or not known:
        return False
    return abs(float(np.mean(known)) - mean) > SAME


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
    if len(by_net) > 2 and said:
        said.append(f"p of areas is adjusted for comparisons with {best}; that it was found best here is not counted.")
    clustered = bool(said) and not delong.independent(groups)
    return rows, [delong.CLUSTERED, *said] if clustered else said


def _sureness(by_net: dict[str, list[Cell]], order: list[str], groups: dict[str, str]) -> tuple[list[Row], list[str]]:
    """NLL, Brier score and ECE with intervals, and what to know of them: of classes, or of voxels near foreground."""
    cells = [c for own in by_net.values() for c in own]
    of_classes = all(name in c.metrics for c in cells for name in voxels.NAMES)
    if not of_classes and not any(c.voxels for c in cells):
        return [], []
    measured, rows = _of_classes if of_classes else _of_voxels, []
    for net in order:
        row: Row = {"net": net}
        for name in voxels.NAMES:
            ends = measured(by_net[net], name, groups)
            row |= dict(zip((name, f"{name} low", f"{name} high"), ends, strict=True))
        rows.append(row)
    if of_classes:
        return rows, ["Probabilities as the runs scale them. ECE has no interval: it grows where cases come twice."]
    return rows, [
        f"Probabilities as the runs scale them. {voxels.WHERE} What a network finds decides which voxels count, so two "
        "networks are not judged by quite the same ones."
    ]


def _of_classes(own: list[Cell], name: str, groups: dict[str, str]) -> tuple[float | None, float | None, float | None]:
    """What the evaluations found, mean over seeds, with its interval."""
    known = [c.metrics[name]["mean"] for c in own if c.metrics[name]["mean"] is not None]
    mean = sum(known) / len(known) if known else None
    table = [_by_case(c, name, list(groups)) for c in own] if len(own) > 1 else []
    return mean, *_interval(own, table, list(groups.values()), name, mean)


def _by_case(cell: Cell, name: str, cases: list[str]) -> list[float | None]:
    """The metric of every case alone; None without probabilities, and of one that takes many cases."""
    if name == "ece" or any(c not in cell.scores for c in cases):
        return [None] * len(cases)
    classes, measure = list(cell.scores[cases[0]]), _names.function(name)
    table = np.array([[cell.scores[c][k] for k in classes] for c in cases])
    truth = np.array([classes.index(cell.truth[c]) for c in cases])
    return [measure(table[i : i + 1], truth[i : i + 1]) for i in range(len(cases))]


def _of_voxels(own: list[Cell], name: str, groups: dict[str, str]) -> tuple[float | None, float | None, float | None]:
    """Mean over seeds and over the cases that have such voxels for each of them, with its interval."""
    table = [[c.voxels.get(name, {}).get(case) for case in groups] for c in own]
    found = interval_of_seeds(table, list(groups.values()))
    if found.mean is None:
        return None, None, None
    kept = honest(Estimate(found.mean, found.low, found.high, found.n, found.groups), name)
    return kept.mean, *_within(kept, name)
