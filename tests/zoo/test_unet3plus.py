"""UNet 3+: full-scale skips, heads, guidance, refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._cost import parameters
from hilum.zoo.unet3plus import Net, silenced

SMALL: dict[str, Any] = {"widths": [4, 6, 8], "branch": 5}


def small(out_channels: int | dict[str, int] = 3, **options: Any) -> Net:
    torch.manual_seed(0)
    return Net(2, out_channels, 2, **{**SMALL, **options})


def image() -> Tensor:
    return torch.randn(2, 2, 16, 24, generator=torch.Generator().manual_seed(1))


def up(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def told(net: Net, *, present: bool) -> Net:
    """The guidance always says the same."""
    assert net.presence is not None
    torch.nn.init.zeros_(net.presence.conv.weight)
    net.presence.conv.bias.data = torch.tensor([0.0, 1.0] if present else [1.0, 0.0])
    return net


def test_every_decoder_level_reads_all_levels_and_is_320_wide() -> None:
    with torch.device("meta"):
        net = Net(3, 1, 2)
    read = [[b[0].in_channels for b in node.get_submodule("branches").children()] for node in net.decoder]  # type: ignore[index]
    assert read == [
        [64, 128, 256, 512, 1024],
        [64, 128, 256, 320, 1024],
        [64, 128, 320, 320, 1024],
        [64, 320, 320, 320, 1024],
    ]
    assert [tuple(node.get_parameter("fuse.0.weight").shape[:2]) for node in net.decoder] == [(320, 320)] * 4


def test_deep_supervision_and_guidance_by_arithmetic() -> None:
    with torch.device("meta"):
        plain, deep = Net(3, 1, 2, deep_supervision=False), Net(3, 1, 2)
        guided = Net(3, 1, 2, guidance="released")
    assert parameters(deep) - parameters(plain) == 3 * (9 * 320 + 1) + 9 * 1024 + 1
    assert parameters(guided) - parameters(deep) == 2 * 1024 + 2


def test_written_out_for_three_levels() -> None:
    net, x = small().train(), image()
    pool = functional.max_pool2d
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    e1 = net.encoder[0](x)
    e2 = net.encoder[1](pool(e1, 2))
    e3 = net.encoder[2](pool(e2, 2))
    d2 = net.decoder[0]([pool(e1, 2), e2, up(e3, 2)])
    d1 = net.decoder[1]([e1, up(d2, 2), up(e3, 4)])
    bottom, middle = net.lower_heads
    torch.testing.assert_close(net(x)["out"], [net.head(d1), up(middle(d2), 2), up(bottom(e3), 4)])


@pytest.mark.parametrize("dims", [2, 3])
def test_five_levels_give_five_maps_of_the_input_size(dims: int) -> None:
    net = Net(1, 2, dims, widths=[2, 2, 2, 2, 2], branch=2)
    parts = net(torch.rand(2, 1, *[16] * dims))["out"]
    assert [part.shape for part in parts] == [(2, 2, *[16] * dims)] * 5
    assert net.divisor == (16,) * dims


def test_an_absent_organ_is_silenced_and_a_present_one_is_not() -> None:
    x, absent, present = image(), told(small(guidance="presence"), present=False), small(guidance="presence")
    told(present, present=True).eval()
    out = absent.eval()(x).detach()
    assert bool((out.argmax(1) == 0).all()) and float(out.softmax(1)[:, 1:].max()) == 0
    torch.testing.assert_close(present(x), present.head(present.features(x)))
    assert bool((present(x).argmax(1) > 0).any())
    one = told(small(1, guidance="presence"), present=False).eval()(x)
    assert float(one.detach().sigmoid().max()) == 0


def test_the_released_form_leaves_a_half() -> None:
    out = told(small(1, guidance="released"), present=False).eval()(image())
    assert torch.equal(out.sigmoid(), torch.full_like(out, 0.5))


def test_each_image_is_silenced_by_itself() -> None:
    torch.manual_seed(0)
    logits, present = torch.randn(2, 3, 4, 4), torch.tensor([True, False])
    for released in (False, True):
        out = silenced(logits, present, released)
        assert torch.equal(out[0], logits[0]) and not torch.equal(out[1], logits[1])
    half = silenced(logits.half(), present, False)
    assert half.dtype == torch.float16 and bool(half.isfinite().all()) and bool((half[1].argmax(0) == 0).all())


@pytest.mark.parametrize("deep", [True, False])
def test_the_guidance_learns_from_its_own_loss_only(deep: bool) -> None:
    for guidance in ("presence", "released"):
        net = told(small(guidance=guidance, deep_supervision=deep), present=True)
        assert net.presence is not None
        out = net(image())
        assert set(out) == {"out", "presence"} and len(out["out"]) == (3 if deep else 1)
        assert [tuple(part.shape) for part in out["presence"]] == [(2, 2)]
        torch.stack([part.square().sum() for part in out["out"]]).sum().backward(retain_graph=True)
        assert net.presence.conv.weight.grad is None
        out["presence"][0].square().sum().backward()
        assert net.presence.conv.weight.grad is not None


def test_a_wrong_absent_does_not_end_learning_unless_released() -> None:
    for guidance, ended in (("presence", False), ("released", True)):
        net = told(small(guidance=guidance), present=False)
        assert all(bool((part == 0).all()) == ended for part in net(image())["out"])


def test_presence_is_the_largest_over_space_of_the_bottom() -> None:
    net = small(guidance="presence").eval()
    assert net.presence is not None
    x = torch.randn(2, 8, 3, 4)
    weight, bias = net.presence.conv.weight[..., 0, 0], net.presence.conv.bias
    wanted = (torch.einsum("bchw,kc->bkhw", x, weight) + bias.view(-1, 1, 1)).flatten(2).max(2).values
    torch.testing.assert_close(net.presence(x), wanted)


def test_what_guidance_drops_is_no_doubt_of_the_masks() -> None:
    """A dropout module in it made doubt by dropout run, whose passes could differ by the veto alone."""
    net = small(guidance="presence")
    assert not any(isinstance(module, torch.nn.Dropout) for module in net.modules())
    torch.manual_seed(1)
    x, part = torch.randn(1, net.presence.conv.in_channels, 8, 8), net.presence  # type: ignore[union-attr]
    assert part is not None and not torch.equal(part(x), part(x)) and torch.equal(part.eval()(x), part(x))


def test_named_heads_are_lists_and_silenced_together() -> None:
    net = told(small({"a": 1, "b": 3}, guidance="presence"), present=False)
    out = net(image())
    assert {name: len(parts) for name, parts in out.items()} == {"a": 3, "b": 3, "presence": 1}
    out = net.eval()(image())
    assert float(out["a"].detach().max()) < -1e3 and bool((out["b"].argmax(1) == 0).all())


def test_what_can_not_be_built_or_read_is_refused() -> None:
    with pytest.raises(HilumError, match="guidance is 'yes'"):
        small(guidance="yes")
    with pytest.raises(HilumError, match="Use another name"):
        small({"presence": 2}, guidance="presence")
    assert set(small({"presence": 2})(image())) == {"presence"}
    with pytest.raises(HilumError, match=r"Pad to \(16, 24\)"):
        small()(torch.rand(1, 2, 16, 22))
    with pytest.raises(HilumError, match="one value per channel"):
        small()(torch.rand(1, 2, 4, 4))
