"""UNETR: MONAI's weights and numbers, the skips, the fixed image size."""

import importlib.util
from typing import Any

import pytest
import torch
from monai.networks.nets import UNETR
from torch import nn

from hilum.core.errors import HilumError
from hilum.zoo.unetr import Net, from_monai

NEEDS_EINOPS = pytest.mark.skipif(
    importlib.util.find_spec("einops") is None, reason="einops, which MONAI asks for here"
)

SMALL: dict[str, Any] = {"width": 4, "dim": 24, "depth": 4, "heads": 3}


def small(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, 2, **{"image_size": (32, 48), **SMALL, **options})


def monai(dims: int, image_size: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = UNETR(
        2, 3, image_size, feature_size=4, hidden_size=24, mlp_dim=96, num_heads=3, spatial_dims=dims
    ).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


@NEEDS_EINOPS
@pytest.mark.parametrize(("dims", "image_size"), [(2, (48, 32)), (3, (32, 16, 48))])
def test_the_same_weights_give_the_same_output(dims: int, image_size: tuple[int, ...]) -> None:
    original, x = monai(dims, image_size), torch.randn(2, 2, *image_size)
    net = Net(2, 3, dims, image_size=image_size, width=4, dim=24, heads=3, taps=(4, 7, 10)).eval()
    net.load_state_dict(from_monai(original.state_dict()))
    with torch.no_grad():
        torch.testing.assert_close(net(x), original(x))
    paper = Net(2, 3, dims, image_size=image_size, width=4, dim=24, heads=3).eval()
    paper.load_state_dict(net.state_dict())
    assert paper.after == (3, 6, 9) and not torch.allclose(paper(x), net(x), atol=1e-3)


@NEEDS_EINOPS
def test_only_norms_that_nothing_reads_are_missing() -> None:
    original = monai(2, (32, 32))
    net = Net(2, 3, 2, image_size=32, width=4, dim=24, heads=3)
    unread = sum(p.numel() for name, p in original.named_parameters() if "norm_cross_attn" in name)
    assert unread == 12 * 2 * 24
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in original.parameters()) - unread


def test_the_form_of_the_paper_on_its_patch() -> None:
    with torch.device("meta"):
        net, x = Net(1, 14, 3, image_size=96).eval(), torch.empty(1, 1, 96, 96, 96)
        assert net(x).shape == (1, 14, 96, 96, 96)
    assert net.position.shape == (1, 216, 768) and net.after == (3, 6, 9)
    # the count of MONAI's, without what nothing reads
    assert sum(p.numel() for p in net.parameters()) == 92_802_478 - 12 * 2 * 768


def test_shapes_of_the_skips() -> None:
    net, seen = small(), []
    for tap in [net.image, *net.taps]:
        tap.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    assert net(torch.rand(1, 1, 32, 48)).shape == (1, 2, 32, 48)
    assert seen == [(4, 32, 48), (8, 16, 24), (16, 8, 12), (32, 4, 6)]


@pytest.mark.parametrize("tap", [0, 1, 2])
def test_every_skip_is_read(tap: int) -> None:
    net, x = small().eval(), torch.rand(1, 1, 32, 48)
    before = net(x)
    net.taps[tap].register_forward_hook(lambda _, __, out: torch.zeros_like(out))
    assert not torch.allclose(net(x), before, atol=1e-4)


def test_the_position_is_learned() -> None:
    net = small()
    net(torch.rand(1, 1, 32, 48)).square().sum().backward()
    assert net.position.grad is not None and (net.position.grad.abs().sum(-1) > 0).all()


def test_refusals() -> None:
    with pytest.raises(HilumError, match=r"HIL-ZOO-04"):
        small()(torch.rand(1, 1, 48, 32))
    with pytest.raises(HilumError, match="divisible by 16"):
        small(image_size=40)
    with pytest.raises(HilumError, match="heads"):
        small(heads=5)
    with pytest.raises(HilumError, match="rising"):
        small(taps=(2, 1, 3))
    with pytest.raises(HilumError, match="last skip"):
        small(taps=(1, 2, 4))
    with pytest.raises(HilumError, match="MONAI"):
        from_monai({"encoder1.unknown": torch.zeros(1), "swinViT.layers.0": torch.zeros(1)})
