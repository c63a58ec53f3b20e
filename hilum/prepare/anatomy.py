"""Does an image lie as the training images lay? A coarse average of them, and the turns it is compared under.

What is kept is one block of 16 voxels a side (a square of 16 for pictures), averaged over at least LEAST cases of the
training part in RAS order, so that no one image stands out. An image is compared with it as it stands and under every
other flip and exchange of axes (47, or 7 for pictures), and only a clearly better fit is spoken of. What looks alike
from both sides, left and right above all, can not be told apart by it, and then nothing is said.
"""

import base64
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.prepare.grid import to_ras

SIDE = 16
LOOKED_AT = 64
# Planes along each axis that are looked at: enough for an average, and as fast for a large volume as for a small one.
LEAST = {2: 100, 3: 10}
# Fewer training cases can not say how often a rightly placed image would be called turned.
MOST = 1000
# More cases make neither the average nor the margin better.
LEAST_MARGIN, MOST_MARGIN = 0.2, 0.5
# By how much (correlation) another orientation must fit better; training images that need more have no common one.
TAIL = 6.0
# Standard deviations above the mean of what rightly placed training images show, for tails heavier than normal.

Turn = tuple[tuple[int, ...], tuple[bool, ...]]
# New axis a is old axis order[a], then flipped where flips[a].


@dataclass(frozen=True)
class Profile:
    """How training images lie.

    mean: (16, ...) 0..1, average block. cases: how many it is of. fit: median correlation of a training image with the
    average of the others. margin: by how much another orientation must fit better than the stated one to be named.
    """

    mean: Array
    cases: int
    fit: float
    margin: float

    def data(self) -> dict[str, Any]:
        """Plain data for JSON; the block in 16 bits per voxel."""
        raw = np.round(self.mean * 65535).astype("<u2").tobytes()
        facts = {"dims": self.mean.ndim, "cases": self.cases, "fit": round(self.fit, 4)}
        return facts | {"margin": round(self.margin, 4), "mean": base64.b64encode(raw).decode("ascii")}


def parse(data: Any) -> Profile | None:
    """A profile from its plain data; None where there is none, and refused where it is spoilt (HIL-M05)."""
    if data is None:
        return None
    try:
        dims, cases, fit, margin = int(data["dims"]), int(data["cases"]), float(data["fit"]), float(data["margin"])
        raw = np.frombuffer(base64.b64decode(data["mean"], validate=True), "<u2")
        if dims not in LEAST or cases < LEAST[dims] or not (0 <= fit <= 1 and LEAST_MARGIN <= margin <= MOST_MARGIN):
            raise ValueError(f"dims {dims}, cases {cases}, fit {fit}, margin {margin}")
        return Profile(raw.reshape((SIDE,) * dims) / 65535.0, cases, fit, margin)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise HilumError(
            "HIL-M05", f"The average of the training images is damaged ({error})", "Copy it again"
        ) from error


def block(image: Image) -> Array | None:
    """(16, 16, 16) or (16, 16), 0..1, of the whole field of view in RAS order; None where nothing can be said.

    Nothing can be said of a volume without an affine and of an image of one value.
    """
    if image.dims == 3 and image.affine is None:
        return None
    array = image.array
    for axis, size in enumerate(image.shape, 1):
        if size > LOOKED_AT:
            array = np.take(array, (2 * np.arange(LOOKED_AT) + 1) * size // (2 * LOOKED_AT), axis)
    # of the affine only the directions count here
    array = to_ras(Image(array, image.affine)).array
    mean = np.nan_to_num(array.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).mean(axis=0)
    for axis, size in enumerate(mean.shape):
        # einsum starts no threads, which would cost more than the sums
        mean = np.moveaxis(np.einsum("ij,j...->i...", _shares(size), np.moveaxis(mean, axis, 0)), 0, axis)
    low, high = np.percentile(mean, [2, 98])
    if not high - low > 1e-9 * max(abs(high), abs(low), 1e-30):
        return None
    found: Array = np.clip((mean - low) / (high - low), 0, 1)
    return found


@functools.cache
def _shares(size: int) -> Array:
    """(16, size): which share of every plane belongs to each of 16 equal parts of an axis; rows sum to 1."""
    edges = np.arange(SIDE + 1) * size / SIDE
    planes = np.arange(size)
    inside = np.minimum(edges[1:, None], planes + 1) - np.maximum(edges[:-1, None], planes)
    shares = np.maximum(inside, 0)
    found: Array = shares / shares.sum(axis=1, keepdims=True)
    return found


@functools.cache
def turns(dims: int) -> tuple[Turn, ...]:
    """Every flip and exchange of axes, the one that changes nothing first: 8 or 48."""
    flips = list(itertools.product((False, True), repeat=dims))
    return tuple((order, flip) for order in itertools.permutations(range(dims)) for flip in flips)


def turned(array: Array, turn: Turn) -> Array:
    """The array (*space) with its axes exchanged and flipped."""
    order, flips = turn
    return np.flip(np.transpose(array, order), tuple(axis for axis, flip in enumerate(flips) if flip))


@functools.cache
def _places(dims: int) -> Array:
    """(turns, voxels): where each turn takes the voxels of a block from."""
    index = np.arange(SIDE**dims).reshape((SIDE,) * dims)
    return np.stack([turned(index, turn).ravel() for turn in turns(dims)])


def _own(array: Array) -> Array:
    """(turns, voxels) unit vectors: a block under every turn, without what is the same under all of them.

    A bright middle and a dark rim say nothing about how an image lies, and would hide what does.
    """
    every: Array = array.ravel()[_places(array.ndim)]
    rest = every - every.mean(axis=0)
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    return rest / np.maximum(length, 1e-12)


def fits(array: Array, mean: Array) -> Array:
    """(turns,) correlations of a block with an average, -1..1, in the order of `turns`."""
    found: Array = _own(array) @ _own(mean)[0]
    return found


def learn(blocks: Sequence[Array]) -> Profile | None:
    """A profile of the training images; None where they are too few, or have no orientation in common.

    Every image is compared with the average of the others, as a new one would be: what a rightly placed image shows
    sets the margin.
    """
    blocks = list(blocks)[:MOST]
    if not blocks or len(blocks) < LEAST[blocks[0].ndim] or len({b.shape for b in blocks}) > 1:
        return None
    total = np.sum(blocks, axis=0)
    found = np.stack([fits(b, (total - b) / (len(blocks) - 1)) for b in blocks])
    stated, gaps = found[:, 0], found[:, 1:].max(axis=1) - found[:, 0]
    margin = float(max(LEAST_MARGIN, gaps.max() + 0.1, gaps.mean() + TAIL * gaps.std(ddof=1)))
    fit = float(np.median(stated))
    if margin > MOST_MARGIN or fit <= 0:
        return None
    return Profile(total / len(blocks), len(blocks), fit, margin)


def warning(array: Array | None, profile: Profile | None, called: str = "image") -> str | None:
    """A sentence (HIL-M08) when another orientation fits clearly better than the stated one, else None.

    array: what `block` gave. called: "image", "fixed image", ... Of orientations that fit about equally well, as left
    and right do, the one that changes least is named.
    """
    if array is None or profile is None or array.shape != profile.mean.shape:
        return None
    found = fits(array, profile.mean)
    best = found.max()
    # an image of something else fits in no orientation
    if best - found[0] <= profile.margin or best < profile.fit / 2:
        return None
    near = [
        n for n in range(len(found)) if found[n] > found[0] + profile.margin and found[n] > best - profile.margin / 2
    ]
    chosen = min(near, key=lambda n: (_changes(turns(array.ndim)[n]), -found[n]))
    how, short = _words(turns(array.ndim)[chosen])
    return (
        f"HIL-M08: the {called} looks turned: it fits the {profile.cases} training images better {how} "
        f"(correlation {found[0]:.2f} as stated, {found[chosen]:.2f} {short}). Check the orientation"
    )


def _changes(turn: Turn) -> int:
    """How much a turn changes: exchanged axes count more than flips."""
    order, flips = turn
    return 4 * sum(new != old for new, old in enumerate(order)) + sum(flips)


_PICTURE: Mapping[Turn, str] = {
    ((0, 1), (True, False)): "flipped upside down",
    ((0, 1), (False, True)): "mirrored left to right",
    ((0, 1), (True, True)): "turned by 180 degrees",
    ((1, 0), (False, False)): "mirrored at the diagonal from top left",
    ((1, 0), (True, False)): "turned by 90 degrees anticlockwise",
    ((1, 0), (False, True)): "turned by 90 degrees clockwise",
    ((1, 0), (True, True)): "mirrored at the diagonal from top right",
}
_AXES = ("left-right", "anterior-posterior", "superior-inferior")


def _words(turn: Turn) -> tuple[str, str]:
    """A turn in words after "it fits better", and in short after a number."""
    order, flips = turn
    if len(order) == 2:
        return f"{_PICTURE[turn]}", "so"
    if order == (0, 1, 2):
        axes = [name for name, flip in zip(_AXES, flips, strict=True) if flip]
        listed = " and ".join([", ".join(axes[:-1]), axes[-1]]) if len(axes) > 1 else axes[0]
        return f"if the {listed} {'axes' if len(axes) > 1 else 'axis'} were flipped", "flipped"
    # what is stated as running to R, A, S really runs to ...
    real = [""] * 3
    for new, old in enumerate(order):
        real[old] = "LPI"[new] if flips[new] else "RAS"[new]
    return f"if what is stated as R, A, S were {', '.join(real)}", "so"
