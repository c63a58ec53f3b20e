"""nnU-Net: deep supervision, refusals, and weights of the original package."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo.nnunet import Net, ResidualBlock, from_nnunet

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

RESIDUAL = {
    "encoder.stem.convs.0.conv.weight": (4, 1, 3, 3),
    "encoder.stages.0.blocks.0.conv1.conv.weight": (4, 4, 3, 3),
    "encoder.stages.1.blocks.0.skip.1.conv.weight": (8, 4, 1, 1),
    "encoder.stages.1.blocks.0.skip.1.norm.bias": (8,),
    "encoder.stages.1.blocks.2.conv2.norm.weight": (8,),
    "decoder.stages.1.convs.0.conv.weight": (4, 8, 3, 3),
    "decoder.seg_layers.1.bias": (3,),
}
# The same of ResidualEncoderUNet with blocks 1, 3, 2 and one convolution in the decoder.

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
    with pytest.raises(HilumError, match="convs is 0"):
        Net(1, 2, 2, convs=0, **FLAT)
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
    with pytest.raises(HilumError, match="tail"):
        from_nnunet({"encoder.tail.convs.0.conv.weight": torch.zeros(1)})


def test_the_original_names_of_the_residual_encoder_are_understood() -> None:
    renamed = from_nnunet({name: torch.rand(shape) for name, shape in RESIDUAL.items()})
    own = Net(1, 3, 2, blocks=[1, 3, 2], convs=1, deep_supervision=True, **FLAT).state_dict()
    assert len(renamed) == len(RESIDUAL) and "encoder.0.stem.conv.weight" in renamed
    assert all(own[name].shape == value.shape for name, value in renamed.items())


def test_a_residual_block_is_its_skip_where_the_branch_is_zero() -> None:
    block = ResidualBlock(3, 3, 2, (3, 3), (2, 2))
    nn.init.zeros_(block.conv2.norm.weight)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(block(x), nn.functional.avg_pool2d(x, 2))
    assert not list(block.skip.parameters()) and not list(ResidualBlock(3, 3, 3, (3,) * 3, (1,) * 3).skip)
    assert [tuple(p.shape) for p in ResidualBlock(3, 4, 2, (3, 3), (2, 2)).skip.parameters()] == [
        (4, 3, 1, 1),
        (4,),
        (4,),
    ]


@pytest.mark.parametrize(
    ("dims", "side", "features", "blocks", "wanted"),
    [
        (3, 128, [32, 64, 128, 256, 320, 320], None, 480058368),
        (3, 128, [32, 64, 128, 256, 320, 320], [1, 3, 4, 6, 6, 6], 584682496),
        (2, 512, [32, 64, 128, 256, 512, 512, 512, 512], None, 86993280),
        (2, 512, [32, 64, 128, 256, 512, 512, 512, 512], [1, 3, 4, 6, 6, 6, 6, 6], 133810560),
    ],
)
def test_feature_map_elements_are_those_that_nnunet_plans_with(
    dims: int, side: int, features: list[int], blocks: list[int] | None, wanted: int
) -> None:
    """nnU-Net's proxy of memory: outputs of all convolutions and heads; a skip counts once, pooled or not."""
    total = 0

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        total += output.numel()

    strides = [1] + [2] * (len(features) - 1)
    with torch.device("meta"):
        x = torch.empty(1, 1, *[side] * dims)
        convs = 2 if blocks is None else 1
        net = Net(1, 14, dims, features=features, strides=strides, blocks=blocks, convs=convs, deep_supervision=True)
    for name, module in net.named_modules():
        kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if (name.endswith(".skip") and list(module)) or (isinstance(module, kinds) and ".skip." not in name):
            module.register_forward_hook(add)
    net(x)
    assert total == wanted


def test_blocks_that_do_not_fit_the_stages_are_refused() -> None:
    for blocks in ([1, 3], [1, 0, 2]):
        with pytest.raises(HilumError, match="every stage"):
            Net(1, 2, 2, blocks=blocks, **FLAT)


def test_the_residual_encoder_learns_in_every_weight() -> None:
    net = Net(1, 2, 2, blocks=[1, 2, 2], convs=1, **FLAT)
    net(torch.rand(2, 1, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.ndim > 1)


OUTPUTS = Path(__file__).with_name("nnunet_outputs.npz")
# What the original package answers; benchmarks/zoo/nnunet_outputs.py makes it.


def waves(number: int, shape: Sequence[int], high: float) -> Tensor:
    """As the file's weights (0.3) and inputs (number 0, 1) were made."""
    values = high * np.sin(1 + number + 0.7 * np.arange(math.prod(shape)))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("plain 2-D", FLAT),
        ("plain 3-D", THICK),
        ("residual 2-D", {**FLAT, "blocks": [1, 3, 2], "convs": 1}),
        ("residual 3-D", {**THICK, "blocks": [1, 2, 1, 2], "convs": 1}),
    ],
)
def test_the_same_weights_give_the_same_output_as_the_original(form: str, options: dict[str, Any]) -> None:
    with np.load(OUTPUTS, allow_pickle=False) as kept:
        told = json.loads(str(kept["told"]))["states"][form]
        wanted = [torch.from_numpy(kept[f"{form}/{level}"]) for level in range(len(options["features"]) - 1)]
    state = {name: waves(number, shape, 0.3) for name, (number, shape) in told.items()}
    dims = wanted[0].ndim - 2
    x = waves(0, (1, 2, *wanted[0].shape[2:]), 1.0)
    net = Net(2, 3, dims, deep_supervision=True, **options)
    net.load_state_dict(from_nnunet(state))
    torch.testing.assert_close(net(x)["out"], wanted, rtol=1e-4, atol=1e-4)
    plain = Net(2, 3, dims, **options)
    plain.load_state_dict(from_nnunet(state, deep_supervision=False))
    torch.testing.assert_close(plain(x), wanted[0], rtol=1e-4, atol=1e-4)


def test_dropout_is_off_unless_it_is_asked_for_and_has_no_weights() -> None:
    plain, net, x = Net(1, 2, 2, **FLAT), Net(1, 2, 2, **FLAT, dropout=0.5), torch.rand(1, 1, 16, 16)
    assert not any(isinstance(m, nn.Dropout) for m in plain.modules())
    net.load_state_dict(plain.state_dict())
    assert torch.equal(net.eval()(x), plain.eval()(x))
    net.get_submodule("dropout").train()
    assert not torch.equal(net(x), net(x))


@pytest.mark.parametrize("turned", [[0], [1, 2], [0, 1, 2]])
def test_a_turned_network_sees_its_input_the_other_way_round(turned: list[int]) -> None:
    torch.manual_seed(0)
    plain, net = Net(1, 2, 3, **THICK).eval(), Net(1, 2, 3, turned=turned, **THICK).eval()
    net.load_state_dict(plain.state_dict())
    x, axes = torch.rand(1, 1, 4, 16, 24), [2 + axis for axis in turned]
    torch.testing.assert_close(net(x), plain(x.flip(axes)).flip(axes))
    torch.testing.assert_close(net.head(net.features(x)), net(x))
    # turned kernels alone would not do, for strides begin at the first voxel
    assert not torch.allclose(net(x), plain(x), atol=1e-3)


def test_axes_that_are_not_there_can_not_be_turned() -> None:
    for turned in ([3], [-1]):
        with pytest.raises(HilumError, match="turned"):
            Net(1, 2, 3, turned=turned, **THICK)
