"""U-Net: 572 -> 388, tiles, mirrored borders, shifts, and where it starts."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo.unet import Net, mirrored

SMALL: dict[str, Any] = {"widths": [4, 6, 8], "dropout": 0.0}


def small(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, 2, **{**SMALL, **options}).eval()


def test_572_pixels_become_388_and_each_skip_is_cut_as_published() -> None:
    with torch.device("meta"):
        net, x = Net(1, 2, 2, padding="valid"), torch.empty(1, 1, 572, 572)
    sides: dict[str, list[int]] = {"encoder": [], "up": []}
    for part, found in sides.items():
        for module in net.get_submodule(part).children():
            module.register_forward_hook(lambda _, __, out, found=found: found.append(out.shape[2]))  # type: ignore[misc]
    assert net(x).shape == (1, 2, 388, 388)
    assert sides == {"encoder": [568, 280, 136, 64, 28], "up": [56, 104, 200, 392]}
    cuts = [(down - up) // 2 for down, up in zip(sides["encoder"][3::-1], sides["up"], strict=True)]
    assert cuts == [4, 16, 40, 88] and net.margin == 92


def test_a_size_that_valid_convolutions_can_not_take_is_refused() -> None:
    net = small(padding="valid")
    assert net(torch.rand(1, 1, 44, 60)).shape == (1, 2, 4, 20)
    with pytest.raises(HilumError, match=r"Pad to \(48, 64\)"):
        net(torch.rand(1, 1, 46, 61))
    with pytest.raises(HilumError, match=r"Pad to \(44, 44\)"):
        net(torch.rand(1, 1, 40, 1))
    with torch.device("meta"):
        assert Net(1, 2, 2).tile(1) == 188


def test_same_keeps_the_size_and_wants_it_divisible() -> None:
    net = small()
    assert net(torch.rand(1, 1, 16, 20)).shape == (1, 2, 16, 20)
    with pytest.raises(HilumError, match=r"Pad to \(16, 20\)"):
        net(torch.rand(1, 1, 16, 18))


@pytest.mark.parametrize(
    ("size", "before", "behind"), [((5, 9), 20, [7, 33]), ((1, 2), 3, [4, 5]), ((8, 8), 7, [0, 1])]
)
def test_mirroring_is_numpys(size: tuple[int, int], before: int, behind: list[int]) -> None:
    x = torch.rand(1, 2, *size)
    wanted = np.pad(x.numpy(), [(0, 0), (0, 0), *((before, more) for more in behind)], mode="reflect")
    np.testing.assert_array_equal(mirrored(x, before, behind).numpy(), wanted)


def test_mirror_is_the_valid_network_on_the_mirrored_image() -> None:
    net, valid, x = small(padding="mirror"), small(padding="valid"), torch.rand(1, 1, 24, 28)
    wanted = valid(nn.functional.pad(x, [20] * 4, mode="reflect"))
    torch.testing.assert_close(net(x), wanted)
    for height, width in ((23, 26), (5, 40), (1, 1)):
        assert net(torch.rand(1, 1, height, width)).shape == (1, 2, height, width)


def test_tiles_laid_side_by_side_are_the_whole() -> None:
    net, whole, x = small(padding="valid"), small(padding="mirror"), torch.rand(1, 1, 24, 24)
    wide = mirrored(x, 20, [20, 20])
    rows = [torch.cat([net(wide[..., r : r + 52, c : c + 52]) for c in (0, 12)], dim=3) for r in (0, 12)]
    assert rows[0].shape == (1, 2, 12, 24)
    torch.testing.assert_close(torch.cat(rows, dim=2), whole(x))


def test_a_shift_by_all_poolings_commutes_with_the_valid_network_and_one_by_less_does_not() -> None:
    net, x = small(padding="valid"), torch.rand(1, 1, 60, 72)

    def both(shift: int) -> tuple[Tensor, Tensor]:
        return net(x[..., : 64 - 4])[..., shift:], net(x[..., shift : shift + 60])[..., : 20 - shift]

    torch.testing.assert_close(*both(4))
    torch.testing.assert_close(*both(8))
    assert not torch.allclose(*both(2))


def test_away_from_the_border_padding_changes_nothing_at_one_pooling() -> None:
    # with more poolings valid convolutions shift the grid of the second one
    same, valid, x = small(widths=[4, 6]), small(widths=[4, 6], padding="valid"), torch.rand(1, 1, 40, 48)
    torch.testing.assert_close(same(x)[..., 8:-8, 8:-8], valid(x))


def test_weights_start_as_the_paper_says() -> None:
    torch.manual_seed(0)
    net = Net(1, 2, 2, widths=[64, 96])
    for name, inputs in (("encoder.1.0", 9 * 64), ("decoder.0.0", 9 * 128), ("up.0", 96)):
        layer = net.get_submodule(name)
        assert float(layer.get_parameter("weight").detach().std()) == pytest.approx(math.sqrt(2 / inputs), rel=0.05)
        assert not layer.get_parameter("bias").any()


def test_dropout_is_at_the_bottom_in_training_only() -> None:
    net, x = small(dropout=0.5), torch.rand(1, 1, 16, 16)
    assert torch.equal(net(x), small()(x))
    net.train()
    assert not torch.equal(net(x), net(x))
    net.get_submodule("dropout").eval()
    assert torch.equal(net(x), net(x))


def test_batch_norm_is_an_option() -> None:
    assert not any(isinstance(m, nn.BatchNorm2d) for m in small().modules())
    net = small(norm="batch")
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 10
    with pytest.raises(HilumError, match="one value per channel"):
        net.train()(torch.rand(1, 1, 4, 4))


def test_what_can_not_be_is_refused() -> None:
    for options in ({"padding": "zeros"}, {"norm": "layer"}, {"widths": [8]}):
        with pytest.raises(HilumError, match=next(iter(options))):
            Net(1, 2, 2, **options)  # type: ignore[arg-type]
    with pytest.raises(HilumError, match="spatial_dims"):
        Net(1, 2, 3)
