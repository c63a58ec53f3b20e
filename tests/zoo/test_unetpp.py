"""UNet++: nodes, heads, cutting, averaging, refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo import unet
from hilum.zoo._cost import flops, parameters
from hilum.zoo.unetpp import Net, cells

SMALL: dict[str, Any] = {"widths": [4, 6, 8, 10], "dropout": 0.0}


def small(out_channels: int | dict[str, int] = 3, **options: Any) -> Net:
    torch.manual_seed(0)
    return Net(2, out_channels, 2, **{**SMALL, **options})


def image() -> Tensor:
    return torch.randn(2, 2, 16, 24, generator=torch.Generator().manual_seed(1))


def test_nodes_of_a_shallower_net_come_first() -> None:
    assert cells(2) == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    assert all(cells(level) == [c for c in cells(4) if sum(c) <= level] for level in range(5))


def test_node_0_4_reads_four_nodes_and_one_from_below() -> None:
    with torch.device("meta"):
        last = Net(3, 1, 2).nodes[-1]
    assert tuple(last.get_parameter("up.weight").shape) == (64, 32, 2, 2)
    assert tuple(last.get_parameter("convs.0.weight").shape) == (32, 4 * 32 + 32, 3, 3)


@pytest.mark.parametrize(("level", "count"), [(1, 101_537), (2, 511_681), (3, 2_205_537), (4, 9_042_177)])
def test_parameters_after_cutting(level: int, count: int) -> None:
    with torch.device("meta"):
        net = Net(3, 1, 2)
        assert parameters(net.pruned(level)) == count
        assert parameters(Net(3, 1, 2, widths=[32, 64, 128, 256, 512][: level + 1], deep_supervision=False)) == count
    assert parameters(net) == 9_042_276 and net.depth == 4


def test_its_baselines_are_u_nets_of_the_sizes_in_the_authors_source() -> None:
    for widths, one, three in (
        ([32, 64, 128, 256, 512], 7_759_521, 7_760_097),
        ([35, 70, 140, 280, 560], 9_282_246, 9_282_876),
    ):
        with torch.device("meta"):
            assert parameters(unet.Net(1, 1, 2, widths=widths)) == one
            assert parameters(unet.Net(3, 1, 2, widths=widths)) == three


def test_written_out_for_three_levels() -> None:
    torch.manual_seed(0)
    net, x = Net(2, 3, 2, widths=[4, 6, 8], dropout=0.0), torch.randn(2, 2, 8, 12)
    node = dict(zip(cells(2), net.nodes, strict=True))
    pool = functional.max_pool2d
    x00 = node[0, 0](x)
    x10 = node[1, 0](pool(x00, 2))
    x20 = node[2, 0](pool(x10, 2))

    def step(at: tuple[int, int], deeper: Tensor, *earlier: Tensor) -> Tensor:
        up, convs = node[at].get_submodule("up"), node[at].get_submodule("convs")
        out: Tensor = convs(torch.cat([up(deeper), *earlier], dim=1))
        return out

    x01, x11 = step((0, 1), x10, x00), step((1, 1), x20, x10)
    x02 = step((0, 2), x11, x00, x01)
    torch.testing.assert_close(net(x)["out"], [net.head(x02), net.lower_heads[0](x01)])


def test_all_heads_are_at_full_resolution_deepest_first() -> None:
    net, x = small(), image()
    parts = net(x)["out"]
    assert [part.shape for part in parts] == [(2, 3, 16, 24)] * 3
    assert torch.equal(parts[0], net.eval()(x))
    named = small({"a": 3, "b": 1})(x)
    assert {name: [part.shape[1] for part in parts] for name, parts in named.items()} == {"a": [3] * 3, "b": [1] * 3}


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_cut_net_answers_exactly_as_that_head_of_the_whole(level: int) -> None:
    net, x = small(), image()
    wanted = net(x)["out"][::-1][level - 1]
    net.eval().level = level
    cut = net.pruned(level)
    assert torch.equal(net(x), wanted) and torch.equal(cut(x), wanted)
    assert torch.equal(cut.head(cut.features(x)), wanted)
    assert flops(net, x) == flops(cut, x)  # what is cut off is not computed either
    assert cut.divisor == (2**level, 2**level) and net.divisor == (8, 8)
    plain = small(widths=SMALL["widths"][: level + 1], deep_supervision=False).eval()
    plain.load_state_dict(cut.state_dict())
    assert torch.equal(plain(x), wanted)


def test_cutting_copies() -> None:
    net, x = small().eval(), image()
    before, cut = net(x), net.pruned(2)
    for parameter in cut.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(net(x), before) and net.level is None and len(net.lower_heads) == 2


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_head_trains_the_nodes_of_its_own_net_only(level: int) -> None:
    net = small()
    net(image())["out"][::-1][level - 1].square().sum().backward()
    for (i, j), node in zip(cells(3), net.nodes, strict=True):
        touched = [parameter.grad is not None for parameter in node.parameters()]
        assert all(touched) if i + j <= level else not any(touched), (i, j)


def test_the_mean_of_the_heads_is_of_their_probabilities() -> None:
    net, x = small(), image()
    wanted = torch.stack([part.softmax(1) for part in net(x)["out"]])
    net.eval().average = True
    torch.testing.assert_close(net(x).softmax(1), wanted.mean(0))
    net.level = 2
    torch.testing.assert_close(net(x).softmax(1), wanted[1:].mean(0))


def test_the_mean_of_one_channel_is_of_sigmoids() -> None:
    net, x = small({"a": 1, "b": 2}, average=True), image()
    heads = net(x)
    out = net.eval()(x)
    torch.testing.assert_close(out["a"].sigmoid(), torch.stack([part.sigmoid() for part in heads["a"]]).mean(0))
    torch.testing.assert_close(out["b"].softmax(1), torch.stack([part.softmax(1) for part in heads["b"]]).mean(0))


def test_dropout_follows_each_convolution() -> None:
    net = small(dropout=0.5)
    rates = [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.5] * (2 * len(cells(3)))
    assert not torch.equal(net(image())["out"][0], net(image())["out"][0])
    plain = small().eval()
    plain.load_state_dict(net.state_dict())
    assert torch.equal(plain(image()), net.eval()(image()))


def test_what_can_not_be_built_or_read_is_refused() -> None:
    for level in (0, 4):
        with pytest.raises(HilumError, match=f"level is {level}"):
            small(level=level)
    with pytest.raises(HilumError, match="deep_supervision"):
        small(level=1, deep_supervision=False)
    with pytest.raises(HilumError, match="nothing to average"):
        small(average=True, deep_supervision=False)
    with pytest.raises(HilumError, match="level is 5"):
        small().pruned(5)
    with pytest.raises(HilumError, match=r"Pad to \(16, 16\)"):
        small()(torch.rand(1, 2, 16, 12))
