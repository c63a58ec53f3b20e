"""DCGAN critic: samples do not see each other, scores are unbounded."""

import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.zoo.dcgan_critic import Net


def test_no_image_changes_the_score_of_another() -> None:
    net, x = Net(1, 1, 2, image_size=16, width=4), torch.rand(3, 1, 16, 16)
    assert net(x).shape == (3, 1)
    torch.testing.assert_close(net(x)[:1], net(x[:1]))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_the_gradient_can_be_penalised() -> None:
    net = Net(1, 1, 2, image_size=16, width=4)
    x = torch.rand(2, 1, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters() if p.ndim > 1)


def test_another_size_is_refused() -> None:
    with pytest.raises(HilumError, match="HIL-ZOO-04"):
        Net(1, 1, 2, image_size=16)(torch.rand(1, 1, 32, 32))
