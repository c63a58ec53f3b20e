"""Networks of the zoo as ONNX files give what torch gives, by another runtime."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tests.zoo.test_contracts import NAMES, build, card, make_inputs, tensors

EXPORTED = [name for name in NAMES if "operator" not in card(name)["inputs"] and "onnx" not in card(name)]
# An operator can not be exported; where something else stands against it, the CARD says what.
MOST = 2e-4
# Difference to torch's output, over its largest value or 1.


class Flat(nn.Module):
    """Every tensor of the output in a row; a head may be called what a graph can not call a value."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(tensors(self.net(*inputs)))


def difference(name: str, folder: Path) -> float:
    """Of the tiny form, exported into the folder, to torch's output: the largest, over its largest value or 1."""
    net, inputs = Flat(build(name)).eval(), make_inputs(name)
    with torch.no_grad():
        wanted = net(*inputs)
    path = folder / "net.onnx"
    with warnings.catch_warnings():
        # the exporter warns of its own internals
        warnings.simplefilter("ignore")
        torch.onnx.export(net, inputs, str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {one.name: x.numpy() for one, x in zip(session.get_inputs(), inputs, strict=True)})
    assert [one.shape for one in found] == [tuple(other.shape) for other in wanted]
    scale = [max(1.0, float(other.abs().max())) for other in wanted]
    apart = [float(np.abs(one - other.numpy()).max()) for one, other in zip(found, wanted, strict=True)]
    return max(far / most for far, most in zip(apart, scale, strict=True))


@pytest.mark.parametrize("name", EXPORTED)
def test_the_exported_network_gives_the_same(name: str, tmp_path: Path) -> None:
    assert difference(name, tmp_path) <= MOST
