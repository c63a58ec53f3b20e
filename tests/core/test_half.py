"""Whether processors have bfloat16 is asked of PyTorch in one place."""

import pytest
import torch

from hilum.core import half
from hilum.infer.runtimes import _choose
from hilum.planning import machine


@pytest.mark.parametrize("there", [True, False])
def test_planning_and_prediction_are_told_the_same(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there, raising=False)
    assert half.on_processors() == machine.native_half() == _choose.native("torch-bf16") == there
    assert _choose.native("torch")


def test_a_pytorch_that_does_not_say_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not half.on_processors()
