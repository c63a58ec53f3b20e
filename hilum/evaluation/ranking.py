"""How firm a ranking is: how often each system takes each place when groups (patients) are drawn anew."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.data.groups import numbered
from hilum.evaluation.bootstrap import FEW, index_draws

Array = np.ndarray[Any, np.dtype[Any]]

RESAMPLES = 2000
FIRM = 0.95
# Share of the draws in which the first must come first for the order to be called firm.
ALIKE = 0.9
# tau that it takes as well; of many systems it is high by itself where only the two on top change places.


@dataclass(frozen=True)
class Ranking:
    """shares: {system, best first: share of resamples in which it has place 1, 2, ...}; equal ones share their places.

    tau: mean Kendall tau between the order in a resample and the observed one, -1..1; None where all are equal. groups:
    those that it rests on.
    """

    shares: dict[str, tuple[float, ...]]
    tau: float | None
    cases: int
    groups: int

    @property
    def told(self) -> bool:
        """Whether the groups are enough to say anything: draws can not leave the range of what few groups gave."""
        return self.groups >= FEW

    @property
    def sentence(self) -> str:
        """What it says, in words."""
        if not self.told:
            return f"How firm the order is can not be told of so few groups: {self.groups}, and it takes {FEW}."
        first, shares = next(iter(self.shares.items()))
        words = f"Drawing the {self.groups} groups anew, {first} comes first in {100 * shares[0]:.0f} % of the draws"
        if self.tau is None:
            return f"{words}; all are equal on these cases, so there is no order."
        firm = self.tau >= ALIKE and shares[0] >= FIRM
        words += f"; Kendall's tau to the order shown is {self.tau:.2f} on average (1: always the same)"
        return f"{words}: other cases {'would hardly' if firm else 'may'} change the order."


def stability(
    values: Mapping[str, Sequence[float | None]],
    groups: Sequence[Hashable],
    better: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ranking | None:
    """Systems ranked by the mean of their case values, in every resample of whole groups.

    values: {system: (n,)} on the same cases. better: "higher" or "lower". Only cases defined for every system count.
    None with fewer than two systems or two groups.
    """
    if better not in ("higher", "lower") or any(len(v) != len(groups) for v in values.values()):
        raise ValueError(f"better {better!r}, {len(groups)} groups, {[len(v) for v in values.values()]} values")
    table = np.array([[np.nan if v is None else float(v) for v in row] for row in values.values()], dtype=np.float64)
    if len(values) < 2:
        return None
    keep: Array = np.logical_not(np.isnan(table).any(axis=0))
    table = table[:, keep] * (1 if better == "higher" else -1)
    codes, g = numbered([group for group, k in zip(groups, keep, strict=True) if k])
    if g < 2:
        return None
    return _ranking(list(values), _observed(table), _drawn(table, codes, resamples, seed), table.shape[1], g)


def stability_of_sets(
    records: Mapping[str, Sequence[Any]],
    groups: Sequence[Hashable],
    function: Callable[[list[Any]], float | None],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ranking | None:
    """The same of systems ranked by a metric of a whole set, where higher is better.

    records: {system: (n,)} of the same cases, whatever `function` takes a list of. Resamples where it is None for a
    system are left out; None where more than half are, and with fewer than two systems or two groups.
    """
    codes, g = numbered(groups)
    if len(records) < 2 or g < 2:
        return None

    def row(places: Sequence[int] | Array) -> list[float]:
        found = [function([own[i] for i in places]) for own in records.values()]
        return [np.nan if v is None else float(v) for v in found]

    seen = np.round(row(range(len(groups))), 12)
    drawn = np.round([row(r) for r in index_draws(codes, g, resamples, np.random.default_rng(seed), halves=False)], 12)
    told = np.logical_not(np.isnan(drawn).any(axis=1))
    if np.isnan(seen).any() or 2 * told.sum() < len(drawn):
        return None
    return _ranking(list(records), seen, drawn[told], len(groups), g)


def _ranking(names: list[str], seen: Array, drawn: Array, cases: int, groups: int) -> Ranking:
    """From what was seen, (K,), and what was drawn, (B, K); higher is better."""
    shares = _shares(drawn)
    order = sorted(range(len(names)), key=lambda k: -seen[k])
    kept = {names[k]: tuple(float(s) for s in shares[k]) for k in order}
    return Ranking(kept, _tau(seen, drawn), cases, groups)


def _observed(table: Array) -> Array:
    """Means (K,), rounded so that equal systems are equal to the last bit."""
    return np.round(table.mean(axis=1), 12)


def _drawn(table: Array, codes: Array, resamples: int, seed: int) -> Array:
    """Means (resamples, K) of groups drawn with replacement; the same groups for all systems."""
    counts = np.bincount(codes).astype(np.float64)
    sums = np.stack([np.bincount(codes, weights=row) for row in table])
    rng, g, rows = np.random.default_rng(seed), len(counts), []
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, g, size=g), minlength=g)
        rows.append(sums @ times / (counts @ times))
    return np.round(np.array(rows), 12)


def _shares(means: Array) -> Array:
    """(K, K): share of the rows of means (B, K) in which a system has each place; rows and columns sum to 1."""
    k = means.shape[1]
    above = (means[:, None, :] > means[:, :, None]).sum(axis=2)
    equal = (means[:, None, :] == means[:, :, None]).sum(axis=2)
    places = np.arange(k)
    inside = (places >= above[..., None]) & (places < (above + equal)[..., None])
    found: Array = (inside / equal[..., None]).mean(axis=0)
    return found


def _tau(seen: Array, drawn: Array) -> float | None:
    """Mean over the pairs that differ in what was seen: 1 in the same order, 0 equal, -1 turned round."""
    one, two = np.triu_indices(len(seen), 1)
    apart = np.sign(seen[one] - seen[two])
    if not apart.any():
        return None
    same = np.sign(drawn[:, one] - drawn[:, two])[:, apart != 0] * apart[apart != 0]
    return float(same.mean())
