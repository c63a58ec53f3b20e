"""What the OpenVINO runtimes share: a network becomes a compiled model of one precision."""

import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn


# OpenVINO and nncf tell their makers over the network that they are used, from import on; without this package they do
# not. Where the program around us has loaded it already, it stays.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

FLOATS = ("openvino.xml", "openvino.bin")
# The graph in float32 that a bundle may hold, below graphs/.


def model(net: "nn.Module", example: "Tensor", stored: Stored | None = None) -> Any:
    """The network as an OpenVINO model of that input shape: out of the cache, or as its bundle holds it, or converted.

    What the bundle holds is not converted from the weights beside it here: whoever uses it compares (`_choose`).
    """
    import openvino
    import torch

    names = [f"{openvino.__version__} {name}" for name in FLOATS]
    known = [stored.cached(name) for name in names] if stored is not None else [None]
    if all(part is not None for part in known):
        return openvino.Core().read_model(model=known[0], weights=known[1])
    # one of another size is of no use for this image
    if (own := held(stored, FLOATS)) is not None and tuple(own.input(0).shape) == tuple(example.shape):
        return own
    with warnings.catch_warnings(), torch.no_grad():
        # tracing warns of checks of the input's shape, which is fixed here
        warnings.simplefilter("ignore")
        # one look; OpenVINO's own tracing takes six, to find chance, of which there is none in evaluation mode
        traced = torch.jit.trace(net, example, strict=False, check_trace=False)
        made = openvino.convert_model(traced, example_input=example, input=[tuple(example.shape)])
    if stored is not None:
        for name, content in zip(names, saved(made, "openvino").values(), strict=True):
            stored.keep(name, content)
    return made


def held(stored: Stored | None, names: Sequence[str]) -> Any:
    """The graph that the model itself holds under these names; None where there is none."""
    import openvino

    graph, weights = (stored.own(name) if stored is not None else None for name in names)
    if graph is None or weights is None:
        return None
    return openvino.Core().read_model(model=graph, weights=weights)


def saved(made: Any, name: str) -> dict[str, bytes]:
    """{name.xml: bytes, name.bin: bytes} of a model, its numbers as they are."""
    import openvino

    # names count what this process has converted; the same network should give the same files
    made.set_friendly_name("network")
    for number, operation in enumerate(made.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.xml"
        openvino.save_model(made, path, compress_to_fp16=False)
        return {one.name: one.read_bytes() for one in (path, path.with_suffix(".bin"))}


def look(made: Any, precision: str) -> Look:
    """A compiled model. precision: "f32" or "bf16", of everything that the model does not quantise itself."""
    import openvino
    import torch

    settings = {
        "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
    }  # fmt: skip
    request = openvino.Core().compile_model(made, "CPU", settings).create_infer_request()

    def asked(window: "Tensor") -> "Tensor":
        out = request.infer([window.contiguous().numpy()], share_inputs=True, share_outputs=False)[0]
        return torch.from_numpy(out)

    return asked
