"""PyTorch in float32: the reference that every other runtime is compared with."""

from typing import TYPE_CHECKING

from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {
    "order": 1, "about": "PyTorch, float32: the reference", "needs": [], "exact": True, "lanes": 2, "batches": [2, 4],
    "tolerance": 1e-3,
}  # fmt: skip


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """The network itself."""

    def look(window: "Tensor") -> "Tensor":
        out: Tensor = net(window)
        return out

    return look
