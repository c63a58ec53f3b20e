"""OpenVINO in bfloat16: for processors that have it; elsewhere it is slow or the same as float32."""

from typing import TYPE_CHECKING

from hilum.infer.runtimes import _openvino
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {
    "order": 7, "about": "OpenVINO, bfloat16", "needs": ["openvino"], "exact": False, "extra": "openvino",
    "stored": ["openvino.xml", "openvino.bin"], "half": True, "tolerance": 0.5,
}  # fmt: skip


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """The network converted and compiled for this processor."""
    return _openvino.look(_openvino.model(net, example, stored), "bf16")
