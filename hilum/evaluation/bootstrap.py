"""Doubt about a mean: intervals that resample patients, and paired comparisons that do the same.

Several images of one patient are not several independent facts. So groups (patients) are drawn with replacement, each
with all its cases. Intervals are percentiles of the resampled values, spread for few groups as Student's t spreads a
mean (Hesterberg 2015, "expanded percentile"), because plain percentiles are too narrow there. However they are spread,
they can not leave the range of what the groups gave, which misses the truth in about 2 ** (1 - groups) of studies. So
with fewer than six groups (FEW) a mean has Student's t interval of the group means, and any other statistic none. With
fewer than two groups there is no interval at all: low and high are None.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.data.groups import numbered

Array = np.ndarray[Any, np.dtype[Any]]
Statistic = Callable[[Array], float]

_BLOCK = 1 << 22
# Most numbers drawn at once, so that memory stays flat in the number of groups.
_HAIR = 1e-12
# Sums that are equal on paper differ in the last bit.
FEW = 6
# Groups below which percentiles of resamples can not hold 95 %: of five, 2 ** -4 of the truths lie outside of all.
OVER = "95 % intervals over {}: resampled, of two to five Student's t"
INTERVALS = (
    f"{OVER.format('groups')}; of a metric from 0 to 1 whose values are all 0 or all 1 the binomial limit; none where "
    "nothing varies otherwise or groups are too few, in all or of a class, and of ece, fid and recall never"
)
# How intervals are made, in words; of metrics as the evaluator gives them, with the reasons why there is none.


@dataclass(frozen=True)
class Estimate:
    """A number and its interval.

    mean: the statistic of all values, None when nothing is defined. low, high: None with fewer than two groups, and of
    what is no mean with fewer than FEW. n: values used. groups: patients. undefined: values left out. dropped:
    resamples without a value.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    groups: int = 0
    undefined: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Paired:
    """Mean of a - b on the same cases, its interval, and p of "no difference". n: pairs with both values."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    groups: int = 0


def mean(values: Array) -> float:
    """The plain mean: the one statistic that is resampled without a loop."""
    return float(np.mean(values))


def _check_lengths(groups: Sequence[Hashable], *columns: Sequence[Any]) -> None:
    """One group for every value."""
    for column in columns:
        if len(column) != len(groups):
            raise ValueError(f"{len(column)} values but {len(groups)} groups")


def _percentiles(draws: Array, centre: float, groups: int, level: float) -> tuple[float, float]:
    """The expanded percentile interval of the resampled values; it always holds the estimate itself."""
    from scipy.special import ndtr, stdtrit

    tail = (1 - level) / 2
    tail = float(ndtr(np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, tail)))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return min(float(low), centre), max(float(high), centre)


def _student(sums: Array, counts: Array, centre: float, level: float) -> tuple[float, float]:
    """Student's t interval of a mean of few groups. sums, counts: (G,) per group; a group weighs by its count.

    The spread of the group means is taken unweighted: weighted, it would be hardly seen where one group has most cases.
    """
    from scipy.special import stdtrit

    means, shares = sums / counts, counts / counts.sum()
    error = float(means.std(ddof=1) * np.sqrt((shares**2).sum()))
    if error <= _HAIR * float(np.abs(means).max()):
        return centre, centre
    reach = float(stdtrit(len(sums) - 1, (1 + level) / 2)) * error
    return centre - reach, centre + reach


def _of_mean(
    sums: Array, counts: Array, centre: float, resamples: int, rng: np.random.Generator, level: float
) -> tuple[float, float]:
    """The interval of a mean. sums, counts: (G,) per group."""
    if len(sums) < FEW:
        return _student(sums, counts, centre, level)
    return _percentiles(_mean_draws(sums, counts, resamples, rng), centre, len(sums), level)


def _of_set(draws: Array, centre: float, groups: int, level: float) -> tuple[float | None, float | None]:
    """The interval of another statistic: none of few groups, but for the one without width, where nothing varies."""
    if groups < FEW:
        return (None, None) if bool((draws != centre).any()) else (centre, centre)
    return _percentiles(draws, centre, groups, level)


def _mean_draws(sums: Array, counts: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Means of resampled groups, (resamples,). sums, counts: (G,) per group."""
    g, out = len(sums), []
    step = max(1, _BLOCK // g)
    for start in range(0, resamples, step):
        times = rng.multinomial(g, np.full(g, 1.0 / g), size=min(step, resamples - start))
        out.append((times @ sums) / (times @ counts))
    return np.concatenate(out)


def index_draws(codes: Array, g: int, resamples: int, rng: np.random.Generator, halves: bool) -> Iterator[Array]:
    """Case indices of each resample: g groups with replacement, or half of them without."""
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes, minlength=g))[:-1])
    for _ in range(resamples):
        picked = rng.permutation(g)[: max(1, g // 2)] if halves else rng.integers(0, g, size=g)
        yield np.concatenate([members[i] for i in picked])


def _defined(*columns: Sequence[float | None]) -> Array:
    """Rows (n,) bool where every column has a number (None and NaN are undefined)."""
    table = np.array([[np.nan if v is None else float(v) for v in column] for column in columns], dtype=np.float64)
    keep: Array = np.logical_not(np.isnan(table).any(axis=0))
    return keep


def interval(
    values: Sequence[float | None],
    groups: Sequence[Hashable],
    statistic: Statistic = mean,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    ends: Sequence[float | None] = (None, None),
) -> Estimate:
    """A statistic of per-case values with its interval.

    values: (n,) numbers; None is undefined, counted and left out. groups: (n,) patient of each case. statistic: (k,)
    array -> number, the mean unless said otherwise. ends: the least and the most it can be, where the interval is cut.
    """
    _check_lengths(groups, values)
    keep = _defined(values)
    used = np.array([v for v, k in zip(values, keep, strict=True) if k], dtype=np.float64)
    codes, g = numbered([group for group, k in zip(groups, keep, strict=True) if k])
    undefined = len(values) - len(used)
    if not len(used):
        return Estimate(None, None, None, 0, 0, undefined)
    centre = float(statistic(used))
    if g < 2:
        return Estimate(centre, None, None, len(used), g, undefined)
    rng = np.random.default_rng(seed)
    if statistic is mean:
        sums, counts = np.bincount(codes, weights=used), np.bincount(codes).astype(np.float64)
        found: tuple[float | None, float | None] = _of_mean(sums, counts, centre, resamples, rng, level)
    else:
        draws = [statistic(used[rows]) for rows in index_draws(codes, g, resamples, rng, halves=False)]
        found = _of_set(np.array(draws), centre, g, level)
    return Estimate(centre, *_within(*found, ends), len(used), g, undefined)


def _within(low: float | None, high: float | None, ends: Sequence[float | None]) -> tuple[float | None, float | None]:
    """The interval cut at what the number can be."""
    least, most = ends
    low = low if low is None or least is None else max(low, least)
    return low, high if high is None or most is None else min(high, most)


def interval_of_set(
    records: Sequence[Any],
    groups: Sequence[Hashable],
    function: Callable[[list[Any]], float | None],
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    halves: bool = False,
    rests_on: int | None = None,
) -> Estimate:
    """A metric of a whole set (auroc, froc, kid) with its interval.

    records: one per case, whatever `function` takes a list of. A resample where it is None (only one class drawn) is
    dropped and counted; when more than half are, there is no interval. halves: draw half of the groups without
    replacement instead, for metrics that a record drawn twice would spoil (kid, fid, recall). rests_on: groups that the
    number rests on, where not on all: those of the rarest class, say.
    """
    _check_lengths(groups, records)
    codes, g = numbered(groups)
    centre = function(list(records)) if len(records) else None
    if centre is None or g < 2:
        return Estimate(centre, None, None, len(records), g)
    rng = np.random.default_rng(seed)
    tried = [function([records[i] for i in rows]) for rows in index_draws(codes, g, resamples, rng, halves)]
    draws = np.array([v for v in tried if v is not None and not np.isnan(v)], dtype=np.float64)
    dropped = len(tried) - len(draws)
    if dropped * 2 > len(tried):
        return Estimate(float(centre), None, None, len(records), g, 0, dropped)
    low, high = _of_set(draws, float(centre), min(g, rests_on or g), level)
    return Estimate(float(centre), low, high, len(records), g, 0, dropped)


def _signs(g: int, resamples: int, rng: np.random.Generator) -> tuple[Array, bool]:
    """Rows of +1 / -1 for g groups: every one when they are few (exact), else random ones."""
    if 2**g <= resamples:
        return 1.0 - 2.0 * ((np.arange(2**g)[:, None] >> np.arange(g)) & 1), True
    return rng.choice(np.array([-1.0, 1.0]), size=(resamples, g)), False


def _p_value(extreme: int, tries: int, exact: bool) -> float:
    """Share of relabellings at least as extreme; the observed one counts too where they were drawn at random."""
    return extreme / tries if exact else (1 + extreme) / (1 + tries)


def paired(
    a: Sequence[float | None],
    b: Sequence[float | None],
    groups: Sequence[Hashable],
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """Per-case values of two methods on the same cases, in the same order.

    The interval resamples groups; p flips the sign of whole groups (two-sided; exact when 2 ** groups <= resamples). A
    pair with an undefined value is left out.
    """
    _check_lengths(groups, a, b)
    keep = _defined(a, b)
    gap = np.array([float(x) - float(y) for x, y, k in zip(a, b, keep, strict=True) if k], dtype=np.float64)  # type: ignore[arg-type]
    codes, g = numbered([group for group, k in zip(groups, keep, strict=True) if k])
    if not len(gap):
        return Paired(None, None, None, None, 0)
    centre = float(gap.mean())
    if g < 2:
        return Paired(centre, None, None, None, len(gap), g)
    rng = np.random.default_rng(seed)
    sums, counts = np.bincount(codes, weights=gap), np.bincount(codes).astype(np.float64)
    low, high = _of_mean(sums, counts, centre, resamples, rng, level)
    signs, exact = _signs(g, resamples, rng)
    # a hair of slack, so that equal sums count as extreme
    extreme = int((np.abs(signs @ sums) >= abs(sums.sum()) - _HAIR * np.abs(sums).sum()).sum())
    return Paired(centre, low, high, _p_value(extreme, len(signs), exact), len(gap), g)


def paired_of_set(
    a: Sequence[Any],
    b: Sequence[Any],
    groups: Sequence[Hashable],
    function: Callable[[list[Any]], float | None],
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    rests_on: int | None = None,
) -> Paired:
    """Two methods compared by a metric of a whole set: records of the same cases, in the same order.

    The interval resamples groups for both alike; p swaps the two methods' records within whole groups. So these must be
    on one scale: for ranked scores of two networks give ranks. rests_on: as of `interval_of_set`.
    """
    _check_lengths(groups, a, b)
    codes, g = numbered(groups)

    def gap(first: Sequence[Any], second: Sequence[Any]) -> float | None:
        one, two = function(list(first)), function(list(second))
        return None if one is None or two is None else float(one) - float(two)

    centre = gap(a, b) if len(a) else None
    if centre is None or g < 2:
        return Paired(centre, None, None, None, len(a), g)
    rng = np.random.default_rng(seed)
    tried = [gap([a[i] for i in r], [b[i] for i in r]) for r in index_draws(codes, g, resamples, rng, halves=False)]
    draws = np.array([v for v in tried if v is not None])
    if len(draws) * 2 < len(tried):
        return Paired(centre, None, None, None, len(a), g)
    low, high = _of_set(draws, centre, min(g, rests_on or g), level)
    signs, exact = _signs(g, resamples, rng)
    pairs = list(zip(a, b, codes, strict=True))
    swapped = (
        gap([x if s[c] > 0 else y for x, y, c in pairs], [y if s[c] > 0 else x for x, y, c in pairs]) for s in signs
    )
    null = np.array([v for v in swapped if v is not None])
    extreme = int((np.abs(null) >= abs(centre) - 1e-12).sum())
    return Paired(centre, low, high, _p_value(extreme, len(null), exact), len(a), g)
