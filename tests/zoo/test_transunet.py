"""TransUNet: its parts counted, the sizes inside, grey images, filters without a mean, refusals."""

from typing import Any

import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.learn._transfer import depth
from hilum.zoo._blocks.transunet import Bottleneck, StandardisedConv
from hilum.zoo._cost import parameters
from hilum.zoo.transunet import CARD, Net

TINY: dict[str, Any] = {k: v for k, v in CARD["tiny"]["kwargs"].items() if k not in ("in_channels", "out_channels")}  # type: ignore[index]


def small(in_channels: int = 1, out_channels: Any = 2, **options: Any) -> Net:
    torch.manual_seed(0)
    return Net(in_channels, out_channels, **{**TINY, **options})


def large(**options: Any) -> Net:
    with torch.device("meta"):
        return Net(1, 9, 2, image_size=224, **options)


def test_the_parts_have_the_counts_of_their_descriptions() -> None:
    net = large()
    convolutions = parameters(net.encoder.stem) + parameters(net.encoder.stages)
    assert convolutions == 11894848 and parameters(net.decoder) == 7387200
    assert parameters(net.encoder.layers) == 12 * 7087872 and net.encoder.position.shape == (1, 196, 768)


def test_norms_and_the_end_of_a_bottleneck() -> None:
    torch.manual_seed(0)
    block = Bottleneck(64, 64, 1)
    norms = [m for m in block.path.modules() if isinstance(m, nn.GroupNorm)]
    assert [(m.num_groups, m.eps) for m in norms] == [(32, 1e-6)] * 3
    assert block.shortcut[1].num_groups == 256  # type: ignore[index]
    out = block(torch.randn(1, 64, 8, 8))
    assert out.min() == 0 and out.max() > 0


def test_corners_stay_where_the_decoder_doubles_the_size() -> None:
    net, seen = small().eval(), dict[str, torch.Tensor]()
    net.decoder.first.register_forward_hook(lambda _, __, out: seen.update(low=out))
    net.decoder.blocks[0].register_forward_hook(lambda _, inputs, __: seen.update(high=inputs[0]))
    net(torch.rand(1, 1, 32, 32))
    low, high = seen["low"], seen["high"][:, : seen["low"].shape[1]]
    assert low.shape[2:] == (2, 2) and high.shape[2:] == (4, 4)
    torch.testing.assert_close(high[:, :, ::3, ::3], low)


def test_the_sizes_inside_at_224() -> None:
    net = large().eval()
    x = torch.empty(2, 1, 224, 224, device="meta")
    image, skips = net.encoder(x)
    assert image.shape == (2, 768, 14, 14)
    assert [tuple(skip.shape[1:]) for skip in skips] == [(512, 28, 28), (256, 56, 56), (64, 112, 112)]
    assert net(x).shape == (2, 9, 224, 224)


def test_a_grey_image_is_the_same_image_three_times() -> None:
    grey, colour, x = small(1).eval(), small(3).eval(), torch.rand(2, 1, 32, 32)
    colour.load_state_dict(grey.state_dict())
    torch.testing.assert_close(grey(x), colour(x.repeat(1, 3, 1, 1)))
    assert small(2)(torch.rand(2, 2, 32, 32)).shape == (2, 2, 32, 32)


def test_the_quarter_skip_ends_in_zeros() -> None:
    quarter = small().encoder(torch.rand(1, 1, 32, 32))[1][1]
    assert quarter.shape[2:] == (8, 8) and quarter[..., :-1, :-1].abs().sum() > 0
    assert not quarter[..., -1, :].any() and not quarter[..., -1].any()


@pytest.mark.parametrize(
    ("skips", "widths"),
    [(0, [512, 256, 128, 64]), (1, [1024, 256, 128, 64]), (2, [1024, 512, 128, 64]), (3, [1024, 512, 192, 64])],
)
def test_skips_are_used_from_the_lowest_up(skips: int, widths: list[int]) -> None:
    for _ in range(2):  # building one changes nothing for the next
        blocks = large(skips=skips).decoder.blocks
        assert [next(block.parameters()).shape[1] for block in blocks] == widths
    assert small(skips=skips)(torch.rand(2, 1, 32, 32)).shape == (2, 2, 32, 32)


def test_a_constant_added_to_a_filter_changes_nothing() -> None:
    torch.manual_seed(0)
    conv, x = StandardisedConv(3, 4, 3, bias=False), torch.rand(1, 3, 8, 8)
    before = conv(x)
    with torch.no_grad():
        conv.weight += torch.tensor([0.5, -1.0, 2.0, 0.1]).view(4, 1, 1, 1)
    torch.testing.assert_close(conv(x), before, rtol=1e-4, atol=1e-4)
    weight = (conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)).detach()
    scaled = nn.functional.conv2d(x, weight / (weight.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt())
    torch.testing.assert_close(before, scaled, rtol=1e-4, atol=1e-4)


def test_the_positions_matter_and_learn() -> None:
    net, x = small().eval(), torch.rand(1, 1, 32, 32)
    before = net(x)
    before.square().sum().backward()
    grad = net.encoder.position.grad
    assert grad is not None and bool((grad.abs().sum(-1) > 0).all())
    nn.init.normal_(net.encoder.position)
    assert not torch.allclose(net(x), before)


def test_sides_need_not_be_equal() -> None:
    net = small(image_size=(32, 48)).eval()
    assert net(torch.rand(1, 1, 32, 48)).shape == (1, 2, 32, 48) and net.divisor == (16, 16)
    with pytest.raises(HilumError, match="HIL-ZOO-04"):
        net(torch.rand(1, 1, 48, 32))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 40}, "divisible by 16"),
        ({"image_size": 16}, "32 or more"),
        ({"spatial_dims": 3}, "HIL-ZOO-01"),
        ({"heads": 3}, "heads"),
        ({"units": (1, 1)}, "units"),
        ({"decoder": (8, 8)}, "decoder"),
        ({"skips": 4}, "skips"),
    ],
)
def test_what_can_not_be_built_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(HilumError, match=words):
        small(**options)


def test_dropout_is_a_tenth_and_can_be_off() -> None:
    rates = [m.p for m in large().modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.1] * (1 + 2 * 12)
    net, x = small(dropout=0.5), torch.rand(2, 1, 32, 32)
    assert not torch.equal(net(x), net(x))
    net = small()
    assert torch.equal(net(x), net(x))


def test_layers_are_named_from_the_input_to_the_head() -> None:
    net = small()
    found = depth(net)
    assert found[0][0] == "encoder.stem" and found[-1][0] == "head"
    assert all(name.startswith("encoder.stem.") for name in found[0][1])
