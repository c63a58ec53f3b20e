"""What a prediction of masks will hold and take, told after the image is read and one window tried, before the rest.

What is too large by its header alone is refused before it is read.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hilum.core import resident
from hilum.core.errors import HilumError
from hilum.core.image import Array, Extent
from hilum.core.plan import Plan
from hilum.core.sizes import size_words
from hilum.core.warp import SLAB
from hilum.infer import _stages
from hilum.infer._trial import Tried
from hilum.infer.near import REACH
from hilum.infer.streamed import CHUNK, at_a_time
from hilum.infer.windows import BYTES, Tiling, ring_memory
from hilum.prepare.grid import shape_at
from hilum.tasks import _input

MOVES = 4
# Times that each score is moved once its windows are added, as long as one more window would take.
SCRATCH = 3
# Copies of a chunk of scores that are there while classes are made of features.
DISTANCE = 20
# Bytes a voxel while some near foreground are drawn, in a few planes.
LABELS, PIECES = 4, 7
# Bytes a voxel of the network's grid: labels, and what becomes of them; where only the largest piece of some is kept,
# labels before and after, where a class is (1), and the numbers of its pieces (4).
HELD = ("process", "window", "ring", "scores", "labels", "read", "later")
# Parts of a promise that are bytes.
READERS = 2
# Copies that another reader holds while it looks at what was written: as it reads, and as it hands it on.
WRITERS, LAST = 200 << 20, "SimpleITK"
# Libraries that are loaded when the first result is written and checked, and what they hold besides; about, of pictures
# half of it. Of further results they are there already, and the last one tells.
APART, TELLING = 90, 25 << 20
# Bytes a voxel of the image's grid while numbered objects are told apart (`tasks._instances`): margin, depth, its
# sigmoid and the smoothed one 17; of `skimage.morphology.reconstruction` 72: two padded images in float64, their order,
# their ranks and a list of voxels both ways. And the libraries that do it, once.
JUDGING = {2: 26, 3: 0}
# Bytes a voxel of the image's grid while its quality is measured, by dimensions: of volumes a few slices are looked at.


@dataclass(frozen=True)
class Promise:
    """Bytes at the peak, by what holds them, and seconds that it will take from now on.

    process: libraries, weights, the image as read and as prepared, and the next one where it is read meanwhile. window:
    what looking at one window adds. ring: planes that windows still add to. scores: of a few voxels at a time, or of
    all. labels: on both grids with what they are made of, and while they are written and read back. read: the most
    while the image was read and prepared, 0 where that is not known. tried: the most that was held until the window was
    tried, by whatever, which counting anew forgets. later: what the other networks of a system hold besides. seconds:
    in the network. stages: seconds of what follows it, by stage.
    """

    process: int
    window: int
    ring: int
    scores: int
    labels: int
    seconds: float
    read: int = 0
    tried: int = 0
    later: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Of all parts: the labels on the image's grid come when the ring is gone, and both when the image is read."""
        held = self.process + self.later + max(self.window + self.ring + self.scores, self.labels)
        return max(self.read, held)

    @property
    def spent(self) -> dict[str, float]:
        """Seconds by stage, the network's first."""
        return {"network": self.seconds, **self.stages}

    def words(self) -> str:
        """For a person who waits: "1.2 GB, about 35 s"."""
        return f"{size_words(self.total)}, about {sum(self.spent.values()):.0f} s"

    def keep(self, limit: int | None) -> None:
        """Refuse what would hold more than the limit (HIL-INFER-01), with what it would need."""
        if limit is not None and self.total > limit:
            parts = sorted(((getattr(self, name), name) for name in HELD), reverse=True)[:3]
            words = ", ".join(f"{name} {size_words(size)}" for size, name in parts)
            raise _too_large(f"{size_words(self.total)} ({words})", limit)


def _too_large(need: str, limit: int) -> HilumError:
    """need: how much it would hold, in words."""
    return HilumError(
        "HIL-INFER-01", f"Predicting this image needs {need}, --memory allows {size_words(limit)}",
        "Allow more memory, crop the image, or train with a smaller patch or coarser spacing",
    )  # fmt: skip


def check_limit(limit: int | None) -> None:
    """Refuse a limit where the system does not tell what a process holds (HIL-INFER-19): nothing would keep it."""
    if limit is not None and resident.now() == 0:
        raise HilumError(
            "HIL-INFER-19", "This system does not tell what memory a process holds, so that --memory can not be kept",
            "Leave --memory out",
        )  # fmt: skip


def fits(item: Any, plan: Plan, limit: int | None) -> None:
    """Refuse, by its header alone, an image that would hold more than the limit (HIL-INFER-01).

    item: what `Case.items` holds; where it does not say its `extent` nothing is refused. Counted is what is surely held
    at a time: the process as it is, the image as read, and the more of what is held beside it while it is read and of
    what it is brought onto the network's grid with.
    """
    ask = getattr(item, "extent", None)
    seen: Extent | None = None if limit is None or ask is None else ask()
    if limit is None or seen is None or len(seen.shape) != 1 + plan.dims:
        # another number of axes is refused by the task
        return
    spacing, process = None if plan.spacing is None else tuple(plan.spacing), resident.now()
    grid = _input.held(seen.shape[1:], shape_at(seen.shape[1:], seen.affine, spacing), plan)
    need = process + seen.size + max(grid, seen.beside)
    if need > limit:
        other = f"on the network's grid {size_words(grid)}"
        if seen.beside > grid:
            other = f"while it is read {size_words(seen.beside)} more"
        parts = f"as read {size_words(seen.size)}, {other}, process {size_words(process)}"
        raise _too_large(f"at least {size_words(need)} ({parts})", limit)


@dataclass(frozen=True)
class Later:
    """Networks of a system that are still to come: how many, and the most channels that one of them merges."""

    networks: int = 0
    channels: int = 0


NONE = Later()


@dataclass(frozen=True)
class Way:
    """What else memory and time hang on, beside an image and its windows.

    looks: windows that the network will be asked about; None: all. whole: scores of all voxels are held, and masks
    decoded from them as the task's `reduce` says ("argmax", "mean", "none" of numbered objects); "": plane by plane.
    beside: bytes that others will add meanwhile. judged: whether the doubt of the mask is told. later: of a system.
    wide: masks that are found besides, of the scores of all voxels.
    """

    looks: int | None = None
    whole: str = ""
    beside: int = 0
    judged: bool = False
    later: Later = NONE
    wide: int = 0


PLAIN = Way()


def of(
    one: Callable[[], Tried],
    tiles: Tiling,
    channels: int,
    prepared: int,
    image: Array,
    maps: int = 0,
    earlier: int | None = None,
    pictures: int = 0,
    single: bool = False,
    way: Way = PLAIN,
) -> Promise:
    """Add up.

    one: what a window costs, tried when it is called or known from an earlier case. channels: merged. prepared: bytes
    of the image on the network's grid. image: as read. maps: pictures made on the way, or of all scores. earlier: the
    peak when the case was begun, None: not known. pictures: of the maps those that are written. single: whether of some
    class only the largest piece is kept.
    """
    before, until = resident.now(), resident.peak()
    cost = one()
    grid = int(np.prod(tiles.shape))
    own = int(np.prod(image.shape[1:]))
    plane = int(np.prod(tiles.shape[1:]))
    # a copy of the image with its edge, where it is smaller than a window
    padded = prepared * math.prod(tiles.padded) // grid if tiles.padded != tiles.shape else 0
    every = grid * channels * BYTES if way.whole else 0
    some = SCRATCH * CHUNK * BYTES + (at_a_time(tiles.shape[1:]) + 2 * REACH) * plane * DISTANCE
    libraries = 0 if LAST in sys.modules else WRITERS * (len(tiles.shape) - 1) // 2
    written = _labels(grid, own, maps, pictures, single) + way.wide * own + libraries
    # what was found besides is there too
    judging = (JUDGING[len(tiles.shape)] + way.wide + pictures * BYTES) * own if way.judged else 0
    decoding = max(_decoding(way.whole, grid, own), _further(way, pictures, grid, own))
    ring, networks = ring_memory(tiles, channels), 1 + way.later.networks
    return Promise(
        # what the try leaves behind (buffers of the libraries) stays
        process=max(before, resident.now()) + padded + (0 if way.whole else maps * grid * BYTES) + way.beside,
        window=cost.window,
        ring=ring,
        scores=every or some,
        labels=every + max(written, judging, decoding),
        seconds=round(networks * (cost.cold + cost.seconds * (tiles.count if way.looks is None else way.looks)), 4),
        # a peak that was there before says nothing of this case
        read=until if earlier is not None and until > earlier else 0,
        tried=until,
        # of each network in turn the log odds stay, in half precision
        later=way.later.networks * 2 * grid + max(0, ring_memory(tiles, way.later.channels) - ring),
        stages=_stages_of(cost, tiles, channels, own, way),
    )


def _stages_of(cost: Tried, tiles: Tiling, channels: int, own: int, way: Way) -> dict[str, float]:
    """Seconds of merging, of the way back, of doubt and of writing."""
    grid, networks = math.prod(tiles.shape), 1 + way.later.networks
    labels = own * _stages.SAME if own == grid else own * _stages.FINE + grid * _stages.COARSE
    back = {"none": own * _stages.OBJECTS, "mean": own * _stages.PROBABLE}.get(way.whole, labels)
    # windows are added, and what they are added to is moved, emptied and divided
    merge = (tiles.count + MOVES * grid / math.prod(tiles.patch)) * cost.merge
    merge += grid * (channels * _stages.ADDED if way.whole else cost.voxel)
    found = {"merge": networks * merge, "back": networks * back}
    found |= {"trust": networks * own * _stages.JUDGED[len(tiles.shape)]} if way.judged else {}
    return found | {"write": own * _stages.WRITING + (0 if LAST in sys.modules else _stages.LOADING)}


def _decoding(whole: str, grid: int, own: int) -> int:
    """Bytes while a mask is made of the scores of all voxels, beside these; 0 where there are none."""
    resized = 0 if own == grid else BYTES
    if whole == "none":
        # margin and depth as one array, before and after they are brought back
        libraries = 0 if "skimage.morphology" in sys.modules else TELLING
        return libraries + max(3 * BYTES * grid + 2 * (BYTES + resized) * own, APART * own)
    if not whole:
        return 0
    # which class is the strongest: its score, and its number in 8 bytes; then the numbers, as channel and as value
    told = (BYTES + 8) * grid
    if whole == "mean":
        # the margin brought back; a copy of it and the probability, which is kept
        return max(BYTES * grid + (BYTES + resized) * own, 3 * BYTES * own, told + BYTES * own, 9 * grid + 5 * own)
    return max(told, 9 * grid + own)


def _further(way: Way, pictures: int, grid: int, own: int) -> int:
    """Bytes while wide masks and maps are made of the scores of all voxels, one after the other, beside these."""
    if not way.whole or not (way.wide or pictures):
        return 0
    # the mask, and its probability or its numbers
    there = {"mean": 1 + BYTES, "none": 2}.get(way.whole, 1) + way.wide
    resized = 0 if own == grid else BYTES
    some = SCRATCH * BYTES * (CHUNK + (min(grid, SLAB) if resized else 0))
    # of a few planes, of all, and brought back; a wide mask is told from that
    return some + BYTES * grid + (there + BYTES + max(resized, 1)) * own


def _labels(grid: int, own: int, maps: int, pictures: int, single: bool) -> int:
    """Bytes of labels on both grids and of maps on the image's, and of what is checked of them, one at a time.

    grid, own: voxels of the network's and of the image's grid.
    """
    checked = READERS * (BYTES if pictures else 1)
    return (PIECES if single else LABELS) * grid + (1 + maps * BYTES + checked) * own
