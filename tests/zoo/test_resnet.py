"""ResNet: strides, the bottleneck's stride, shortcuts, refusals."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.zoo._cost import flops, parameters
from hilum.zoo.resnet import Net


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 2), ("small", 8)])
def test_the_stem_decides_the_last_resolution(stem: str, side: int) -> None:
    net = Net(1, 2, 2, width=4, stem=stem).eval()
    assert net.stages(net.stem(torch.rand(1, 1, 64, 64))).shape[2:] == (side, side)


def test_the_bottleneck_strides_on_its_3x3() -> None:
    block = next(Net(1, 2, 2, depth=50, width=4).stages[1].children())
    strides = [module.stride for module in block.get_submodule("path").modules() if isinstance(module, torch.nn.Conv2d)]
    assert strides == [(1, 1), (2, 2), (1, 1)]


def test_3d_is_monai_without_the_biases_of_its_shortcuts() -> None:
    """MONAI 1.6.1: resnet18 33,161,922 and resnet50 46,163,010 with one bias per channel of each shortcut."""
    with torch.device("meta"):
        assert parameters(Net(1, 2, 3, depth=18)) == 33_161_922 - (128 + 256 + 512)
        assert parameters(Net(1, 2, 3, depth=50)) == 46_163_010 - (256 + 512 + 1024 + 2048)


def test_flops_of_the_first_convolution_are_as_by_hand() -> None:
    with torch.device("meta"):
        stem = Net(3, 10, 2).stem
        assert flops(stem, torch.empty(1, 3, 224, 224)) == 2 * 112 * 112 * 64 * 3 * 49


def test_unknown_options_are_refused() -> None:
    with pytest.raises(HilumError, match="depth is 19"):
        Net(1, 2, 2, depth=19)
    with pytest.raises(HilumError, match="stem is 'tall'"):
        Net(1, 2, 2, stem="tall")


def test_dropout_is_off_unless_it_is_asked_for_and_has_no_weights() -> None:
    plain, net, x = Net(1, 2, 2, width=4), Net(1, 2, 2, width=4, dropout=0.5), torch.rand(2, 1, 32, 32)
    assert not any(isinstance(m, torch.nn.Dropout) for m in plain.modules())
    net.load_state_dict(plain.state_dict())
    assert torch.equal(net.eval()(x), plain.eval()(x))
    net.get_submodule("dropout").train()
    assert not torch.equal(net(x), net(x))


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 32), ("small", 8)])
def test_one_small_image_is_refused_in_training_as_batch_norm_would_see_one_value(stem: str, side: int) -> None:
    net = Net(1, 2, 2, width=4, stem=stem)
    with pytest.raises(HilumError, match="batch of two") as error:
        net(torch.rand(1, 1, side, side))
    assert error.value.code == "HIL-ZOO-02"
    for shape in ((2, 1, side, side), (1, 1, side, side + 1)):
        assert net(torch.rand(shape)).shape == (shape[0], 2)
    assert net.eval()(torch.rand(1, 1, side, side)).shape == (1, 2)


def test_a_frozen_network_has_its_statistics_and_takes_one_small_image() -> None:
    net = Net(1, 2, 2, width=4, stem="small")
    net.stages.eval()
    net.stem.eval()
    assert net(torch.rand(1, 1, 8, 8)).shape == (1, 2)
