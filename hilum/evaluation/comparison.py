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

from hilum.evaluation import _alarms, _intervals, _left_out, _nothing_there, _sets, _sureness, areas, delong
from hilum.evaluation.multiple import holm
from hilum.evaluation.ranking import stability
from hilum.evaluation.seeds import RESAMPLES, paired_of_seeds, variances
from hilum.metrics import _names

Row = dict[str, Any]
Known = tuple[_sets.Records, list[str]]
Table = list[list[float | None]]

UNORDERED = (
    "{} was not measured, as it wants labels, and {} does not say which network is better: no difference is tested, no "
    "order shown."
)


@dataclass(frozen=True)
class Cell:
    """One network trained with one seed and judged.

    values: {case: headline value, None where undefined}. groups: {case: patient}. metrics: as in metrics.json, the
    headline first. seconds, peak_bytes: of training.
    scores: {case: {class: probability}} and truth: {case: class}, of a classification; else empty.
    voxels: {metric: {case: value or None}} of the probabilities of masks near foreground (`evaluation.voxels`).
    missing: cases without a result. records: of boxes, by case what the whole part's number is made of (`_sets.kept`).
    batch: images a step, where it is known. alarms: as in metrics.json.
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
    batch: int | None = None
    alarms: tuple[str, ...] = ()


def compared(cells: Sequence[Cell], every_pair: bool = True, wanted: str | None = None) -> dict[str, Any]:
    """headline, better, rows (best first), sentences (one per row below the best), notes, ranking, auroc and sureness;
    and compared: "cases" where differences are of single cases, "set" where of the whole part, "none" where none are.

    Every network has the same seeds and cases. In rows steps and parameters are numbers, or "50 to 80" where seeds
    differ. ranking: None where groups or networks are too few. auroc: rows of `areas.compare_areas`, sureness: NLL,
    Brier score and ECE; both empty where there are no probabilities. every_pair: whether Holm counts every pair of
    networks, or (lax, as the best was found on the same cases) those with the best. wanted: the metric that the task is
    judged by. Where it was not measured the first of the others is shown, and nothing is ordered by it: a registration
    that moves nothing folds nothing.
    """
    cells, words = _nothing_there.filled(cells)
    cells, lost = _left_out.shared(cells)
    cells, failed = _sets.shared(cells)
    words += lost + failed
    headline = next(iter(cells[0].metrics))
    better = cells[0].metrics[headline]["better"]
    by_net: dict[str, list[Cell]] = {}
    for cell in cells:
        by_net.setdefault(cell.net, []).append(cell)
    cases = list(cells[0].values)
    groups = [cells[0].groups[c] for c in cases]
    values = {net: [[c.values.get(case) for case in cases] for c in own] for net, own in by_net.items()}
    foreign = wanted is not None and wanted.split("@")[0] != headline.split("@")[0]
    rows = [_row(own, values[net], groups, headline) for net, own in by_net.items()]
    rows = rows if foreign else _best_first(rows, headline, better)
    known = _sets.read(by_net) if headline == _sets.NAME else None
    other = known is None and any(_of_set(row[headline], values[row["net"]], headline) for row in rows)
    sentences = [] if foreign else _differences(rows, values, groups, every_pair, known, headline, other)
    notes = _alarms.of_cells(cells) + words + _uneven(by_net)
    if foreign:
        notes.append(UNORDERED.format(wanted, headline))
    else:
        notes += _notes(rows, values, groups, every_pair) + _whole(headline, known is not None, other)
    placed = None if other or foreign else _placed(values, groups, better, known, notes)
    found, said = _areas(by_net, rows[0]["net"])
    sure, sure_words = _sureness.table(by_net, [r["net"] for r in rows], dict(zip(cases, groups, strict=True)))
    return {
        "headline": headline, "better": better, "compared": "none" if foreign else "cases" if known is None else "set",
        "rows": rows, "sentences": sentences, "notes": notes,
        "ranking": placed, "auroc": found, "auroc sentences": said,
        "sureness": sure, "sureness sentences": sure_words,
    }  # fmt: skip


def _best_first(rows: list[Row], headline: str, better: str) -> list[Row]:
    sign = -1 if better == "higher" else 1
    return sorted(rows, key=lambda r: float("inf") if r[headline] is None else sign * r[headline])


def _row(own: list[Cell], table: Table, groups: list[str], headline: str) -> Row:
    """What one network reached and cost."""
    scores = [c.metrics[headline]["mean"] for c in own if c.metrics[headline]["mean"] is not None]
    row: Row = {"net": own[0].net, headline: sum(scores) / len(scores) if scores else None}
    row |= dict(zip(("low", "high"), _intervals.of_network(own, table, groups, headline, row[headline]), strict=True))
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
        "steps": _span([c.steps for c in own]),
        "seconds": round(sum(c.seconds for c in own) / len(own), 1),
        "seconds a case": round(sum(cost) / len(cost), 4) if cost else None,
        "parameters": _span([c.parameters for c in own]),
        "peak bytes": max(peaks, default=None),
    }


def _span(counts: Sequence[int | None]) -> int | str | None:
    """The number that all seeds have, or "50 to 80": for the same minutes every seed is planned anew."""
    known = sorted({n for n in counts if n is not None})
    return f"{known[0]} to {known[-1]}" if len(known) > 1 else next(iter(known), None)


def _differences(
    rows: list[Row],
    values: dict[str, Table],
    groups: list[str],
    every_pair: bool,
    known: Known | None,
    headline: str,
    other: bool,
) -> list[str]:
    """Fill the columns of the differences to the best, the first row, and say in words what they support.

    known: of `_sets.read`, where it is the metric of the whole set that differs. other: whether the headline is no mean
    of the values that differ, which then support nothing.
    """
    best = rows[0]["net"]
    # those with the best come first
    pairs = list(combinations([r["net"] for r in rows], 2))[: None if every_pair else len(rows) - 1]
    if known is None:
        # enough sign flips for the smallest p to stay below 0.05 after Holm
        flips = max(RESAMPLES, 40 * len(pairs)) if every_pair else RESAMPLES
        made = [paired_of_seeds(values[second], values[first], groups, flips) for first, second in pairs]
    else:
        draws = max(_sets.DRAWS, 40 * len(pairs))
        made = [_sets.difference(known[0], first, second, known[1], draws) for first, second in pairs]
    found = [_intervals.apart(gap, headline) for gap in made]
    said = []
    for row, gap, p in zip(rows[1:], found, holm([f.p for f in found]), strict=False):
        # equal differences of all cases are no certainty, so an interval without width is none
        low, high = (None, None) if gap.low == gap.high else (gap.low, gap.high)
        row |= {"difference": gap.difference, "difference low": low, "difference high": high, "p": gap.p}
        row |= {"p holm": p, "supported": areas.supported(p, low, high) and not other}
        said.append(_sentence(row, best, headline if other else ""))
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
    if not ranking.told:
        return None
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
            f"{areas.ALPHA:g} and its interval, where there is one, leaves out zero."
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


def _uneven(by_net: dict[str, list[Cell]]) -> list[str]:
    """A note of every network whose seeds differ in size or batch: free memory and speed decide, and are read anew."""
    notes = []
    for net, own in by_net.items():
        sizes = sorted({c.parameters for c in own})
        batches = sorted({c.batch for c in own if c.batch is not None})
        told = {"parameters": [f"{n:,}" for n in sizes], "images a step": [str(n) for n in batches]}
        odd = [f"{' or '.join(values)} {what}" for what, values in told.items() if len(values) > 1]
        if odd:
            notes.append(
                f"{net}: its seeds were planned differently ({'; '.join(odd)}), so their mean is of no one network. "
                "--set plan.batch, and options of the network, make them alike."
            )
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
    return abs(float(np.mean(known)) - mean) > _intervals.SAME


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
