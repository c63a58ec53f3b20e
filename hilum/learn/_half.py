"""bfloat16 on processors, apart from `_device` as it loads Lightning Fabric: narrow images go through in float32.

Where a kernel is wider than its image, as at the bottom of a network, oneDNN 3.12 (PyTorch 2.13) on AVX-512 leaves
parts of the weights' gradient unwritten in bfloat16, adds what does not belong there, or writes beside it: in 3-D a
kernel of 3 on two slices is enough. Its float32 is right, and such images are too small for the time to count.
"""

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (torch.conv2d, torch.conv3d)
# Transposed ones, whose kernel lies within what they give, are right.
ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


class HalfOnProcessors(MixedPrecision):
    """Lightning's autocast to bfloat16, with `NarrowInFloat32` in a network's forward pass; the backward follows it."""

    def __init__(self) -> None:
        super().__init__("bf16-mixed", "cpu")

    def forward_context(self) -> AbstractContextManager[Any]:
        """Both together."""
        both = ExitStack()
        both.enter_context(super().forward_context())
        both.enter_context(NarrowInFloat32())
        return both


class NarrowInFloat32(TorchFunctionMode):
    """Within it a convolution whose kernel is wider than its image computes in float32, and still gives bfloat16.

    For use under autocast to bfloat16 on processors.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every function of torch passes here."""
        given = dict(kwargs or {})
        if func not in CONVOLUTIONS:
            return func(*args, **given)
        given |= zip(ARGUMENTS, args, strict=False)
        if not _narrow(given["input"], given["weight"], given.get("dilation", 1)):
            return func(**given)
        with torch.autocast("cpu", enabled=False):
            return func(**{name: _float(part) for name, part in given.items()}).to(torch.bfloat16)


def _narrow(image: Tensor, weight: Tensor, dilation: int | tuple[int, ...]) -> bool:
    """Whether the kernel is wider than the image on any axis."""
    kernel, space = weight.shape[2:], image.shape[2:]
    steps = (dilation,) * len(kernel) if isinstance(dilation, int) else dilation
    return any(step * (k - 1) >= side for k, side, step in zip(kernel, space, steps, strict=True))


def _float(part: Any) -> Any:
    return part.float() if isinstance(part, Tensor) else part
