"""FCOS: levels, distances, the prior, refusals."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.zoo.fcos import PRIOR, Net


@pytest.mark.parametrize("dims", [2, 3])
def test_levels_and_heads(dims: int) -> None:
    net = Net(1, 3, dims, width=8, depth=1).eval()
    out = net(torch.rand(1, 1, *[32] * dims))
    assert net.strides == [4, 8, 16]
    for name, channels in {"class": 3, "box": 2 * dims, "centre": 1}.items():
        assert [tuple(part.shape) for part in out[name]] == [(1, channels, *[32 // s] * dims) for s in net.strides]


def test_distances_are_not_negative_and_grow_with_the_stride() -> None:
    torch.manual_seed(0)
    out = Net(1, 3, 2, width=8)(10 * torch.randn(2, 1, 64, 64))
    assert all(bool((box >= 0).all()) for box in out["box"])
    means = [float(box.detach().mean()) for box in out["box"]]
    assert means[1] / means[0] == pytest.approx(2, rel=0.1) and means[2] / means[1] == pytest.approx(2, rel=0.1)


def test_it_starts_at_the_prior() -> None:
    torch.manual_seed(0)
    scores = Net(1, 3, 2, width=8).eval()(torch.rand(1, 1, 32, 32))["class"][0].sigmoid()
    assert float(scores.detach().mean()) == pytest.approx(PRIOR, rel=0.2)


def test_heads_may_be_named() -> None:
    assert Net(1, {"class": 2, "box": 4, "centre": 1}, 2, width=8, levels=1).strides == [4]
    with pytest.raises(HilumError, match="number of classes"):
        Net(1, {"class": 2, "box": 6, "centre": 1}, 2)
    with pytest.raises(HilumError, match="Pad to"):
        Net(1, 2, 2, width=8)(torch.rand(1, 1, 40, 32))


def test_a_level_of_one_pixel_is_refused() -> None:
    """Narrow towers have a group of one channel, which has no variance there: torch's own words, or a constant."""
    net = Net(1, 2, 2, width=8)
    with pytest.raises(HilumError, match="one voxel"):
        net(torch.rand(1, 1, 16, 16))
    assert len(net(torch.rand(1, 1, 16, 32))["box"]) == 3
