"""nnU-Net: deep supervision, refusals, and weights of the original package."""

import importlib
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo.nnunet import Net, from_nnunet

FLAT: dict[str, Any] = {"features": [4, 8, 16], "strides": [1, 2, 2]}
THICK: dict[str, Any] = {
    "features": [4, 8, 16, 16],
    "strides": [1, [1, 2, 2], 2, [1, 2, 2]],
    "kernels": [[1, 3, 3], 3, 3, 3],
}

ORIGINAL = {
    "encoder.stages.0.0.convs.0.conv.weight": (4, 1, 3, 3),
    "encoder.stages.0.0.convs.0.norm.bias": (4,),
    "encoder.stages.0.0.convs.1.conv.weight": (4, 4, 3, 3),
    "encoder.stages.1.0.convs.0.conv.weight": (8, 4, 3, 3),
    "encoder.stages.2.0.convs.1.norm.weight": (16,),
    "decoder.transpconvs.0.weight": (16, 8, 2, 2),
    "decoder.transpconvs.1.bias": (4,),
    "decoder.stages.0.convs.0.conv.weight": (8, 16, 3, 3),
    "decoder.stages.1.convs.1.conv.bias": (4,),
    "decoder.seg_layers.0.weight": (3, 8, 1, 1),
    "decoder.seg_layers.1.weight": (3, 4, 1, 1),
}
# Some names and shapes of PlainConvUNet(1 channel, FLAT, 3 classes), read from dynamic-network-architectures 0.4.4.

RENAMED = {
    "encoder.0.0.conv.weight",
    "encoder.0.0.norm.bias",
    "encoder.0.1.conv.weight",
    "encoder.1.0.conv.weight",
    "encoder.2.1.norm.weight",
    "up.0.weight",
    "up.1.bias",
    "decoder.0.0.conv.weight",
    "decoder.1.1.conv.bias",
    "lower_heads.0.weight",
    "head.weight",
}


def test_deep_supervision_returns_all_heads_in_training_only() -> None:
    net = Net(1, 3, 3, deep_supervision=True, **THICK)
    x = torch.rand(1, 1, 4, 16, 16)
    assert [tuple(part.shape[2:]) for part in net(x)["out"]] == [(4, 16, 16), (4, 8, 8), (2, 4, 4)]
    assert net.strides == [(1, 1, 1), (1, 2, 2), (2, 4, 4)] and net.divisor == (2, 8, 8)
    top = net(x)["out"][0]
    assert torch.equal(net.eval()(x), top)


def test_named_heads_are_lists_too() -> None:
    out = Net(1, {"organ": 3, "vessel": 2}, 2, deep_supervision=True, **FLAT)(torch.rand(1, 1, 16, 16))
    assert {name: [part.shape[1] for part in parts] for name, parts in out.items()} == {
        "organ": [3, 3],
        "vessel": [2, 2],
    }


def test_a_wrong_size_is_told_what_to_pad_to() -> None:
    net = Net(1, 2, 2, **FLAT)
    with pytest.raises(HilumError, match=r"Pad to \(16, 20\)"):
        net(torch.rand(1, 1, 16, 18))
    with pytest.raises(HilumError, match="one voxel"):
        net(torch.rand(1, 1, 4, 4))
    with pytest.raises(HilumError, match="spatial axes"):
        net(torch.rand(1, 1, 4, 4, 4))


def test_contradicting_options_are_refused() -> None:
    with pytest.raises(HilumError, match="every stage"):
        Net(1, 2, 2, features=[4, 8], strides=[1])
    with pytest.raises(HilumError, match="odd"):
        Net(1, 2, 2, kernels=[2, 2, 2], **FLAT)
    with pytest.raises(HilumError, match="spatial_dims"):
        Net(1, 2, 4, **FLAT)


def test_the_original_names_are_understood() -> None:
    state = {name: torch.rand(shape) for name, shape in ORIGINAL.items()}
    twins = {"encoder.stages.0.0.convs.0.all_modules.0.weight", "decoder.encoder.stages.0.0.convs.0.conv.weight"}
    renamed = from_nnunet(state | dict.fromkeys(twins, torch.zeros(1)))
    assert set(renamed) == RENAMED
    own = Net(1, 3, 2, deep_supervision=True, **FLAT).state_dict()
    assert all(own[name].shape == value.shape for name, value in renamed.items())
    assert "lower_heads.0.weight" not in from_nnunet(state, deep_supervision=False)
    with pytest.raises(HilumError, match="stem"):
        from_nnunet({"encoder.stem.convs.0.conv.weight": torch.zeros(1)})


def _original(dims: int, options: dict[str, Any]) -> nn.Module:
    unet = importlib.import_module("dynamic_network_architectures.architectures.unet")
    kernels = options.get("kernels", [3] * len(options["features"]))
    net: nn.Module = unet.PlainConvUNet(
        2,
        len(options["features"]),
        options["features"],
        nn.Conv2d if dims == 2 else nn.Conv3d,
        [[k] * dims if isinstance(k, int) else k for k in kernels],
        [[s] * dims if isinstance(s, int) else s for s in options["strides"]],
        2,
        3,
        2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )
    return net


@pytest.mark.skipif(
    importlib.util.find_spec("dynamic_network_architectures") is None,
    reason="dynamic-network-architectures is not installed",
)
@pytest.mark.parametrize(("dims", "options"), [(2, FLAT), (3, THICK)])
def test_the_same_weights_give_the_same_output(dims: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    original = _original(dims, options)
    for parameter in original.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.rand(1, 2, *((16, 24) if dims == 2 else (4, 16, 24)))
    wanted: list[Tensor] = original(x)
    net = Net(2, 3, dims, deep_supervision=True, **options)
    net.load_state_dict(from_nnunet(original.state_dict()))
    torch.testing.assert_close(net(x)["out"], list(wanted))
    plain = Net(2, 3, dims, **options)
    plain.load_state_dict(from_nnunet(original.state_dict(), deep_supervision=False))
    torch.testing.assert_close(plain(x), wanted[0])


def test_dropout_is_off_unless_it_is_asked_for_and_has_no_weights() -> None:
    plain, net, x = Net(1, 2, 2, **FLAT), Net(1, 2, 2, **FLAT, dropout=0.5), torch.rand(1, 1, 16, 16)
    assert not any(isinstance(m, nn.Dropout) for m in plain.modules())
    net.load_state_dict(plain.state_dict())
    assert torch.equal(net.eval()(x), plain.eval()(x))
    net.get_submodule("dropout").train()
    assert not torch.equal(net(x), net(x))
