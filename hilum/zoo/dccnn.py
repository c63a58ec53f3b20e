"""Deep cascade of CNNs with data consistency, D5-C5 (Schlemper et al., 2017): denoise, then keep what was measured.

What is special: after each small CNN the measured k-space samples are put back, so no cascade can argue with them.

kspace: (B, coil, *space), complex, zero where not sampled; operator: `forward(image (B, *space)) -> kspace` including
the mask, `adjoint(kspace) -> image (B, *space)`, both complex -> (B, 2, *space), real and imaginary part.
Scale-free: the caller scales (for example so that the zero-filled image's maximum is 1).

Differs from the paper: data consistency is written with the operator, x + A^H(y - A x). For one coil and an
orthonormal Fourier transform that is the paper's replacement in k-space exactly; for several coils it is a gradient
step. Dynamic data sharing is left out; with spatial_dims 3 the convolutions are 3x3x3.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import layers

CARD = {
    "paper": "A Deep Cascade of Convolutional Neural Networks for MR Image Reconstruction",
    "authors": "Schlemper, Caballero, Hajnal, Price, Rueckert",
    "year": 2017,
    "tasks": ["reconstruct"],
    "role": "net",
    "dims": [2, 3],
    "inputs": ["kspace", "operator"],
    "divisor": 1,
    "image_size": False,
    "fixed_channels": {"in_channels": 2, "out_channels": 2},
    "golden": [
        {
            "kwargs": {"in_channels": 2, "out_channels": 2, "spatial_dims": 2},
            "parameters": 565770,
            "evidence": "calc",
        },
        {
            "kwargs": {"in_channels": 2, "out_channels": 2, "spatial_dims": 2, "width": 32},
            "parameters": 144650,
            "evidence": "calc",
        },
    ],
    "tiny": {
        "kwargs": {
            "in_channels": 2,
            "out_channels": 2,
            "spatial_dims": 2,
            "width": 8,
            "cascades": 2,
            "convs": 3,
        },
        "shape": {"kspace": [2, 1, 16, 16]},
    },
    "licence": "Apache-2.0",
    "reconstruction": False,
    "branches": "needs an operator",
    "head": "the last step is data consistency, which is linear but not a layer with weights",
}


class Operator(Protocol):
    """How the measurement came about; any object with these two methods."""

    def forward(self, image: Tensor, /) -> Tensor: ...
    def adjoint(self, kspace: Tensor, /) -> Tensor: ...


def as_channels(image: Tensor) -> Tensor:
    """(B, *space), complex -> (B, 2, *space), real."""
    return torch.stack([image.real, image.imag], dim=1)


def as_complex(channels: Tensor) -> Tensor:
    """(B, 2, *space), real -> (B, *space), complex."""
    return torch.complex(channels[:, 0], channels[:, 1])


def data_consistency(image: Tensor, kspace: Tensor, operator: Operator, noise_weight: float | None = None) -> Tensor:
    """image + w A^H(kspace - A image); w = 1 when noise_weight is None (hard), else v / (1 + v). All complex.

    On sampled points of one coil that is (k + v k0) / (1 + v) with k of the image and k0 measured.
    """
    weight = 1.0 if noise_weight is None else noise_weight / (1 + noise_weight)
    return image + weight * operator.adjoint(kspace - operator.forward(image))


def stack(kit: Any, width: int, convs: int) -> nn.Sequential:
    """`convs` 3x3 convolutions 2 -> width -> ... -> 2 with ReLU between; He's weights, no bias at the start."""
    sizes = [2] + [width] * (convs - 1) + [2]
    parts: list[nn.Module] = []
    for index in range(convs):
        conv = kit.conv(sizes[index], sizes[index + 1], 3, padding=1)
        nn.init.kaiming_normal_(conv.weight)
        nn.init.zeros_(conv.bias)
        parts += [conv, nn.ReLU(inplace=True)]
    return nn.Sequential(*parts[:-1])


class Net(nn.Module):
    """width: channels inside. cascades, convs: 5 and 5 are D5-C5. noise_weight: v > 0 trusts noisy data only in part,
    None puts the measured samples back unchanged."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int | dict[str, int],
        spatial_dims: int,
        *,
        width: int = 64,
        cascades: int = 5,
        convs: int = 5,
        noise_weight: float | None = None,
    ) -> None:
        super().__init__()
        if (in_channels, out_channels) != (2, 2):
            seen = f"in_channels is {in_channels!r} and out_channels {out_channels!r}"
            raise HilumError("HIL-ZOO-05", seen, "Use 2 and 2: real and imaginary part")
        if noise_weight is not None and noise_weight <= 0:
            seen = f"noise_weight is {noise_weight}, which would ignore the data"
            raise HilumError(
                "HIL-ZOO-03", seen, "Use a positive number, or None to keep the measured samples unchanged"
            )
        if convs < 2 or cascades < 1:
            seen = f"There are {cascades} cascades of {convs} convolutions"
            raise HilumError("HIL-ZOO-03", seen, "Use at least 1 cascade of 2 convolutions")
        kit = layers(spatial_dims)
        self.cascades = nn.ModuleList(stack(kit, width, convs) for _ in range(cascades))
        self.noise_weight = noise_weight

    def forward(self, kspace: Tensor, operator: Operator) -> Tensor:
        image = operator.adjoint(kspace)
        for cascade in self.cascades:
            x = as_channels(image)
            x = x + cascade(x).to(x.dtype)  # complex numbers have no half precision under autocast
            image = data_consistency(as_complex(x), kspace, operator, self.noise_weight)
        return as_channels(image)
