"""DC-CNN: data consistency is the card's replacement in k-space, whatever the weights."""

import pytest
import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo.dccnn import Net, as_complex, data_consistency


class OneCoil:
    """Masked, orthonormal 2-D Fourier transform of one coil."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def forward(self, image: Tensor) -> Tensor:
        return (torch.fft.fft2(image, norm="ortho") * self.mask).unsqueeze(1)

    def adjoint(self, kspace: Tensor) -> Tensor:
        return torch.fft.ifft2(kspace[:, 0] * self.mask, norm="ortho")


@pytest.fixture
def operator() -> OneCoil:
    torch.manual_seed(0)
    return OneCoil((torch.rand(16) < 0.4).float())


def image(dtype: torch.dtype = torch.complex64) -> Tensor:
    return torch.randn(2, 16, 16, dtype=dtype)


def tiny(**options: object) -> Net:
    return Net(2, 2, 2, **{"width": 8, "cascades": 2, "convs": 3, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("noise_weight", [None, 0.5, 4.0])
def test_it_equals_replacement_in_kspace(operator: OneCoil, noise_weight: float | None) -> None:
    x, y = image(torch.complex128), operator.forward(image(torch.complex128))
    k, k0 = torch.fft.fft2(x, norm="ortho"), y[:, 0]
    v = noise_weight
    k = torch.where(operator.mask > 0, k0 if v is None else (k + v * k0) / (1 + v), k)
    torch.testing.assert_close(data_consistency(x, y, operator, v), torch.fft.ifft2(k, norm="ortho"))


def test_hard_consistency_is_idempotent(operator: OneCoil) -> None:
    y = operator.forward(image())
    once = data_consistency(image(), y, operator)
    torch.testing.assert_close(data_consistency(once, y, operator), once, atol=5e-6, rtol=0)


def test_sampled_points_come_out_as_measured(operator: OneCoil) -> None:
    y = operator.forward(image())
    out = as_complex(tiny()(y, operator)).detach()
    assert float((operator.forward(out) - y).abs().max()) < 5e-6


def test_a_full_mask_returns_the_truth() -> None:
    operator, x = OneCoil(torch.ones(16)), image()
    torch.testing.assert_close(as_complex(tiny()(operator.forward(x), operator)), x, atol=5e-6, rtol=0)


def test_an_empty_mask_leaves_the_network_alone() -> None:
    operator, x = OneCoil(torch.zeros(16)), image()
    torch.testing.assert_close(data_consistency(x, operator.forward(image()), operator), x)


def test_silent_cascades_give_the_zero_filled_image(operator: OneCoil) -> None:
    net, y = tiny(), operator.forward(image())
    for cascade in net.cascades:
        nn.init.zeros_(list(cascade.parameters())[-2])
    torch.testing.assert_close(as_complex(net(y, operator)), operator.adjoint(y), atol=5e-6, rtol=0)


def test_soft_consistency_has_the_right_gradient() -> None:
    operator = OneCoil(torch.tensor([1.0, 0.0, 1.0]))
    y = operator.forward(torch.randn(1, 2, 3, dtype=torch.complex128))
    x = torch.randn(1, 2, 3, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: data_consistency(x, y, operator, 0.7), x)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(HilumError, match="ignore the data"):
        tiny(noise_weight=0.0)
    with pytest.raises(HilumError, match="real and imaginary"):
        Net(1, 2, 2)
