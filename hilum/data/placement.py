"""Whether labels lie on their images: a label's border runs along edges of the image, that of a mirrored one does not.

Of each case the mean rank of the image's gradient under the label's border is taken (0.5 by chance, 1 at the strongest
edges): as it lies, mirrored along each axis, and shifted by a few voxels. The data set decides together: many small
differences of one sign are certain where one case is not, and a body that is nearly symmetric gives no verdict.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hilum.core.image import Array, Image
from hilum.prepare.grid import to_ras

CASES = 60
# Most cases that are looked at, evenly over the data set.
VOXELS = 4_000_000
# Larger images are thinned to about this.
FEWEST = 50
# Border voxels that a case needs.
REACH = 6
# Voxels by which a label may be shifted to be found out.
GAIN = 0.03
# Least gain in mean rank that counts; chosen on real sets (benchmarks/reading/checks.py shows how it holds there).
SURE = 4.0
# Standard errors above zero.
FEW = 5
ALONE = 0.12
# Least gain of each case where there are fewer, too few to judge their spread.
ODD_GAIN, ODD_SURE = 0.06, 5.0
# The same as GAIN and SURE (spreads above the middle) for one case among others.
SIDES = {2: ("upside down", "left-right"), 3: ("left-right", "front to back", "upside down")}


@dataclass(frozen=True)
class Fit:
    """One case. here: mean edge rank 0..1 as it lies. flips: {axes: the same mirrored}. shifts: (13, ...) by shift.

    Volumes are in RAS order, so that axis 0 is left-right. step: voxels from one shift to the next, as large images are
    thinned.
    """

    case: str
    here: float
    flips: dict[tuple[int, ...], float]
    shifts: Array
    step: int = 1

    @property
    def dims(self) -> int:
        """2 or 3."""
        return int(self.shifts.ndim)


@dataclass(frozen=True)
class Misplaced:
    """A suspicion, for a warning and its picture. axes: mirrored ones, or () where shifted. shift: voxels to move by.

    cases: those it is about. here, there: mean edge rank as they lie, and when moved.
    """

    cases: tuple[str, ...]
    axes: tuple[int, ...]
    shift: tuple[int, ...]
    here: float
    there: float
    dims: int

    @property
    def how(self) -> str:
        """What would bring the label onto the image, in words."""
        if self.axes:
            return "flipped " + " and ".join(SIDES[self.dims][a] for a in self.axes)
        return f"moved by {', '.join(f'{s:+d}' for s in self.shift)} voxels"

    def moved(self, label: Array) -> Array:
        """A label map (*space, RAS order for volumes) as it would fit better, for a picture beside the one as it is."""
        label = np.flip(label, self.axes) if self.axes else label
        return np.roll(label, self.shift, tuple(range(self.dims))) if self.shift else label

    @property
    def warning(self) -> str:
        """One sentence."""
        some = ", ".join(self.cases[:5]) + (f" and {len(self.cases) - 5} more" if len(self.cases) > 5 else "")
        what = "label lies" if len(self.cases) == 1 else "labels lie"
        return (
            f"HIL-N17: the {what} better on the edges of the image when {self.how} ({self.there:.2f} instead of "
            f"{self.here:.2f} of 1) in {some}: look at them before training"
        )


def fit(name: str, image: Image, label: Image) -> Fit | None:
    """How well a label (1, *space) lies on an image (C, *space) of the same grid."""
    if image.shape != label.shape:
        return None
    image, label = to_ras(image), to_ras(label)
    step = max(1, int(np.ceil((np.prod(image.shape) / VOXELS) ** (1 / image.dims))))
    thin = (slice(None, None, step),) * image.dims
    border = _border(label.array[0][thin])
    if border.sum() < FEWEST or min(border.shape) < 4:
        return None
    grey = np.nan_to_num(image.array[(slice(None), *thin)].astype(np.float32), posinf=0, neginf=0).mean(axis=0)
    rank = _rank(_gradient(grey))
    axes = [a for n in range(1, image.dims + 1) for a in itertools.combinations(range(image.dims), n)]
    flips = {a: float(np.flip(rank, a)[border].mean()) for a in axes}
    return Fit(name, float(rank[border].mean()), flips, _shifted(rank, border), step)


def judge(fits: Sequence[Fit]) -> list[Misplaced]:
    """Suspicions from many cases: all together first; where they fit, single ones that stand out from the rest."""
    found: list[Misplaced] = []
    for dims in (2, 3):
        same = [f for f in fits if f.dims == dims]
        if same:
            found += _together(same) or _single(same)
    return found


def _together(fits: list[Fit]) -> list[Misplaced]:
    """What would make nearly all cases fit better: the best mirroring, else the best shift of those thinned alike."""
    dims, here = fits[0].dims, float(np.mean([f.here for f in fits]))
    names = tuple(f.case for f in fits)
    gains = {a: np.array([f.flips[a] - f.here for f in fits]) for a in fits[0].flips}
    axes = max(gains, key=lambda a: float(gains[a].mean()))
    if _certain(gains[axes]):
        return [Misplaced(names, axes, (), here, here + float(gains[axes].mean()), dims)]
    alike = [[f for f in fits if f.step == step] for step in sorted({f.step for f in fits})]
    # a few of another size, beside many, have no verdict of their own
    found = [_moved(some) for some in alike if len(some) >= min(FEW, len(fits))]
    return [one for one in found if one is not None]


def _moved(fits: list[Fit]) -> Misplaced | None:
    """The shift that would make nearly all of some cases fit better; their maps have one step."""
    dims, step = fits[0].dims, fits[0].step
    maps = np.stack([f.shifts for f in fits])
    best = tuple(int(i) for i in np.unravel_index(int(maps.mean(axis=0).argmax()), maps.shape[1:]))
    shift = tuple(step * (b - REACH) for b in best)
    gain = np.array([f.shifts[best] - f.shifts[(REACH,) * dims] for f in fits])
    # a step of one voxel is how tightly people draw, or half a voxel of convention
    if max(map(abs, shift)) < 2 * step or not _certain(gain):
        return None
    here = float(np.mean([f.here for f in fits]))
    return Misplaced(tuple(f.case for f in fits), (), shift, here, here + float(gain.mean()), dims)


def _certain(gains: Array) -> bool:
    """Whether the gains of the cases are above zero together."""
    if len(gains) < FEW:
        return bool(gains.min() > ALONE)
    error = max(float(gains.std(ddof=1)), 0.01) / np.sqrt(len(gains))
    return bool(gains.mean() > GAIN and gains.mean() > SURE * error and (gains > 0).mean() >= 0.8)


def _single(fits: list[Fit]) -> list[Misplaced]:
    """Cases that fit better mirrored although the others clearly do not."""
    if len(fits) < 8:
        return []
    found = []
    for axes in fits[0].flips:
        gains = np.array([f.flips[axes] - f.here for f in fits])
        middle = float(np.median(gains))
        spread = max(1.4826 * float(np.median(np.abs(gains - middle))), 0.01)
        for odd in np.flatnonzero(gains > max(ODD_GAIN, middle + ODD_SURE * spread)):
            own = fits[int(odd)]
            if middle < -GAIN and own.flips[axes] == max(own.flips.values()):
                found.append(Misplaced((own.case,), axes, (), own.here, own.flips[axes], own.dims))
    return found


def _border(label: Array) -> Array:
    """Voxels on either side of a change of value."""
    out = np.zeros(label.shape, dtype=bool)
    for axis in range(label.ndim):
        moved, marks = np.moveaxis(label, axis, 0), np.moveaxis(out, axis, 0)
        change = moved[1:] != moved[:-1]
        marks[1:] |= change
        marks[:-1] |= change
    return out


def _gradient(grey: Array) -> Array:
    """Length of the gradient of the lightly smoothed image, per voxel."""
    for axis in range(grey.ndim):
        moved = np.moveaxis(grey, axis, 0)
        padded = np.concatenate([moved[:1], moved, moved[-1:]])
        grey = np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, 0, axis)
    total = np.zeros_like(grey)
    for axis in range(grey.ndim):
        moved, sums = np.moveaxis(grey, axis, 0), np.moveaxis(total, axis, 0)
        sums[1:-1] += (moved[2:] - moved[:-2]) ** 2
    return total


def _rank(values: Array) -> Array:
    """Ranks 0..1, equal values alike."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / values.size
    return np.asarray(middle[place].reshape(values.shape), dtype=np.float32)


def _shifted(rank: Array, border: Array) -> Array:
    """Mean rank under the border moved by -REACH..REACH along each axis; outside the image counts as chance."""
    where = np.argwhere(border)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    inner = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    outer = tuple(slice(a, b + 2 * REACH) for a, b in zip(low, high, strict=True))
    field = np.pad(rank, REACH, constant_values=0.5)[outer]
    axes = tuple(range(rank.ndim))
    mark = np.fft.rfftn(border[inner], field.shape, axes=axes).conj()
    sums = np.fft.irfftn(mark * np.fft.rfftn(field, axes=axes), field.shape, axes=axes)
    steps = (slice(0, 2 * REACH + 1),) * rank.ndim
    return np.asarray(sums[steps] / border.sum(), dtype=np.float32)
