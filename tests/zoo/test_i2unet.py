"""I2U-Net: counts against the released code's, the history, the middle, the least size."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._cost import flops, parameters
from hilum.zoo.i2unet import Branches, Chains, ChannelAttention, DropBlock, Middle, Net, Stage, WideMiddle, tokens

PUBLISHED = {"L": (29_651_318, 9.36), "M": (27_494_422, 8.26), "S": (7_031_846, 2.74)}
SMALL: dict[str, Any] = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1, 2), "history": 4, "dropout": 0.0}


def small(size: str = "M", **options: Any) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, 2, size=size, **{**SMALL, **options})


def meta(size: str) -> Net:
    with torch.device("meta"):
        return Net(3, 2, 2, size=size).eval()


@pytest.mark.parametrize("size", PUBLISHED)
def test_what_the_released_code_has_more(size: str) -> None:
    width, history = (256, 16) if size == "S" else (512, 32)
    more = 1000 * (width + history + 1)  # a classifier that nothing calls
    more += 2 * history  # a norm of the history behind the encoder
    if size == "L":  # the last block's norm of the history, and the layer that doubles a history of zeros
        more += 2 * history + (9 * history**2 + history)
    assert parameters(meta(size)) + more == PUBLISHED[size][0]


@pytest.mark.parametrize("size", PUBLISHED)
def test_operations_are_those_of_the_released_code(size: str) -> None:
    # its counter takes a transposed convolution by its outputs, four times what is computed at stride 2
    net, extra = meta(size), []

    def note(layer: nn.Module, _: Any, out: Tensor) -> None:
        assert isinstance(layer, nn.ConvTranspose2d)
        extra.append(out[0, 0].numel() * layer.weight.numel() * 3 // 4)

    for layer in net.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(note)
    with torch.device("meta"):
        macs = flops(net, torch.empty(1, 3, 224, 224)) / 2 + sum(extra)
    assert macs / 1e9 == pytest.approx(PUBLISHED[size][1], rel=0.025)


def test_a_stage_is_its_formula() -> None:
    torch.manual_seed(0)
    stage = Stage(6, 8, 4, 3, 1, recurrent=True, read=True).eval()
    x, h, block = torch.randn(2, 6, 8, 8), torch.randn(2, 4, 8, 8), stage.blocks[0]
    y = block.path(torch.cat([x, h], dim=1))
    image, history = stage(x, h)
    torch.testing.assert_close(image, (y + block.shortcut(x)).relu())
    pooled = nn.functional.avg_pool2d(h, 2)
    torch.testing.assert_close(history, stage.recurrent(stage.norms[0](pooled + stage.to_history(y)).tanh()))


def test_the_lowest_stage_and_the_first_of_the_decoder_have_the_wide_kernel() -> None:
    def kernels(part: nn.Module) -> set[int]:
        return {m.conv.kernel_size[0] for m in part.modules() if isinstance(m, ChannelAttention)}

    net = meta("M")
    assert [kernels(part) for part in net.encoder] == [{5}, {5}, {5}, {7}]
    assert [kernels(part) for part in net.decoder] == [{7}, {5}, {5}, {5}]


def test_the_history_keeps_up_with_the_image() -> None:
    net, seen = meta("L"), []
    for part in [*net.encoder, *net.decoder]:
        part.register_forward_hook(lambda _, __, out: seen.append((tuple(out[0].shape[1:]), tuple(out[1].shape[1:]))))
    with torch.device("meta"):
        assert net(torch.empty(1, 3, 224, 192)).shape == (1, 2, 224, 192)
    down = [(56, 48), (28, 24), (14, 12), (7, 6)]
    sides = [*down, *down[2::-1], (112, 96)]
    assert [h for _, h in seen] == [(32, *side) for side in sides]
    assert [x for x, _ in seen] == [(w, *s) for w, s in zip((64, 128, 256, 512, 256, 128, 64, 64), sides, strict=True)]


@pytest.mark.parametrize("size", ["L", "M"])
@pytest.mark.parametrize("part", ["encoder.0", "encoder.2", "decoder.0", "decoder.3"])
def test_the_history_is_read(size: str, part: str) -> None:
    net, x = small(size, closed=False), torch.rand(1, 1, 192, 192)
    before = net(x)
    net.get_submodule(part).register_forward_hook(lambda _, __, out: (out[0], torch.zeros_like(out[1])))
    assert not torch.allclose(net(x), before, atol=1e-5)


@pytest.mark.parametrize("size", PUBLISHED)
def test_nothing_is_dead(size: str) -> None:
    net = small(size, closed=False)
    net(torch.randn(2, 1, 192, 192)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.ndim < 2 or parameter.grad.abs().sum() > 0, name
    # what the head of the file names: they read a history that begins at 0, or that the middle of L leaves at 0
    for first in (net.encoder[0].blocks[0].path[0], *([net.decoder[0].path[0][0]] if size == "L" else [])):
        read = first.weight.grad.abs().sum((0, 2, 3)) > 0
        assert read[: -net.history].all() and not read[-net.history :].any()


@pytest.mark.parametrize("rate", [1.0, 5.0, -0.1])
def test_a_share_that_can_not_be_dropped_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="can not be dropped"):
        small(dropout=rate)


def closed(middle: Middle | WideMiddle) -> None:
    nn.init.zeros_(middle.context.weight)
    nn.init.zeros_(middle.context.bias)  # type: ignore[arg-type]


def test_the_middle_starts_closed() -> None:
    torch.manual_seed(0)
    x, h = torch.randn(2, 12, 7, 7), torch.randn(2, 4, 7, 7)
    middle, wide = Middle(16, 0.0).eval(), WideMiddle(12, 0.0).eval()
    closed(middle)
    closed(wide)
    image, history = middle(x, h)
    assert torch.equal(image, x) and torch.equal(history, h)
    image, history = wide(x, h)
    assert torch.equal(image, wide.fuse(torch.cat([torch.zeros_like(x), x], dim=1))) and not history.any()
    net = small()
    assert not net.middle.context.weight.any() and small(closed=False).middle.context.weight.any()


def test_tokens_of_a_map_of_seven() -> None:
    x = torch.arange(49.0).reshape(1, 1, 7, 7)
    wide, flat = (tokens(x, nn.Identity(), kind.POOLS)[0, :, 0] for kind in (WideMiddle, Middle))
    assert len(wide) == 15 + 49 and len(flat) == 30 + 49
    assert wide[13:15].tolist() == [32.0, 40.0]  # the maxima of the first 5x5 and 6x6 places
    assert flat[:4].tolist() == [0.0, 2.0, 4.0, 6.0] and torch.equal(flat[30:], x.flatten())


def test_the_middle_sees_the_whole_map() -> None:
    torch.manual_seed(0)
    middle = Middle(8, 0.0).eval()
    x, h = torch.randn(1, 4, 7, 7), torch.randn(1, 4, 7, 7)
    changed = x.clone()
    changed[..., 0, 0] += 5
    assert ((middle(x, h)[0] - middle(changed, h)[0])[..., 6, 6].abs() > 1e-7).any()


def reach(layer: nn.Module) -> int:
    """How far from a place its value is seen, in a map of 31."""
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]
    x = torch.zeros(1, 1, 31, 31)
    x[..., 15, 15] = 1
    return int((layer(x)[0, 0, 15] > 0).nonzero().max()) - 15


def test_the_reach_of_the_dilated_convolutions() -> None:
    assert reach(Chains(1)) == 1 + 3 + 5 and reach(Branches(1)) == 3


def test_channel_attention_weighs_a_channel_by_its_neighbours() -> None:
    torch.manual_seed(0)
    layer, x = ChannelAttention(5), torch.rand(1, 9, 3, 3)
    changed = x.clone()
    changed[:, 0] += 1
    ratio = (layer(x) / x).mean((0, 2, 3)), (layer(changed) / changed).mean((0, 2, 3))
    assert ((ratio[0] - ratio[1]).abs() > 1e-6).tolist() == [True] * 3 + [False] * 6


def test_dropped_squares() -> None:
    torch.manual_seed(0)
    layer, x = DropBlock(0.2), torch.ones(256, 4, 14, 14)
    out = layer(x)
    gone = out == 0
    assert abs(float(out.mean()) - 1) < 1e-4 and 0.12 < float(gone.float().mean()) < 0.22
    assert torch.equal(gone[:, :1].expand_as(gone), gone)  # in all channels at once
    inside = gone[..., 1:-1, 1:-1]
    beside = gone[..., :-2, 1:-1] | gone[..., 2:, 1:-1]
    assert (beside | ~inside).all()  # whoever is gone has a neighbour that is gone
    assert torch.equal(layer.eval()(x), x)


def test_refusals() -> None:
    with pytest.raises(HilumError, match=r"Pad to \(128, 160\)"):
        small()(torch.rand(1, 1, 128, 140))
    with pytest.raises(HilumError, match="192"):
        small("L")(torch.rand(1, 1, 192, 160))
    with pytest.raises(HilumError, match="128"):
        small()(torch.rand(1, 1, 96, 128))
    with pytest.raises(HilumError, match="one of"):
        small("XL")
    with pytest.raises(HilumError, match="2 in the last stage"):
        small("L", blocks=(1, 1, 1, 1))
    with pytest.raises(HilumError, match="HIL-ZOO-01"):
        Net(1, 2, 3)
