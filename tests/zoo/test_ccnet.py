"""CCNet: criss-cross attention against a slow form, what each pixel sees, sizes, refusals."""

import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers
from hilum.zoo._cost import parameters
from hilum.zoo.ccnet import Corners, CrissCross, Net, attend


def block(gate: float = 0.7) -> CrissCross:
    torch.manual_seed(0)
    return CrissCross(layers(2), 16, gate)


def tiny(**options: object) -> Net:
    torch.manual_seed(0)
    return Net(1, 3, 2, **{"depth": 18, "width": 4, **options})  # type: ignore[arg-type]


def test_the_last_two_stages_dilate() -> None:
    with torch.device("meta"):
        stages = Net(3, 19, 2).encoder.stages
    threes = [[m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)] for stage in stages]
    assert [{m.dilation for m in stage} for stage in threes] == [{(1, 1)}, {(1, 1)}, {(2, 2)}, {(4, 4)}]


def test_answers_are_spread_corner_on_corner() -> None:
    ramp = torch.arange(5.0)[None, None, :, None].expand(1, 1, 5, 7)
    torch.testing.assert_close(Corners()(ramp)[0, 0, :, 0], torch.linspace(0, 4, 32))


def test_a_slow_form_agrees() -> None:
    net, x = block(), torch.randn(1, 16, 5, 6)
    query, key, value = net.query(x)[0], net.key(x)[0], net.value(x)[0]
    wanted = x.clone()
    for i in range(5):
        for j in range(6):
            seen = [(a, j) for a in range(5) if a != i] + [(i, b) for b in range(6)]
            assert len(seen) == 5 + 6 - 1
            weights = torch.stack([query[:, i, j] @ key[:, a, b] for a, b in seen]).softmax(0)
            heard = sum(weight * value[:, a, b] for weight, (a, b) in zip(weights, seen, strict=True))
            wanted[0, :, i, j] += 0.7 * heard  # type: ignore[operator]
    torch.testing.assert_close(net(x), wanted, atol=1e-5, rtol=1e-5)


def test_the_weights_sum_to_one_and_each_pixel_counts_itself_once() -> None:
    column, row = attend(torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6))
    torch.testing.assert_close(column.sum(-1) + row.sum(-1), torch.ones(2, 5, 6))
    assert (column.diagonal(dim1=1, dim2=3) == 0).all() and (row.diagonal(dim1=2, dim2=3) > 0).all()
    assert int((column == 0).sum()) == 2 * 5 * 6


def test_it_starts_as_the_identity() -> None:
    x = torch.randn(1, 16, 5, 6)
    assert torch.equal(block(gate=0.0)(x), x)
    assert torch.equal(CrissCross(layers(2), 16).gate.detach(), torch.zeros(1))


def reach(net: CrissCross, times: int, at: tuple[int, int]) -> Tensor:
    """Which pixels change when the one at `at` does."""

    def run(x: Tensor) -> Tensor:
        for _ in range(times):
            x = net(x)
        return x

    x = torch.randn(1, 16, 5, 6, generator=torch.Generator().manual_seed(1))
    other = x.clone()
    other[..., at[0], at[1]] += 1
    return (run(x) - run(other)).abs().sum(dim=(0, 1)) > 0


def test_once_is_a_cross_and_twice_is_everything() -> None:
    cross = torch.zeros(5, 6, dtype=torch.bool)
    cross[1], cross[:, 4] = True, True
    assert torch.equal(reach(block(), 1, (1, 4)), cross)
    assert reach(block(), 2, (1, 4)).all()


def test_a_transposed_image_gives_a_transposed_answer() -> None:
    net, x = block(), torch.randn(1, 16, 5, 6)
    torch.testing.assert_close(net(x.mT), net(x).mT)


def test_sizes_are_those_of_the_original() -> None:
    with torch.device("meta"):
        assert parameters(CrissCross(layers(2), 512)) == 328_321
        net = Net(3, 19, 2, deep_supervision=False)
    assert parameters(net) - parameters(net.encoder) == 23_934_100
    assert net.encoder.channels == [128, 256, 512, 1024, 2048]


def test_recurrence_shares_its_weights() -> None:
    once, twice = tiny(recurrence=1, gate=0.5).eval(), tiny(gate=0.5).eval()
    twice.load_state_dict(once.state_dict())
    x = torch.rand(1, 1, 32, 32)
    assert parameters(once) == parameters(twice) and not torch.equal(once(x), twice(x))


def test_the_map_has_a_point_on_every_border() -> None:
    net = tiny().eval()
    assert net.features(torch.rand(1, 1, 32, 48)).shape == (1, 32, 5, 7)
    assert net(torch.rand(1, 1, 32, 48)).shape == (1, 3, 32, 48)


def test_deep_supervision_adds_a_head_in_training_only() -> None:
    net, x = tiny(dropout=0.0), torch.rand(2, 1, 32, 48)
    main, auxiliary = net(x)["out"]
    assert main.shape == auxiliary.shape == (2, 3, 32, 48)
    assert not torch.equal(main, auxiliary)
    assert net.eval()(x).shape == (2, 3, 32, 48)
    named = Net(1, {"a": 2, "b": 3}, 2, depth=18, width=4, deep_supervision=True)(x)
    assert {name: [part.shape[1] for part in parts] for name, parts in named.items()} == {"a": [2, 2], "b": [3, 3]}


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(HilumError, match="nothing would attend"):
        tiny(recurrence=0)
    with pytest.raises(HilumError, match="spatial_dims is 3"):
        Net(1, 2, 3)
    with pytest.raises(HilumError, match=r"Pad to \(776, 776\)"):
        tiny()(torch.rand(1, 1, 769, 769))
