"""Networks compared by ap50 of the whole test part: whole scans are drawn anew, and swapped between two networks.

No mean of case values gives it: a false alarm in a scan without lesions has no value of its own, and lowers the number
of the whole part all the same.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.evaluation import _rarest
from hilum.evaluation.bootstrap import FEW, Estimate, interval_of_set, paired_of_set
from hilum.evaluation.evaluator import Evaluation, honest
from hilum.evaluation.ranking import Ranking, stability_of_sets
from hilum.evaluation.seeds import SeedsPaired, wider, with_seeds
from hilum.metrics import ap50

if TYPE_CHECKING:
    from hilum.evaluation.comparison import Cell

NAME = "ap50"
DRAWS = 500
Records = Mapping[str, Sequence[tuple[ap50.Matched, ...]]]
# {network: for every case one record of each seed}.


def kept(done: Evaluation) -> dict[str, Any]:
    """{case: {class: [scores, whether each hit, number of true boxes]}}, plain data; empty of other headlines."""
    if done.headline != NAME:
        return {}
    known = [j for j in done.judged + done.lost if j.record is not None]
    return {
        one.case: {
            str(label): [np.asarray(scores, dtype=np.float64).tolist(), hit.tolist(), real]
            for label, (scores, hit, real) in ap50.prepare(one.record).items()
        }
        for one in known
    }


def shared(cells: Sequence["Cell"]) -> tuple[list["Cell"], list[str]]:
    """The cells without the scans that any of them has no record of, and a sentence per network that lost some.

    Of a scan without a true box no answer is the worst, so that it would pay to fail where false alarms are likely.
    """
    if next(iter(cells[0].metrics)) != NAME or not all(cell.records for cell in cells):
        return list(cells), []
    lost: dict[str, set[str]] = {}
    for cell in cells:
        bare = {case for case, row in cell.records.items() if not any(real for *_, real in row.values())}
        # cells of before kept a record of it, in which nothing is wrong
        failed = bare.intersection(cell.missing)
        lacking = {case for other in cells for case in other.records} - set(cell.records)
        lost.setdefault(cell.net, set()).update(failed | lacking)
    gone = set[str]().union(*lost.values())
    return [_without(cell, gone) for cell in cells], [
        f"{net} gave no result in {len(own)} {'scan' if len(own) == 1 else 'scans'} without a true box, for which "
        f"there is no worst answer: {NAME} of every network leaves {'it' if len(own) == 1 else 'them'} out."
        for net, own in lost.items()
        if own
    ]


def _without(cell: "Cell", gone: set[str]) -> "Cell":
    """The cell without these scans, its number measured by the others; as it is where it has none of them."""
    records = {case: row for case, row in cell.records.items() if case not in gone}
    if len(records) == len(cell.records):
        return cell
    rows, groups = [(row,) for row in _ranked(list(records.values()))], [cell.groups[case] for case in records]
    found = _estimate(rows, groups)
    own = {**cell.metrics[NAME], "mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
    return replace(cell, records=records, metrics={**cell.metrics, NAME: own})


def _estimate(rows: Sequence[tuple[ap50.Matched, ...]], groups: Sequence[str]) -> Estimate:
    """ap50 of rows, mean over seeds, with the doubt of the groups."""
    rests = _rests_on(rows, groups)
    found = interval_of_set(rows, groups, _measured(rows), DRAWS, rests_on=rests)
    return honest(_rarest.enough(found, rests), NAME)


def of_seeds(own: Sequence["Cell"]) -> Estimate | None:
    """The number of one network, mean over its seeds, with the doubt of groups and seeds; None without records."""
    known = read({own[0].net: own})
    if known is None:
        return None
    rows, found = known[0][own[0].net], _estimate(known[0][own[0].net], known[1])
    if found.mean is None or found.low is None or found.high is None:
        return found
    low, high = wider(found.mean, found.low, found.high, _of_seeds(rows))
    return replace(found, low=low, high=high)


def read(by_net: Mapping[str, Sequence["Cell"]]) -> tuple[Records, list[str]] | None:
    """The records of all networks and the group of each case; None where there is none that all have.

    Scores become ranks among all of a network's boxes, the surest first: p swaps records of two networks, whose scores
    need not be on one scale. ap50 sees no more of them.
    """
    cells = [cell for own in by_net.values() for cell in own]
    cases = [case for case in cells[0].records if all(case in cell.records for cell in cells)]
    if not cases:
        return None
    columns = {net: [_ranked([cell.records[c] for c in cases]) for cell in own] for net, own in by_net.items()}
    records = {net: list(zip(*seeds, strict=True)) for net, seeds in columns.items()}
    return records, [cells[0].groups[case] for case in cases]


def difference(records: Records, one: str, other: str, groups: Sequence[str], draws: int) -> SeedsPaired:
    """`other` minus `one`, of several seeds the means of both. draws: of groups, and of swaps."""
    first, second = records[other], records[one]
    rests, seeds = _rests_on(first, groups), len(first[0])
    gap = paired_of_set(first, second, groups, _measured(first), draws, rests_on=rests)
    low, high, p = with_seeds(gap, _of_seeds(first), _of_seeds(second))
    low, high = (None, None) if rests < FEW else (low, high)
    return SeedsPaired(gap.difference, low, high, p, gap.n, gap.groups, seeds)


def ranking(records: Records, groups: Sequence[str]) -> Ranking | None:
    """How firm the order by ap50 is."""
    first = next(iter(records.values()))
    found, rests = stability_of_sets(records, groups, _measured(first), DRAWS), _rests_on(first, groups)
    # it rests on the groups with boxes, however many others there are
    return replace(found, groups=rests) if found is not None and rests < FEW else found


def _ranked(rows: Sequence[Mapping[str, Sequence[Any]]]) -> list[ap50.Matched]:
    """Records of one network and seed, the scores of all of them as ranks below 0; equal ones share theirs."""
    from scipy.stats import rankdata

    every = np.array([score for row in rows for scores, *_ in row.values() for score in scores], dtype=np.float64)
    ranks, start, out = -rankdata(-every), 0, list[ap50.Matched]()
    for row in rows:
        out.append({})
        for label, (scores, hit, real) in row.items():
            out[-1][label] = (ranks[start : start + len(scores)], np.array(hit, dtype=bool), int(real))
            start += len(scores)
    return out


def _measured(rows: Sequence[tuple[ap50.Matched, ...]]) -> Callable[[list[Any]], float | None]:
    """ap50 of rows of some cases, mean over seeds; none of a draw that lacks a class which all `rows` have."""
    whole = _rarest.whole(NAME, ap50.summarise, [row[0] for row in rows])

    def measured(some: list[Any]) -> float | None:
        found = [whole(list(column)) for column in zip(*some, strict=True)]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known and len(known) == len(found) else None

    return measured


def _of_seeds(rows: Sequence[tuple[ap50.Matched, ...]]) -> list[float]:
    """ap50 of every seed."""
    found = [ap50.summarise(column) for column in zip(*rows, strict=True)]
    return [value for value in found if value is not None]


def _rests_on(rows: Sequence[tuple[ap50.Matched, ...]], groups: Sequence[Hashable]) -> int:
    """Groups with a true box of the class that fewest have; true boxes are alike for all networks."""
    own: dict[Any, set[Hashable]] = {}
    for row, group in zip(rows, groups, strict=True):
        for label, (_, _, real) in row[0].items():
            if real:
                own.setdefault(label, set()).add(group)
    return min((len(one) for one in own.values()), default=0)
