"""Instance norm in channels-last layout: PyTorch's numbers, forwards and backwards, and the layout kept."""

import pytest
import torch
from torch import nn

from hilum.zoo._blocks.dims import layers

LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}


@pytest.mark.parametrize("dims", [2, 3])
def test_the_numbers_are_those_of_pytorch(dims: int) -> None:
    torch.manual_seed(0)
    ours = layers(dims).instance_norm(5, eps=1e-5, affine=True)
    plain = (nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d)(5, eps=1e-5, affine=True)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
        ours.bias.uniform_(-1, 1)  # type: ignore[union-attr, operator]
    plain.load_state_dict(ours.state_dict())
    x, push = torch.randn(3, 5, *[6] * dims) * 4 + 2, torch.randn(3, 5, *[6] * dims)
    found = []
    for module, layout in ((plain, torch.contiguous_format), (ours, LAYOUTS[dims]), (ours, torch.contiguous_format)):
        module.zero_grad()
        image = x.clone(memory_format=layout).requires_grad_(True)
        out = module(image)
        assert out.is_contiguous(memory_format=layout)
        out.backward(push)
        found.append([out.detach(), image.grad, *[p.grad.clone() for p in module.parameters()]])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_its_gradient_is_the_slope(dims: int) -> None:
    torch.manual_seed(0)
    norm = layers(dims).instance_norm(2, eps=1e-5, affine=True).double()
    x = torch.randn(2, 2, *[3] * dims, dtype=torch.float64).to(memory_format=LAYOUTS[dims]).requires_grad_(True)
    assert torch.autograd.gradcheck(norm, (x,))


def test_half_precision_goes_through() -> None:
    norm = layers(3).instance_norm(4, eps=1e-5, affine=True)
    x = torch.randn(2, 4, 4, 4, 4).to(torch.bfloat16).to(memory_format=torch.channels_last_3d).requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x)
    out.float().square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and out.dtype == torch.bfloat16
