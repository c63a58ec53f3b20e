"""What the OpenVINO runtimes share: a network becomes a compiled model of one precision."""

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn


def model(net: "nn.Module", example: "Tensor", stored: Stored | None = None) -> Any:
    """The network as an OpenVINO model of that input shape; converted once, then taken from the cache."""
    import openvino
    import torch

    names = [f"{openvino.__version__} openvino.{ending}" for ending in ("xml", "bin")]
    known = [stored.cached(name) for name in names] if stored is not None else [None]
    if all(part is not None for part in known):
        return openvino.Core().read_model(model=known[0], weights=known[1])
    with warnings.catch_warnings(), torch.no_grad():
        # tracing warns of checks of the input's shape, which is fixed here
        warnings.simplefilter("ignore")
        made = openvino.convert_model(net, example_input=example, input=[tuple(example.shape)])
    if stored is not None:
        for name, content in zip(names, saved(made, "openvino").values(), strict=True):
            stored.keep(name, content)
    return made


def saved(made: Any, name: str) -> dict[str, bytes]:
    """{name.xml: bytes, name.bin: bytes} of a model, its numbers as they are."""
    import openvino

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
