"""What U-Nets with batch norm share: a convolution, linear upsampling, which widths and inputs they take."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, require_divisible


def conv_act(kit: Layers, inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution (bias, same size), batch norm, ReLU."""
    conv = kit.conv(inputs, outputs, kernel, padding=kernel // 2)
    return nn.Sequential(conv, kit.batch_norm(outputs), nn.ReLU(inplace=True))


def upsampled(x: Tensor, factor: int) -> Tensor:
    """(B, C, *space) -> (B, C, *space * factor), linear, corners not aligned."""
    if factor == 1:
        return x
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    return functional.interpolate(x, scale_factor=factor, mode=mode, align_corners=False)


def levels(widths: Sequence[int], least: int = 2) -> tuple[int, ...]:
    """The widths of the levels, full resolution first; too few and none positive are refused."""
    if len(widths) < least or any(width < 1 for width in widths):
        seen = f"widths is {list(widths)!r}"
        raise HilumError("HIL-ZOO-03", seen, f"Give a positive number for each level, {least} levels or more")
    return tuple(widths)


def require_levels(x: Tensor, divisor: Sequence[int], training: bool) -> None:
    """Refuse sizes that do not divide, and in training one value per channel at the bottom: it has no variance."""
    require_divisible(x, divisor)
    if training and len(x) == 1 and tuple(x.shape[2:]) == tuple(divisor):
        seen = f"One image of size {tuple(x.shape[2:])} leaves one value per channel at the bottom"
        raise HilumError("HIL-ZOO-02", seen, "Use a larger patch, a larger batch or fewer levels")
