"""Cost: counted by hand on one convolution, and on the meta device."""

import torch
from torch import nn

from hilum.zoo._cost import activation_memory, flops, parameters


def test_one_convolution_by_hand() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True))
        x = torch.empty(2, 3, 8, 8)
        assert parameters(net) == 4 * 3 * 9 + 4
        assert flops(net, x) == 2 * (2 * 8 * 8) * (4 * 3 * 9)
        assert activation_memory(net, x) == 4 * (2 * 4 * 8 * 8)


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(3, 3)
    assert parameters(nn.Sequential(layer, layer)) == 12


def test_nothing_is_left_behind() -> None:
    net = nn.Linear(2, 2)
    activation_memory(net, torch.ones(1, 2))
    assert not net._forward_hooks
