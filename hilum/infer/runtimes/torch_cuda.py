"""PyTorch in float32 on a CUDA device, where answers stay and are merged."""

import copy
from typing import TYPE_CHECKING

from hilum.core import card
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {
    "order": 2, "about": "PyTorch, float32, on a CUDA device", "needs": [], "exact": True, "device": "cuda",
    "batches": [2, 4], "tolerance": 1e-3, "pays_from": 3.0,
}  # fmt: skip


def prepare(net: "nn.Module", example: "Tensor", stored: Stored, half: bool = False) -> Look:
    """A copy of the network on the device. half: float16 where it may (autocast).

    Without `half`, products are not shortened to the 10 bits of TF32, which PyTorch does by default in convolutions.
    """
    import torch

    device, layout = card.device(), torch.channels_last_3d if example.ndim == 5 else torch.channels_last
    if not half:
        card.full_products()
    turned = copy.deepcopy(net).to(device)
    for weight in turned.parameters():
        if half and weight.ndim == example.ndim:
            weight.data = weight.data.contiguous(memory_format=layout)

    def look(window: "Tensor") -> "Tensor":
        # in one piece it travels faster
        there = window.contiguous().to(device)
        if half:
            there = there.contiguous(memory_format=layout)
        with torch.autocast(device.type, torch.float16, enabled=half):
            out: Tensor = turned(there)
        out = out.float().contiguous()
        # whoever measures, or waits, waits for the answer
        card.wait()
        return out

    return look
