"""What the networks built from MONAI have in common: MONAI's weights, the refusal without MONAI."""

import importlib
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.monai_parts import monai_part
from hilum.zoo.mednext import from_monai as from_mednext
from hilum.zoo.segresnet import from_monai as from_segresnet
from hilum.zoo.swin_unetr import from_monai as from_swin_unetr

TINY_SWIN: dict[str, Any] = {"width": 12, "depths": [2, 2, 1, 1], "heads": [1, 2, 2, 2], "window": 4}


def rearranged(x: Tensor, pattern: str) -> Tensor:
    """Swaps of axes as einops writes them, all that MONAI's SwinUNETR asks of it; einops itself is not needed."""
    before, after = (side.split() for side in pattern.split("->"))
    return x.permute([before.index(axis) for axis in after])


def equal(original: nn.Module, net: nn.Module, renamed: dict[str, Tensor], shape: tuple[int, ...]) -> None:
    """Both with the same random weights give the same output, and all weights have found their place."""
    net.load_state_dict(renamed)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(x), original.eval()(x))


def scrambled(original: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in original.parameters():
        nn.init.normal_(parameter, std=0.2)
    return original


@pytest.mark.parametrize(
    ("dims", "shape", "merging", "name"),
    [
        (2, (2, 2, 64, 96), "all", "mergingv2"),
        (3, (1, 2, 32, 64, 32), "all", "mergingv2"),
        (3, (1, 2, 32, 64, 32), "mended", "merging"),
    ],
)
def test_swin_unetr_is_monais(
    dims: int, shape: tuple[int, ...], merging: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = importlib.import_module("hilum.zoo.swin_unetr").Net(2, 3, dims, **TINY_SWIN, merging=merging)
    theirs = importlib.import_module("monai.networks.nets.swin_unetr")
    monkeypatch.setattr(theirs, "rearrange", rearranged)
    original = theirs.SwinUNETR(
        2, 3, feature_size=12, depths=(2, 2, 1, 1), num_heads=(1, 2, 2, 2), window_size=4, spatial_dims=dims,
        downsample=name,
    )  # fmt: skip
    equal(scrambled(original), net, from_swin_unetr(original.state_dict()), shape)


@pytest.mark.parametrize(("dims", "shape"), [(2, (2, 2, 16, 24)), (3, (1, 2, 8, 16, 8))])
def test_segresnet_is_monais(dims: int, shape: tuple[int, ...]) -> None:
    net = importlib.import_module("hilum.zoo.segresnet").Net(2, 3, dims, width=8, blocks=[1, 2, 2], dropout=0.2)
    original = monai_part("networks.nets", "SegResNet")(
        dims, 8, 2, 3, dropout_prob=0.2, blocks_down=(1, 2, 2), blocks_up=(1, 1)
    )
    equal(scrambled(original), net, from_segresnet(original.state_dict()), shape)


@pytest.mark.parametrize(("size", "dims", "shape"), [("S", 2, (2, 2, 32, 48)), ("B", 3, (1, 2, 16, 32, 16))])
def test_mednext_is_monais(size: str, dims: int, shape: tuple[int, ...]) -> None:
    net = importlib.import_module("hilum.zoo.mednext").Net(2, 3, dims, size=size, width=4, deep_supervision=False)
    ratios = {"S": (2, 2, 2, 2), "B": (2, 3, 4, 4)}[size]
    original = monai_part("networks.nets.mednext", "MedNeXt")(
        dims, 4, 2, 3, ratios, ratios[::-1], ratios[-1], kernel_size=3, deep_supervision=True,
        use_residual_connection=True,
    )  # fmt: skip
    equal(scrambled(original), net, from_mednext(original.state_dict()), shape)


@pytest.mark.parametrize("name", ["swin_unetr", "segresnet", "mednext"])
def test_without_monai_the_remedy_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m.partition(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "monai", None)
    net = importlib.import_module(f"hilum.zoo.{name}").Net
    with pytest.raises(HilumError, match=r"monai.*not installed.*Hilum\'s folder: .*\[monai\]\".*HIL-ZOO-07"):
        net(1, 2, 2)


def test_an_old_monai_is_told_apart() -> None:
    with pytest.raises(HilumError, match="has no FutureNet in this version"):
        monai_part("networks.nets", "FutureNet")


def test_parts_come_without_a_warning_and_not_from_the_meta_device() -> None:
    with warnings.catch_warnings(record=True) as told, torch.device("meta"):
        warnings.simplefilter("always")
        assert monai_part("networks.nets", "SegResNet").__name__ == "SegResNet"
    assert not told


@pytest.mark.parametrize("translate", [from_swin_unetr, from_mednext])
def test_foreign_weights_are_refused(translate: Any) -> None:
    with pytest.raises(HilumError, match="HIL-ZOO-06"):
        translate({"layer4.weight": torch.zeros(1)})
