"""The one interpolation: images moved by displacements or affine maps, and resized. Torch is loaded when asked.

Displacements are in voxels, array-axis order (ij), and pull: out(p) = image(p + u(p)); voxel centres are the
grid (align_corners=True). Resizing keeps voxel edges (align_corners=False), as `geometry.rescaled` does.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core._grow import between, grown

if TYPE_CHECKING:
    from torch import Tensor

SLAB = 1 << 23
# Voxels of an image handled at a time.
SHARES = 1 << 20
# The same where labels shrink: of each value there are shares in float32, more than once.


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


def resize(
    array: np.ndarray[Any, Any], shape: tuple[int, ...], mode: str = "linear", smooth: bool = True
) -> np.ndarray[Any, Any]:
    """(C, *space) to (C, *shape), float32; mode "linear" or "nearest". Shrinking by "linear" is smoothed first.

    smooth: off, it is not. Smoothing: pictures use the antialiased filter of torch (2-D); volumes a Gaussian of sigma
    0.5*(factor - 1). Volumes of any type and order in memory are taken as they lie, some slices at a time: no copy of
    the whole is made. A value that is not finite reaches what lies near it, as with any interpolation.
    """
    import torch
    from torch.nn import functional

    if array.shape[1:] == tuple(shape):
        return np.ascontiguousarray(array, dtype=np.float32)
    if mode == "linear" and len(shape) == 3:
        return _separable(array, tuple(shape), smooth)
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    if mode == "nearest":
        return functional.interpolate(tensor, size=tuple(shape), mode="nearest-exact")[0].numpy()
    out = functional.interpolate(tensor, size=tuple(shape), mode="bilinear", align_corners=False, antialias=smooth)
    return out[0].numpy()


def _separable(array: np.ndarray[Any, Any], shape: tuple[int, ...], smooth: bool = True) -> np.ndarray[Any, Any]:
    """(C, i, j, k) to (C, *shape): one small matrix per axis, the slices that lie together in memory at a time."""
    import torch

    # from here on axes are as they lie, the slowest first: nothing is turned to be multiplied
    order = np.argsort(-np.abs(array.strides[1:]), kind="stable")
    lying, wanted = array.transpose(0, *(order + 1)), [shape[a] for a in order]
    sizes = lying.shape[1:]
    lines = [None if n == m else _matrix(n, m, smooth) for n, m in zip(sizes, wanted, strict=True)]
    slow, *rest = [None if line is None else torch.from_numpy(line) for line in lines]
    out = torch.zeros((len(array), *shape))
    turned = out.permute(0, *(order + 1).tolist())
    step = max(1, SLAB // max(1, array.size // sizes[0]))
    for start in range(0, sizes[0], step):
        here = slice(start, start + step)
        slab = _across(torch.from_numpy(lying[:, here].astype(np.float32, order="C", copy=True)), *rest)
        if slow is None:
            turned[:, here] = slab
            continue
        rows = torch.nonzero(slow[:, here].any(dim=1)).ravel()
        if len(rows):
            low, high = int(rows[0]), int(rows[-1]) + 1
            turned[:, low:high] += (slow[low:high, here] @ slab.flatten(2)).unflatten(2, slab.shape[2:])
    if array.dtype.kind == "f" and not bool(out.isfinite().all()):
        return _spoilt(array, shape, smooth)
    return out.numpy()


def _across(slab: "Tensor", middle: "Tensor | None", fast: "Tensor | None") -> "Tensor":
    """Matrices (new, old) applied along the last two axes; the one that shrinks more goes first."""
    sides = [("fast", fast), ("middle", middle)]
    for side, matrix in sorted(sides, key=lambda s: 1.0 if s[1] is None else s[1].shape[0] / s[1].shape[1]):
        if matrix is not None:
            slab = slab @ matrix.t() if side == "fast" else matrix @ slab
    return slab


def _along(slab: "Tensor", matrix: "Tensor | None", axis: int) -> "Tensor":
    """A matrix (new, old) applied along an axis."""
    import torch

    return slab if matrix is None else torch.tensordot(matrix, slab, dims=([1], [axis])).movedim(0, axis)


def _matrix(old: int, new: int, smooth: bool = True) -> np.ndarray[Any, Any]:
    """(new, old) float32: smoothing where it shrinks, then linear interpolation, both with the edge repeated."""
    low, high, share = between(old, new)
    matrix = np.zeros((new, old))
    rows = np.arange(new)
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, high), share)
    if smooth and smoothed(old, new):
        matrix = matrix @ _blurred(old, 0.5 * (old / new - 1))
    return matrix.astype(np.float32)


def _blurred(size: int, sigma: float) -> np.ndarray[Any, Any]:
    """(size, size): a Gaussian cut off at 4 sigma around every place of a line, the edge repeated.

    As scipy.ndimage.gaussian_filter1d, which takes longer to be imported than a volume to be resized.
    """
    import torch

    reach = int(4 * sigma + 0.5)
    line = torch.signal.windows.gaussian(2 * reach + 1, std=sigma, dtype=torch.float64).numpy()
    matrix, places = np.zeros((size, size)), np.arange(size)
    for step, share in zip(range(-reach, reach + 1), line / line.sum(), strict=True):
        np.add.at(matrix, (places, np.clip(places + step, 0, size - 1)), share)
    return matrix


def smoothed(old: int, new: int) -> bool:
    """Whether going from `old` to `new` voxels smooths: from a Gaussian on that reaches a neighbour (4 sigma)."""
    return int(4 * max(0.0, 0.5 * (old / new - 1)) + 0.5) > 0


def _spoilt(array: np.ndarray[Any, Any], shape: tuple[int, ...], smooth: bool = True) -> np.ndarray[Any, Any]:
    """The same for values that are not all finite, which a sum of products would spread along whole lines."""
    import torch
    from scipy.ndimage import gaussian_filter
    from torch.nn import functional

    pairs = list(zip(array.shape[1:], shape, strict=True))
    sigma = [0.5 * (o / n - 1) if smooth and smoothed(o, n) else 0.0 for o, n in pairs]
    whole = np.ascontiguousarray(array, dtype=np.float32)
    if any(sigma):
        whole = np.stack([gaussian_filter(channel, sigma, mode="nearest") for channel in whole])
    tensor = torch.from_numpy(whole)[None]
    return functional.interpolate(tensor, size=shape, mode="trilinear", align_corners=False)[0].numpy()


def resize_labels(
    labels: np.ndarray[Any, Any], shape: tuple[int, ...], out: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """Label map (*space) to (*shape): each value resized linearly, then the strongest wins, of equals the lowest.

    dtype kept. out: written there where given, of any order in memory.
    """
    out = np.empty(shape, dtype=labels.dtype) if out is None else out
    if labels.shape == tuple(shape):
        out[...] = labels
    elif len(shape) == 3 and not any(map(smoothed, labels.shape, shape)):
        # slices that lie together in memory are written together
        order = np.argsort(-np.abs(out.strides), kind="stable")
        grown(labels.transpose(order), out.transpose(order))
    else:
        _by_value(labels, out)
    return out


def _by_value(labels: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
    """One value after the other, each in the box that it reaches; of a volume some planes at a time."""
    if out.ndim == 2:
        masks = ((value, (labels == value)[None].astype(np.float32)) for value in np.unique(labels))
        _strongest(((value, (slice(None),) * 2, resize(mask, out.shape)[0]) for value, mask in masks), out)
        return
    whole = [None if old == new else _matrix(old, new) for old, new in zip(labels.shape, out.shape, strict=True)]
    first, *others = whole
    step = max(1, SHARES * len(out) // max(1, labels.size))
    for start in range(0, len(out), step):
        here = slice(start, start + step)
        reached = here if first is None else _reached(first[here])
        part, matrices = labels[reached], [None if first is None else first[here, reached], *others]
        _strongest(((value, *_share_of(part == value, matrices)) for value in np.unique(part)), out[here])


def _reached(rows: np.ndarray[Any, Any]) -> slice:
    """The old voxels that some rows of a matrix (new, old) take from."""
    seen = np.flatnonzero(rows.any(axis=0))
    return slice(int(seen[0]), int(seen[-1]) + 1)


def _strongest(shares: Iterable[tuple[Any, Any, np.ndarray[Any, Any]]], out: np.ndarray[Any, Any]) -> None:
    """Write into `out` which value has the largest share of every voxel. shares: (value, box, share there), rising."""
    best = np.full(out.shape, -1.0, dtype=np.float32)
    for value, box, weight in shares:
        # rounding must not decide between equals
        win = weight > best[box] + 1e-6
        best[box][win] = weight[win]
        out[box][win] = value


def _share_of(
    mask: np.ndarray[Any, Any], matrices: Sequence[np.ndarray[Any, Any] | None]
) -> tuple[tuple[slice, ...], np.ndarray[Any, Any]]:
    """Where a mask (*space) is not 0 once a matrix (new, old) is applied along each axis, and its values there.

    None: the axis stays.
    """
    import torch

    hit = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    old = tuple(slice(int(h[0]), int(h[-1]) + 1) for h in hit)
    weight, new = torch.from_numpy(mask[old].astype(np.float32)), []
    for axis, (whole, here) in enumerate(zip(matrices, old, strict=True)):
        if whole is None:
            new.append(here)
            continue
        matrix = whole[:, here]
        rows = np.flatnonzero(matrix.any(axis=1))
        new.append(slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0))
        weight = _along(weight, torch.from_numpy(np.ascontiguousarray(matrix[new[-1]])), axis)
    return tuple(new), weight.numpy()
