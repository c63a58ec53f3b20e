"""What a streamed prediction will hold and take, told after the image is read and one window tried, before the rest.

What is too large by its header alone is refused before it is read.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core import resident
from hilum.core.errors import HilumError
from hilum.core.image import Array, Extent
from hilum.core.plan import Plan
from hilum.core.sizes import size_words
from hilum.core.strongest import strongest
from hilum.infer._lanes import ALONE, Pace, answers
from hilum.infer.near import REACH
from hilum.infer.streamed import CHUNK, Head, at_a_time
from hilum.infer.windows import BYTES, Look, Tiling, looked_at, ring_memory
from hilum.prepare.grid import shape_at

if TYPE_CHECKING:
    from torch import Tensor

SCRATCH = 3
# Copies of a chunk of scores that are there while classes are made of features.
DISTANCE = 20
# Bytes a voxel while some near foreground are drawn, in a few planes.
LABELS, PIECES = 4, 7
# Bytes a voxel of the network's grid: labels, and what becomes of them; where only the largest piece of some is kept,
# labels before and after, where a class is (1), and the numbers of its pieces (4).
READERS = 2
# Copies that another reader holds while it looks at what was written: as it reads, and as it hands it on.
WRITERS, LAST = 200 << 20, "SimpleITK"
# Libraries that are loaded when the first result is written and checked, and what they hold besides; about. Of further
# results they are there already, and the last one tells.


@dataclass(frozen=True)
class Promise:
    """Bytes at the peak, by what holds them, and seconds that the windows will take.

    process: libraries, weights, the image as read and as prepared. window: what looking at one window adds. ring:
    planes that windows still add to. scores: of a few voxels at a time. labels: on both grids, and while they are
    written and read back. read: the most while the image was read and prepared, 0 where that is not known. tried: the
    most that was held until the window was tried, by whatever, which counting anew forgets.
    """

    process: int
    window: int
    ring: int
    scores: int
    labels: int
    seconds: float
    read: int = 0
    tried: int = 0

    @property
    def total(self) -> int:
        """Of all parts: the labels on the image's grid come when the ring is gone, and both when the image is read."""
        return max(self.read, self.process + max(self.window + self.ring + self.scores, self.labels))

    def words(self) -> str:
        """For a person who waits: "1.2 GB, 35 s in the network"."""
        return f"{size_words(self.total)}, at most {self.seconds:.0f} s in the network"

    def keep(self, limit: int | None) -> None:
        """Refuse what would hold more than the limit (HIL-INFER-01), with what it would need."""
        if limit is not None and self.total > limit:
            parts = sorted(((v, k) for k, v in asdict(self).items() if k not in ("seconds", "tried")), reverse=True)[:3]
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
    at a time: the image as read, and once more in float32 on the network's grid.
    """
    ask = getattr(item, "extent", None)
    seen: Extent | None = None if limit is None or ask is None else ask()
    if limit is None or seen is None or len(seen.shape) != 1 + plan.dims:
        # another number of axes is refused by the task
        return
    spacing = None if plan.spacing is None else tuple(plan.spacing)
    grid = len(plan.channels) * math.prod(shape_at(seen.shape[1:], seen.affine, spacing)) * BYTES
    if seen.size + grid > limit:
        parts = f"as read {size_words(seen.size)}, on the network's grid {size_words(grid)}"
        raise _too_large(f"at least {size_words(seen.size + grid)} ({parts})", limit)


@dataclass(frozen=True)
class Tried:
    """What one window costs: bytes that looking adds, and seconds."""

    window: int
    seconds: float


def tried(look: Look, window: "Tensor", head: Head | None = None, pace: Pace = ALONE, mirror: bool = False) -> Tried:
    """Look at one window, or at several at a time where they are computed so. The kernel counts the peak anew.

    head: makes scores of the channels, and is tried too. mirror: whether each window is looked at from all sides.
    """
    import torch

    before = resident.now()
    resident.forget()
    with torch.inference_mode():
        began, most = time.perf_counter(), pace.windows
        out, *_ = list(answers(lambda one: looked_at(look, one, mirror), [window] * most, pace))
        seconds = (time.perf_counter() - began) / most
        if head is not None:
            some = out[0].flatten(1)[:, : CHUNK // len(head.weight)]
            strongest(head(some))
    # answers that wait while others are computed
    waiting = min(pace.lanes, 1) * pace.batch * out.numel() * BYTES
    return Tried(max(0, resident.peak() - before) + waiting, seconds)


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
) -> Promise:
    """Add up.

    one: what a window costs, tried when it is called or known from an earlier case. channels: merged. prepared: bytes
    of the image on the network's grid. image: as read. maps: pictures made on the way. earlier: the peak when the case
    was begun, None: not known. pictures: of the maps those that are written. single: whether of some class only the
    largest piece is kept.
    """
    before, until = resident.now(), resident.peak()
    cost = one()
    grid = int(np.prod(tiles.shape))
    own = int(np.prod(image.shape[1:]))
    plane = int(np.prod(tiles.shape[1:]))
    # a copy of the image with its edge, where it is smaller than a window
    padded = prepared * math.prod(tiles.padded) // grid if tiles.padded != tiles.shape else 0
    return Promise(
        # what the try leaves behind (buffers of the libraries) stays
        process=max(before, resident.now()) + padded + maps * grid * BYTES,
        window=cost.window,
        ring=ring_memory(tiles, channels),
        scores=SCRATCH * CHUNK * BYTES + (at_a_time(tiles.shape[1:]) + 2 * REACH) * plane * DISTANCE,
        labels=_labels(grid, own, maps, pictures, single) + (0 if LAST in sys.modules else WRITERS),
        seconds=round(cost.seconds * tiles.count, 4),
        # a peak that was there before says nothing of this case
        read=until if earlier is not None and until > earlier else 0,
        tried=until,
    )


def _labels(grid: int, own: int, maps: int, pictures: int, single: bool) -> int:
    """Bytes of labels on both grids and of maps on the image's, and of what is checked of them, one at a time.

    grid, own: voxels of the network's and of the image's grid.
    """
    checked = READERS * (BYTES if pictures else 1)
    return (PIECES if single else LABELS) * grid + (1 + maps * BYTES + checked) * own
