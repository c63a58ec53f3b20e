"""DenseASPP: parts of the counts, the chain's reach and order, resolutions, refusals."""

import re

import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers
from hilum.zoo._cost import parameters
from hilum.zoo.denseaspp import Link, Net, from_densenet

SMALL = {"blocks": [1, 1, 1, 1], "growth": 4, "init_features": 8, "chain": [8, 4]}


def tiny(**options: object) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, 2, **{**SMALL, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("depth", "chain", "channels"),
    [(121, 801_683, 832), (161, 6_483_587, 1744), (169, 4_550_083, 1672), (201, 8_701_939, 2160)],
)
def test_chain_and_head_have_the_size_of_the_original(depth: int, chain: int, channels: int) -> None:
    with torch.device("meta"):
        net = Net(3, 19, 2, depth=depth)
    assert parameters(net) - parameters(net.backbone) == chain
    assert net.get_parameter("head.0.weight").shape[1] == channels


def test_a_link_puts_its_output_in_front_and_leaves_its_input_alone() -> None:
    link, x = Link(layers(2), 6, (8, 4), 3, True, 0.1, 0.0), torch.randn(2, 6, 9, 9)
    kept = x.clone()
    out = link(x)
    assert out.shape[1] == 10 and torch.equal(out[:, 4:], kept) and torch.equal(x, kept)


def test_in_the_released_form_the_others_read_the_positive_part() -> None:
    """As a ReLU in place on the backbone's map, which the chain reads again, would have it."""
    net, own = tiny(in_place=True).eval(), tiny().eval()
    own.load_state_dict(net.state_dict())
    x, link = torch.randn(2, 1, 32, 32), own.chain[0]
    assert isinstance(link, Link)
    first = link.path[1]
    assert isinstance(first, nn.ReLU)
    plain = own(x)
    first.inplace = True
    with torch.no_grad():
        torch.testing.assert_close(net(x), own(x))
    assert not torch.allclose(net(x), plain)


def test_only_the_first_link_has_no_leading_norm() -> None:
    first, *others = [next(link.path.children()) for link in tiny().chain]
    assert isinstance(first, nn.Identity) and all(isinstance(norm, nn.BatchNorm2d) for norm in others)


def positive(rates: tuple[int, ...]) -> nn.Sequential:
    """A chain whose weights are all positive, so that nothing cancels."""
    chain, channels = nn.Sequential(), 2
    for rate in rates:
        chain.append(Link(layers(2), channels, (2, 1), rate, channels == 2, 0.1, 0.0))
        channels += 1
    for parameter in chain.parameters():
        parameter.data.abs_()
    return chain.eval()


@pytest.mark.parametrize(("rates", "width"), [((3,), 7), ((3, 6), 19), ((3, 6, 12, 18, 24), 127)])
def test_the_chain_sees_as_far_as_the_sum_of_its_rates(rates: tuple[int, ...], width: int) -> None:
    chain, x = positive(rates), torch.zeros(1, 2, 3, 141)
    other = x.clone()
    other[..., 1, 70] = 1
    moved = (chain(other) - chain(x))[0, 0].abs().amax(0).nonzero().flatten()
    assert (int(moved[0]), int(moved[-1])) == (70 - width // 2, 70 + width // 2)


def test_resolutions_and_dilations() -> None:
    net = tiny().eval()
    assert net.features(torch.rand(1, 1, 32, 72)).shape[2:] == (4, 9)
    assert net(torch.rand(1, 1, 32, 72)).shape == (1, 2, 32, 72)
    dense = [m.dilation[0] for m in net.backbone.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert dense == [1, 1, 2, 4]


def monais() -> nn.Module:
    """MONAI's DenseNet with random weights and statistics, of the size below."""
    from monai.networks.nets import DenseNet

    torch.manual_seed(3)
    made: nn.Module = DenseNet(2, 1, 5, init_features=8, growth_rate=4, block_config=(2, 3, 1, 2))
    for name, value in made.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if "running_var" in name else 0.3 * torch.randn(value.shape))
    return made.eval()


@pytest.mark.parametrize("names", ["monai", "torchvision", "older"])
def test_a_densenet_fills_the_backbone(names: str) -> None:
    theirs, net = monais(), tiny(blocks=[2, 3, 1, 2]).eval()
    state = theirs.state_dict()
    if names != "monai":
        dot = "." if names == "older" else ""
        state = {re.sub(r"\.layers\.(norm|conv)", rf".\1{dot}", n): v for n, v in state.items()}
    found = from_densenet(state)
    missing = set(net.backbone.state_dict()) - {n.removeprefix("backbone.") for n in found}
    assert {n.rsplit(".", 1)[0] for n in missing} == {"11.2", "12"}
    net.load_state_dict(net.state_dict() | found)
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net.backbone[:6](x), theirs.features[:6](x))
        # from here on theirs pools and ours dilates, which one point does not see
        x = torch.rand(2, 8, 1, 1)
        for ours, name in ((6, "denseblock2"), (8, "denseblock3"), (10, "denseblock4")):
            x, other = net.backbone[ours](x), getattr(theirs.features, name)(x)
            torch.testing.assert_close(x, other)
            if ours < 10:
                kept = nn.Sequential(*list(getattr(theirs.features, f"transition{ours // 2 - 1}"))[:3])
                torch.testing.assert_close(net.backbone[ours + 1](x), kept(x))
                x = kept(x)
        torch.testing.assert_close(net.backbone[11][0](x), theirs.features.norm5(x))


def test_the_momentum_is_that_of_the_chain_alone() -> None:
    net = tiny(momentum=3e-4)
    assert {m.momentum for m in net.chain.modules() if isinstance(m, nn.BatchNorm2d)} == {3e-4}
    assert {m.momentum for m in net.backbone.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(HilumError, match="depth is 100"):
        Net(1, 2, 2, depth=100)
    with pytest.raises(HilumError, match="3 blocks"):
        tiny(blocks=[1, 1, 1])
    with pytest.raises(HilumError, match="0 rates"):
        tiny(rates=())
    with pytest.raises(HilumError, match=r"Pad to \(16, 24\)"):
        tiny()(torch.rand(1, 1, 16, 20))
    with pytest.raises(HilumError, match="one value"):
        tiny()(torch.rand(1, 1, 8, 8))
