"""Cartesian MR: mask * F(S x), centred and unitary, with its exact adjoint.

k = fftshift(fft2(ifftshift(x), norm="ortho")) over the last two axes (fastMRI's convention). numpy pair for data,
`Fourier` for batches of tensors that networks and solvers differentiate through.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def to_kspace(image: Array) -> Array:
    """(..., H, W) image to centred unitary k-space, complex."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=axes), norm="ortho"), axes=axes)


def to_image(kspace: Array) -> Array:
    """(..., H, W) centred k-space to complex image; the inverse and the adjoint of `to_kspace`."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)


def _fft(x: "Tensor") -> "Tensor":
    from torch import fft

    return fft.fftshift(fft.fft2(fft.ifftshift(x, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


def _ifft(k: "Tensor") -> "Tensor":
    from torch import fft

    return fft.fftshift(fft.ifft2(fft.ifftshift(k, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


class Fourier:
    """The acquisition of a batch: y = mask * F(S x).

    mask: (W,), (H, W), (B, H, W) or (B, 1, W); 1 where sampled. Two axes are rows and columns: (B, W) would be misread.
    maps: (coil, H, W) or (B, coil, H, W) complex, or None for one coil that sees everything alike.
    A leading axis of 1 serves any batch.
    """

    def __init__(self, mask: "Tensor", maps: "Tensor | None" = None) -> None:
        mask = mask.reshape((1,) * (3 - mask.ndim) + tuple(mask.shape)) if mask.ndim < 3 else mask
        self.mask = mask[:, None]
        self.maps = maps[None] if maps is not None and maps.ndim == 3 else maps
        """mask: (B or 1, 1, H or 1, W) real; maps: (B or 1, coil, H, W) complex or None."""

    @property
    def coils(self) -> int:
        """Number of receive coils."""
        return 1 if self.maps is None else int(self.maps.shape[1])

    def forward(self, x: "Tensor") -> "Tensor":
        """Complex image (B, H, W) to measured k-space (B, coil, H, W), zero where not sampled."""
        spread = x[:, None] if self.maps is None else self.maps.to(x.dtype) * x[:, None]
        return self._mask(x) * _fft(spread)

    def adjoint(self, k: "Tensor") -> "Tensor":
        """k-space (B, coil, H, W) to image (B, H, W): sum over coils of conj(S) F^H (mask k)."""
        coils = _ifft(self._mask(k) * k)
        return coils[:, 0] if self.maps is None else (self.maps.to(k.dtype).conj() * coils).sum(dim=1)

    def normal(self, x: "Tensor") -> "Tensor":
        """adjoint(forward(x)), (B, H, W)."""
        return self.adjoint(self.forward(x))

    def _mask(self, like: "Tensor") -> "Tensor":
        return self.mask.to(like.real.dtype)

    def to(self, device: "torch.device | str") -> "Fourier":
        """The same operator on another device."""
        return Fourier(self.mask[:, 0].to(device), None if self.maps is None else self.maps.to(device))

    def __getitem__(self, rows: slice) -> "Fourier":
        """The operators of some rows of the batch."""
        maps = self.maps if self.maps is None or len(self.maps) == 1 else self.maps[rows]
        mask = self.mask[:, 0]
        return Fourier(mask if len(mask) == 1 else mask[rows], maps)

    def plain(self) -> dict[str, Any]:
        """Plain data: {"name": "fourier", "mask": array (B or 1, H or 1, W), "maps": array or None}."""
        maps = None if self.maps is None else self.maps.cpu().numpy()
        return {"name": "fourier", "mask": self.mask[:, 0].cpu().numpy(), "maps": maps}

    @staticmethod
    def from_plain(description: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> "Fourier":
        """The operator of a measurement's `operator`, or of several of one size as a batch (else HIL-PHYS-01)."""
        import torch

        several = [description] if isinstance(description, Mapping) else list(description)
        for one in several:
            if one.get("name") != "fourier":
                raise HilumError(
                    "HIL-PHYS-01", f"{one.get('name')!r} is not a Fourier acquisition", "Use its own operator"
                )
        masks = [_batched(np.asarray(one["mask"], dtype=np.float32), 3) for one in several]
        maps = [None if one.get("maps") is None else _batched(np.asarray(one["maps"]), 4) for one in several]
        if len({m.shape[1:] for m in masks}) > 1 or len({None if m is None else m.shape[1:] for m in maps}) > 1:
            raise HilumError("HIL-PHYS-01", "Acquisitions of different size or coils in one batch", "Batch equal ones")
        mask = torch.from_numpy(np.concatenate(masks))
        joined = [m for m in maps if m is not None]
        return Fourier(mask, torch.from_numpy(np.concatenate(joined)) if joined else None)


def _batched(array: Array, axes: int) -> Array:
    return array.reshape((1,) * (axes - array.ndim) + array.shape)
