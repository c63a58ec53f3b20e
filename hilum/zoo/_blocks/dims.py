"""Layers by number of spatial axes, so that one network file serves 2-D and 3-D; sizes checked in one place."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks import instance_norm

Layer = Callable[..., nn.Module]


class Layers(NamedTuple):
    """The layer classes of one dimension."""

    conv: Layer
    transposed: Layer
    batch_norm: Layer
    instance_norm: Layer
    max_pool: Layer
    avg_pool: Layer
    mean: Layer


_LAYERS = {
    dims: Layers(
        conv=getattr(nn, f"Conv{dims}d"),
        transposed=getattr(nn, f"ConvTranspose{dims}d"),
        batch_norm=getattr(nn, f"BatchNorm{dims}d"),
        instance_norm=getattr(instance_norm, f"InstanceNorm{dims}d"),
        max_pool=getattr(nn, f"MaxPool{dims}d"),
        avg_pool=getattr(nn, f"AvgPool{dims}d"),
        mean=getattr(nn, f"AdaptiveAvgPool{dims}d"),
    )
    for dims in (2, 3)
}


def layers(spatial_dims: int) -> Layers:
    """The layer classes for 2 or 3 spatial axes."""
    if spatial_dims not in _LAYERS:
        raise HilumError("HIL-ZOO-01", f"spatial_dims is {spatial_dims!r}", "Use 2 or 3")
    return _LAYERS[spatial_dims]


def per_axis(value: int | Sequence[int], spatial_dims: int, name: str) -> tuple[int, ...]:
    """One number for all axes, or one number per axis, as a tuple of length `spatial_dims`."""
    axes = (value,) * spatial_dims if isinstance(value, int) else tuple(value)
    if len(axes) != spatial_dims or any(axis < 1 for axis in axes):
        raise HilumError("HIL-ZOO-03", f"{name} is {value!r}", f"Give one positive number, or {spatial_dims} of them")
    return axes


def require_divisible(x: Tensor, divisor: Sequence[int]) -> None:
    """Refuse x (B, C, *space) whose space is not divisible by `divisor` per axis, naming the size to pad to."""
    space = tuple(x.shape[2:])
    if len(space) != len(divisor):
        raise HilumError(
            "HIL-ZOO-02", f"The input has {len(space)} spatial axes, not {len(divisor)}", "Match spatial_dims"
        )
    if any(size % step for size, step in zip(space, divisor, strict=True)):
        padded = tuple(-(-size // step) * step for size, step in zip(space, divisor, strict=True))
        raise HilumError(
            "HIL-ZOO-02", f"The input's size {space} is not divisible by {tuple(divisor)}", f"Pad to {padded}"
        )


def require_more_than_one_voxel(x: Tensor, divisor: Sequence[int]) -> None:
    """Refuse x (B, C, *space) that leaves one voxel after all strides: an instance norm there has no variance."""
    if math.prod(x.shape[2:]) == math.prod(divisor):
        seen = f"The input's size {tuple(x.shape[2:])} leaves one voxel at the bottom, which has no variance"
        raise HilumError("HIL-ZOO-02", seen, "Use a larger patch, or a network of fewer stages")


def require_size(x: Tensor, image_size: Sequence[int], whose: str = "the position embedding's") -> None:
    """Refuse x (B, C, *space) of another size than that which learned weights are for. whose: those weights."""
    if tuple(x.shape[2:]) != tuple(image_size):
        seen = f"The input's size is {tuple(x.shape[2:])}, {whose} {tuple(image_size)}"
        raise HilumError("HIL-ZOO-04", seen, "Resample the image, or build the network with its image_size")
