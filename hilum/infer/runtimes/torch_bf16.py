"""PyTorch in bfloat16 where it may (autocast), channels last: for processors that have it; eight bits of a number."""

from typing import TYPE_CHECKING

from hilum.infer.runtimes import torch_channels_last
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {"order": 6, "about": "PyTorch, bfloat16", "needs": [], "exact": False, "half": True, "tolerance": 0.5}


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """The network under autocast; what it gives is turned to float32."""
    import torch

    inner = torch_channels_last.prepare(net, example, stored)

    def look(window: "Tensor") -> "Tensor":
        with torch.autocast(window.device.type, torch.bfloat16):
            return inner(window).float()

    return look
