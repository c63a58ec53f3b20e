"""H-Net: the crossed wiring, two answers and their mean, contexts, sizes that are not square, refusals."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers
from hilum.zoo._cost import parameters
from hilum.zoo.hnet import VARIANTS, Crossed, Dilated, Inception, Net, PoolPyramid

Change = Callable[[list[Tensor]], list[Tensor]]


def tiny(variant: str = "137", **options: object) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, 2, **{"variant": variant, "width": 8, **options})  # type: ignore[arg-type]


def answers(net: Net, x: Tensor, part: str | None = None, change: Change | None = None) -> list[Tensor]:
    """Logits of the left and the right decoder, with the output of one part changed."""
    hook = None
    if part is not None and change is not None:
        made = change
        hook = net.get_submodule(part).register_forward_hook(lambda module, args, output: made(output))
    with torch.no_grad():
        head = net.head
        assert isinstance(head, Crossed)
        found = head.both(net.features(x))
    if hook is not None:
        hook.remove()
    return found


def cut(*levels: int) -> Change:
    """Levels of an encoder set to zero."""
    return lambda found: [torch.zeros_like(f) if i in levels else f for i, f in enumerate(found)]


def test_what_joins_the_left_bottom_is_positive() -> None:
    net, seen = tiny(), list[Tensor]()
    first = net.left_decoder.up[0]
    first.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    net.eval()(torch.rand(1, 1, 224, 224))
    joined = seen[0][:, :32]
    assert joined.min() == 0 < joined.max()


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_answer_is_the_mean_of_two(variant: str) -> None:
    net, x = tiny(variant).eval(), torch.rand(1, 1, 224, 224)
    left, right = answers(net, x)
    assert left.shape == right.shape == (1, 2, 224, 224) and not torch.equal(left, right)
    torch.testing.assert_close(net(x), (left + right) / 2)


@pytest.mark.parametrize(
    ("part", "levels", "changed"),
    [
        ("left", (0, 1, 2), (False, True)),
        ("left", (3,), (True, True)),
        ("right", (0, 1, 2, 3), (True, False)),
        ("right", (3,), (True, False)),
        ("right", (4,), (True, True)),
    ],
)
def test_each_decoder_reads_the_other_side(part: str, levels: tuple[int, ...], changed: tuple[bool, bool]) -> None:
    net, x = tiny().eval(), torch.rand(1, 1, 64, 96)
    before, after = answers(net, x), answers(net, x, part, cut(*levels))
    assert tuple(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) == changed


def test_deep_supervision_gives_both_in_training_only() -> None:
    net, x = tiny(), torch.rand(2, 1, 32, 64)
    assert [part.shape for part in net(x)["out"]] == [(2, 2, 32, 64)] * 2
    assert net.eval()(x).shape == (2, 2, 32, 64)
    named = Net(1, {"a": 2, "b": 3}, 2, width=8, deep_supervision=True)(x)
    assert {name: [part.shape[1] for part in parts] for name, parts in named.items()} == {"a": [2, 2], "b": [3, 3]}


def test_all_six_outputs_of_the_released_network_have_the_size_of_the_image() -> None:
    """The logits of both decoders, their mean, and the sigmoid of each."""
    net, x = tiny(), torch.rand(2, 1, 224, 224)
    with torch.no_grad():
        logits = [*net(x)["out"], net.eval()(x)]
    six = [*logits, *(part.sigmoid() for part in logits)]
    assert [tuple(part.shape) for part in six] == [(2, 2, 224, 224)] * 6
    assert all(bool(part.isfinite().all()) for part in six)


@pytest.mark.parametrize(("variant", "rates"), [("134", [1, 3, 4]), ("137", [1, 3, 7]), ("139", [1, 3, 9])])
def test_the_number_names_the_dilations(variant: str, rates: list[int]) -> None:
    net = tiny(variant)
    for context in (net.right_context, net.left_context):
        assert [m.dilation[0] for m in context.modules() if isinstance(m, nn.Conv2d)] == [*rates, 1]


@pytest.mark.parametrize("variant", ["134", "139"])
def test_the_third_dilation_has_no_weights(variant: str) -> None:
    with torch.device("meta"):
        assert parameters(Net(3, 2, 2, variant=variant)) == 35_568_184


def test_the_contexts_do_what_they_say() -> None:
    torch.manual_seed(0)
    x, kit = torch.randn(1, 4, 9, 9), layers(2)
    net = Dilated(kit, 4, 7)
    one, two, three, mix = net.first, net.second, net.third, net.mix
    wanted = x + one(x).relu() + mix(two(x)).relu() + mix(two(one(x))).relu() + mix(three(two(one(x)))).relu()
    torch.testing.assert_close(net(x), wanted)
    other = Inception(kit, 4)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(other(x), nn.functional.max_pool2d(x, 3, 1, 1))


def test_the_pool_pyramid_is_in_front_and_fits_small_maps() -> None:
    pyramid, x = PoolPyramid(layers(2), 3), torch.rand(1, 3, 7, 7)
    nn.init.ones_(pyramid.mix.weight)  # type: ignore[arg-type]
    nn.init.zeros_(pyramid.mix.bias)  # type: ignore[arg-type]
    out = pyramid(x)
    assert out.shape == (1, 7, 7, 7) and torch.equal(out[:, 4:], x)
    top = x[..., :6, :6].amax(dim=(2, 3)).sum()
    torch.testing.assert_close(out[0, 3], top.expand(7, 7))
    small = pyramid(x[..., :1, :2])
    torch.testing.assert_close(small[0, :4], x[..., :1, :2].amax(dim=(2, 3)).sum().expand(4, 1, 2))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(HilumError, match="variant is 'v3'"):
        tiny("v3")
    with pytest.raises(HilumError, match="width is 6"):
        tiny(width=6)
    with pytest.raises(HilumError, match="spatial_dims is 3"):
        Net(1, 2, 3)
    with pytest.raises(HilumError, match=r"Pad to \(64, 96\)"):
        tiny()(torch.rand(1, 1, 48, 96))
    with pytest.raises(HilumError, match="one value"):
        tiny()(torch.rand(1, 1, 32, 32))
