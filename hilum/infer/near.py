"""A sample of voxels near what was found, kept while an image passes by plane by plane: what its doubt is told from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hilum.core.image import Array

if TYPE_CHECKING:
    from torch import Tensor

REACH = 5
# Voxels: how far from the foreground found one is still looked at.
MOST = 5000
# Voxels kept of one case: more of them say the same again.


@dataclass(frozen=True)
class Near:
    """logits: (n, K) float32 of voxels near the foreground found; of the likeliest voxel, (1, K), where it is empty."""

    logits: Array
    empty: bool


class Collector:
    """Fed with planes in order, it keeps at most MOST voxels within REACH of foreground, drawn by the seed.

    Which ones depends on the labels and the seed alone, not on how many planes come at a time.
    """

    def __init__(self, rest: tuple[int, ...], seed: int = 0) -> None:
        """rest: shape of a plane."""
        self.rest, self.seed = rest, seed
        self.labels = np.zeros((0, *rest), dtype=bool)
        self.first = self.decided = 0
        self.places = np.zeros(0, dtype=np.int64)
        self.order = np.zeros(0, dtype=np.uint64)
        self.values: Array | None = None
        self.held: Tensor | None = None

    @property
    def found(self) -> bool:
        """Whether any foreground was seen so far."""
        return self.values is not None or bool(self.labels.any())

    def add(self, labels: Array, values: "Tensor") -> None:
        """labels: (n, *rest), 0 is background. values: (C, n, *rest), features or logits, on any device."""
        import torch

        self.labels = np.concatenate([self.labels, labels > 0])
        self.held = values if self.held is None else torch.cat([self.held, values], 1)
        self._decide(self.first + len(self.labels) - REACH)

    def end(self) -> tuple[Array, Array] | None:
        """(n, C) values and their flat places in the image, in order of place; None where nothing was found."""
        self._decide(self.first + len(self.labels))
        if self.values is None:
            return None
        order = np.argsort(self.places)
        return self.values[order], self.places[order]

    def _decide(self, until: int) -> None:
        """Choose among the planes up to `until`, whose surroundings are known, and forget what is no longer needed."""
        if until <= self.decided or self.held is None:
            return
        region = _reached(self.labels, self.decided - self.first, until - self.first)
        flat = np.flatnonzero(region)
        if len(flat):
            self._keep(flat)
        self.decided = until
        drop = max(0, until - REACH - self.first)
        self.labels, self.first = self.labels[drop:], self.first + drop
        over = until - self._start_of_values()
        self.held = self.held[:, over:].clone() if over > 0 else self.held

    def _start_of_values(self) -> int:
        """The plane at which the held values begin."""
        assert self.held is not None
        return self.first + len(self.labels) - self.held.shape[1]

    def _keep(self, flat: Array) -> None:
        """Draw from the places (flat, counted from the first undecided plane)."""
        import torch

        assert self.held is not None
        plane = int(np.prod(self.rest))
        places = flat + self.decided * plane
        order = _order(places, self.seed)
        if len(flat) > MOST:
            few = np.argpartition(order, MOST)[:MOST]
            flat, places, order = flat[few], places[few], order[few]
        skipped = (self.decided - self._start_of_values()) * plane
        drawn = torch.from_numpy(flat + skipped).to(self.held.device)
        values = self.held.reshape(len(self.held), -1)[:, drawn].T.cpu().numpy()
        if self.values is not None:
            places, order = np.concatenate([self.places, places]), np.concatenate([self.order, order])
            values = np.concatenate([self.values, values])
        if len(places) > MOST:
            few = np.argpartition(order, MOST)[:MOST]
            places, order, values = places[few], order[few], values[few]
        self.places, self.order, self.values = places, order, np.ascontiguousarray(values)


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


def _order(places: Array, seed: int) -> Array:
    """A random number for each place, the same for the same place and seed (splitmix64, Steele et al. 2014)."""
    x = places.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % (1 << 64))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
