"""What may go wrong around a step: signals, a full disk, too little memory, no numbers."""

import contextlib
import errno
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hilum.core.errors import RESUME, HilumError, Stopped
from hilum.core.image import Case
from hilum.data.dataset import listed

LARGE = 1e4
# Normalised intensities beyond this are no z-scores or fractions: the range is wrong.
FLAT, WILD = "the same everywhere", "out of range after normalisation"
# What may look wrong with a prepared image.
AGAIN = 1.0
# Seconds after which another signal is a second one.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
STATE = "checkpoint.safetensors"
# What a run goes on from, in its folder.
SHOWN = 10
# Cases whose refusals are written out in one.
SHORT = ("out of memory", "can't allocate memory", "alloc_failed")
# How PyTorch and CUDA's libraries say that memory ran out.


class Signals:
    """SIGTERM (a scheduler's) and SIGINT are noted, so that the loop can save first; a second one ends at once."""

    def __init__(self) -> None:
        self.seen: int | None = None
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        # a terminal sends Ctrl-C to every process of a run, and the parent passes it on: that is one and not two
        if self.seen is not None and time.monotonic() - self._when > AGAIN:
            raise Stopped(number, "at once; what was saved before is kept")
        if self.seen is None:
            self.seen, self._when = number, time.monotonic()


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A write that fails becomes a sentence (T02); what was there before is whole, because writing is atomic."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _unwritten(folder, str(error.strerror)) from error
    except Exception as error:
        # safetensors wraps what the system said into an error of its own
        if type(error).__name__ != "SafetensorError" or "os error" not in str(error):
            raise
        raise _unwritten(folder, str(error)) from error


def _unwritten(folder: Path, why: str) -> HilumError:
    """A run without any saved state is taken back, and can not go on."""
    saved = (folder / STATE).is_file()
    remedy = f"The state saved before is whole: make room and {RESUME}" if saved else "Make room, train again"
    return HilumError("HIL-T02", f"{folder} can not be written ({why})", remedy)


@contextlib.contextmanager
def memory(what: str, device: str = "cpu") -> Iterator[None]:
    """Out of memory becomes a sentence (T07). device: where it is computed; on a card --memory plans nothing."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        words = str(error).lower()
        short = isinstance(error, MemoryError) or any(one in words for one in SHORT)
        if not short:
            raise
        less = "Lower" if device == "cuda" else "Plan with --memory for less, or lower"
        raise HilumError(
            "HIL-T07",
            f"Memory ran out {what}",
            f"{less} plan.batch or, where images are cut, plan.patch; where a state was saved, {RESUME}",
        ) from error


def check_prepared(case: Case, prepared: dict[str, Any]) -> tuple[str, str] | None:
    """Refuse a prepared image that holds values that are no numbers. FLAT or WILD and a sentence where it looks odd."""
    import numpy as np

    for name, array in prepared.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fc":
            continue
        if not np.isfinite(array).all():
            raise HilumError(
                "HIL-T06", f"The {name} of case {case.id} holds values that are no numbers",
                "Look at it with: hilum inspect; mend it or leave the case out",
            )  # fmt: skip
        # of a pair its two sides
        if name not in ("image", "fixed", "moving") or array.size < 2:
            continue
        if (array == array.flat[0]).all():
            return FLAT, f"The image of case {case.id} is the same everywhere: there is nothing to learn from it"
        most = float(np.abs(array).max())
        # raw data have units of their own, and every batch is divided by what it shows
        if most > LARGE and array.dtype.kind == "f":
            reached = f"The image of case {case.id} reaches {most:.3g} after normalisation"
            return WILD, f"{reached}: its range differs from others'"
    return None


def together(faults: Sequence[HilumError], cases: int) -> HilumError:
    """One refusal for those of several cases, whose sentences name them: the first SHOWN and how many more."""
    if len(faults) == 1:
        return faults[0]
    some = "; ".join(fault.seen for fault in faults[:SHOWN])
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    seen = f"{len(faults)} of {cases} cases can not be learned from by this plan: {some}{more}"
    return HilumError(faults[0].code, seen, faults[0].remedy)


def check_images(odd: Mapping[str, str], train: Sequence[Case]) -> list[str]:
    """Sentences on images that look wrong, for the plan. odd: {case: FLAT or WILD}. Refused: over half of `train`."""
    found = {kind: [name for name, own in odd.items() if own == kind] for kind in (FLAT, WILD)}
    words = [f"images that are {kind}: {listed(names)}" for kind, names in found.items() if names]
    wrong = sum(case.id in odd for case in train)
    if 2 * wrong > len(train):
        raise HilumError(
            "HIL-LEARN-08", f"{wrong} of {len(train)} training cases are nothing to learn from ({'; '.join(words)})",
            "Look at them with: hilum inspect; mend them or leave them out, or change plan.normalisation",
        )  # fmt: skip
    return [f"HIL-LEARN-08: {sentence}" for sentence in words]


def save_bad_batch(path: Path, batch: dict[str, Any]) -> None:
    """The tensors of a batch that gave no number, to be looked at; of a list, one for each image: "boxes.0"."""
    import torch
    from safetensors.torch import save_file

    from hilum.core.atomic import writing

    several = {f"{n}.{place}": one for n, v in batch.items() if isinstance(v, list) for place, one in enumerate(v)}
    found = {n: v for n, v in (batch | several).items() if isinstance(v, torch.Tensor)}
    kept = {n: v.detach().cpu().contiguous() for n, v in found.items()}
    with writing(path) as part:
        save_file(kept, part)
