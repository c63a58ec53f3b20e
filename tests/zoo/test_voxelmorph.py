"""VoxelMorph: starts at the identity, one component per axis."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.zoo.voxelmorph import Net


def test_it_starts_at_the_identity() -> None:
    torch.manual_seed(0)
    flow = Net(1, 3, 3)(torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16))
    assert flow.shape == (1, 3, 16, 16, 16) and float(flow.detach().abs().max()) < 1e-3


def test_the_displacement_has_one_component_per_axis() -> None:
    with pytest.raises(HilumError, match=r"2 components.*HIL-ZOO-05"):
        Net(1, 3, 2)
    with pytest.raises(HilumError, match="as many"):
        Net(1, 2, 2, encoder=[4, 4])


def test_both_images_lie_on_one_grid() -> None:
    net = Net(1, 2, 2)
    with pytest.raises(HilumError, match="fixed image's grid"):
        net(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 32))
    with pytest.raises(HilumError, match="Pad to"):
        net(torch.rand(1, 1, 16, 24), torch.rand(1, 1, 16, 24))
