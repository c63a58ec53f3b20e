"""The ONNX graph in a bundle is a graph and nothing else, and says what the network says (M03, M10)."""

import copy
import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundle as bundles
from hilum.infer import bundled_graph
from hilum.infer.network import features_of
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes import _choose, _openvino
from hilum.infer.runtimes._stored import Stored
from hilum.infer.streamed import linear_head
from hilum.verbs.bundle import bundle

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def good(trained: Callable[[str], Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "good.hilum"
    bundle(trained("segment").path, path, onnx=True)
    return path


@pytest.fixture(scope="module")
def floats(trained: Callable[[str], Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with OpenVINO's graph in float32."""
    pytest.importorskip("openvino")
    path = tmp_path_factory.mktemp("floats") / "good.hilum"
    bundle(trained("segment").path, path, openvino=True)
    return path


def with_graph(good: Path, content: bytes, path: Path, name: str = bundled_graph.NAME) -> Path:
    """The bundle with another graph, and a manifest that fits."""
    with zipfile.ZipFile(good) as archive:
        files = {n: archive.read(n) for n in archive.namelist() if n != "manifest.json"}
    files[name] = content
    manifest = {n: hashlib.sha256(b).hexdigest() for n, b in files.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (files | {"manifest.json": json.dumps(manifest).encode()}).items():
            archive.writestr(name, text)
    return path


def refused(path: Path) -> HilumError:
    with pytest.raises(HilumError) as error:
        bundles.verify(path)
    return error.value


def graph(good: Path) -> Any:
    return onnx.load_model_from_string(Run(good).read(bundled_graph.NAME))


def test_the_graph_says_what_the_network_says(good: Path) -> None:
    found = bundles.verify(good)["graphs"]
    assert found.keys() == {bundled_graph.NAME} and found[bundled_graph.NAME] < bundles.TOLERANCE


def test_m10_a_golden_pair_without_its_input_is_refused(good: Path, tmp_path: Path) -> None:
    pair = {n: t for n, t in load(Run(good).read("golden.safetensors")).items() if n.startswith("out.")}
    error = refused(with_graph(good, save(pair), tmp_path / "a.hilum", "golden.safetensors"))
    assert error.code == "HIL-M10" and "golden input" in error.seen


def test_it_is_not_looked_at_where_the_packages_are_missing(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = bundles.verify(good)
    assert found["graphs"] == {bundled_graph.NAME: None} and "the extra onnx" in found["unverified"][bundled_graph.NAME]


def test_m03_weights_outside_of_the_file_are_refused(good: Path, tmp_path: Path) -> None:
    model = graph(good)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    error = refused(with_graph(good, model.SerializeToString(), tmp_path / "a.hilum"))
    assert error.code == "HIL-M03" and "../../secret" in error.seen


def test_m03_weights_outside_that_hide_in_a_branch_are_refused(good: Path, tmp_path: Path) -> None:
    model = graph(good)
    hidden = onnx.GraphProto(name="branch")
    tensor = hidden.initializer.add(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node[0].attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH, g=hidden)
    error = refused(with_graph(good, model.SerializeToString(), tmp_path / "a.hilum"))
    assert error.code == "HIL-M03" and "/etc/passwd" in error.seen


def test_m03_operations_of_others_are_refused(good: Path, tmp_path: Path) -> None:
    model = graph(good)
    model.graph.node.add(op_type="Shell", domain="evil.ops", input=["image"], output=["x"])
    error = refused(with_graph(good, model.SerializeToString(), tmp_path / "a.hilum"))
    assert error.code == "HIL-M03" and "evil.ops" in error.seen


@pytest.mark.parametrize("content", [b"words", b"\x80\x04\x95"])
def test_m03_what_is_no_graph_is_refused(content: bytes, good: Path, tmp_path: Path) -> None:
    assert refused(with_graph(good, content, tmp_path / "a.hilum")).code == "HIL-M03"


def test_m10_a_graph_of_other_weights_is_refused(good: Path, tmp_path: Path) -> None:
    import numpy as np
    from onnx import numpy_helper

    model = graph(good)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(np.flip(value, 0).copy() * 1.3, tensor.name))
    assert refused(with_graph(good, model.SerializeToString(), tmp_path / "a.hilum")).code == "HIL-M10"


def window(path: Path) -> Any:
    golden = load(Run(path).read("golden.safetensors"))
    return golden["in.image"]


def test_the_graph_in_float32_says_what_the_network_says(floats: Path) -> None:
    found = bundles.verify(floats)["graphs"]
    assert found.keys() == {bundled_graph.FLOATS[0]}
    assert found[bundled_graph.FLOATS[0]] < bundles.TOLERANCE


def test_the_same_run_gives_the_same_graph(floats: Path, trained: Callable[[str], Run], tmp_path: Path) -> None:
    bundle(trained("segment").path, tmp_path / "again.hilum", openvino=True)
    assert (tmp_path / "again.hilum").read_bytes() == floats.read_bytes()


def test_a_graph_that_is_there_is_not_converted_again(floats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    monkeypatch.setenv("HILUM_CACHE", "off")
    monkeypatch.setattr(openvino, "convert_model", None)
    predictor = Predictor(Run(floats), "openvino")
    image = window(floats)
    found = predictor.logits({"image": image[0].numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(found, predictor.net(image)[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kept", ["off", "cache"])
def test_m10_one_of_other_weights_is_never_used(
    kept: str, floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by name, and not by `auto`, though the same weights were predicted with before."""
    monkeypatch.setenv("HILUM_CACHE", "off" if kept == "off" else str(tmp_path / kept))
    monkeypatch.setattr(_choose, "pays_from", lambda name: 0.0)
    monkeypatch.setattr(_choose, "ENOUGH", 0.0)
    louder = Predictor(Run(floats))
    with torch.no_grad():
        for weight in louder.net.parameters():
            weight.neg_()
    net = louder.net if linear_head(louder.net) is None else features_of(louder.net)
    content = _openvino.saved(_openvino.model(net, window(floats)), "openvino")["openvino.bin"]
    other = with_graph(floats, content, tmp_path / "other.hilum", bundled_graph.FLOATS[1])
    assert refused(other).code == "HIL-M10"
    image = {"image": window(floats)[0].numpy()}
    for path in (floats, other):
        predictor = Predictor(Run(path), "auto")
        predictor.expect(10**9)
        predictor.logits(image)
        by = predictor.computed_by
        assert by is not None and ("openvino" in by.left) == (path == other), by
    with pytest.raises(HilumError) as error:
        Predictor(Run(other), "openvino").logits(image)
    assert error.value.code == "HIL-M10"


def test_the_graph_is_that_of_the_first_network_alone(floats: Path) -> None:
    """The other networks of an ensemble are not computed by it."""
    predictor = Predictor(Run(floats), "openvino")
    assert predictor._stored(predictor.net, window(floats)).own("openvino.bin")
    predictor.net = copy.deepcopy(predictor.net)
    assert predictor._stored(predictor.net, window(floats)).own("openvino.bin") is None


def test_m10_a_graph_with_one_output_is_compared_by_its_numbers() -> None:
    """Of one channel the strongest class is always the same, whatever the graph says."""
    pytest.importorskip("openvino")
    net, other, x = torch.nn.Conv2d(1, 1, 3), torch.nn.Conv2d(1, 1, 3), torch.randn(1, 1, 8, 8)
    for made, right in ((net, True), (other, False)):
        stored = Stored(_openvino.saved(_openvino.model(made.eval(), x), "openvino").get)
        if right:
            _choose.chosen("openvino", net.eval(), x, stored=stored)
            continue
        with pytest.raises(HilumError) as error:
            _choose.chosen("openvino", net.eval(), x, stored=stored)
        assert error.value.code == "HIL-M10"
        found = _choose.chosen("auto", net.eval(), x, stored=stored, work=1e9)
        assert "off" in found.left["openvino"]


def test_the_graph_in_float32_is_compared_in_bfloat16_too(floats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_choose, "native", lambda name: True)
    assert bundles.verify(floats)["runtimes"]["openvino-bf16"] < _choose.card("openvino-bf16")["tolerance"]
    monkeypatch.setattr(_choose, "native", lambda name: name == "torch-channels-last")
    assert list(bundles.verify(floats)["runtimes"]) == ["torch-channels-last"]
