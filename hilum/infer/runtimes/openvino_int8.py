"""OpenVINO with weights and activations of eight bits, from a graph that `hilum quantise` made and measured."""

from typing import TYPE_CHECKING

from hilum.core.errors import HilumError
from hilum.infer.runtimes import _openvino
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {
    "order": 9, "about": "OpenVINO, eight bits, made on real cases by hilum quantise", "needs": ["openvino"],
    "exact": False, "extra": "openvino", "stored": ["openvino_int8.xml", "openvino_int8.bin"],
    "convertible": False, "tolerance": 0.75,
}  # fmt: skip
EIGHT = ("openvino_int8.xml", "openvino_int8.bin")


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """The stored graph, compiled; a run without one is refused (HIL-INFER-14)."""
    made = _openvino.held(stored, EIGHT)
    if made is None:
        raise HilumError(
            "HIL-INFER-14", "This model has no graph of eight bits", "Make one first: hilum quantise RUN DATA"
        )
    if tuple(made.input(0).shape) != tuple(example.shape):
        raise HilumError(
            "HIL-M07", f"The graph of eight bits takes {tuple(made.input(0).shape)}, not {tuple(example.shape)}",
            "Make it again: hilum quantise RUN DATA",
        )  # fmt: skip
    return _openvino.look(made, "f32")
