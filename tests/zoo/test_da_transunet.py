"""DA-TransUNet: both wirings counted, what never learns, the two attentions by their formulas."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hilum.core.errors import HilumError
from hilum.zoo._cost import parameters
from hilum.zoo.da_transunet import CARD, ChannelAttention, DualAttention, Net, PositionAttention

TINY: dict[str, Any] = {k: v for k, v in CARD["tiny"]["kwargs"].items() if k not in ("in_channels", "out_channels")}  # type: ignore[index]


def small(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, **{**TINY, **options})


def large(wiring: str, out_channels: int = 9) -> Net:
    with torch.device("meta"):
        return Net(1, out_channels, 2, image_size=224, wiring=wiring)


@pytest.mark.parametrize(
    ("channels", "released", "count"),
    [
        (768, True, 821246),
        (768, False, 745982),
        (512, True, 365610),
        (512, False, 331818),
        (256, True, 91862),
        (256, False, 83158),
        (64, True, 5910),
        (64, False, 5280),
        (1024, False, 1325650),
    ],
)
def test_a_block_has_the_count_of_its_description(channels: int, released: bool, count: int) -> None:
    with torch.device("meta"):
        assert parameters(DualAttention(channels, 0.0, released)) == count


def test_what_the_released_code_builds_for_nothing() -> None:
    net = large("code")
    idle = sum(p.numel() for name, p in net.named_parameters() if "idle" in name.split("."))
    assert idle == 1513816 and parameters(net) - idle == 106438039
    assert parameters(large("code", 2)) - idle == 106437024  # the number in the file's head


@pytest.mark.parametrize("wiring", ["paper", "code"])
def test_only_the_idle_parts_get_no_gradient(wiring: str) -> None:
    net = small(wiring=wiring)
    net(torch.rand(2, 1, 32, 32)).square().sum().backward()
    without = {name for name, p in net.named_parameters() if p.grad is None}
    assert without == {name for name, _ in net.named_parameters() if "idle" in name.split(".")}
    assert bool(without) == (wiring == "code")


def test_where_the_blocks_are() -> None:
    paper, code = large("paper"), large("code")
    reads = [[next(block.parameters()).shape[1] for block in net.attend] for net in (paper, code)]
    assert reads == [[512, 256, 64], [512, 256]]
    assert next(paper.encoder.before.parameters()).shape[1] == 1024 and not list(paper.encoder.after.parameters())
    assert next(code.encoder.after.parameters()).shape[1] == 768 and not list(code.encoder.before.parameters())


def test_the_third_skip_is_attended_in_the_paper_only() -> None:
    for wiring, seen in (("paper", [(4, 4), (8, 8), (16, 16)]), ("code", [(4, 4), (8, 8)])):
        net = small(wiring=wiring).eval()
        sizes: list[tuple[int, ...]] = []
        for block in net.attend:
            block.register_forward_hook(lambda _m, x, _y, sizes=sizes: sizes.append(tuple(x[0].shape[2:])))  # type: ignore[misc]
        net(torch.rand(1, 1, 32, 32))
        assert sizes == seen


def test_attentions_that_begin_at_nothing_change_nothing() -> None:
    x = torch.rand(2, 16, 5, 6)
    assert torch.equal(PositionAttention(16, 2, 0.0)(x), x) and torch.equal(ChannelAttention(0.0)(x), x)
    assert all(not m.gamma.any() for m in large_gammas())
    # as --net da_transunet:gamma=0 gives it, a whole number
    assert PositionAttention(16, 2, 0).gamma.is_floating_point() and ChannelAttention(1).gamma.is_floating_point()


def large_gammas() -> list[Any]:
    net = Net(1, 2, **{k: v for k, v in TINY.items() if k != "gamma"})
    return [m for m in net.modules() if isinstance(m, PositionAttention | ChannelAttention)]


def test_position_attention_is_its_formula() -> None:
    torch.manual_seed(0)
    block, x = PositionAttention(16, 2, 0.7), torch.randn(2, 16, 5, 6)
    assert block.query_key is not None
    query, key = block.query_key(x).flatten(2).split(2, dim=1)
    weights = (query.transpose(1, 2) @ key).softmax(-1)
    value = block.value(x).flatten(2)
    wanted = x + 0.7 * (value @ weights.transpose(1, 2)).view_as(x)
    torch.testing.assert_close(block(x), wanted)


def test_without_a_query_all_positions_count_alike() -> None:
    torch.manual_seed(0)
    block, alike, x = PositionAttention(4, 0, 0.5), PositionAttention(4, 1, 0.5), torch.rand(1, 4, 5, 6)
    alike.value.load_state_dict(block.value.state_dict())
    assert alike.query_key is not None
    for parameter in alike.query_key.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), alike(x))


def test_channel_attention_is_its_formula_and_knows_no_places() -> None:
    torch.manual_seed(0)
    block, x = ChannelAttention(0.7), torch.randn(2, 6, 4, 5)
    rows = x.flatten(2)
    for n in range(2):
        energy = rows[n] @ rows[n].T
        weights = torch.stack([(row.max() - row).softmax(0) for row in energy])
        torch.testing.assert_close(block(x)[n], x[n] + 0.7 * (weights @ rows[n]).view(6, 4, 5))
    order = torch.randperm(20)
    moved = rows[..., order].view_as(x)
    torch.testing.assert_close(block(moved).flatten(2), block(x).flatten(2)[..., order])


def test_the_pairs_of_all_positions_are_never_held() -> None:
    block, x = PositionAttention(4, 1, 0.5), torch.rand(1, 4, 64, 64, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # refuses inputs that it can not do
        block(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_there_is_no_path_around_the_block() -> None:
    block = DualAttention(32, 0.5, False).eval()
    for parameter in block.out.parameters():
        nn.init.zeros_(parameter)
    assert not block(torch.rand(1, 32, 8, 8)).any()


def test_norms_forget_only_as_released() -> None:
    for wiring, momentum in (("paper", 0.05), ("code", 0.95)):
        norms = [m for m in small(wiring=wiring).attend.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms and all(m.momentum == momentum and m.eps == 1e-3 for m in norms)


def test_another_wiring_is_refused() -> None:
    with pytest.raises(HilumError, match="wiring"):
        small(wiring="other")
    with pytest.raises(HilumError, match="HIL-ZOO-01"):
        small(spatial_dims=3)
    with pytest.raises(HilumError, match="HIL-ZOO-04"):
        small()(torch.rand(1, 1, 48, 48))
