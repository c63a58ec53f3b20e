"""SE U-Net: the gates' counts and symmetries, MONAI's gate, the U-Net around them, refusals."""

import importlib
import math

import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo import unet
from hilum.zoo._blocks.dims import layers
from hilum.zoo._cost import parameters
from hilum.zoo.se_unet import GATES, ChannelGate, Excitation, Net


def make(kind: str, dims: int = 2) -> Excitation:
    torch.manual_seed(0)
    return Excitation(layers(dims), 8, kind, 2)


def silent(module: nn.Module) -> None:
    """Every gate says 0.5."""
    for part in module.modules():
        if isinstance(part, Excitation):
            for parameter in part.parameters():
                nn.init.zeros_(parameter)


@pytest.mark.parametrize(("channels", "count"), [(256, 8464), (512, 33312), (1024, 132160), (2048, 526464)])
def test_parameters_of_a_channel_gate(channels: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(ChannelGate(channels, 16)) == count


@pytest.mark.parametrize(("kind", "factor"), [("channel", 0.5), ("space", 0.5), ("sum", 1.0), ("max", 0.5)])
def test_a_gate_without_weights_halves(kind: str, factor: float) -> None:
    gate, x = make(kind), torch.randn(2, 8, 4, 6)
    silent(gate)
    torch.testing.assert_close(gate(x), factor * x)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("dims", [2, 3])
def test_voxels_may_change_places(kind: str, dims: int) -> None:
    gate, x = make(kind, dims), torch.randn(2, 8, *[4] * dims)
    order = torch.randperm(4**dims)

    def moved(y: Tensor) -> Tensor:
        return y.flatten(2)[..., order].reshape(y.shape)

    torch.testing.assert_close(gate(moved(x)), moved(gate(x)))


def test_a_gate_depends_on_what_it_scales() -> None:
    for kind in GATES:
        gate, x = make(kind), torch.rand(2, 8, 4, 4) + 0.5
        assert not torch.allclose(gate(3 * x), 3 * gate(x), rtol=1e-3)


def test_a_channel_gate_is_the_same_everywhere_and_a_gate_of_voxels_in_all_channels() -> None:
    x = torch.rand(2, 8, 4, 4) + 0.5
    by_channel, by_voxel = make("channel")(x) / x, make("space")(x) / x
    torch.testing.assert_close(by_channel, by_channel[:, :, :1, :1].expand_as(x))
    torch.testing.assert_close(by_voxel, by_voxel[:, :1].expand_as(x))
    assert float(by_channel.detach().std()) > 0 and float(by_voxel.detach().std()) > 0


def test_sum_and_max_are_of_the_two_gates() -> None:
    x, both = torch.randn(2, 8, 4, 4), make("sum")
    assert both.channel is not None and both.space is not None
    first, second = x * both.channel(x), x * both.space(x).sigmoid()
    torch.testing.assert_close(both(x), first + second)
    torch.testing.assert_close(make("max")(x), torch.where(first > second, first, second))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_same_weights_give_the_output_of_monai(dims: int) -> None:
    squeeze = importlib.import_module("monai.networks.blocks.squeeze_and_excitation")
    torch.manual_seed(0)
    other, gate = squeeze.ChannelSELayer(dims, 32, r=16), Excitation(layers(dims), 32, "channel", 16)
    names = {"fc.0": "channel.squeeze", "fc.2": "channel.excite"}
    gate.load_state_dict({names[key[:4]] + key[4:]: value for key, value in other.state_dict().items()})
    x = torch.randn(2, 32, *[6] * dims)
    torch.testing.assert_close(gate(x), other(x))


def test_means_of_large_images_survive_half_precision() -> None:
    torch.manual_seed(0)
    gate, x = ChannelGate(4, 2), 50 * torch.rand(1, 4, 512, 512)
    wanted = gate(x)
    torch.testing.assert_close(gate.half()(x.half()).float(), wanted, atol=5e-3, rtol=5e-3)


def test_around_the_gates_it_is_a_u_net() -> None:
    """With both gates at 0.5 their sum changes nothing."""
    torch.manual_seed(0)
    net, x = Net(2, 3, 2, widths=[4, 6, 8], gate="sum", reduction=2).eval(), torch.randn(1, 2, 16, 24)
    silent(net)
    plain = unet.Net(2, 3, 2, widths=[4, 6, 8], norm="batch").eval()
    shared = {key: value for key, value in net.state_dict().items() if key in plain.state_dict()}
    plain.load_state_dict(shared)
    torch.testing.assert_close(net(x), plain(x))


@pytest.mark.parametrize("kind", GATES)
def test_without_its_gates_it_has_the_u_nets_parameters(kind: str) -> None:
    with torch.device("meta"):
        net = Net(3, 1, 2, gate=kind)
    gates = [module for module in net.modules() if isinstance(module, Excitation)]
    assert len(gates) == 9
    assert parameters(net) - sum(parameters(gate) for gate in gates) == 31_043_521


def test_what_can_not_be_built_or_read_is_refused() -> None:
    with pytest.raises(HilumError, match="gate is 'time'"):
        Net(1, 2, 2, gate="time")
    with pytest.raises(HilumError, match="narrowest level has 8"):
        Net(1, 2, 2, widths=[8, 16])
    assert math.prod(Net(1, 2, 2, widths=[8, 16], gate="space").divisor) == 4
    with pytest.raises(HilumError, match="Pad to"):
        Net(1, 2, 2, widths=[8, 16], reduction=8)(torch.rand(2, 1, 4, 5))
