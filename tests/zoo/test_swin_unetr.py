"""Swin UNETR: windows, masks, both mergings, sizes."""

from typing import Any

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.zoo.swin_unetr import Merge, Net, Stage

TINY: dict[str, Any] = {"width": 12, "depths": [2, 1, 1, 1], "heads": [1, 2, 2, 2], "window": 4}


@pytest.mark.parametrize(("dims", "merging"), [(2, "all"), (2, "released"), (3, "all"), (3, "mended")])
def test_merging_reads_every_voxel_once(dims: int, merging: str) -> None:
    merge = Merge(1, dims, merging)
    assert len(set(merge.corners)) == 2**dims


def test_the_released_merging_reads_two_neighbours_twice_and_two_never() -> None:
    x = torch.rand(1, 4, 4, 4, 3)
    seen = []
    for merging in ("all", "released"):
        merge = Merge(3, 3, merging)
        torch.nn.init.ones_(merge.reduction.weight)
        places = torch.zeros(4, 4, 4)
        for corner in merge.corners:
            places[tuple(slice(start, None, 2) for start in corner)] += 1
        seen.append(sorted(places.unique().tolist()))
        assert merge(x).shape == (1, 2, 2, 2, 6)
    assert seen == [[1], [0, 1, 2]]
    assert Merge(3, 2, "released").corners == Merge(3, 2, "all").corners


def test_a_shifted_window_does_not_reach_around_the_edge() -> None:
    """A change of the first voxel stays out of the last window, where the roll has brought it."""
    stage = Stage(4, 1, (4, 4), [0.0, 0.0], "all")
    x = torch.rand(1, 4, 16, 16)
    changed = x.clone()
    changed[..., 0, 0] += 10
    moved = (stage(changed) - stage(x)).abs().amax(dim=(0, 1))
    assert moved[:3, :3].max() > 0 and moved[4:, :].max() == 0 and moved[:, 4:].max() == 0


def test_sizes() -> None:
    net = Net(1, 2, 2, **TINY).eval()
    assert net(torch.rand(1, 1, 32, 96)).shape == (1, 2, 32, 96)
    with pytest.raises(HilumError, match=r"Pad to \(64, 96\)"):
        net(torch.rand(1, 1, 40, 96))
    with pytest.raises(HilumError, match="one voxel"):
        net(torch.rand(1, 1, 32, 32))


@pytest.mark.parametrize(
    "options",
    [{"depths": [2, 2, 2]}, {"heads": [0, 1, 1, 1]}, {"heads": [5, 5, 5, 5]}, {"merging": "half"}, {"window": 0}],
)
def test_what_can_not_be_built_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(HilumError, match="HIL-ZOO-03"):
        Net(1, 2, 2, **{**TINY, **options})


@pytest.mark.parametrize("merging", ["released", "mended"])
def test_other_mergings_have_the_same_weights_and_another_output(merging: str) -> None:
    torch.manual_seed(0)
    net, other = Net(1, 2, 3, **TINY).eval(), Net(1, 2, 3, **TINY, merging=merging).eval()
    other.load_state_dict(net.state_dict())
    x = torch.rand(1, 1, 32, 32, 64)
    with torch.no_grad():
        assert not torch.allclose(net(x), other(x))
