"""The one interpolation: images moved by displacements or affine maps, and resized. Torch is loaded when asked.

Displacements are in voxels, array-axis order (ij), and pull: out(p) = image(p + u(p)); voxel centres are the
grid (align_corners=True). Resizing keeps voxel edges (align_corners=False), as `geometry.rescaled` does.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def identity(shape: tuple[int, ...], like: "Tensor") -> "Tensor":
    """Voxel coordinates (1, d, *shape) in ij order, with the type and device of `like`."""
    import torch

    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(image: "Tensor", points: "Tensor", mode: str = "linear", padding: str = "zeros") -> "Tensor":
    """Values of image (B, C, *space) at voxel coordinates (B, d, *out) -> (B, C, *out).

    mode: "linear" or "nearest". padding: "zeros" or "border".
    """
    import torch
    from torch.nn import functional

    size = torch.tensor(image.shape[2:], dtype=points.dtype, device=points.device)
    scale = (2 / (size - 1).clamp(min=1)).reshape(1, -1, *[1] * (points.ndim - 2))
    # grid_sample wants the last array axis first and coordinates in [-1, 1]
    grid = (points * scale - 1).flip(1).movedim(1, -1)
    kind = "bilinear" if mode == "linear" else "nearest"
    return functional.grid_sample(
        image,
        grid.expand(image.shape[0], *grid.shape[1:]).to(image.dtype),
        mode=kind,
        padding_mode=padding,
        align_corners=True,
    )


def warp(image: "Tensor", displacement: "Tensor", mode: str = "linear", padding: str = "zeros") -> "Tensor":
    """image (B, C, *space) pulled through displacement (B, d, *out) in voxels -> (B, C, *out)."""
    points = identity(tuple(displacement.shape[2:]), displacement) + displacement
    return sample(image, points, mode, padding)


def warp_labels(labels: "Tensor", displacement: "Tensor", values: list[int]) -> "Tensor":
    """Label map (B, 1, *space) through a displacement: each value linearly, then the strongest wins."""
    import torch

    layers = [warp((labels == v).to(displacement.dtype), displacement, "linear") for v in values]
    stack = torch.cat(layers, dim=1)
    rest = 1 - stack.sum(dim=1, keepdim=True)
    winner = torch.cat([rest, stack], dim=1).argmax(dim=1, keepdim=True)
    lookup = torch.tensor([0, *values], dtype=labels.dtype, device=labels.device)
    return lookup[winner]


def resize(array: np.ndarray[Any, Any], shape: tuple[int, ...], mode: str = "linear") -> np.ndarray[Any, Any]:
    """(C, *space) to (C, *shape), float32; mode "linear" or "nearest". Shrinking by "linear" is smoothed first.

    Smoothing: pictures use the antialiased filter of torch (2-D); volumes a Gaussian of sigma 0.5*(factor - 1).
    """
    import torch
    from torch.nn import functional

    if array.shape[1:] == tuple(shape):
        return np.ascontiguousarray(array, dtype=np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    if mode == "nearest":
        return functional.interpolate(tensor, size=tuple(shape), mode="nearest-exact")[0].numpy()
    if len(shape) == 2:
        out = functional.interpolate(tensor, size=tuple(shape), mode="bilinear", align_corners=False, antialias=True)
        return out[0].numpy()
    sigma = [max(0.0, 0.5 * (old / new - 1)) for old, new in zip(array.shape[1:], shape, strict=True)]
    if max(sigma) > 0.1:
        from scipy.ndimage import gaussian_filter

        smooth = np.stack([gaussian_filter(channel, sigma, mode="nearest") for channel in tensor[0].numpy()])
        tensor = torch.from_numpy(smooth)[None]
    return functional.interpolate(tensor, size=tuple(shape), mode="trilinear", align_corners=False)[0].numpy()


def resize_labels(labels: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Label map (*space) to (*shape): each value resized linearly, then the strongest wins; dtype kept."""
    if labels.shape == tuple(shape):
        return labels
    values = np.unique(labels)
    best = np.full(shape, -1.0, dtype=np.float32)
    out = np.full(shape, values[0], dtype=labels.dtype)
    for value in values:
        weight = resize((labels == value)[None].astype(np.float32), shape)[0]
        win = weight > best
        best[win] = weight[win]
        out[win] = value
    return out
