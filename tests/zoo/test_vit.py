"""ViT: tokens, the fixed image size, the order of patches."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.zoo.vit import Net


def small(**options: object) -> Net:
    return Net(1, 2, 2, **{"image_size": (16, 24), "patch": 8, "dim": 8, "depth": 1, "heads": 2, **options})  # type: ignore[arg-type]


def test_a_side_of_its_own_per_axis() -> None:
    net = small(patch=(4, 8))
    assert net.position.shape == (1, 4 * 3 + 1, 8) and net(torch.rand(2, 1, 16, 24)).shape == (2, 2)


def test_another_size_is_refused() -> None:
    with pytest.raises(HilumError, match=r"HIL-ZOO-04"):
        small()(torch.rand(1, 1, 24, 16))
    with pytest.raises(HilumError, match="not divisible"):
        small(patch=5)
    with pytest.raises(HilumError, match="heads"):
        small(heads=3)


def test_without_positions_the_order_of_patches_does_not_matter() -> None:
    # some random networks hardly look at the order
    torch.manual_seed(0)
    net = small().eval()
    torch.nn.init.zeros_(net.position)
    x = torch.rand(1, 1, 16, 24)
    swapped = torch.cat([x[..., 8:16], x[..., :8], x[..., 16:]], dim=-1)
    torch.testing.assert_close(net(x), net(swapped))
    torch.nn.init.normal_(net.position)
    assert not torch.allclose(net(x), net(swapped))
