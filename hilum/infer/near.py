"""A sample of voxels near what was found, kept while an image passes by plane by plane: what its doubt is told from.

Classes may be rare there. So voxels are drawn by kind, which is what they were found to be and what else lies beside
them: of a rare kind all are kept, of the others equally many, and each stands for its share of its kind (a stratified
sample). The uncertain voxels around a small thing inside of a large one are a kind of their own.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.image import Array

if TYPE_CHECKING:
    from torch import Tensor

REACH = 5
# Voxels: how far from the foreground found one is still looked at.
MOST = 5000
# Voxels kept of one case: more of them say the same again.
BESIDE = 2
# Voxels: how far another label is looked for along each axis.
SIDES = 64
# Labels beside are told apart modulo this, so that kinds do not grow with the square of the classes.
SOME = 1 << 16
# Voxels that are drawn from at a time.


@dataclass(frozen=True)
class Near:
    """Voxels near the foreground found; the likeliest voxel alone where there is none (`empty`).

    logits: (n, K) float32. labels: (n,) the channel each was found to be. weights: (n,) how many voxels each stands
    for. places: (n, dims) where each lies on the network's grid; (0, dims) where it is empty.
    """

    logits: Array
    empty: bool
    labels: Array
    weights: Array
    places: Array


@dataclass(frozen=True)
class Kept:
    """What a collector has kept, in order of place. values: (n, C), as they were given. flat: (n,) places in the image.

    labels, weights: (n,), as of `Near`.
    """

    values: Array
    flat: Array
    labels: Array
    weights: Array


class Collector:
    """Fed with planes in order, it keeps about MOST voxels within REACH of foreground, drawn by the seed.

    Which ones depends on the labels and the seed alone, not on how many planes come at a time. More than MOST are kept
    only where there are more kinds than that: one of each.
    """

    def __init__(self, rest: tuple[int, ...], seed: int = 0) -> None:
        """rest: shape of a plane."""
        self.rest, self.seed = rest, seed
        self.labels = np.zeros((0, *rest), dtype=np.uint8)
        self.first = self.decided = 0
        self.drawn = _Drawn()
        self.values: Array | None = None
        self.held: Tensor | None = None

    @property
    def found(self) -> bool:
        """Whether any foreground was seen so far."""
        return self.values is not None or bool(self.labels.any())

    def add(self, labels: Array, values: "Tensor") -> None:
        """labels: (n, *rest), 0 is background. values: (C, n, *rest), features or logits, on any device."""
        import torch

        self.labels = np.concatenate([self.labels, labels])
        self.held = values if self.held is None else torch.cat([self.held, values], 1)
        self._decide(self.first + len(self.labels) - REACH)

    def end(self) -> Kept | None:
        """What was kept; None where nothing was found."""
        self._decide(self.first + len(self.labels))
        if self.values is None:
            return None
        return Kept(self.values, self.drawn.places, self.drawn.kinds // SIDES, self.drawn.weights())

    def _decide(self, until: int) -> None:
        """Choose among the planes up to `until`, whose surroundings are known, and forget what is no longer needed."""
        if until <= self.decided or self.held is None:
            return
        low, high = self.decided - self.first, until - self.first
        flat = np.flatnonzero(_reached(self.labels > 0, low, high))
        if len(flat):
            self._keep(flat, self.labels[low:high].reshape(-1), _beside(self.labels, low, high).reshape(-1))
        self.decided = until
        drop = max(0, until - REACH - self.first)
        self.labels, self.first = self.labels[drop:], self.first + drop
        over = until - self._start_of_values()
        self.held = self.held[:, over:].clone() if over > 0 else self.held

    def _start_of_values(self) -> int:
        """The plane at which the held values begin."""
        assert self.held is not None
        return self.first + len(self.labels) - self.held.shape[1]

    def _keep(self, flat: Array, own: Array, beside: Array) -> None:
        """Draw from the places (flat, counted from the first undecided plane, as their labels and those beside are)."""
        import torch

        assert self.held is not None
        plane, before = int(np.prod(self.rest)), self.drawn.places
        start = self.decided * plane
        for low in range(0, len(flat), SOME):
            some = flat[low : low + SOME]
            self.drawn.add(some + start, own[some].astype(np.intp) * SIDES + beside[some] % SIDES, self.seed)
        skipped = (self.decided - self._start_of_values()) * plane
        fresh = self.drawn.places[self.drawn.places >= start] - start + skipped
        taken = torch.from_numpy(fresh).to(self.held.device)
        values = self.held.reshape(len(self.held), -1)[:, taken].T.cpu().numpy()
        if self.values is not None:
            values = np.concatenate([self.values[np.isin(before, self.drawn.places)], values])
        self.values = np.ascontiguousarray(values)


class _Drawn:
    """Places that were drawn, by kind, in order of place; what it keeps does not depend on how many come at a time.

    Of each kind those come first whose random number is lowest. The more there are to draw from, the fewer of a kind
    are kept, so that none that was let go is missing later.
    """

    def __init__(self) -> None:
        self.places = np.zeros(0, dtype=np.int64)
        self.order = np.zeros(0, dtype=np.uint64)
        self.kinds = np.zeros(0, dtype=np.intp)
        # by kind: voxels seen, and the random number beyond which none is kept any more
        self.counts = np.zeros(0, dtype=np.int64)
        self.limits = np.zeros(0, dtype=np.uint64)

    def weights(self) -> Array:
        """(n,) of how many voxels of its kind each is one."""
        shares: Array = self.counts / np.maximum(np.bincount(self.kinds, minlength=len(self.counts)), 1)
        return shares[self.kinds]

    def add(self, places: Array, kinds: Array, seed: int) -> None:
        """places: (n,) behind all earlier ones, ascending. kinds: (n,) from 0 on."""
        order, length = _order(places, seed), max(len(self.counts), int(kinds.max()) + 1)
        self.counts = np.bincount(kinds, minlength=length) + _longer(self.counts, length, 0)
        limits = _longer(self.limits, length, np.iinfo(np.uint64).max)
        likely = order <= limits[kinds]
        old, new = (self.places, self.order, self.kinds), (places[likely], order[likely], kinds[likely])
        places, order, kinds = (np.concatenate(pair) for pair in zip(old, new, strict=True))
        most = _most(self.counts)
        by_kind = np.lexsort((order, kinds))
        there = np.bincount(kinds, minlength=length)
        first = (np.cumsum(there) - there)[kinds[by_kind]]
        few = np.sort(by_kind[np.arange(len(by_kind)) - first < most[kinds[by_kind]]])
        self.places, self.order, self.kinds = places[few], order[few], kinds[few]
        self.limits = limits
        cut = most < self.counts
        highest = np.zeros(length, dtype=np.uint64)
        np.maximum.at(highest, self.kinds, self.order)
        self.limits[cut] = highest[cut]


def _longer(array: Array, length: int, fill: Any) -> Array:
    """A copy of this length, `fill` where there was nothing."""
    out = np.full(length, fill, dtype=array.dtype)
    out[: len(array)] = array
    return out


def _most(counts: Array) -> Array:
    """How many are kept of each kind: MOST together, all of the rare ones, and equally many of the others."""
    if counts.sum() <= MOST:
        return counts
    there = np.sort(counts[counts > 0])
    room, left = MOST - (np.cumsum(there) - there), len(there) - np.arange(len(there))
    # the first, from the rarest on, that is too common to be kept whole where all that follow share the room alike
    cut = int((there > room // left).argmax())
    level = max(1, int(room[cut] // left[cut]))
    most: Array = np.minimum(counts, level)
    most[np.flatnonzero(counts > level)[: max(0, int(room[cut] - level * left[cut]))]] += 1
    return most


def _reached(mask: Array, low: int, high: int) -> Array:
    """Planes low..high of where `mask` (n, *rest) is at most REACH voxels away: squared distances, axis after axis."""
    if not mask.any():
        return np.zeros((high - low, *mask.shape[1:]), dtype=bool)
    # beyond REACH it does not matter how far; what is added to them stays below 256
    squares = np.where(mask, np.uint8(0), np.uint8(REACH**2 + 1))
    for axis in range(mask.ndim):
        nearest, along = squares.copy(), np.moveaxis(squares, axis, 0)
        out = np.moveaxis(nearest, axis, 0)
        for step in range(1, min(REACH, len(along) - 1) + 1):
            np.minimum(out[step:], along[:-step] + np.uint8(step**2), out=out[step:])
            np.minimum(out[:-step], along[step:] + np.uint8(step**2), out=out[:-step])
        squares = nearest
    return np.asarray(squares[low:high] <= REACH**2)


def _beside(labels: Array, low: int, high: int) -> Array:
    """Another label that lies beside each voxel of planes low..high: the highest of a box around it, or the lowest.

    Where all of the box is alike, that. labels: (n, *rest).
    """
    start = max(0, low - BESIDE)
    part = labels[start : high + BESIDE]
    own = labels[low:high]
    highest, lowest = (_boxed(part, of)[low - start : high - start] for of in (np.maximum, np.minimum))
    return np.where(highest != own, highest, lowest)


def _boxed(labels: Array, of: np.ufunc) -> Array:
    """The maximum or minimum of a box of BESIDE voxels on each side."""
    for axis in range(labels.ndim):
        made, along = labels.copy(), np.moveaxis(labels, axis, 0)
        out = np.moveaxis(made, axis, 0)
        for step in range(1, min(BESIDE, len(along) - 1) + 1):
            of(out[step:], along[:-step], out=out[step:])
            of(out[:-step], along[step:], out=out[:-step])
        labels = made
    return labels


def _order(places: Array, seed: int) -> Array:
    """A random number for each place, the same for the same place and seed (splitmix64, Steele et al. 2014)."""
    x = places.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % (1 << 64))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
