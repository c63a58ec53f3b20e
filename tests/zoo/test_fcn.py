"""FCN: sizes of every map, offsets that follow from the layers, fixed kernels, zero scores, VGG-16 weights."""

from typing import Any

import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.zoo.fcn import CUT, SKIPS, Bilinear, Net, from_vgg16

THIN: dict[str, Any] = {"width": 4, "hidden": 8, "dropout": 0.0, "zero_scores": False}


def thin(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, 2, **{**THIN, **options}).eval()


@pytest.mark.parametrize(
    ("size", "pools", "fc", "raw"),
    [
        (500, [349, 175, 88, 44, 22], 16, {8: 568, 16: 560, 32: 544}),
        (224, [211, 106, 53, 27, 14], 8, {8: 312, 16: 304, 32: 288}),
    ],
)
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_sizes_are_those_of_the_released_network(
    stride: int, size: int, pools: list[int], fc: int, raw: dict[int, int]
) -> None:
    with torch.device("meta"):
        net, x = Net(1, 2, 2, stride=stride, **THIN), torch.empty(1, 1, size, size)
    seen: dict[str, list[int]] = {"pool": [], "fc": [], "twice": [], "enlarge": []}
    for name, sides in seen.items():
        net.get_submodule(name).register_forward_hook(lambda _, __, out, sides=sides: sides.append(out.shape[2]))  # type: ignore[misc]
    assert net(x).shape == (1, 2, size, size)
    doubled = {32: [], 16: [2 * fc + 2], 8: [2 * fc + 2, 4 * fc + 6]}[stride]
    assert seen == {"pool": pools, "fc": [fc], "twice": doubled, "enlarge": [raw[stride]]}


def test_offsets_follow_from_where_every_pixel_looks() -> None:
    """Place of pixel i of a map in the image is scale * i + shift."""
    scale, shift, maps = 1.0, 0.0, list[tuple[float, float]]()
    shift += 1 - 100  # the first convolution: half of its kernel, less its padding
    for _ in range(5):
        shift, scale = shift + scale / 2, scale * 2
        maps.append((scale, shift))
    shift += 3 * scale  # fc6
    finals = {32: shift - (2 * 32 - 1) / 2}
    for stride, (number, before, _) in zip((16, 8), SKIPS, strict=True):
        shift, scale = shift - 1.5 * scale / 2, scale / 2  # doubled
        assert maps[number][0] == scale == stride
        assert before == (shift - maps[number][1]) / scale
        finals[stride] = shift - (2 * stride - 1) / 2
    assert {stride: -place for stride, place in finals.items()} == CUT


def test_any_size_passes_and_named_heads_are_fused_each() -> None:
    for size in ((1, 1), (17, 40), (32, 33)):
        assert thin()(torch.rand(1, 1, *size)).shape == (1, 2, *size)
    torch.manual_seed(0)
    net = Net(1, {"a": 2, "b": 1}, 2, **THIN).eval()
    assert {name: part.shape for name, part in net(torch.rand(1, 1, 9, 9)).items()} == {
        "a": (1, 2, 9, 9),
        "b": (1, 1, 9, 9),
    }


@pytest.mark.parametrize("stride", [2, 8, 16, 32])
def test_a_fixed_kernel_keeps_a_linear_ramp(stride: int) -> None:
    ramp = torch.stack([torch.arange(7.0), 5 - 2 * torch.arange(7.0)])[None, :, :, None].expand(-1, -1, -1, 7)
    out = Bilinear(stride)(ramp)
    assert out.shape == (1, 2, 8 * stride, 8 * stride) and not list(Bilinear(stride).parameters())
    place = (torch.arange(stride, 7 * stride) - stride + 0.5) / stride
    inside = out[..., stride : 7 * stride, stride : 7 * stride]
    wanted = torch.stack([place, 5 - 2 * place])[None, :, :, None].expand_as(inside)
    torch.testing.assert_close(inside, wanted, atol=1e-4, rtol=1e-4)


def test_without_finer_scores_16s_is_32s_on_a_ramp() -> None:
    ramp = torch.arange(9.0)[None, None, :, None].expand(-1, -1, -1, 9)
    one = Bilinear(32)(ramp)[..., CUT[32] :, CUT[32] :]
    two = Bilinear(16)(Bilinear(2)(ramp))[..., CUT[16] :, CUT[16] :]
    torch.testing.assert_close(one[..., 64:192, 64:192], two[..., 64:192, 64:192], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stride", [16, 32])
def test_a_ramp_of_scores_lies_where_its_pixels_look(stride: int) -> None:
    """The whole network, with nothing added from the finer map: 16s is 32s, score i is that of pixel 32 i + 12.5."""
    net = thin(stride=stride, zero_scores=True)
    ramp = torch.arange(8.0)[None, None, :, None]
    net.get_submodule("head").register_forward_hook(lambda _, __, out: ramp.expand_as(out))
    with torch.no_grad():
        out = net(torch.rand(1, 1, 224, 224))
    wanted = (torch.arange(24.0, 200) - 12.5) / 32
    torch.testing.assert_close(out[..., 24:200, 24:200], wanted[:, None].expand(1, 2, 176, 176), atol=1e-4, rtol=1e-4)


def test_scores_start_at_zero_so_the_first_step_moves_them_alone() -> None:
    net = thin(zero_scores=True)
    out = net(torch.rand(1, 1, 16, 16))
    assert not out.any()
    (out * torch.randn_like(out)).sum().backward()
    moved = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    scores = ("head", "score16", "score8")
    assert moved == {f"{layer}.{part}" for layer in scores for part in ("weight", "bias")}
    fresh = thin()
    fresh(torch.rand(1, 1, 16, 16)).square().sum().backward()
    gradient = fresh.get_parameter("stages.0.0.weight").grad
    assert gradient is not None and gradient.any()


def test_at_once_makes_the_finer_maps_small() -> None:
    net, small = thin(), thin(at_once=True)
    state = net.state_dict()
    x = torch.rand(1, 1, 24, 24)
    assert not torch.allclose(small(x), net(x))
    for name, factor in (("score16.weight", 100.0), ("score8.weight", 10000.0)):
        state[name] = state[name] * factor
    small.load_state_dict(state)
    torch.testing.assert_close(small(x), net(x), atol=1e-4, rtol=1e-4)


def test_coarser_forms_have_no_weights_that_they_do_not_use() -> None:
    def names(stride: int) -> set[str]:
        return {name.split(".")[0] for name, _ in thin(stride=stride).named_parameters()}

    assert names(8) == {"stages", "fc", "head", "score16", "score8"}
    assert names(16) == names(8) - {"score8"} and names(32) == {"stages", "fc", "head"}


def test_vgg_weights_give_vggs_answer() -> None:
    torch.manual_seed(0)
    layers, inputs = list[nn.Module](), 3
    for width in (4, 4, 0, 8, 8, 0, 16, 16, 16, 0, 32, 32, 32, 0, 32, 32, 32, 0):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        inputs = width or inputs
    dense = [nn.Linear(32 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 9)]
    vgg = nn.ModuleDict({"features": nn.Sequential(*layers), "classifier": nn.Sequential(*dense)}).eval()
    renamed = from_vgg16(vgg.state_dict())
    net = Net(3, 2, 2, **THIN).eval()
    found = net.load_state_dict(renamed, strict=False)
    assert not found.unexpected_keys and {key.split(".")[0] for key in found.missing_keys} == {
        "head",
        "score16",
        "score8",
    }
    net.get_submodule("stages.0.0").padding = (1, 1)  # type: ignore[assignment]
    x = torch.rand(1, 3, 224, 224)
    maps = x
    for stage in net.get_submodule("stages").children():
        maps = net.get_submodule("pool")(stage(maps))
    wanted = vgg["classifier"][:5](vgg["features"](x).flatten(1))  # type: ignore[index]
    torch.testing.assert_close(net.get_submodule("fc")(maps).flatten(1), wanted)
    with pytest.raises(HilumError, match=r"features\.2"):
        from_vgg16({key: value for key, value in vgg.state_dict().items() if not key.startswith("features.2.")})


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(HilumError, match="stride"):
        Net(1, 2, 2, stride=4)
    with pytest.raises(HilumError, match="spatial_dims"):
        Net(1, 2, 3)
    with pytest.raises(HilumError, match="spatial axes"):
        thin()(torch.rand(1, 1, 8, 8, 8))
