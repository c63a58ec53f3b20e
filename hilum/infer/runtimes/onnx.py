"""ONNX Runtime in float32, on a graph that is exported from the network when it is asked for."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look
from hilum.tasks import _task

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

PAGE = "docs/how-to/use-the-onnx-file.md"
CARD = {
    "order": 5, "about": "ONNX Runtime, float32", "needs": ["onnx", "onnxruntime", "onnxscript"], "exact": True,
    "extra": "onnx", "tolerance": 1e-3, "pays_from": 10.0,
}  # fmt: skip


def graph(net: "nn.Module", example: "Tensor") -> bytes:
    """The network as ONNX, all in one piece: input "image" (1, C, *patch), output "out" (1, K, *patch)."""
    import torch

    with warnings.catch_warnings(), _silent("torch.onnx"):
        # the exporter warns of its own internals, and of operators that no network here has
        warnings.simplefilter("ignore")
        made: Any = torch.onnx.export(
            net, (example,), dynamo=True, verbose=False, input_names=["image"], output_names=["out"]
        )
    content: bytes = made.model_proto.SerializeToString()
    return content


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Of that logger errors alone."""
    told = logging.getLogger(name)
    level = told.level
    told.setLevel(logging.ERROR)
    try:
        yield
    finally:
        told.setLevel(level)


def of_run(run: Run) -> bytes:
    """The predicting network of a run as ONNX, scores out; refused where that can not be (HIL-INFER-12, 13).

    Said is where nobody has written down what comes before and after the network.
    """
    import numpy as np
    import torch

    from hilum.infer.network import network
    from hilum.infer.runtimes import _choose

    _choose.check("onnx")
    task = _task.load(run.plan)
    inputs = task.inputs(task.example(np.random.default_rng(0)))
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        raise HilumError(
            "HIL-INFER-13", f"A network for {run.plan.task} takes more than one image", "Bundle it without --onnx"
        )
    numbered = getattr(task, "numbered", False)
    if run.plan.task != "segment" or run.plan.dims != 3 or numbered:
        what = f"this is a {run.plan.dims}-D {run.plan.task} model{' of numbered objects' if numbered else ''}"
        log.warning("%s: %s, and what comes before and after its network is told for masks of volumes only (%s)",
                    run.path, what, PAGE)  # fmt: skip
    with _choose.converting("onnx"):
        return graph(network(task, run), inputs[0])


def prepare(net: "nn.Module", example: "Tensor", stored: Stored) -> Look:
    """The exported graph in a session with as many threads as torch has."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    name = f"{onnxruntime.__version__} net.onnx"
    content = stored.cached(name)
    if content is None:
        content = graph(net, example)
        stored.keep(name, content)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def look(window: "Tensor") -> "Tensor":
        return torch.from_numpy(session.run(None, {"image": window.contiguous().numpy()})[0])

    return look
