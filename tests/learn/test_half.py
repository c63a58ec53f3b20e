"""bfloat16 on processors: narrow images go through in float32, as oneDNN's gradients are wrong for them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hilum.core.plan import Plan
from hilum.learn import _device
from hilum.learn._half import NarrowInFloat32

KINDS = (torch.bfloat16, torch.float32)


def slope(conv: nn.Conv3d, x: Tensor, plan: Plan) -> Tensor:
    """The gradient of the sum of squares with respect to the weights, as a run of that plan takes it on processors."""
    fabric = _device.fabric(plan, "cpu")
    conv.weight.grad = None
    fabric.backward(fabric.setup_module(conv)(x).square().sum())
    assert conv.weight.grad is not None
    return conv.weight.grad.clone()


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 8, 8), (1, 1, 1), (8, 1, 4)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1)])
def test_gradients_of_kernels_wider_than_their_image_are_those_of_float32(
    shape: tuple[int, ...], kernel: int, stride: int, plan_of: Callable[..., Plan]
) -> None:
    torch.manual_seed(0)
    plan = plan_of("classify", 2)
    half, full = (
        plan.model_copy(update={"learning": plan.learning | {"precision": name}}) for name in ("bfloat16", "float32")
    )
    conv = nn.Conv3d(16, 16, kernel, stride=stride, padding=kernel // 2)
    x = torch.randn(4, 16, *shape)
    right = slope(conv, x, full)
    for _ in range(3):
        # where a gradient is left unwritten, what was there before shows
        dirt = [torch.full((n,), float("nan"), dtype=kind) for n in (27 * 256, 125 * 256) for kind in KINDS] * 10
        del dirt
        torch.testing.assert_close(slope(conv, x, half), right, atol=0.02 * float(right.abs().max()), rtol=0)


@pytest.mark.parametrize(("side", "kernel", "dilation", "widened"), [
    (3, 3, 1, False), (2, 3, 1, True), (1, 1, 1, False), (5, 3, 2, False), (4, 3, 2, True), (16, 3, 1, False),
])  # fmt: skip
@pytest.mark.parametrize("dims", [2, 3])
def test_only_a_kernel_wider_than_its_image_leaves_bfloat16(
    dims: int, side: int, kernel: int, dilation: int, widened: bool
) -> None:
    conv = getattr(torch, f"conv{dims}d")
    x, weight = torch.randn(1, 4, *[side] * dims), torch.randn(4, 4, *[kernel] * dims)
    padding = dilation * (kernel // 2)
    with torch.autocast("cpu", torch.bfloat16):
        with NarrowInFloat32():
            out = conv(x, weight, padding=padding, dilation=dilation)
        plain = conv(x, weight, padding=padding, dilation=dilation)
    exact = conv(x, weight, padding=padding, dilation=dilation)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, exact.to(torch.bfloat16) if widened else plain)


def test_what_is_no_convolution_passes() -> None:
    with torch.autocast("cpu", torch.bfloat16), NarrowInFloat32():
        assert (torch.ones(2, 3) @ torch.ones(3, 2)).dtype == torch.bfloat16
        image, kernel = torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 3, 3, 3)
        assert nn.functional.conv3d(image, kernel, padding="same").numel() == 8
