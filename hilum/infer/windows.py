"""Sliding windows over an image of any size, merged by Gaussian weights (nnU-Net's tiling), some planes at a time."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.core.progress import Progress, quiet
from hilum.core.sizes import size_words
from hilum.infer._alike import computed, remembered
from hilum.infer._lanes import ALONE, Pace, Waiting, answers
from hilum.prepare.patches import cut, window_starts

if TYPE_CHECKING:
    from torch import Tensor

BYTES = 4
BLOCK = 8
# Planes handed out at a time.
Look = Callable[["Tensor"], "Tensor"]
# What is asked of a network: windows (B, C, *patch) become (B, K, *patch), float32; of one each but for a `Pace`.


@dataclass(frozen=True)
class Tiling:
    """Where windows lie in an image that was padded to hold one. starts: along each axis. before: what was padded."""

    shape: tuple[int, ...]
    patch: tuple[int, ...]
    padded: tuple[int, ...]
    before: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """Windows in all."""
        return int(np.prod([len(s) for s in self.starts]))


def tiling(shape: Sequence[int], patch: Sequence[int], overlap: float) -> Tiling:
    """Windows of `patch` over `shape`, overlapping by that share at least."""
    padded = tuple(max(n, p) for n, p in zip(shape, patch, strict=True))
    before = tuple((want - n) // 2 for n, want in zip(shape, padded, strict=True))
    starts = tuple(tuple(window_starts(n, p, 1 - overlap)) for n, p in zip(padded, patch, strict=True))
    return Tiling(tuple(shape), tuple(patch), padded, before, starts)


def middle(image: Array, tiles: Tiling) -> "Tensor":
    """That of the windows over an image (C, *space) which lies in its middle, or just after it: (1, C, *patch)."""
    import torch

    start = [starts[len(starts) // 2] - b for starts, b in zip(tiles.starts, tiles.before, strict=True)]
    return torch.from_numpy(np.ascontiguousarray(cut(image, start, tiles.patch)))[None]


class Begun:
    """A look of which one window was tried before: where that one is asked for, its answer is there, once."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._known: tuple[Tensor, Tensor] | None = None

    def tried(self, window: "Tensor") -> "Tensor":
        """The answer to a window, held until `__call__` is asked for the same."""
        out = self._look(window)
        self._known = window, out
        return out

    def __call__(self, window: "Tensor") -> "Tensor":
        """As of the look."""
        import torch

        known = self._known
        if known is None or not torch.equal(known[0], window):
            return self._look(window)
        self._known = None
        return known[1]


def memory(shape: Sequence[int], channels: int, patch: Sequence[int], inputs: int) -> int:
    """Bytes that the merging of the whole will hold: scores of all classes, twice, and the padded image, float32."""
    tiles = tiling(shape, patch, 0)
    ring = ring_memory(tiles, channels)
    return int(np.prod(shape) * channels * BYTES + ring + np.prod(tiles.padded) * inputs * BYTES)


def ring_memory(tiles: Tiling, channels: int) -> int:
    """Bytes of the planes that windows still add to, and of those just done or moved on, float32."""
    plane = int(np.prod(tiles.padded[1:])) * channels * BYTES
    # a copy of those that are moved onto themselves
    kept = [tiles.patch[0] - int(step) for step in np.diff(tiles.starts[0])]
    copied = max((n for n in kept if 2 * n > tiles.patch[0]), default=0)
    return plane * (tiles.patch[0] + max(BLOCK, copied))


def profiles(patch: Sequence[int]) -> "list[Tensor]":
    """A Gaussian for each axis, sigma an eighth of the patch; a window's weight is their product."""
    import torch

    return [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in patch]


def weights(patch: Sequence[int]) -> "Tensor":
    """The weight of every voxel of a window, above 0: (*patch)."""
    return _product(profiles(patch))


def _product(lines: "Sequence[Tensor]") -> "Tensor":
    """The outer product of vectors."""
    total = lines[0]
    for line in lines[1:]:
        total = total[..., None] * line
    return total


def planes(
    look: Look,
    image: Array,
    tiles: Tiling,
    mirror: bool = False,
    air: float | None = -math.inf,
    progress: Progress = quiet,
    pace: Pace = ALONE,
    waiting: Waiting = nullcontext,
    aside: Array | None = None,
) -> "Iterator[tuple[int, Tensor]]":
    """The merged answer of an image (C, *space), as soon as no window will add to it: (first plane, (K, n, *rest)).

    Planes are along the first axis and come in order, without what was padded. Only as many are held as windows reach.
    mirror: each answer is the mean over all mirrored inputs (wrong where left and right are different classes).
    air: windows of air around the body (`outside`) are taken for one value alone, and the answer to one value is used
    again. None: every window is looked at. pace, waiting: as of `_lanes.answers`. aside: bools, one for each window:
    those, never all, are not looked at and add nothing, so that what they reach into says nothing.
    """
    places, asked = _places(tiles), look if air is None else remembered(look)
    left = np.zeros(len(places), dtype=bool) if aside is None else aside.ravel()
    views = itertools.compress(_views(image, tiles, air), ~left)
    # whoever takes planes may end early: then nothing is computed any more
    with closing(answers(lambda window: looked_at(asked, window, mirror), views, pace, waiting)) as coming:
        yield from _summed(zip(places, _spread(coming, left), strict=True), tiles, progress)


def _places(tiles: Tiling) -> list[tuple[slice, ...]]:
    """Where every window lies in the padded image, in order."""
    return [
        tuple(slice(s, s + p) for s, p in zip(start, tiles.patch, strict=True))
        for start in itertools.product(*tiles.starts)
    ]


def _views(image: Array, tiles: Tiling, air: float | None) -> "Iterator[Tensor]":
    """Every window (1, C, *patch) in order; those of the air around a body hold one value alone. As of `planes`."""
    import torch

    whole = np.ascontiguousarray(cut(image, [-b for b in tiles.before], tiles.padded))
    array = torch.from_numpy(whole)[None]
    views: Iterator[Tensor] = (array[(slice(None), slice(None), *place)] for place in _places(tiles))
    if air is None or air == -math.inf:
        return views
    return _flat(views, outside(array[0], tiles, air).ravel())


def asked_about(image: Array, tiles: Tiling, air: float | None = -math.inf, aside: Array | None = None) -> int:
    """How many windows `planes` puts to the network with these options: of those of one value that follow, the first.

    As far as they are put in turn: of several in one look, or by several threads, such a one may be among others.
    """
    left = np.zeros(tiles.count, dtype=bool) if aside is None else aside.ravel()
    if air is None:
        return int((~left).sum())
    return computed(itertools.compress(_views(image, tiles, air), ~left))


def _spread(coming: "Iterator[Tensor]", left: Array) -> "Iterator[Tensor | None]":
    """Answers in order, and None for windows that are left out.

    If the first one is, nothing found comes in its place: from it is learned how many scores there are.
    """
    ahead = []
    if left[0]:
        ahead.append(next(coming))
        yield ahead[0].new_zeros(ahead[0].shape)
    for one in left[len(ahead) :]:
        # not held while the next ones are made
        yield None if one else ahead.pop() if ahead else next(coming)


def _summed(
    outs: "Iterator[tuple[tuple[slice, ...], Tensor | None]]", tiles: Tiling, progress: Progress
) -> "Iterator[tuple[int, Tensor]]":
    """Planes as `planes` gives them, from each window's place in the padded image and the answer to it, in order.

    None adds nothing, and is not the first.
    """
    import torch

    lines = profiles(tiles.patch)
    weight, sums = _product(lines), _heaviness(tiles, lines)
    # merged is where the answers are, which may be a card
    each, ring, done = tiles.count // len(tiles.starts[0]), None, 0
    inside = tuple(slice(b, b + n) for b, n in zip(tiles.before[1:], tiles.shape[1:], strict=True))
    for number, first in enumerate(tiles.starts[0]):
        last = number + 1 == len(tiles.starts[0])
        ready = tiles.patch[0] if last else tiles.starts[0][number + 1] - first
        # left before anything is handed out: whoever takes it may train, or never come back
        with torch.inference_mode():
            for place, answer in itertools.islice(outs, each):
                done += 1
                progress("windows", done, tiles.count)
                if answer is None:
                    continue
                out = answer[0].float()
                _check_size(out, tiles)
                if ring is None:
                    ring = torch.zeros((len(out), tiles.patch[0], *tiles.padded[1:]), device=out.device)
                    weight, sums = weight.to(out.device), [one.to(out.device) for one in sums]
                ring[(slice(None), slice(None), *place[1:])].addcmul_(out, weight)
        assert ring is not None
        for low in range(0, ready, BLOCK):
            with torch.inference_mode():
                found = _finished(ring[:, low : min(low + BLOCK, ready)], first + low, sums, tiles, inside)
            if found is not None:
                yield found
            # not held while the next ones are made
            found = None
        if not last:
            kept = tiles.patch[0] - ready
            with torch.inference_mode():
                moved = ring[:, ready:]
                ring[:, :kept] = moved if kept <= ready else moved.clone()
                ring[:, kept:] = 0


def _check_size(out: "Tensor", tiles: Tiling) -> None:
    """Refuse an answer (K, *size) of another size than its window (HIL-M10)."""
    if out.shape[1:] != tiles.patch:
        raise HilumError(
            "HIL-M10", f"The network answers a window of {tiles.patch} with one of {tuple(out.shape[1:])}",
            "Use a network, or options of it, that keep the size",
        )  # fmt: skip


def _finished(
    planes: "Tensor", first: int, sums: "list[Tensor]", tiles: Tiling, inside: tuple[slice, ...]
) -> "tuple[int, Tensor] | None":
    """Those of some planes that belong to the image, divided by the weights they got; None where none does."""
    before, end = tiles.before[0], tiles.before[0] + tiles.shape[0]
    low, high = max(first, before), min(first + planes.shape[1], end)
    if low >= high:
        return None
    heavy = _product([sums[0][low:high], *[s[part] for s, part in zip(sums[1:], inside, strict=True)]])
    return low - before, planes[(slice(None), slice(low - first, high - first), *inside)] / heavy


def _heaviness(tiles: Tiling, lines: "list[Tensor]") -> "list[Tensor]":
    """The sum of weights along each axis; their product is that of a voxel."""
    import torch

    found = []
    for size, starts, line in zip(tiles.padded, tiles.starts, lines, strict=True):
        total = torch.zeros(size)
        for start in starts:
            total[start : start + len(line)] += line
        found.append(total)
    return found


def outside(image: "Tensor", tiles: Tiling, air: float) -> Array:
    """Which windows over a padded image (C, *space) hold nothing but air around the body: bools, one for each window.

    Those with nothing above `air` that hang together, over others of them, with one at the border: a lung, a bowel or
    what else is closed is not among them. The ends of the last of three axes are no border: the body goes on there. Of
    an image that is air all over, no window is.
    """
    empty = np.zeros([len(s) for s in tiles.starts], dtype=bool)
    for index in np.ndindex(*empty.shape):
        corner = [s[i] for s, i in zip(tiles.starts, index, strict=True)]
        place = (slice(c, c + p) for c, p in zip(corner, tiles.patch, strict=True))
        window = image[(slice(None), *place)]
        # a few voxels tell most windows of a body
        few = window[(slice(None), *[slice(None, None, 8)] * len(tiles.patch))]
        empty[index] = bool(few.amax() <= air) and bool(window.amax() <= air)
    if empty.all() or not empty.any():
        return np.zeros_like(empty)
    # where there is none, what looks for pieces need not be loaded
    from scipy.ndimage import label

    # neighbours touch or overlap, so a way over them is one through air
    pieces, _ = label(empty)
    ends = [pieces.take((0, -1), axis) for axis in range(min(2, pieces.ndim))]
    found: Array = empty & np.isin(pieces, np.concatenate([end.ravel() for end in ends]))
    return found


def _flat(views: "Iterator[Tensor]", which: Array) -> "Iterator[Tensor]":
    """The same windows, but those marked as if they held the lowest value of the first of them alone."""
    import torch

    same: Tensor | None = None
    for view, marked in zip(views, which, strict=True):
        if marked and same is None:
            low = view.flatten(2).amin(dim=2)
            same = torch.zeros_like(view) + low.reshape(*low.shape, *[1] * (view.ndim - 2))
        yield same if marked and same is not None else view


def merged(
    look: Look,
    image: Array,
    patch: Sequence[int],
    overlap: float,
    mirror: bool = False,
    limit: int | None = None,
    progress: Progress = quiet,
    air: float | None = -math.inf,
    pace: Pace = ALONE,
    waiting: Waiting = nullcontext,
    held: int = 0,
) -> "Tensor":
    """Image (C, *space) -> mean answers (K, *space), all held at once. Options as for `planes`.

    limit: bytes allowed, refused when the merging needs more beside those `held` already (HIL-INFER-01).
    """
    import torch

    tiles, total = tiling(image.shape[1:], patch, overlap), None
    for start, part in planes(look, image, tiles, mirror, air, progress, pace, waiting):
        if total is None:
            need = held + memory(tiles.shape, len(part), patch, len(image))
            if limit is not None and need > limit:
                raise HilumError(
                    "HIL-INFER-01",
                    f"Merging the windows needs {size_words(need)}, --memory allows {size_words(limit)}",
                    "Allow more memory or crop the image",
                )
            total = torch.empty((len(part), *tiles.shape))
        total[:, start : start + part.shape[1]] = part
    assert total is not None
    return total


def looked_at(look: Look, window: "Tensor", mirror: bool) -> "Tensor":
    """The answer to one window, averaged over mirrored views when asked."""
    if not mirror:
        return look(window)
    axes = range(2, window.ndim)
    views = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    total = look(window)
    for view in views[1:]:
        total = total + look(window.flip(view)).flip(view)
    return total / len(views)
