"""DenseNet: every layer keeps its input; too small an image is refused."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers
from hilum.zoo.densenet import DenseLayer, Net


def test_a_layer_keeps_its_input_and_adds_the_growth() -> None:
    x = torch.rand(2, 5, 8, 8)
    out = DenseLayer(layers(2), 5, 3)(x)
    assert out.shape[1] == 8 and torch.equal(out[:, :5], x)


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(HilumError, match="at least 32"):
        Net(1, 2, 2, blocks=[1, 1, 1, 1])(torch.rand(1, 1, 31, 64))


def test_odd_sizes_pass() -> None:
    assert Net(1, 2, 2, blocks=[1, 1, 1, 1], growth=4).eval()(torch.rand(1, 1, 33, 47)).shape == (1, 2)


def test_unknown_depth_is_refused() -> None:
    with pytest.raises(HilumError, match="give blocks"):
        Net(1, 2, 2, depth=122)


def test_one_small_image_is_refused_in_training_as_batch_norm_would_see_one_value() -> None:
    net = Net(1, 2, 2, blocks=[1, 1, 1, 1], growth=4)
    with pytest.raises(HilumError, match="batch of two") as error:
        net(torch.rand(1, 1, 60, 60))
    assert error.value.code == "HIL-ZOO-02"
    for shape in ((2, 1, 60, 60), (1, 1, 60, 61)):
        assert net(torch.rand(shape)).shape == (shape[0], 2)
    assert net.eval()(torch.rand(1, 1, 60, 60)).shape == (1, 2)
