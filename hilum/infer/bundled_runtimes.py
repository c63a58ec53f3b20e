"""What runtimes without a graph of their own make of the golden input: is it still the same network by them?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundled_graph
from hilum.infer.network import network
from hilum.infer.runtimes import _choose
from hilum.tasks import _task

HALF = "openvino-bf16"
# It computes the graph in float32 that a bundle may hold.


def outputs(bundle: Run, golden: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """{runtime: {"out.0": tensor}} of those that this machine has and that can run the network; seed: of the input."""
    import torch

    found: dict[str, dict[str, Any]] = {}
    task = _task.load(bundle.plan)
    inputs = task.inputs(task.example(np.random.default_rng(seed)))
    if len(inputs) == 1 and isinstance(inputs[0], torch.Tensor):
        net = network(task, bundle)
        here = [name for name in _choose.names() if name != "torch" and not _choose.card(name)["needs"]]
        for name in filter(_choose.native, here):
            try:
                with torch.inference_mode(), _choose.converting(name):
                    out = _choose.prepared(name, net, inputs[0])(inputs[0]).cpu()
            except HilumError:
                # whoever asks for it by name is told that it can not run this network
                continue
            # float16 ends at 65504: whoever asks for it by name is told where numbers went beyond
            if _choose.card(name)["exact"] or out.isfinite().all():
                found[name] = {"out.0": out}
    if bundle.has(bundled_graph.FLOATS[0]) and _choose.native(HALF):
        given = bundled_graph.of_half(bundle, golden)
        found |= {} if given is None else {HALF: given}
    return found
