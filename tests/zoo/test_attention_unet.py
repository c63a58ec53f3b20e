"""Attention U-Net: the gates, where they read from, the fused levels, refusals."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers
from hilum.zoo._cost import parameters
from hilum.zoo.attention_unet import Gate, GatedSkip, Net


def up(x: Tensor, factor: int = 2) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def test_a_gate_by_arithmetic() -> None:
    c, g = 128, 256
    gate = 8 * c * c + (g * c + c) + (c + 1) + (c * c + c + 2 * c)
    combine = c * c + c + 2 * c
    with torch.device("meta"):
        assert parameters(Gate(layers(3), c, g)) == gate
        assert parameters(GatedSkip(layers(3), c, g, 1)) == gate + combine
        assert parameters(GatedSkip(layers(3), c, g, 2)) == 2 * gate + combine + c * c


def test_the_first_level_has_no_gate_and_the_others_read_what_lies_below() -> None:
    with torch.device("meta"):
        net = Net(1, 4, 3)
    channels = [(m.theta.in_channels, m.phi.in_channels) for m in net.modules() if isinstance(m, Gate)]
    assert channels == [(128, 256), (64, 128), (32, 64)]


@pytest.mark.parametrize("dims", [2, 3])
def test_alpha_is_one_number_between_0_and_1_for_each_voxel(dims: int) -> None:
    torch.manual_seed(0)
    gate = Gate(layers(dims), 4, 6)
    alpha = gate.alpha(torch.randn(2, 4, *[8] * dims), torch.randn(2, 6, *[4] * dims))
    assert alpha.shape == (2, 1, *[8] * dims)
    assert bool(((alpha > 0) & (alpha < 1)).all()) and float(alpha.detach().std()) > 0


def test_alpha_by_the_formula() -> None:
    torch.manual_seed(0)
    gate, x, g = Gate(layers(2), 4, 6), torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)
    windows = x.unfold(2, 2, 2).unfold(3, 2, 2)
    theta = torch.einsum("bcijhw,ochw->boij", windows, gate.theta.weight)
    phi = torch.einsum("bgij,og->boij", g, gate.phi.weight[..., 0, 0]) + gate.phi.bias.view(-1, 1, 1)
    psi = torch.einsum("bcij,oc->boij", (theta + phi).clamp_min(0), gate.psi.weight[..., 0, 0]) + gate.psi.bias
    torch.testing.assert_close(gate.alpha(x, g), up(1 / (1 + (-psi).exp())))
    assert gate.theta.bias is None


def test_an_open_gate_lets_the_skip_through_and_a_shut_one_nothing() -> None:
    torch.manual_seed(0)
    gate, x, g = Gate(layers(2), 4, 6).eval(), torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)
    torch.nn.init.constant_(gate.psi.bias, 200.0)
    torch.testing.assert_close(gate(x, g), gate.out(x))
    torch.nn.init.constant_(gate.psi.bias, -200.0)
    torch.testing.assert_close(gate(x, g), gate.out(torch.zeros_like(x)))


@pytest.mark.parametrize("gates", [0, 1, 2])
def test_written_out_for_three_levels(gates: int) -> None:
    torch.manual_seed(0)
    net, x = Net(2, 3, 2, widths=[4, 6, 8], gates=gates).eval(), torch.randn(2, 2, 16, 24)
    pool = functional.max_pool2d
    e0 = net.encoder[0](x)
    e1 = net.encoder[1](pool(e0, 2))
    e2 = net.encoder[2](pool(e1, 2))
    skip = e1
    if gates:
        assert net.gating is not None
        gate, parts = net.gating(e2), net.skips[0].get_submodule("gates").children()
        skip = net.skips[0].get_submodule("combine")(torch.cat([part(e1, gate) for part in parts], dim=1))
    d1 = net.decoder[0](torch.cat([skip, up(e2)], dim=1))
    d0 = net.decoder[1](torch.cat([e0, up(d1)], dim=1))
    wanted = net.head(torch.cat([up(net.sides[0](d1)), net.sides[1](d0)], dim=1))
    torch.testing.assert_close(net(x), wanted)


def test_every_decoder_level_has_a_say() -> None:
    torch.manual_seed(0)
    net, x = Net(1, 3, 2, widths=[4, 4, 4, 4]).eval(), torch.randn(1, 1, 16, 16)
    before = net(x)
    assert net.features(x).shape == (1, 9, 16, 16)
    for side in net.sides:
        bias = side.get_parameter("bias")
        bias.data += 1
        assert not torch.equal(net(x), before)
        bias.data -= 1


def test_what_can_not_be_built_or_read_is_refused() -> None:
    with pytest.raises(HilumError, match="3 levels or more"):
        Net(1, 2, 2, widths=[4, 8])
    with pytest.raises(HilumError, match="gates is -1"):
        Net(1, 2, 2, gates=-1)
    net = Net(1, 2, 2, widths=[4, 4, 4])
    assert net.divisor == (4, 4)
    with pytest.raises(HilumError, match=r"Pad to \(8, 12\)"):
        net(torch.rand(1, 1, 8, 10))
    with pytest.raises(HilumError, match="one value per channel"):
        net(torch.rand(1, 1, 4, 4))
    assert net.eval()(torch.rand(1, 1, 4, 4)).shape == (1, 2, 4, 4)
