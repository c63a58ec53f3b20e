"""R2U-Net: the recurrence, shared weights, the residual path, refusals."""

import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers
from hilum.zoo._cost import parameters
from hilum.zoo.r2unet import Block, Net, Recurrent


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_the_recurrence_written_out(steps: int, share: bool) -> None:
    torch.manual_seed(0)
    layer, x = Recurrent(layers(2), 4, steps, share).eval(), torch.randn(2, 4, 8, 8)
    f = list(layer.f) * (steps + 1 if share else 1)
    assert len(layer.f) == (1 if share else steps + 1)
    y = f[0](x)
    for apply in f[1 : steps + 1]:
        y = apply(x + y)
    assert torch.equal(layer(x), y)


def test_steps_cost_no_weights_unless_each_has_its_own() -> None:
    with torch.device("meta"):
        assert parameters(Net(3, 1, 2, steps=0)) == parameters(Net(3, 1, 2, steps=3)) == 39_091_393
        # two steps more, in both layers of nine blocks: convolution with bias, batch norm
        widths = [64, 128, 256, 512, 1024, 512, 256, 128, 64]
        more = sum(2 * 2 * (9 * c * c + 3 * c) for c in widths)
        assert parameters(Net(3, 1, 2, share_weights=False)) == 39_091_393 + more


def test_own_weights_that_are_equal_give_the_shared_answer_and_their_gradients_add_up() -> None:
    torch.manual_seed(0)
    one, many = Recurrent(layers(2), 3, 2, True).eval(), Recurrent(layers(2), 3, 2, False).eval()
    for f in many.f:
        f.load_state_dict(one.f[0].state_dict())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(many(x), one(x))
    one(x).square().sum().backward()
    many(x).square().sum().backward()
    for name, shared in one.f[0].named_parameters():
        parts = [f.get_parameter(name).grad for f in many.f]
        assert shared.grad is not None and all(part is not None and bool(part.any()) for part in parts)
        torch.testing.assert_close(sum(parts), shared.grad, atol=1e-4, rtol=1e-4)


def test_without_the_layers_a_block_is_its_1x1_path() -> None:
    torch.manual_seed(0)
    block, x = Block(layers(3), 2, 4, 2, True), torch.randn(1, 2, 4, 4, 4)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.zeros_(module.weight)
    assert torch.equal(block(x), block.enter(x))


def test_all_steps_share_the_statistics_of_one_batch_norm() -> None:
    for share, seen in ((True, [3]), (False, [1, 1, 1])):
        layer = Recurrent(layers(2), 4, 2, share)
        layer(torch.randn(2, 4, 8, 8))
        assert [int(m.num_batches_tracked) for m in layer.modules() if isinstance(m, nn.BatchNorm2d)] == seen


def test_upsampling_is_nearest_and_then_convolved() -> None:
    with torch.device("meta"):
        net = Net(3, 1, 2)
    sizes = [tuple(up[0].weight.shape) for up in net.up]  # type: ignore[index]
    assert sizes == [(512, 1024, 3, 3), (256, 512, 3, 3), (128, 256, 3, 3), (64, 128, 3, 3)]
    x = torch.rand(1, 2, 3, 3)
    assert torch.equal(net.larger(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_size_out_is_size_in_and_others_are_refused() -> None:
    net = Net(1, 2, 2, widths=[2, 2, 2, 2, 2]).eval()
    assert net.divisor == (16, 16)
    assert net(torch.rand(1, 1, 16, 48)).shape == (1, 2, 16, 48)
    with pytest.raises(HilumError, match=r"Pad to \(16, 32\)"):
        net(torch.rand(1, 1, 16, 24))
    with pytest.raises(HilumError, match="one value per channel"):
        net.train()(torch.rand(1, 1, 16, 16))
    with pytest.raises(HilumError, match="steps is -1"):
        Net(1, 2, 2, steps=-1)
    with pytest.raises(HilumError, match="widths is"):
        Net(1, 2, 2, widths=[4])
