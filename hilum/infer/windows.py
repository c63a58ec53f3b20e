"""Sliding windows over an image of any size, merged by Gaussian weights (nnU-Net's tiling)."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.core.progress import Progress, quiet
from hilum.prepare.patches import cut, window_starts

if TYPE_CHECKING:
    from torch import Tensor, nn

BYTES = 4


def memory(shape: tuple[int, ...], channels: int, patch: list[int], inputs: int) -> int:
    """Bytes the merging of windows will hold: class scores, weights and the padded image, float32."""
    padded = np.prod([max(n, p) for n, p in zip(shape, patch, strict=True)])
    return int(padded * (channels + 1 + inputs) * BYTES)


def weights(patch: list[int]) -> "Tensor":
    """Gaussian with sigma an eighth of the patch, its smallest value raised above zero: (*patch)."""
    import torch

    total = torch.ones(patch)
    for axis, n in enumerate(patch):
        at = torch.arange(n) - (n - 1) / 2
        own = torch.exp(-0.5 * (at / (n / 8)) ** 2)
        total = total * own.reshape([-1 if a == axis else 1 for a in range(len(patch))])
    return total.clamp(min=float(total[total > 0].min()))


def merged(
    net: "nn.Module",
    image: Array,
    patch: list[int],
    overlap: float,
    mirror: bool = False,
    limit: int | None = None,
    progress: Progress = quiet,
) -> "Tensor":
    """Image (C, *space) -> mean logits (K, *space). limit: bytes allowed for the merging, refused when more is needed.

    mirror: also the mean over all mirrored inputs (wrong where left and right are different classes).
    """
    import torch

    shape = image.shape[1:]
    padded = tuple(max(n, p) for n, p in zip(shape, patch, strict=True))
    before = [(want - n) // 2 for n, want in zip(shape, padded, strict=True)]
    array = torch.from_numpy(np.ascontiguousarray(cut(image, [-b for b in before], padded)))[None]
    starts = list(itertools.product(*[window_starts(n, p, 1 - overlap) for n, p in zip(padded, patch, strict=True)]))
    weight, total, heaviness = weights(patch), None, torch.zeros(padded)
    with torch.inference_mode():
        for number, start in enumerate(starts):
            place = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
            logits = _looked_at(net, array[(slice(None), slice(None), *place)], mirror)[0].float()
            if total is None:
                need = memory(shape, len(logits), patch, len(image))
                if limit is not None and need > limit:
                    raise HilumError(
                        "HIL-INFER-01",
                        f"Merging windows needs {need / 1e9:.2f} GB, --memory allows {limit / 1e9:.2f} GB",
                        "Allow more memory or crop the image",
                    )  # fmt: skip
                total = torch.zeros((len(logits), *padded))
            total[(slice(None), *place)] += logits * weight
            heaviness[place] += weight
            progress("windows", number + 1, len(starts))
    assert total is not None
    inside = tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))
    return (total / heaviness)[(slice(None), *inside)]


def _looked_at(net: "nn.Module", window: "Tensor", mirror: bool) -> Any:
    """Logits of one window, averaged over mirrored views when asked."""
    if not mirror:
        return net(window)
    axes = range(2, window.ndim)
    views = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    return sum(net(window.flip(v)).flip(v) for v in views) / len(views)
