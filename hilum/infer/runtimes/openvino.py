"""OpenVINO in float32."""

from typing import TYPE_CHECKING

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer.runtimes import _openvino
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look
from hilum.tasks import _task

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = {
    "order": 3, "about": "OpenVINO, float32", "needs": ["openvino"], "exact": True, "extra": "openvino",
    "stored": ["openvino.xml", "openvino.bin"], "tolerance": 1e-3, "pays_from": 5.0,
}  # fmt: skip


def of_run(run: Run) -> dict[str, bytes]:
    """{file name: bytes} of the graph that prediction uses: of features where the head is computed apart.

    Refused (HIL-INFER-12, 13): where OpenVINO is not installed, or can not compute the network.
    """
    import numpy as np
    import torch

    from hilum.infer.network import features_of, network
    from hilum.infer.runtimes import _choose
    from hilum.infer.streamed import linear_head

    _choose.check("openvino")
    task = _task.load(run.plan)
    inputs = task.inputs(task.example(np.random.default_rng(0)))
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        seen = f"A network for {run.plan.task} takes more than one image"
        raise HilumError("HIL-INFER-13", seen, "Bundle it without --openvino")
    net = network(task, run)
    parted = task.CARD["infer"] == "windows" and linear_head(net) is not None
    with _choose.converting("openvino"), torch.inference_mode():
        made = _openvino.model(features_of(net) if parted else net, inputs[0])
        return _openvino.saved(made, "openvino")


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """The network converted and compiled for this processor."""
    return _openvino.look(_openvino.model(net, example, stored), "f32")
