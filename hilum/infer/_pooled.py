"""What the last layer of a network reads, as one vector: kept of the last look, so that none is repeated."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.image import Array

if TYPE_CHECKING:
    from torch import Tensor, nn


def pooled(features: "Tensor") -> Array:
    """(B, F) or (B, F, *space) -> (F,) float64, the mean over space and the batch."""
    found = features.flatten(2).mean(2).mean(0) if features.ndim > 2 else features.mean(0)
    return np.asarray(found.cpu(), dtype=np.float64)


class Last:
    """The vector of the input that a network saw last."""

    def __init__(self) -> None:
        self._net: Any = None
        self._inputs: tuple[Any, ...] = ()
        self._found: Array | None = None

    def note(self, net: "nn.Module", inputs: Sequence[Any], features: "Tensor") -> None:
        """Keep it. features: what the head read."""
        self._net, self._inputs, self._found = net, tuple(inputs), pooled(features)

    def of(self, net: "nn.Module", inputs: Sequence[Any]) -> Array | None:
        """The vector, where this network saw exactly these inputs last."""
        import torch

        pairs = list(zip(self._inputs, inputs, strict=False))
        same = net is self._net and len(pairs) == len(inputs) == len(self._inputs)
        tensors = same and all(isinstance(one, torch.Tensor) for pair in pairs for one in pair)
        return self._found if tensors and all(torch.equal(a, b) for a, b in pairs) else None

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
