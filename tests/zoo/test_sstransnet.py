"""SSTrans-Net: without potentials it is Swin-Unet without masks; what the potentials do."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hilum.core.errors import HilumError
from hilum.zoo import swin_unet
from hilum.zoo.sstransnet import Net, SmartBlock

SMALL: dict[str, Any] = {"dim": 8, "depths": (2, 2), "heads": (2, 4), "window": 4, "drop_path": 0.0}


def small(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, 2, **{"image_size": (64, 32), **SMALL, **options})


def image() -> Tensor:
    return torch.randn(2, 1, 64, 32, generator=torch.Generator().manual_seed(1))


def smart(net: Net) -> list[SmartBlock]:
    return [m for m in net.modules() if isinstance(m, SmartBlock) and m.potential is not None]


def test_without_potentials_it_is_swin_unet_without_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = small(smart=False).eval(), image()
    swin = swin_unet.Net(1, 2, 2, **SMALL).eval()
    swin.load_state_dict(net.state_dict())
    masked = swin(x)
    monkeypatch.setattr("hilum.zoo._blocks.swin.SwinBlock.mask", lambda *_: None)
    assert torch.equal(net(x), swin(x)) and not torch.allclose(net(x), masked, atol=1e-4)


def test_at_first_the_potentials_do_nothing() -> None:
    net, plain = small().eval(), small(smart=False).eval()
    rest = plain.load_state_dict(net.state_dict(), strict=False)
    assert not rest.missing_keys and all(key.endswith("potential") for key in rest.unexpected_keys)
    torch.testing.assert_close(net(image()), plain(image()))
    torch.nn.init.normal_(smart(net)[0].potential)  # type: ignore[arg-type]
    assert not torch.allclose(net(image()), plain(image()), atol=1e-4)


def test_the_mask_is_antisymmetric_and_only_its_keys_act() -> None:
    torch.manual_seed(0)
    block = SmartBlock(8, 2, 4, size=(8, 12), shifted=True, drop_path=0.0, smart=True).eval()
    assert block.potential is not None and block.potential.shape == (2, 8, 12)
    torch.nn.init.normal_(block.potential)
    mask = block.mask((8, 12), torch.device("cpu"))
    assert mask is not None and mask.shape == (6, 2, 16, 16)
    assert torch.equal(mask, -mask.transpose(2, 3))
    p = block.potential.detach()
    assert mask[1, 0, 0, 5] == p[0, 0, 4] - p[0, 1, 5]  # window 1 begins at column 4; place 5 is row 1, column 1
    x = torch.randn(1, 6, 16, 8)
    keys = mask - mask[..., :1]
    torch.testing.assert_close(block.attention(x, mask), block.attention(x, keys))


def test_potentials_stand_where_windows_are_shifted() -> None:
    with torch.device("meta"):
        net = Net(3, 9, 2, image_size=224)
    shapes = [tuple(block.potential.shape) for block in smart(net)]  # type: ignore[union-attr]
    half = [(3, 56, 56), (6, 28, 28), (12, 14, 14)]
    assert shapes == [*half, *half[::-1]]
    assert sum(h * y * x for h, y, x in shapes) == 27_201_828 - 27_168_900 == 32_928


def test_the_potentials_learn() -> None:
    net = small()
    net(image()).square().sum().backward()
    grads = [block.potential.grad for block in smart(net)]  # type: ignore[union-attr]
    assert len(grads) == 3 and all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_refusals() -> None:
    with pytest.raises(HilumError, match="HIL-ZOO-04"):
        small()(torch.rand(1, 1, 32, 64))
    with pytest.raises(HilumError, match="not divisible"):
        small(image_size=40)
    with pytest.raises(HilumError, match="HIL-ZOO-01"):
        Net(1, 2, 3, image_size=32, **SMALL)
