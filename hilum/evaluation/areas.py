"""AUROC of several networks on the same cases: each with its interval, and against a best one with p.

Where every group has one case, by DeLong's method; else, and with fewer than FEW groups of either kind, whose spread
nobody knows, groups are resampled. One class against the rest; of two classes one, as the other has the same area.
Of several seeds the areas are averaged, and intervals and p hold what other seeds would give as well
(`seeds.with_seeds`).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hilum.evaluation import _rarest, delong
from hilum.evaluation.bootstrap import FEW, Paired, interval_of_set, paired_of_set
from hilum.evaluation.evaluator import honest
from hilum.evaluation.multiple import holm
from hilum.evaluation.seeds import wider, with_seeds

Array = np.ndarray[Any, np.dtype[Any]]
Row = dict[str, Any]

RESAMPLES = 500
ALPHA = 0.05


def compare_areas(
    scores: Mapping[str, Array], truth: Array, classes: Sequence[str], groups: Sequence[Hashable], best: str
) -> list[Row]:
    """Rows of net, class, auroc, low, high and, against `best`, difference, its interval, p, p holm, supported, method.

    scores: {net: (S, n, K) probabilities of S seeds}. truth: (n,) place of the class. groups: (n,). A class that all or
    none of the cases have is left out.
    """
    alone = delong.independent(groups)
    wanted: Sequence[int] = [1] if len(classes) == 2 else range(len(classes))
    told = {k: positive for k in wanted if 0 < (positive := np.asarray(truth) == k).sum() < len(positive)}
    # enough draws for the smallest p to stay below ALPHA after Holm
    draws = max(RESAMPLES, 40 * len(told) * (len(scores) - 1))
    rows: list[Row] = []
    for k, positive in told.items():
        measure = _by_delong if alone and _rarest_kind(positive, groups) >= FEW else _by_groups
        columns = {net: np.asarray(table, dtype=np.float64)[:, :, k].T for net, table in scores.items()}
        for net in columns:
            rows.append({"net": net, "class": classes[k]} | measure(columns, positive, groups, net, best, draws))
    adjusted = holm([row.get("p") for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        if row["net"] != best:
            row |= {"p holm": p, "supported": supported(p, row["difference low"], row["difference high"])}
    return rows


def supported(p: float | None, low: float | None, high: float | None) -> bool:
    """Whether a difference is called supported: adjusted p at most ALPHA, and any interval leaves out zero."""
    if p is None or p > ALPHA:
        return False
    return low is None or high is None or not low <= 0 <= high


def sentences(rows: Sequence[Row], best: str) -> list[str]:
    """One per row that was compared."""
    said = []
    for row in rows:
        if row["net"] == best:
            continue
        said.append(f"{row['net']} against {best}, AUROC of {row['class']}: {verdict(row, 'by ' + row['method'])}")
    return said


def verdict(row: Row, how: str = "") -> str:
    """A row's difference, its doubt, and whether it is supported, in words. how: what p was made by."""
    if row["p holm"] is None:
        return f"{row['difference']:+.4f}, of unknown doubt; no difference is supported."
    doubt = "no interval, as nothing varies or groups are too few"
    if row["difference low"] is not None:
        doubt = f"95 % interval {row['difference low']:+.4f} to {row['difference high']:+.4f}"
    end = "the difference is supported" if row["supported"] else "no difference is supported"
    p = f"p {_p(row['p'])} {how}".rstrip()
    return f"{row['difference']:+.4f} ({doubt}, {p}, {_p(row['p holm'])} after Holm); {end}."


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"


def _by_delong(
    columns: dict[str, Array], positive: Array, groups: Sequence[Hashable], net: str, best: str, draws: int
) -> Row:
    own = delong.area(columns[net], positive)
    assert own is not None  # both kinds are there
    row = _own(own.auroc, own.low, own.high, columns[net], positive)
    if net == best:
        return row
    found = delong.difference(columns[net], columns[best], positive)
    assert found is not None
    gap = Paired(found.difference, found.low, found.high, found.p, len(positive), len(positive))
    return row | _gap(gap, columns[net], columns[best], positive, "DeLong")


def _by_groups(
    columns: dict[str, Array], positive: Array, groups: Sequence[Hashable], net: str, best: str, draws: int
) -> Row:
    ranks = {name: _ranked(columns[name]) for name in (net, best)}
    own, other = (list(zip(ranks[name], positive, strict=True)) for name in (net, best))
    rarest = _rarest_kind(positive, groups)
    estimate = interval_of_set(own, groups, _area(), RESAMPLES, rests_on=rarest)
    found = honest(_rarest.enough(estimate, rarest), "auroc")
    assert found.mean is not None  # both kinds are there
    row = _own(found.mean, found.low, found.high, ranks[net], positive)
    if net == best:
        return row
    gap = paired_of_set(own, other, groups, _area(), draws, rests_on=rarest)
    if rarest < FEW or gap.low == gap.high:
        # equal differences of all draws are no certainty
        gap = replace(gap, low=None, high=None)
    return row | _gap(gap, ranks[net], ranks[best], positive, "resampled groups")


def _rarest_kind(positive: Array, groups: Sequence[Hashable]) -> int:
    """Groups with a case of the kind that fewer of them have: an area rests on these."""
    return min(len({g for g, one in zip(groups, positive, strict=True) if one == kind}) for kind in (True, False))


def _of_seeds(scores: Array, positive: Array) -> list[float]:
    """The AUROC of every seed, of scores (n, S)."""
    found = (delong.area(column, positive) for column in scores.T)
    return [one.auroc for one in found if one is not None]


def _own(auroc: float, low: float | None, high: float | None, scores: Array, positive: Array) -> Row:
    """A network's area and its interval. low, high: of the cases alone. scores: (n, S)."""
    if low is not None and high is not None:
        low, high = wider(auroc, low, high, _of_seeds(scores, positive))
        low, high = max(0.0, low), min(1.0, high)
    return {"auroc": auroc, "low": low, "high": high}


def _gap(gap: Paired, one: Array, best: Array, positive: Array, method: str) -> Row:
    """A difference to the best network with the doubt of the seeds. gap: with that of the cases alone."""
    low, high, p = with_seeds(gap, _of_seeds(one, positive), _of_seeds(best, positive))
    # with the doubt of the seeds the ends may lie further apart than two areas can
    low, high = None if low is None else max(-1.0, low), None if high is None else min(1.0, high)
    method = f"{method} and seeds" if one.shape[1] > 1 else method
    return {"difference": gap.difference, "difference low": low, "difference high": high, "p": p, "method": method}


def _ranked(scores: Array) -> Array:
    """(n, S) scores as ranks: p swaps those of two networks, which need not be on one scale. An area sees no more."""
    from scipy.stats import rankdata

    ranks: Array = rankdata(scores, axis=0)
    return ranks


def _area() -> Callable[[list[Any]], float | None]:
    """The AUROC of (scores (S,), positive) records; None for one class."""

    def measured(records: list[Any]) -> float | None:
        found = delong.area(np.stack([r[0] for r in records]), np.array([r[1] for r in records]))
        return None if found is None else found.auroc

    return measured
