"""V-Net: sizes of every stage, counts of the released layout and of the port's, what a stage adds, its Dice."""

from typing import Any

import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.losses.dice import dice
from hilum.zoo._blocks.dims import layers
from hilum.zoo._cost import parameters
from hilum.zoo.vnet import Net, Stage

SMALL: dict[str, Any] = {"width": 4, "convs": [1, 2], "up_convs": [2]}


def counted(**options: Any) -> tuple[int, int]:
    """Parameters of all convolutions and of all PReLU."""
    with torch.device("meta"):
        net = Net(1, 2, 3, **options)
    sums = [0, 0]
    for module in net.modules():
        sums[isinstance(module, nn.PReLU)] += sum(p.numel() for p in module.parameters(recurse=False))
    assert sum(sums) == parameters(net)
    return sums[0], sums[1]


def test_weights_start_large_enough_for_a_network_without_norms() -> None:
    """As PyTorch draws them an answer would hardly depend on the image."""
    torch.manual_seed(0)
    net = Net(1, 2, 3, **SMALL)
    conv = net.encoder[1].convs[1]
    assert float(conv.weight.detach().var()) == pytest.approx(2 / (8 * 125), rel=0.1)
    assert all(not m.bias.any() for m in net.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d))


def test_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        net, x = Net(1, 2, 3), torch.empty(1, 1, 128, 128, 64)
    seen: dict[str, list[tuple[int, int]]] = {"encoder": [], "up": [], "decoder": []}
    for part, sizes in seen.items():
        for module in net.get_submodule(part).children():
            module.register_forward_hook(
                lambda _, __, out, sizes=sizes: sizes.append((out.shape[1], out.shape[4]))  # type: ignore[misc]
            )
    assert net(x).shape == (1, 2, 128, 128, 64)
    assert seen == {
        "encoder": [(16, 64), (32, 32), (64, 16), (128, 8), (256, 4)],
        "up": [(128, 8), (64, 16), (32, 32), (16, 64)],
        "decoder": [(256, 8), (128, 16), (64, 32), (32, 64)],
    }


def test_the_released_count_splits_into_convolutions_and_prelu() -> None:
    assert counted() == (61_979_512, 3_170)


def test_the_ports_layout_lacks_two_wide_convolutions() -> None:
    port = counted(convs=[1, 1, 2, 3, 2], up_convs=[2, 2, 1, 1])
    assert counted()[0] - port[0] == 2 * (256 * 256 * 5**3 + 256) and counted()[1] - port[1] == 2 * 256
    assert sum(port) == pytest.approx(45.60e6, rel=1e-3)


def test_a_stage_learns_what_to_add_to_its_input() -> None:
    stage, x = Stage(layers(3), 3, 3, 2), torch.randn(1, 3, 6, 6, 6)
    whole = stage(x, x)
    nn.init.zeros_(stage.convs[1].get_parameter("weight"))
    nn.init.zeros_(stage.convs[1].get_parameter("bias"))
    torch.testing.assert_close(stage(x, x), nn.functional.prelu(x, torch.full((3,), 0.25)))
    assert not torch.allclose(stage(x, x), whole)


@pytest.mark.parametrize(("channels", "turn"), [(1, [0, 0, 0, 0]), (3, [0, 1, 2, 0]), (6, [0, 1, 2, 3])])
def test_the_first_stage_adds_the_input_channels_in_turn(channels: int, turn: list[int]) -> None:
    net, x, seen = Net(channels, 2, 3, **SMALL), torch.rand(1, channels, 4, 4, 4), list[torch.Tensor]()
    first = net.get_submodule("encoder.0")
    for parameter in first.get_submodule("convs").parameters():
        nn.init.zeros_(parameter)
    first.register_forward_hook(lambda _, __, out: seen.append(out))
    net(x)
    torch.testing.assert_close(seen[0], x[:, turn])


def test_there_is_no_norm_and_no_pooling() -> None:
    kinds = {type(module) for module in Net(1, 2, 3, **SMALL).modules() if not list(module.children())}
    assert kinds == {nn.Conv3d, nn.ConvTranspose3d, nn.PReLU}


def test_a_tail_serves_all_named_heads() -> None:
    net, x = Net(1, {"a": 2, "b": 3}, 3, **SMALL), torch.rand(1, 1, 4, 4, 4)
    assert net.features(x).shape == (1, 5, 4, 4, 4)
    assert {name: part.shape[1] for name, part in net(x).items()} == {"a": 2, "b": 3}


def test_the_papers_dice_has_the_gradient_of_its_value() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 2, (2, 3, 3, 3))
    assert torch.autograd.gradcheck(lambda x: dice(x, target, squared=True), logits)


def test_the_papers_dice_of_perfect_and_of_empty_masks() -> None:
    target = torch.zeros(2, 4, 4, 4, dtype=torch.long)
    target[0, 1:3] = 1
    logits = (50 * nn.functional.one_hot(target, 2).movedim(-1, 1).float()).requires_grad_()
    assert float(dice(logits, target, squared=True).detach()) == pytest.approx(0, abs=1e-5)
    found = dice(logits, torch.zeros_like(target), squared=True)
    (gradient,) = torch.autograd.grad(found, logits)
    assert float(found.detach()) == pytest.approx(0.5, abs=1e-4)  # one image rightly empty, one wrongly full
    assert bool(gradient.isfinite().all())


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(HilumError, match=r"Pad to \(4, 6, 4\)"):
        Net(1, 2, 3, **SMALL)(torch.rand(1, 1, 4, 5, 4))
    for options in ({"convs": [1], "up_convs": []}, {"convs": [1, 1]}, {"convs": [1, 0], "up_convs": [1]}):
        with pytest.raises(HilumError, match="one stage fewer"):
            Net(1, 2, 3, **options)  # type: ignore[arg-type]
    with pytest.raises(HilumError, match="spatial_dims"):
        Net(1, 2, 2)
