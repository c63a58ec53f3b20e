"""Multi-scale structural similarity (Wang et al., 2003) of probabilities and truth, as in UNet 3+ (Huang et al., 2020).

    1 - prod_j cs_j^w_j * ssim_M^w_M,   cs and ssim: means over Gaussian windows (11, sigma 1.5) at scale j of M

By image and class; each scale has half the resolution of the last. Windows lie inside of the image and know nothing of
what is ignored.

Differs from UNet 3+: every scale has its own power (the released product raises the last scale to the 4th by
broadcasting), and cs is cut off just above 0 instead of being moved to (1 + cs) / 2. Differs from MONAI's metric: the
mean over classes comes last, and cs is not cut off at 0 itself, where one wrong scale makes the product and all its
gradients 0. An image too small for five scales has as many as its windows fit into, their weights enlarged to the same
sum; the released code of UNet 3+ shrinks the window instead, silently. What that code does otherwise is not offered,
because its powers look like a slip, and a window that shrinks unseen would make another loss of every size.

Where the prediction is the inverse of the truth at every scale nothing pulls it back: best beside another loss.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, cat
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses._classes import per_class
from hilum.losses._together import summed

CARD = {
    "about": "multi-scale structural similarity of probabilities and truth, as in UNet 3+",
    "tasks": ["segment"],
    "options": {"window": 11, "sigma": 1.5, "background": False},
}

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Of the five scales, fine to coarse.
C1, C2 = 0.01**2, 0.03**2
# For values in [0, 1].
TINY = 1e-6


def ms_ssim(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    window: int = 11,
    sigma: float = 1.5,
    background: bool = False,
) -> Tensor:
    """A scalar in [0, 1]. Shapes as `dice`; space of at least `window` along every axis.

    window: odd, voxels. sigma: of the Gaussian in it. An image that is ignored as a whole counts nowhere.
    """
    if sigma <= 0:
        raise HilumError("HIL-LOSSES-06", f"sigma is {sigma}", "Give a number above 0; 1.5 is usual")
    probability, truth = per_class(logits, target, ignore, background)
    known = (target == target if ignore is None else target != ignore).unsqueeze(1).to(probability.dtype)
    # differences of near numbers: half precision would lose them
    with torch.autocast(logits.device.type, enabled=False):
        index = similarity(probability, truth, known, window=window, sigma=sigma)
    heard = (known.flatten(1).amax(1) > 0).to(index.dtype)
    return summed(((1 - index).mean(1) * heard).sum()) / summed(heard.sum()).clamp_min(1)


def similarity(x: Tensor, y: Tensor, known: Tensor, *, window: int = 11, sigma: float = 1.5) -> Tensor:
    """MS-SSIM of x and y (B, K, *space), values in [0, 1]: (B, K). known: (B, 1, *space), share of each voxel."""
    weights = _weights(tuple(x.shape[2:]), window)
    far = torch.arange(window, dtype=x.dtype, device=x.device) - window // 2
    kernel = torch.exp(-(far / sigma).square() / 2)
    kernel = kernel / kernel.sum()
    pool = getattr(functional, f"avg_pool{x.ndim - 2}d")
    index = x.new_ones(x.shape[:2])
    for scale, weight in enumerate(weights):
        contrast, whole = _at_one_scale(x, y, known, kernel)
        last = scale == len(weights) - 1
        index = index * (whole if last else contrast).clamp_min(TINY) ** weight
        if not last:
            share = pool(known, 2)
            x, y = (pool(part * known, 2) / share.clamp_min(TINY) for part in (x, y))
            known = share
    return index


def _weights(space: tuple[int, ...], window: int) -> list[float]:
    """The weights of as many scales as the window fits into."""
    if window < 1 or window % 2 == 0 or min(space) < window:
        seen = f"A window of {window} is even, or larger than the image {space}"
        hint = "Use an odd window that fits: ms_ssim:window=7, or compound:recipe=unet3plus:window=7"
        raise HilumError("HIL-LOSSES-05", seen, hint)
    count = sum(min(space) // 2**scale >= window for scale in range(len(WEIGHTS)))
    more = sum(WEIGHTS) / sum(WEIGHTS[:count])
    return [weight * more for weight in WEIGHTS[:count]]


def _at_one_scale(x: Tensor, y: Tensor, known: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Mean contrast-structure and mean SSIM, (B, K) each; a window counts by what is known in it."""
    seen = _blurred(known, kernel)
    maps = _blurred(cat([x, y, x * x, y * y, x * y], 1) * known, kernel) / seen.clamp_min(TINY)
    mean_x, mean_y, square_x, square_y, product = maps.chunk(5, 1)
    spread = (square_x - mean_x.square()).clamp_min(0) + (square_y - mean_y.square()).clamp_min(0)
    contrast = (2 * (product - mean_x * mean_y) + C2) / (spread + C2)
    whole = contrast * (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    axes = list(range(2, x.ndim))
    count = seen.sum(axes).clamp_min(TINY)
    return (contrast * seen).sum(axes) / count, (whole * seen).sum(axes) / count


def _blurred(x: Tensor, kernel: Tensor) -> Tensor:
    """Means by the kernel along every axis of space, windows inside of the image."""
    for axis in range(2, x.ndim):
        rows = x.movedim(axis, -1)
        blurred: Tensor = _Means.apply(rows.reshape(-1, 1, rows.shape[-1]), kernel[None, None])
        x = blurred.reshape(*rows.shape[:-1], -1).movedim(-1, axis)
    return x


class _Means(torch.autograd.Function):
    """(N, 1, L) rows, (1, 1, window) kernel -> (N, 1, L - window + 1), in whole precision there and back.

    A spread is the difference of two near means, and so is its gradient: what TF32 keeps of them (10 bits) says
    nothing. Whether cuDNN may use it is asked when a convolution runs, and the backward pass runs when the loss has
    long returned; a context around the loss would not reach it, so both passes are written here.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(kernel)
        with _whole(rows.device.type):
            out: Tensor = functional.conv1d(rows, kernel)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (kernel,) = ctx.saved_tensors
        with _whole(grads[0].device.type):
            out: Tensor = functional.conv1d(grads[0], kernel.flip(-1), padding=kernel.shape[-1] - 1)
        return out, None


@contextlib.contextmanager
def _whole(device: str) -> Iterator[None]:
    """Convolutions in the precision of their tensors: no TF32 and no autocast; cuDNN's other flags stay as they are."""
    # not cudnn.flags(allow_tf32=False): its other arguments have defaults of their own, one of which turns cuDNN off
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
