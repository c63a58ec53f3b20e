"""Non-local network: the block's equations, its start as the identity, where the blocks stand."""

import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers
from hilum.zoo._cost import flops, parameters
from hilum.zoo.nonlocal_net import MODES, Net, NonLocal, places


def block(
    mode: str = "embedded", subsample: bool = False, gate: float = 0.7, dims: int = 2, scaled: bool = False
) -> NonLocal:
    torch.manual_seed(0)
    return NonLocal(layers(dims), 6, mode, subsample, gate, scaled).eval()


def by_hand(net: NonLocal, x: Tensor) -> Tensor:
    """The equations, position by position; x: (C, N)."""
    weight = {n: p.detach().flatten(1) if p.ndim > 2 else p.detach() for n, p in net.named_parameters()}
    embedded = net.mode != "gaussian"
    theta = weight["theta.weight"] @ x + weight["theta.bias"][:, None] if embedded else x
    phi = weight["phi.weight"] @ x + weight["phi.bias"][:, None] if embedded else x
    g = weight["g.weight"] @ x + weight["g.bias"][:, None]
    columns = []
    for i in range(x.shape[1]):
        scores = torch.stack([theta[:, i] @ phi[:, j] for j in range(x.shape[1])])
        scores = scores / len(theta) ** 0.5 if net.scaled else scores
        if net.mode in ("embedded", "gaussian"):
            alike = scores.exp() / scores.exp().sum()
        elif net.mode == "dot":
            alike = scores / x.shape[1]
        else:
            pairs = [torch.cat([theta[:, i], phi[:, j]]) @ weight["pair.weight"][0] for j in range(x.shape[1])]
            alike = torch.stack(pairs).clamp_min(0) / x.shape[1]
        y = weight["out.0.weight"] @ (g @ alike) + weight["out.0.bias"]
        scale = weight["out.1.weight"] / (1 + 1e-5) ** 0.5  # the norm in evaluation: mean 0, variance 1
        columns.append(y * scale + weight["out.1.bias"] + x[:, i])
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("mode", MODES)
def test_it_does_what_the_equations_say(mode: str) -> None:
    net, x = block(mode), torch.randn(1, 6, 3, 5)
    torch.testing.assert_close(net(x)[0].flatten(1), by_hand(net, x[0].flatten(1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["embedded", "gaussian"])
def test_the_released_form_divides_the_scores(mode: str) -> None:
    net, x = block(mode, scaled=True), torch.randn(1, 6, 3, 5)
    torch.testing.assert_close(net(x)[0].flatten(1), by_hand(net, x[0].flatten(1)), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(net(x), block(mode)(x))


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_positions_does_not_matter(mode: str) -> None:
    net, x, order = block(mode, dims=3), torch.randn(2, 6, 24), torch.randperm(24)
    out = net(x.unflatten(2, (2, 3, 4))).flatten(2)
    torch.testing.assert_close(net(x[..., order].unflatten(2, (2, 3, 4))).flatten(2), out[..., order])


@pytest.mark.parametrize("mode", MODES)
def test_a_constant_stays_constant_and_pooling_keeps_the_size(mode: str) -> None:
    net, x = block(mode, subsample=True), torch.randn(1, 6, 1, 1).expand(1, 6, 5, 8)
    out = net(x)
    assert out.shape == x.shape and not torch.equal(out, x)
    torch.testing.assert_close(out, out[..., :1, :1].expand_as(out))


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16_is_finite_with_large_scores(mode: str) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert block(mode)(1000 * torch.randn(1, 6, 4, 4)).isfinite().all()


def test_it_starts_as_the_identity_and_all_of_it_learns_from_the_second_step_on() -> None:
    net = block(gate=0.0).train()
    x = torch.randn(2, 6, 4, 4)
    assert torch.equal(net(x), x)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    (net(x) * torch.randn_like(x)).sum().backward()
    late = {name for name, weight in net.named_parameters() if weight.ndim > 1}
    assert all(float(net.get_parameter(name).grad.abs().sum()) == 0 for name in late)  # type: ignore[union-attr]
    optimiser.step()
    (net(x) * torch.randn_like(x)).sum().backward()
    assert all(float(net.get_parameter(name).grad.abs().sum()) > 0 for name in late)  # type: ignore[union-attr]


def test_the_block_has_the_size_of_the_original_and_scores_grow_with_the_fourth_power() -> None:
    with torch.device("meta"):
        net = NonLocal(layers(2), 1024)
    assert parameters(net) == 2_099_712 + 2_048

    def scores(side: int) -> int:
        """All operations less the four convolutions."""
        return flops(block(), torch.zeros(1, 6, side, side)) - 2 * 4 * side**2 * 6 * 3

    assert scores(8) == 16 * scores(4) > 0


@pytest.mark.parametrize(("every", "blocks"), [(0, [0, 1]), (1, [4, 6]), (2, [2, 3])])
def test_one_five_or_ten_blocks(every: int, blocks: list[int]) -> None:
    assert [len(found) for found in places((4, 6), every)] == blocks
    with torch.device("meta"):
        stages = Net(1, 2, 2, width=4, every=every).encoder.stages
    assert [sum(isinstance(m, NonLocal) for m in stage) for stage in stages.children()] == [0, *blocks, 0]  # type: ignore[arg-type]


def test_the_single_block_stands_before_the_last_residual_one() -> None:
    assert places((4, 6), 0) == [[], [4]]
    with torch.device("meta"):
        names = [name for name, _ in Net(1, 2, 2, width=4, every=0).encoder.stages[2].named_children()]
    assert names == ["0", "1", "2", "3", "4", "nonlocal4", "5"]


def test_at_the_start_the_network_is_its_resnet() -> None:
    torch.manual_seed(0)
    net, x = Net(1, 2, 2, depth=18, width=4).eval(), torch.rand(1, 1, 32, 48)
    before = net(x)
    assert before.shape == (1, 2, 32, 48) and net.features(x).shape[2:] == (4, 6)
    for module in net.modules():
        if isinstance(module, NonLocal):
            for conv in (module.theta, module.phi, module.g):
                nn.init.normal_(conv.weight)  # type: ignore[arg-type]
    assert torch.equal(net(x), before)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(HilumError, match="mode is 'near'"):
        Net(1, 2, 2, depth=18, width=4, mode="near")
    with pytest.raises(HilumError, match="no softmax"):
        Net(1, 2, 2, depth=18, width=4, mode="dot", scaled=True)
    with pytest.raises(HilumError, match="no non-local block"):
        Net(1, 2, 2, depth=18, width=4, every=3)
    with pytest.raises(HilumError, match="depth is 20"):
        Net(1, 2, 2, depth=20)
    with pytest.raises(HilumError, match=r"Pad to \(32, 40\)"):
        Net(1, 2, 2, depth=18, width=4)(torch.rand(1, 1, 32, 36))
    with pytest.raises(HilumError, match="at least 16"):
        Net(1, 2, 2, depth=18, width=4, subsample=True)(torch.rand(1, 1, 8, 32))
