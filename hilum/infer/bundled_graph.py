"""The graphs in a bundle: is each a graph and nothing else, and the same network?

The ONNX graph is for those who use it without Hilum, whose own prediction never uses it. One from elsewhere could name
files outside of itself as its weights, or operations that only somebody's library has: it is looked through before any
runtime sees it. Those of OpenVINO are for prediction: in eight bits, and in float32, where it saves the conversion.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import streamed
from hilum.infer.network import network
from hilum.infer.runtimes._stored import Stored
from hilum.tasks import _task

NAME = "graphs/net.onnx"
EIGHT = ("graphs/openvino_int8.xml", "graphs/openvino_int8.bin")
FLOATS = ("graphs/openvino.xml", "graphs/openvino.bin")
DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
# Of operations that every runtime has.


def outputs(bundle: Run, golden: Mapping[str, Any]) -> dict[str, Any] | None:
    """{"out.0": tensor} of the graph on the golden input; None where the packages to look at it are not installed.

    Refused: what is no graph, names files outside of itself or operations of others (HIL-M03), or can not take the
    golden input (HIL-M10).
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        return None
    import torch

    content = bundle.read(NAME)
    check(content, bundle.path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        inputs = _task.load(bundle.plan).inputs({n.removeprefix("in."): t for n, t in golden.items()})
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: inputs[0].numpy()})[0])
    except Exception as error:  # the runtime's errors have no class in common
        first = str(error).splitlines()[0]
        raise HilumError(
            "HIL-M10", f"{NAME} of {bundle.path} can not take the golden input ({first})", "Bundle it anew"
        ) from error
    return {"out.0": found}


def of_eight_bits(bundle: Run, golden: Mapping[str, Any]) -> dict[str, Any] | None:
    """As `outputs`, of the graph of eight bits; refused: one that can not take the golden input (HIL-M10, HIL-M07)."""
    return _of_openvino(bundle, golden, EIGHT, "Quantise the run again, and bundle it anew")


def of_floats(bundle: Run, golden: Mapping[str, Any]) -> dict[str, Any] | None:
    """As `outputs`, of OpenVINO's graph in float32; refused (HIL-M10): one that can not take the golden input."""
    return _of_openvino(bundle, golden, FLOATS, "Bundle the run anew")


def of_half(bundle: Run, golden: Mapping[str, Any]) -> dict[str, Any] | None:
    """As `of_floats`, computed in bfloat16."""
    return _of_openvino(bundle, golden, FLOATS, "Bundle the run anew", "bf16")


def _of_openvino(
    bundle: Run, golden: Mapping[str, Any], names: tuple[str, str], remedy: str, precision: str = "f32"
) -> dict[str, Any] | None:
    """The graph's output, with the network's head after it where the graph makes features."""
    if importlib.util.find_spec("openvino") is None:
        return None
    import torch

    from hilum.infer.runtimes import _openvino

    task = _task.load(bundle.plan)
    head = streamed.linear_head(network(task, bundle)) if task.CARD["infer"] == "windows" else None
    try:
        window = task.inputs({n.removeprefix("in."): t for n, t in golden.items()})[0]
        made = _openvino.held(Stored(bundle.read), names)
        takes = tuple(made.input(0).shape)
        if takes != tuple(window.shape):
            seen = f"{names[0]} of {bundle.path} takes {takes}, not {tuple(window.shape)}"
            raise HilumError("HIL-M07", seen, remedy)
        with torch.inference_mode():
            out = _openvino.look(made, precision)(window)
            if head is not None:
                out = head(out[0].flatten(1)).reshape(1, -1, *out.shape[2:])
    except HilumError:
        raise
    except Exception as error:  # the runtime's errors have no class in common
        first = str(error).splitlines()[0]
        raise HilumError(
            "HIL-M10", f"{names[0]} of {bundle.path} can not take the golden input ({first})", remedy
        ) from error
    return {"out.0": out}


def check(content: bytes, path: Path) -> None:
    """Refuse a file that is no ONNX graph, or one that reaches beyond itself (HIL-M03)."""
    import onnx
    from google.protobuf.message import DecodeError

    remedy = "Do not use it, and ask its maker for a graph in one piece"
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, TypeError) as error:
        raise HilumError("HIL-M03", f"{NAME} of {path} is no ONNX graph ({error})", remedy) from error
    own = {(function.domain, function.name) for function in model.functions}
    tensors = [*model.graph.initializer, *_sparse(model.graph.sparse_initializer)]
    nodes = [*_nodes(model.graph.node), *(n for f in model.functions for n in _nodes(f.node))]
    for node in nodes:
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            seen = f"{NAME} of {path} needs the operation {node.op_type} of {node.domain!r}"
            raise HilumError("HIL-M03", seen, remedy)
        for one in node.attribute:
            tensors += [one.t, *one.tensors, *_sparse([one.sparse_tensor, *one.sparse_tensors]), *_held(one)]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            where = next((one.value for one in tensor.external_data if one.key == "location"), "elsewhere")
            seen = f"The weight {tensor.name!r} in {NAME} of {path} lies outside of it, at {where!r}"
            raise HilumError("HIL-M03", seen, remedy)


def _nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Every node, with those of the graphs inside (branches and loops)."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _nodes(inner.node)


def _held(attribute: Any) -> list[Any]:
    """Weights of the graphs inside an attribute."""
    inside = [attribute.g, *attribute.graphs]
    return [t for inner in inside for t in [*inner.initializer, *_sparse(inner.sparse_initializer)]]


def _sparse(found: Iterable[Any]) -> list[Any]:
    """The tensors that sparse ones are made of."""
    return [tensor for one in found for tensor in (one.values, one.indices)]
