"""Sharp Dense U-Net: a reconstruction, and says so; its blocks keep all they read; its skips are sharpened."""

from typing import Any

import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers
from hilum.zoo._blocks.sharp import KERNELS
from hilum.zoo.sharp_dense_unet import CARD, DenseBlock, Net

SMALL: dict[str, Any] = {"widths": [4, 6, 8], "layers": 2}


def test_it_says_that_it_is_a_reconstruction() -> None:
    assert CARD["reconstruction"] is True


@pytest.mark.parametrize("count", [1, 3])
def test_a_block_keeps_its_input_and_every_layer_adds_half_the_width(count: int) -> None:
    block, x = DenseBlock(layers(2), 5, 8, count), torch.rand(2, 5, 6, 6)
    gathered = block.gathered(x)
    assert gathered.shape == (2, 5 + count * 4, 6, 6) and torch.equal(gathered[:, :5], x)
    assert block(x).shape == (2, 8, 6, 6)


def test_every_layer_reads_all_before_it() -> None:
    block = DenseBlock(layers(2), 5, 8, 3)
    convs = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(5, 4), (9, 4), (13, 4), (17, 8)]


def test_skips_are_sharpened_by_kernels_that_are_saved_and_not_learned() -> None:
    torch.manual_seed(0)
    net = Net(1, 2, 2, **SMALL).eval()
    names = {f"sharp.{level}.weight" for level in range(2)}
    assert names <= net.state_dict().keys() and not names & dict(net.named_parameters()).keys()
    for name in names:
        kernels = net.state_dict()[name]
        assert torch.equal(kernels, torch.tensor(KERNELS["laplacian8"]).expand_as(kernels))
    x = torch.rand(1, 1, 8, 8)
    before = net(x)
    net.state_dict()["sharp.0.weight"].zero_()
    assert not torch.allclose(net(x), before)


def test_what_can_not_be_is_refused() -> None:
    for options in ({"layers": 0}, {"widths": [4, 5, 8]}, {"widths": [4]}, {"kernel": "sobel"}):
        with pytest.raises(HilumError, match=next(iter(options))):
            Net(1, 2, 2, **{**SMALL, **options})
    with pytest.raises(HilumError, match=r"Pad to \(8, 12\)"):
        Net(1, 2, 2, **SMALL)(torch.rand(1, 1, 8, 9))
    with pytest.raises(HilumError, match="spatial_dims"):
        Net(1, 2, 3, **SMALL)


def test_one_value_per_channel_at_the_bottom_is_refused_in_training_only() -> None:
    net, x = Net(1, 2, 2, **SMALL), torch.rand(1, 1, 4, 4)
    with pytest.raises(HilumError, match="one value per channel"):
        net(x)
    assert net.eval()(x).shape == (1, 2, 4, 4)
    assert net.train()(x.expand(2, -1, -1, -1)).shape == (2, 2, 4, 4)
