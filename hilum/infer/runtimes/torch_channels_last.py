"""PyTorch in float32 with the channels of a voxel side by side in memory: faster for some networks, never different."""

import copy
from typing import TYPE_CHECKING

from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {
    "order": 4, "about": "PyTorch, float32, channels last in memory", "needs": [], "exact": True, "lanes": 2,
    "batches": [2, 4], "tolerance": 1e-3, "pays_from": 10.0,
}  # fmt: skip


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """A copy of the network with its weights in that order."""
    import torch

    layout = torch.channels_last_3d if example.ndim == 5 else torch.channels_last
    turned = copy.deepcopy(net)
    for weight in turned.parameters():
        if weight.ndim == example.ndim:
            weight.data = weight.data.contiguous(memory_format=layout)

    def look(window: "Tensor") -> "Tensor":
        out: Tensor = turned(window.contiguous(memory_format=layout))
        return out.contiguous()

    return look
