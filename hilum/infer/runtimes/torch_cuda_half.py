"""PyTorch in float16 where it may (autocast), channels last, on a CUDA device that has units for such numbers."""

from typing import TYPE_CHECKING

from hilum.infer.runtimes import torch_cuda
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {
    "order": 8, "about": "PyTorch, float16, on a CUDA device", "needs": [], "exact": False, "device": "cuda",
    "tolerance": 0.5,
}  # fmt: skip


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """The network under autocast; what it gives is turned to float32."""
    return torch_cuda.prepare(net, example, stored, half=True)
