"""CU-Net: what the reconstruction is made of, skips, refusals."""

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.metrics.dice import measure
from hilum.zoo._cost import parameters
from hilum.zoo.cunet import Net


def tiny(**options: object) -> Net:
    torch.manual_seed(0)
    return Net(4, 1, 2, **{"widths": [4, 8, 16], **options})  # type: ignore[arg-type]


def test_four_contrasts_give_one_mask_of_the_same_size() -> None:
    net = Net(4, 1, 2, widths=[4, 8, 8, 8, 8]).eval()
    assert net.divisor == (16, 16)
    assert net(torch.rand(2, 4, 256, 256)).shape == (2, 1, 256, 256)
    assert net(torch.rand(1, 4, 16, 48)).shape == (1, 1, 16, 48)


def test_without_norm_it_has_the_size_of_the_plain_u_net_for_four_channels() -> None:
    with torch.device("meta"):
        plain, batch = Net(4, 1, 2, norm="none"), Net(4, 1, 2)
    assert parameters(plain) == 31_030_593 + 3 * 64 * 9
    assert parameters(batch) - parameters(plain) == 2 * 2 * (64 + 128 + 256 + 512) * 2 + 2 * 2 * 1024
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())


def test_every_level_is_two_padded_3x3_convolutions() -> None:
    net = tiny()
    for level in (*net.encoder, *net.decoder):
        convs = [m for m in level.modules() if isinstance(m, nn.Conv2d)]
        assert [(m.kernel_size, m.padding) for m in convs] == [((3, 3), (1, 1))] * 2
    assert [m.in_channels for m in net.up if isinstance(m, nn.ConvTranspose2d)] == [16, 8]


def test_a_skip_brings_the_same_resolution_across() -> None:
    """With all transposed convolutions silent the answer still follows the image, and only near where it changed."""
    net = tiny(norm="none").eval()
    for up in net.up:
        nn.init.zeros_(up.weight)  # type: ignore[arg-type]
    x = torch.rand(1, 4, 32, 32)
    other = x.clone()
    other[..., 16, 16] += 1
    rows, columns = (net(x) - net(other))[0, 0].abs().nonzero().unbind(1)
    assert len(rows) and int(rows.min()) >= 12 and int(rows.max()) <= 20 and int(columns.max()) <= 20


def test_it_moves_with_the_image() -> None:
    """By its divisor, away from the border."""
    net, x = tiny(norm="none").eval(), torch.rand(1, 4, 96, 96)
    moved = net(x.roll((4, 8), (2, 3)))
    inside = (..., slice(40, 56), slice(40, 56))
    torch.testing.assert_close(moved[inside], net(x).roll((4, 8), (2, 3))[inside])


def test_dice_of_a_volume_is_that_of_its_slices_together_and_not_their_mean() -> None:
    """Slices go through the network one by one; whoever judges them one by one has another figure."""
    truth, found = np.zeros((3, 4, 5), dtype=bool), np.zeros((3, 4, 5), dtype=bool)
    truth[0], found[0] = True, True
    truth[1, 0, 0], found[1, 3, 4] = True, True
    whole = measure(found, truth, (1.0, 1.0, 1.0))
    assert whole == measure(np.hstack(list(found)), np.hstack(list(truth)), (1.0, 1.0)) == pytest.approx(40 / 42)
    slices = [measure(f, t, (1.0, 1.0)) for f, t in zip(found, truth, strict=True)]
    assert slices == [1, 0, None]  # an empty one has none


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(HilumError, match="norm is 'layer'"):
        tiny(norm="layer")
    with pytest.raises(HilumError, match="spatial_dims is 3"):
        Net(4, 1, 3)
    with pytest.raises(HilumError, match=r"Pad to \(240, 240\)"):
        Net(4, 1, 2, widths=[4, 4, 4, 4, 4])(torch.rand(1, 4, 240, 236))
    with pytest.raises(HilumError, match="one value"):
        tiny()(torch.rand(1, 4, 4, 4))
    assert tiny(norm="none")(torch.rand(1, 4, 4, 4)).isfinite().all(), "without a norm there is nothing to refuse"
