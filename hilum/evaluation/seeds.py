"""Several seeds: how far the seed and how far the patient moves a number, and intervals that hold the doubt of both.

A number from one training is one draw of two lotteries, of patients and of seeds (first weights, order of batches).
Seeds and groups (patients) are both drawn with replacement (the pigeonhole bootstrap, Owen 2007). With so few seeds as
are usual the draws alone are too narrow, so their percentiles are stretched to the width that Student's t asks for, of
the seeds and of the groups with the degrees of freedom of each (Banerjee 1960; of two methods' seeds, Satterthwaite
1946): wide where two seeds disagree.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.data.groups import numbered
from hilum.evaluation.bootstrap import Paired, interval, paired

Array = np.ndarray[Any, np.dtype[Any]]
Values = Sequence[Sequence[float | None]]
# One row per seed, one column per case; None is undefined.

RESAMPLES = 2000
_BLOCK = 1 << 22
# Most numbers drawn at once, so that memory stays flat in the number of groups.


@dataclass(frozen=True)
class Variances:
    """Parts of the variance of one value: between seeds, between groups, and the rest (a seed better on some groups).

    None where they can not be told apart: one seed, or one group. Never below 0.
    """

    between_seeds: float | None
    between_groups: float | None
    rest: float | None
    seeds: int
    groups: int

    @property
    def sentence(self) -> str:
        """What it says, in words."""
        if self.between_seeds is None or self.between_groups is None or self.rest is None:
            lacking = "One seed" if self.seeds == 1 else "Fewer than two groups"
            return f"{lacking}: how much another seed would change the number is not known."
        parts = [f"{v**0.5:.4f}" for v in (self.between_seeds, self.between_groups, self.rest)]
        return (
            f"{self.seeds} seeds, {self.groups} groups: standard deviation {parts[0]} between seeds, "
            f"{parts[1]} between groups, {parts[2]} of a seed on a group."
        )


@dataclass(frozen=True)
class SeedsEstimate:
    """Mean over seeds and cases with its interval. With one seed the interval holds the doubt of the groups alone.

    n: cases defined for every seed. low, high: None with fewer than two groups.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    groups: int
    seeds: int


@dataclass(frozen=True)
class SeedsPaired:
    """Mean of first - second on the same cases, its interval and p of "no difference". seeds: of the one with fewer."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    groups: int
    seeds: int


def variances(values: Values, groups: Sequence[Hashable]) -> Variances:
    """Two-way layout without replication, seeds by groups, both random; a group of several cases counts by its mean.

    Analysis of variance, parts below 0 set to 0 (Searle, Casella & McCulloch 1992).
    """
    (table,), codes, g = _complete([values], groups)
    s = len(table)
    if s < 2 or g < 2:
        return Variances(None, None, None, s, g)
    cells = _sums(table, codes, g) / np.bincount(codes, minlength=g)
    of_seeds, of_groups = cells.mean(axis=1), cells.mean(axis=0)
    rest = cells - of_seeds[:, None] - of_groups + cells.mean()
    rest = float((rest**2).sum() / ((s - 1) * (g - 1)))
    between_seeds = max(0.0, float(of_seeds.var(ddof=1)) - rest / g)
    between_groups = max(0.0, float(of_groups.var(ddof=1)) - rest / s)
    return Variances(between_seeds, between_groups, rest, s, g)


def interval_of_seeds(
    values: Values, groups: Sequence[Hashable], resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> SeedsEstimate:
    """The mean of (S, n) values over seeds and cases, both drawn anew. Cases undefined for a seed are left out.

    groups: (n,) patient of each case.
    """
    (table,), codes, g = _complete([values], groups)
    s, n = table.shape
    if not n:
        return SeedsEstimate(None, None, None, 0, 0, s)
    if s < 2 or g < 2:
        one = interval(list(table.mean(axis=0)), list(codes), resamples=resamples, seed=seed, level=level)
        return SeedsEstimate(one.mean, one.low, one.high, n, g, s)
    low, high, _ = _doubt([table], codes, g, resamples, seed, level)
    return SeedsEstimate(float(table.mean()), low, high, n, g, s)


def paired_of_seeds(
    first: Values,
    second: Values,
    groups: Sequence[Hashable],
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> SeedsPaired:
    """Two methods on the same cases, (S, n) and (T, n): same patients, seeds of their own (which are not pairs).

    p: with one seed each, signs of whole groups flipped. With several, the larger of that one (of the means over seeds)
    and the one that fits the interval, with the doubt of the seeds in it.
    """
    tables, codes, g = _complete([first, second], groups)
    s, n = min(len(t) for t in tables), len(codes)
    one, two = (list(t.mean(axis=0)) for t in tables)
    flipped = paired(one, two, list(codes), resamples=resamples, seed=seed, level=level)
    if s < 2 or g < 2:
        return SeedsPaired(flipped.difference, flipped.low, flipped.high, flipped.p, n, g, s)
    low, high, p = _doubt(tables, codes, g, resamples, seed, level)
    return SeedsPaired(flipped.difference, low, high, max(p, flipped.p or 0.0), n, g, s)


def with_seeds(
    gap: Paired, first: Sequence[float], second: Sequence[float], level: float = 0.95
) -> tuple[float | None, float | None, float | None]:
    """low, high and p of a difference of means over seeds, of which `gap` holds the doubt of the groups alone.

    gap: of a metric of the whole set (`bootstrap.paired_of_set`). first, second: (S,), (T,) that metric of each seed.
    With one seed it stays as it is; else both doubts add up as in `paired_of_seeds`.
    """
    from scipy.special import stdtrit

    if min(len(first), len(second)) < 2 or gap.difference is None or gap.p is None:
        return gap.low, gap.high, gap.p
    of_seeds = _together([_share(first), _share(second)])
    if gap.low is None or gap.high is None:
        return None, None, max(gap.p, _chance([of_seeds], abs(gap.difference)))
    spread = (gap.high - gap.low) / 2 / float(stdtrit(gap.groups - 1, (1 + level) / 2))
    low, high = _wider(gap.difference, (gap.low, gap.high), _reach([of_seeds], 1 - level))
    return low, high, max(gap.p, _chance([(spread**2, gap.groups - 1), of_seeds], abs(gap.difference)))


def wider(mean: float, low: float, high: float, values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """low and high of a mean over seeds, of which these hold the doubt of the groups alone, with that of the seeds.

    values: (S,) of each seed. With one seed they stay as they are.
    """
    if len(values) < 2:
        return low, high
    return _wider(mean, (low, high), _reach([_share(values)], 1 - level))


def _share(values: Sequence[float]) -> tuple[float, float]:
    """Variance of the mean of (S,) seeds, and its degrees of freedom."""
    return float(np.var(values, ddof=1)) / len(values), len(values) - 1


def _wider(centre: float, ends: tuple[float, float], reach: float) -> tuple[float, float]:
    """Both ends with the reach of another, independent doubt."""
    low, high = ends
    return centre - float(np.hypot(centre - low, reach)), centre + float(np.hypot(high - centre, reach))


def _complete(tables: Sequence[Values], groups: Sequence[Hashable]) -> tuple[list[Array], Array, int]:
    """The tables without the cases that any row has undefined; group numbers (n,), and how many groups."""
    if any(not len(t) or any(len(row) != len(groups) for row in t) for t in tables):
        raise ValueError(f"every seed needs one value for each of {len(groups)} cases")
    full = [np.array([[np.nan if v is None else float(v) for v in row] for row in t], dtype=np.float64) for t in tables]
    keep: Array = np.logical_not(np.isnan(np.concatenate(full)).any(axis=0))
    codes, g = numbered([group for group, k in zip(groups, keep, strict=True) if k])
    return [t[:, keep] for t in full], codes, g


def _sums(table: Array, codes: Array, g: int) -> Array:
    """(S, G) sums over the cases of each group."""
    return np.stack([np.bincount(codes, weights=row, minlength=g) for row in table])


def _doubt(
    tables: list[Array], codes: Array, g: int, resamples: int, seed: int, level: float
) -> tuple[float, float, float]:
    """low, high and p (against 0) of the mean of one table, or of the difference of two."""
    from scipy.special import ndtri

    sums, counts = [_sums(t, codes, g) for t in tables], np.bincount(codes, minlength=g).astype(np.float64)
    centre = float(tables[0].mean() - (tables[1].mean() if len(tables) > 1 else 0.0))
    parts = _parts(sums, counts)
    draws = _draws(sums, counts, resamples, np.random.default_rng(seed))
    spread, tail = float(draws.std()), (1 - level) / 2
    if spread < 1e-12:
        return centre, centre, 1.0 if abs(centre) < 1e-12 else 0.0
    reach = _reach(parts, 2 * tail)
    stretch = reach / (float(ndtri(1 - tail)) * spread)
    low, high = (float(q) for q in np.quantile(draws, [tail, 1 - tail]))
    # draws of two seeds have three values, the outer ones closer than the spread tells
    low, high = centre - max(reach, stretch * (centre - low)), centre + max(reach, stretch * (high - centre))
    return low, high, _chance(parts, abs(centre))


def _parts(sums: list[Array], counts: Array) -> list[tuple[float, float]]:
    """Variance of the mean (or the difference) and degrees of freedom: what groups give, and what seeds give.

    Both hold the rest of the two-way layout: a little too much, not too little. Seeds of two tables count for as many
    degrees as they share the variance (Satterthwaite 1946): what does not vary with its seed adds none.
    """
    g, n = len(counts), counts.sum()
    of_groups = sums[0].mean(axis=0) - (sums[1].mean(axis=0) if len(sums) > 1 else 0.0)
    off = of_groups - of_groups.sum() / n * counts
    shares = [(float((table.sum(axis=1) / n).var(ddof=1)) / len(table), len(table) - 1) for table in sums]
    return [(g / (g - 1) * float((off**2).sum()) / n**2, g - 1), _together(shares)]


def _together(shares: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Sum of variances with degrees of freedom, and its own (Satterthwaite)."""
    whole, rest = sum(v for v, _ in shares), sum(v**2 / f for v, f in shares)
    return whole, whole**2 / rest if rest else 1.0


def _reach(parts: list[tuple[float, float]], alpha: float) -> float:
    """Half the width of the interval that misses in at most `alpha` (Banerjee 1960)."""
    from scipy.special import stdtrit

    return float(sum(v * stdtrit(f, 1 - alpha / 2) ** 2 for v, f in parts)) ** 0.5


def _chance(parts: list[tuple[float, float]], size: float) -> float:
    """p: the alpha whose interval just reaches 0 from `size`; found by halving, as the reach falls with alpha."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _reach(parts, middle) > size else (low, middle)
    return high


def _draws(sums: list[Array], counts: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Means (resamples,) of seeds and groups drawn with replacement; two tables share the groups, not the seeds."""
    g, out = len(counts), []
    step = max(1, _BLOCK // g)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times = rng.multinomial(g, np.full(g, 1.0 / g), size=size)
        whole = np.zeros(size)
        for sign, table in zip((1.0, -1.0), sums, strict=False):
            s = len(table)
            weights = rng.multinomial(s, np.full(s, 1.0 / s), size=size)
            whole += sign * ((weights @ table) * times).sum(axis=1) / s
        out.append(whole / (times @ counts))
    return np.concatenate(out)
