"""OpenVINO in float32."""

from typing import TYPE_CHECKING

from hilum.infer.runtimes import _openvino
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {"order": 2, "about": "OpenVINO, float32", "needs": ["openvino"], "exact": True, "extra": "openvino"}


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """The network converted and compiled for this processor."""
    return _openvino.look(_openvino.model(net, example, stored), "f32")
