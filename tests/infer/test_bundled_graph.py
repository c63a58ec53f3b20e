"""The ONNX graph in a bundle is a graph and nothing else, and says what the network says (M03, M10)."""

import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundle as bundles
from hilum.infer import bundled_graph
from hilum.verbs.bundle import bundle

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def good(trained: Callable[[str], Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "good.hilum"
    bundle(trained("segment").path, path, onnx=True)
    return path


def with_graph(good: Path, content: bytes, path: Path) -> Path:
    """The bundle with another graph, and a manifest that fits."""
    with zipfile.ZipFile(good) as archive:
        files = {n: archive.read(n) for n in archive.namelist() if n != "manifest.json"}
    files[bundled_graph.NAME] = content
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
    assert found.keys() == {bundled_graph.NAME} and found[bundled_graph.NAME] < bundles.TOLERANCES["onnx"]


def test_it_is_not_looked_at_where_the_packages_are_missing(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = bundles.verify(good)
    assert found["graphs"] == {bundled_graph.NAME: None} and "hilum[onnx]" in found["unverified"][bundled_graph.NAME]


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
