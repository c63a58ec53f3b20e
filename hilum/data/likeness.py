"""Which images are the same picture again: turned, mirrored, brighter, recompressed, resized, framed or a bit cropped.

Every image is kept as two small pictures of its structure, of the whole frame and of what lies inside an even border:
brightness is equalised by its own histogram, weighted by local contrast so that neither an empty background nor noise
counts, then only detail of a few cells is kept. Their correlation is 1 for a copy and low for another image of the same
organ. A coarse search over all flips and turns finds candidates, the detail decides, and where it nearly fits small
shifts and crops are tried.
"""

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from hilum.core.image import Array, Image, Measurement
from hilum.prepare.grid import to_ras

SIDE = {2: 64, 3: 32}
# Cells along each axis of the small picture; a volume's is a cube.
COARSE = {2: 16, 3: 8}
# Cells along each axis of the picture that all are searched by.
CANDIDATE = 0.6
# Least coarse correlation that is looked at closer; changed copies have 0.8 and more.
SAME = {2: 0.9, 3: 0.94}
# Least correlation of detail that counts as the same image. Heads of one frame look more alike as coarse volumes.
MOVED = {2: 0.95, 3: 0.95}
# The same where shifts and crops were tried: the best of many fits better by chance.
MOST = 64
# Candidates kept per image and turn: copies of copies are joined by a chain, so that no more are needed.
TRIES = 3
# Candidates per image for which shifts and crops are tried.
SCALES = (0.95, 0.9, 1 / 0.95, 1 / 0.9)
ZOOMS = ((1.0, 1.0), *((s, s) for s in SCALES), *((s, 1.0) for s in SCALES), *((1.0, s) for s in SCALES))
# How much larger along each axis a picture may have become by cropping.
LINES = 64
# About so many values of each line tell whether it is even.
MARGIN = {2: 8, 3: 4}
# Cells by which a copy may be shifted.
SLAB = 1 << 20
# Values that are made grey at a time: nothing else as large as the image is held beside it.


Move = Callable[[Array], Array]
TURNS = {
    (False, 0): "",
    (True, 0): "flipped left-right",
    (True, 2): "flipped upside down",
    (False, 2): "rotated by 180 degrees",
    (False, 1): "rotated by 90 degrees",
    (False, 3): "rotated by 270 degrees",
    (True, 1): "flipped left-right and rotated by 90 degrees",
    (True, 3): "flipped left-right and rotated by 270 degrees",
}
# (mirrored, quarter turns counter-clockwise) of a picture.


@dataclass(frozen=True)
class Look:
    """What is kept of an image for comparison.

    digest: of shape and values, the same for the same pixels. detail: (2, *side) float16, of the frame and of what is
    inside its border, and the same coarsely; None where there is no picture (raw data).
    """

    digest: str
    detail: Array | None = None
    coarse: Array | None = None

    @property
    def empty(self) -> bool:
        """Whether there is a picture without any structure: an image of one value, which is nobody's."""
        return self.detail is not None and not self.detail.any()


@dataclass(frozen=True)
class Alike:
    """Two images that are one: their places in the list. score: correlation of detail, 0..1.

    how: "the same pixels", or what gives the first when done to the second (turns are counter-clockwise).
    """

    first: int
    second: int
    how: str
    score: float


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Around many calls: matrices as small as these take longer on several threads than on one."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


def look_at(item: Image | Measurement) -> Look:
    """The Look of an image (in RAS order, so that a re-oriented copy is the same) or of raw data."""
    if isinstance(item, Measurement):
        return Look(_digest(item.array))
    # what was read is not held beside its copy, nor either of them once it is grey
    item = to_ras(item)
    digest, grey = _digest(item.array), _grey(item.array)
    del item
    side = SIDE[grey.ndim]
    inner, whole = _inside(grey), [(0, n) for n in grey.shape]
    first = _detail(_equalised(_shrunk(grey, side, whole)))
    second = first if inner == whole else _detail(_equalised(_shrunk(grey, side, inner)))
    detail, coarse = (np.stack(pair).astype(np.float16) for pair in zip(first, second, strict=True))
    return Look(digest, detail, coarse)


def alike(looks: Sequence[Look]) -> list[Alike]:
    """All pairs that are the same image, each once, first < second."""
    found = {(p.first, p.second): p for p in _same_pixels(looks)}
    for dims in SIDE:
        rows = [i for i, k in enumerate(looks) if k.detail is not None and k.detail.ndim == dims + 1]
        if len(rows) > 1:
            details = np.stack([looks[i].detail for i in rows])  # type: ignore[misc]
            coarse = np.stack([looks[i].coarse for i in rows])  # type: ignore[misc]
            for pair in _near(details, coarse, dims):
                key = (rows[pair.first], rows[pair.second])
                found.setdefault(key, Alike(*key, pair.how, pair.score))
    return [found[key] for key in sorted(found)]


def _digest(array: Array) -> str:
    array = np.ascontiguousarray(array)
    found = hashlib.blake2b(f"{array.shape} {array.dtype.kind}".encode(), digest_size=16)
    # as they lie: their bytes would be a copy
    found.update(array.reshape(-1).data)
    return found.hexdigest()


def _same_pixels(looks: Sequence[Look]) -> Iterator[Alike]:
    """Every image with every later one of the same values."""
    places: dict[str, list[int]] = {}
    for number, one in enumerate(looks):
        for earlier in places.setdefault(one.digest, []):
            yield Alike(earlier, number, "the same pixels", 1.0)
        places[one.digest].append(number)


# The small picture


def _grey(array: Array) -> Array:
    """(C, *space) to (*space) float32: the mean of the channels, 0 for what is no number."""
    grey = np.empty_like(array[0], dtype=np.float32)
    step = max(1, SLAB // max(1, array[:, 0].size))
    for start in range(0, len(grey), step):
        part = array[:, start : start + step].astype(np.float32)
        grey[start : start + step] = np.nan_to_num(part, posinf=0.0, neginf=0.0).mean(axis=0)
    return grey


def _inside(grey: Array) -> list[tuple[int, int]]:
    """[low, high) along each axis, without the even border; the whole axis where little would be left."""
    thin = tuple(slice(None, None, max(1, n // LINES)) for n in grey.shape)
    low, high = np.percentile(grey[thin], [1, 99.5])
    bounds = []
    for axis, size in enumerate(grey.shape):
        step = (*thin[:axis], slice(None), *thin[axis + 1 :])
        lines = np.moveaxis(grey[step], axis, 0).reshape(size, -1)
        dark, bright = np.percentile(lines, [2, 98], axis=1)
        busy = np.flatnonzero(bright - dark > 0.08 * (high - low))
        enough = len(busy) > 0 and busy[-1] + 1 - busy[0] >= 0.3 * size
        bounds.append((int(busy[0]), int(busy[-1]) + 1) if enough else (0, size))
    return bounds


def _shrunk(grey: Array, side: int, bounds: list[tuple[int, int]]) -> Array:
    """Mean over each cell of a grid of `side` cells along every axis, inside the bounds."""
    for axis, (low, high) in enumerate(bounds):
        edges = np.linspace(low, high, side + 1)
        index = np.arange(grey.shape[axis])
        part = np.minimum(edges[1:, None], index + 1) - np.maximum(edges[:-1, None], index)
        part = np.clip(part, 0, None).astype(np.float32)
        weights = part / part.sum(axis=1, keepdims=True)
        grey = np.moveaxis(np.tensordot(weights, grey, axes=(1, axis)), 0, axis)
    return grey


def _equalised(small: Array) -> Array:
    """Brightness as its rank 0..1, each cell counted by its local contrast: no monotone change alters it much."""
    low, high = float(small.min()), float(small.max())
    if high - low <= 1e-6 * max(1.0, abs(high)):
        return np.zeros_like(small)
    levels = (small - low) / (high - low)
    contrast = np.abs(_blurred(levels, 3) - _blurred(levels, 7))
    weight = np.minimum(contrast, np.percentile(contrast, 98)).ravel() + 1e-6
    place = np.round(levels.ravel() * 1000).astype(np.int64)
    counts = np.bincount(place, weights=weight)
    rank = (np.cumsum(counts) - counts / 2) / counts.sum()
    return np.asarray(rank[place].reshape(small.shape), dtype=np.float32)


@cache
def _blur(size: int, width: int) -> Array:
    """(size, size): two moving means of `width` cells, edges repeated."""
    steps = np.arange(-(width // 2), width // 2 + 1)
    once = np.zeros((size, size), dtype=np.float32)
    for step in steps:
        once[np.arange(size), np.clip(np.arange(size) + step, 0, size - 1)] += 1 / width
    return once @ once


def _blurred(array: Array, width: int) -> Array:
    """Two moving means of `width` cells (odd) along every axis of a square or cube."""
    for axis in range(array.ndim):
        array = np.moveaxis(np.tensordot(_blur(len(array), width), array, axes=(1, axis)), 0, axis)
    return array


def _detail(equal: Array) -> tuple[Array, Array]:
    """Structure of about 3 to 7 cells, strong edges held down (a skull or the rim of a fundus is the same in all).

    And the same of 3 to 11 cells on the coarse grid. Both mean 0 and length 1; 0 where there is none.
    """
    smooth = _blurred(equal, 3)
    fine = smooth - _blurred(equal, 7)
    limit = float(fine.std())
    wide = _shrunk(smooth - _blurred(equal, 11), COARSE[equal.ndim], [(0, n) for n in equal.shape])
    return _unit(np.clip(fine, -limit, limit)), _unit(wide)


def _unit(array: Array) -> Array:
    """Mean 0, length 1; 0 for an even one."""
    centred = array - array.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 1e-6 else np.zeros_like(centred)


# The search


def _turns(dims: int) -> list[tuple[str, Move]]:
    """(words, function on the last `dims` axes): the 8 flips and turns of a picture, the 8 mirrorings of a volume."""
    if dims == 2:
        return [(words, partial(_turned, mirror=m, quarters=q)) for (m, q), words in TURNS.items()]
    turns: list[tuple[str, Move]] = []
    for flips in itertools.product((1, -1), repeat=3):
        names = [w for w, f in zip(("left-right", "front to back", "upside down"), flips, strict=True) if f < 0]
        words = "flipped " + " and ".join(names) if names else ""
        turns.append((words, partial(_mirrored, steps=flips)))
    return turns


def _turned(array: Array, mirror: bool, quarters: int) -> Array:
    """The last two axes mirrored left-right, then turned counter-clockwise."""
    return np.rot90(array[..., ::-1] if mirror else array, quarters, (-2, -1))


def _mirrored(array: Array, steps: tuple[int, ...]) -> Array:
    """The last three axes, each forwards (1) or backwards (-1)."""
    one, two, three = steps
    return array[..., ::one, ::two, ::three]


def _near(details: Array, coarse: Array, dims: int) -> list[Alike]:
    """Pairs of the same image among details (n, 2, *side)."""
    turns = _turns(dims)
    rows = _candidates(coarse, turns)
    found, tried = [], np.zeros(len(details), dtype=np.int64)
    for row in _scored(details, rows, turns):
        first, second, turn, score = int(row[0]), int(row[1]), int(row[4]), float(row[6])
        how = turns[turn][0]
        least = SAME[dims]
        if abs(score) < least:
            least = MOVED[dims]
            if max(tried[first], tried[second]) >= TRIES:
                continue
            tried[[first, second]] += 1
            one = details[first, int(row[2])].astype(np.float32)
            score = _aligned(one, turns[turn][1](details[second, int(row[3])].astype(np.float32)))
            how = f"{how}, shifted or cropped" if how else "shifted or cropped"
        if abs(score) >= least:
            changed = (how or "changed in size, brightness or compression") + (", inverted" if score < 0 else "")
            found.append(Alike(first, second, changed, abs(score)))
    return found


def _candidates(coarse: Array, turns: list[tuple[str, Move]]) -> Array:
    """Rows (first, second, look of first, look of second, turn, coarse), the best turn of each pair, best first."""
    small = coarse.reshape(-1, *coarse.shape[2:]).astype(np.float32)
    flat, rows = small.reshape(len(small), -1), []
    for turn, (_, move) in enumerate(turns):
        # the second image is turned back onto the first
        moved = np.ascontiguousarray(move(small)).reshape(len(small), -1)
        for start in range(0, len(flat), 512):
            found = np.abs(flat[start : start + 512] @ moved[start:].T)
            here, there = np.nonzero(found >= CANDIDATE)
            keep = there // 2 > here // 2
            here, there = here[keep], there[keep]
            value = found[here, there]
            order = np.lexsort((-value, here))
            here, there, value = here[order], there[order], value[order]
            within = np.arange(len(here)) - np.searchsorted(here, here)
            few = within < MOST
            here, there, value = here[few] + start, there[few] + start, value[few]
            columns = (here // 2, there // 2, here % 2, there % 2, np.full(len(here), turn), value)
            rows.append(np.stack(columns, axis=1).astype(np.float64))
    return _best_of_each(np.concatenate(rows))


def _best_of_each(rows: Array) -> Array:
    """One row for each pair, that of the highest coarse value; highest first."""
    rows = rows[np.lexsort((-rows[:, 5], rows[:, 1], rows[:, 0]))]
    if not len(rows):
        return rows
    new = np.r_[True, (np.diff(rows[:, :2], axis=0) != 0).any(axis=1)]
    rows = rows[new]
    return rows[np.argsort(-rows[:, 5], kind="stable")]


def _scored(details: Array, rows: Array, turns: list[tuple[str, Move]]) -> Array:
    """The rows with the correlation of detail (-1..1, below 0 where brightness is inverted) as a seventh column."""
    score = np.zeros(len(rows))
    number = rows[:, :5].astype(np.int64)
    for turn, (_, move) in enumerate(turns):
        mine = np.flatnonzero(number[:, 4] == turn)
        for start in range(0, len(mine), 1024):
            part = mine[start : start + 1024]
            one = details[number[part, 0], number[part, 2]].astype(np.float32)
            other = move(details[number[part, 1], number[part, 3]].astype(np.float32))
            score[part] = (one * other).reshape(len(part), -1).sum(axis=1)
    return np.concatenate([rows, score[:, None]], axis=1)


def _aligned(one: Array, other: Array) -> float:
    """Best normalised correlation of the middle of `one` inside `other`, over small shifts and (in 2-D) scales."""
    dims, margin = one.ndim, MARGIN[one.ndim]
    axes, middle = tuple(range(-dims, 0)), (slice(margin, -margin),) * dims

    def slid(windows: Array, spectrum: Array) -> Array:
        """Sums of each window x array over shifts of up to `margin` cells: (n, 2 * margin + 1, ...)."""
        sums = np.fft.irfftn(np.fft.rfftn(windows, axes=axes).conj() * spectrum, one.shape, axes=axes)
        for axis in axes:
            sums = np.roll(sums, margin, axis)
        return sums[(slice(None), *(slice(0, 2 * margin + 1),) * dims)]

    window = np.zeros((1, *one.shape), dtype=np.float32)
    window[0][middle] = 1
    spectrum = np.fft.rfftn(other)
    spread = slid(window, np.fft.rfftn(other * other)) - slid(window, spectrum) ** 2 / window.sum()
    parts = np.zeros((len(ZOOMS) if dims == 2 else 1, *one.shape), dtype=np.float32)
    for part, zoom in zip(parts, ZOOMS, strict=False):
        zoomed = _zoom(len(one), zoom[0]) @ one @ _zoom(len(one), zoom[1]).T if dims == 2 else one
        part[middle] = _unit(zoomed[middle])
    scores = slid(parts, spectrum) / np.sqrt(np.maximum(spread, 1e-4))
    return float(scores.flat[np.argmax(np.abs(scores))])


@cache
def _zoom(size: int, factor: float) -> Array:
    """(size, size): linear scaling by `factor` about the middle, edges repeated."""
    place = np.clip((np.arange(size) - (size - 1) / 2) / factor + (size - 1) / 2, 0, size - 1)
    low = np.minimum(place.astype(np.int64), size - 2)
    matrix = np.zeros((size, size), dtype=np.float32)
    matrix[np.arange(size), low] = 1 - (place - low)
    matrix[np.arange(size), low + 1] += place - low
    return matrix
