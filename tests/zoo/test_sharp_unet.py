"""Sharp U-Net: what its filters do, that they are kept and not learned, and the U-Net around them."""

from typing import Any

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.zoo import sharp_unet, unet
from hilum.zoo._blocks.sharp import KERNELS, Sharp
from hilum.zoo._cost import parameters

SMALL: dict[str, Any] = {"widths": [4, 6, 8]}


@pytest.mark.parametrize(("kernel", "kept"), [("laplacian8", 0.0), ("sharpen5", 1.0)])
def test_a_constant_image_is_lost_or_kept(kernel: str, kept: float) -> None:
    out = Sharp(2, kernel)(torch.full((1, 2, 6, 7), 3.0))
    assert out.shape == (1, 2, 6, 7)
    torch.testing.assert_close(out[..., 1:-1, 1:-1], torch.full((1, 2, 4, 5), 3.0 * kept))
    assert (out[..., 0, :] > 3 * kept).all()  # beyond the border there are zeros


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_an_impulse_gives_the_kernel_in_its_own_channel(kernel: str) -> None:
    x = torch.zeros(1, 3, 5, 5)
    x[0, 1, 2, 2] = 1
    out = Sharp(3, kernel)(x)
    assert torch.equal(out[0, 1, 1:4, 1:4], torch.tensor(KERNELS[kernel]))
    assert not out[0, [0, 2]].any() and int(out[0, 1].ne(0).sum()) == {"laplacian8": 9, "sharpen5": 5}[kernel]


def test_a_filter_is_linear_and_moves_with_the_image() -> None:
    sharp, x, y = Sharp(2, "laplacian8"), torch.rand(1, 2, 9, 9), torch.rand(1, 2, 9, 9)
    torch.testing.assert_close(sharp(2 * x - y), 2 * sharp(x) - sharp(y), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sharp(x)[..., 2:-2, 2:-2], sharp(x.roll(1, 3))[..., 2:-2, 3:-1])


def test_kernels_are_saved_and_not_learned() -> None:
    with torch.device("meta"):
        net = sharp_unet.Net(3, 1, 2)
        plain = unet.Net(3, 1, 2, widths=[32, 64, 128, 256, 512])
    fixed = {name: value for name, value in net.state_dict().items() if name.startswith("sharp.")}
    assert sum(value.numel() for value in fixed.values()) == 4320
    assert not fixed.keys() & dict(net.named_parameters()).keys()
    assert parameters(net) == parameters(plain) == 7760097


def test_with_filters_that_do_nothing_it_is_the_unet() -> None:
    torch.manual_seed(0)
    net, plain = sharp_unet.Net(2, 3, 2, **SMALL).eval(), unet.Net(2, 3, 2, **SMALL).eval()
    assert not net.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
    x = torch.rand(1, 2, 8, 12)
    assert not torch.allclose(net(x), plain(x))
    for name, value in net.state_dict().items():
        if name.startswith("sharp."):
            value.zero_()[:, :, 1, 1] = 1
    torch.testing.assert_close(net(x), plain(x))


def test_the_kernel_is_an_option() -> None:
    nets = []
    for kernel in KERNELS:
        torch.manual_seed(0)
        nets.append(sharp_unet.Net(1, 2, 2, kernel=kernel, **SMALL))
    x = torch.rand(1, 1, 8, 8)
    assert not torch.allclose(nets[0](x), nets[1](x))
    with pytest.raises(HilumError, match="laplacian8"):
        sharp_unet.Net(1, 2, 2, kernel="sobel", **SMALL)


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(HilumError, match=r"Pad to \(8, 12\)"):
        sharp_unet.Net(1, 2, 2, **SMALL)(torch.rand(1, 1, 8, 9))
    with pytest.raises(HilumError, match="widths"):
        sharp_unet.Net(1, 2, 2, widths=[4])
    with pytest.raises(HilumError, match="spatial_dims"):
        sharp_unet.Net(1, 2, 3, **SMALL)
