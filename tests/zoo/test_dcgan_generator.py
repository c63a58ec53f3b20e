"""DCGAN generator: range, sizes, norms."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.zoo.dcgan_generator import Net


@pytest.mark.parametrize(("size", "dims"), [(16, 2), ((16, 24), 2), ((32, 32), 2), ((16, 16, 20), 3)])
def test_the_image_has_the_size_and_range(size: int | tuple[int, ...], dims: int) -> None:
    out = Net(5, 2, dims, image_size=size, width=4)(100 * torch.randn(3, 5))
    assert out.shape == (3, 2, *((size,) * dims if isinstance(size, int) else size))
    assert float(out.detach().abs().max()) <= 1


@pytest.mark.parametrize("size", [8, 20, 48, (64, 72)])
def test_other_sizes_are_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(HilumError, match="image_size"):
        Net(5, 1, 2, image_size=size)


@pytest.mark.parametrize("norm", ["group", "none"])
def test_one_latent_is_enough_without_batch_norm(norm: str) -> None:
    net, latent = Net(5, 1, 2, image_size=16, width=4, norm=norm), torch.randn(4, 5)
    torch.testing.assert_close(net(latent)[:1], net(latent[:1]))
    with pytest.raises(HilumError, match="norm is 'layer'"):
        Net(5, 1, 2, image_size=16, norm="layer")
