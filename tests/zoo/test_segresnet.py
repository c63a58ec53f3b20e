"""SegResNet: sizes, the paper's dropout, options."""

from typing import Any

import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.zoo.segresnet import Net

TINY: dict[str, Any] = {"width": 8, "blocks": [1, 1, 1]}


def test_sizes_follow_the_stages() -> None:
    net = Net(1, 2, 3, **TINY).eval()
    assert net.divisor == (4, 4, 4) and net(torch.rand(1, 1, 4, 8, 12)).shape == (1, 2, 4, 8, 12)
    with pytest.raises(HilumError, match=r"Pad to \(8, 8, 12\)"):
        net(torch.rand(1, 1, 6, 8, 12))


def test_whole_channels_are_dropped_and_only_in_training() -> None:
    torch.manual_seed(0)
    net, x = Net(1, 2, 2, **TINY), torch.rand(1, 1, 16, 16)
    assert any(isinstance(m, nn.Dropout2d) and m.p == 0.2 for m in net.modules())
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
    assert not any(isinstance(m, nn.Dropout2d) for m in Net(1, 2, 2, **TINY, dropout=0.0).modules())


def test_the_decoder_adds_the_skips() -> None:
    """The same weights at half the channels of a joining decoder: every decoder block keeps its width."""
    net = Net(1, 2, 2, **TINY)
    shapes = [tuple(p.shape[:2]) for n, p in net.body.named_parameters() if n.startswith("up_layers") and p.ndim > 1]
    assert shapes == [(16, 16), (16, 16), (8, 8), (8, 8)]


@pytest.mark.parametrize("options", [{"width": 12}, {"groups": 0}, {"blocks": [2]}, {"blocks": [1, 0]}])
def test_what_can_not_be_built_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(HilumError, match="HIL-ZOO-03"):
        Net(1, 2, 2, **{**TINY, **options})
