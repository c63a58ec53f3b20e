"""What the last layer of a network reads, as one vector: kept of the last looks, so that none is repeated."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.image import Array

if TYPE_CHECKING:
    from torch import Tensor, nn


LOOKS = 4
# Kept of a case: of one that is seen in more windows, only some are looked at again (`trust.outlier`).


def pooled(features: "Tensor") -> Array:
    """(B, F) or (B, F, *space) -> (F,) float64, the mean over space and the batch."""
    found = features.flatten(2).mean(2).mean(0) if features.ndim > 2 else features.mean(0)
    return np.asarray(found.cpu(), dtype=np.float64)


class Last:
    """The vectors of the inputs that networks saw last."""

    def __init__(self) -> None:
        self._seen = deque[tuple[Any, tuple[Any, ...], Array]](maxlen=LOOKS)

    def note(self, net: "nn.Module", inputs: Sequence[Any], features: "Tensor") -> None:
        """Keep one. features: what the head read. Several threads may."""
        self._seen.append((net, tuple(inputs), pooled(features)))

    def of(self, net: "nn.Module", inputs: Sequence[Any]) -> Array | None:
        """The vector, where this network saw exactly these inputs, not long ago."""
        import torch

        given = tuple(inputs)
        if not all(isinstance(one, torch.Tensor) for one in given):
            return None
        for own, seen, found in self._seen:
            alike = own is net and len(seen) == len(given) and all(isinstance(one, torch.Tensor) for one in seen)
            if alike and all(torch.equal(a, b) for a, b in zip(seen, given, strict=True)):
                return found
        return None

    @contextmanager
    def heard(self, net: "nn.Module", inputs: Sequence[Any]) -> Iterator[None]:
        """Keep what the head of the network reads while it answers, where it has one."""
        from torch import nn

        head, read = getattr(net, "head", None), list[Any]()
        if not isinstance(head, nn.Module) or not hasattr(net, "features"):
            yield
            return
        hook = head.register_forward_pre_hook(lambda _, given: read.append(given[0]))
        try:
            yield
        finally:
            hook.remove()
        if len(read) == 1:
            self.note(net, inputs, read[0])
