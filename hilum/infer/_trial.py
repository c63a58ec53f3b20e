"""One window tried before the rest: what a window costs, its merging included."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hilum.core import resident
from hilum.infer._lanes import ALONE, Pace, answers
from hilum.infer.streamed import Head, found
from hilum.infer.windows import BLOCK, BYTES, Look, looked_at, weights

if TYPE_CHECKING:
    from torch import Tensor

QUICK, MANY = 0.25, 16
# Seconds of the first look below which, or windows from which on, a second look costs little beside the rest.
SOME = 4
# Blocks of planes in which classes are told: of one it would be the beginning that was measured.


@dataclass(frozen=True)
class Tried:
    """What one window costs: bytes that looking adds, and seconds.

    seconds: of a look. cold: what the first look took longer, which sets up what the others use again. merge: of adding
    the answer to what is there. voxel: of telling the class of a voxel of the network's grid.
    """

    window: int
    seconds: float
    cold: float = 0.0
    merge: float = 0.0
    voxel: float = 0.0


def tried(
    look: Look, window: "Tensor", head: Head | None = None, pace: Pace = ALONE, mirror: bool = False, count: int = 1
) -> Tried:
    """Look at one window, or at several at a time where they are computed so. The kernel counts the peak anew.

    head: makes scores of the channels, and is tried too. mirror: whether each window is looked at from all sides.
    count: windows that will be looked at; where it costs little beside them, a second look shows what one takes later.
    """
    import torch

    def once() -> tuple["Tensor", float]:
        began = time.perf_counter()
        out, *_ = list(answers(lambda one: looked_at(look, one, mirror), [window] * pace.windows, pace))
        return out, (time.perf_counter() - began) / pace.windows

    before = resident.now()
    resident.forget()
    with torch.inference_mode():
        out, first = once()
        with _beside(pace):
            _telling(out[0, :, :BLOCK], head)
        # answers that wait while others are computed
        waiting = min(pace.lanes, 1) * pace.batch * out.numel() * BYTES
        held = max(0, resident.peak() - before) + waiting
        # what is tried from here on is about seconds
        with _beside(pace):
            merge, voxel = _adding(out[0]), _telling(out[0, :, : SOME * BLOCK], head)
        del out
        seconds = min(first, once()[1]) if first < QUICK or count >= MANY * pace.windows else first
    return Tried(held, seconds, first - seconds, merge, voxel)


@contextmanager
def _beside(pace: Pace) -> Iterator[None]:
    """With the processors that are left to whoever merges while windows are computed (`_lanes`)."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // max(1, pace.lanes)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _telling(out: "Tensor", head: Head | None) -> float:
    """Seconds a voxel of telling classes of planes (C, n, *rest), as they are merged."""
    planes = [(low, out[:, low : low + BLOCK]) for low in range(0, out.shape[1], BLOCK)]
    image = np.zeros((1, *out.shape[1:]), dtype=np.uint8)
    rows = len(out) if head is None else len(head.weight)
    # of one score there is nothing to tell
    return _least(lambda: found(planes, image, rows, head)) / image.size if rows > 1 else 0.0


def _adding(out: "Tensor") -> float:
    """Seconds of adding an answer (C, *patch). One channel stands for all: more would be held for nothing."""
    import torch

    total, weight = torch.zeros_like(out[0], dtype=torch.float32), weights(out.shape[1:])
    return len(out) * _least(lambda: total.addcmul_(out[0].float(), weight))


def _least(work: Callable[[], object]) -> float:
    """Seconds, of two times the fewer."""
    found = []
    for _ in range(2):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)
