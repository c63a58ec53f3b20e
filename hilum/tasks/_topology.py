"""nnU-Net's rules for patch size, pooling and kernels (Isensee 2021, v2), with a CPU-sized budget.

The pooling loop and the kernel rule are the published ones. The published stop criterion is GPU memory
(560e6 feature-map elements at base width 32); here `elements` is the caller's, sized for the machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_EDGE = 4
# Voxels that the bottleneck keeps along every pooled axis.


@dataclass(frozen=True)
class Topology:
    """patch: padded so that pooling divides it. strides, kernels: one row per stage, the first row the input's."""

    patch: list[int]
    strides: list[list[int]]
    kernels: list[list[int]]


def topology(patch: Sequence[int], spacing: Sequence[float]) -> Topology:
    """Pool an axis while it keeps 2 * MIN_EDGE voxels and its spacing is below twice the finest poolable one.

    An axis gets kernel 1 until its spacing is within twice the finest, then 3 for good; the bottleneck is always 3.
    """
    size, current, dims = [float(p) for p in patch], list(map(float, spacing)), len(patch)
    pools, kernel = [0] * dims, [1] * dims
    strides, kernels = [[1] * dims], []
    while True:
        able = [a for a in range(dims) if size[a] >= 2 * MIN_EDGE]
        if not able:
            break
        finest = min(current[a] for a in able)
        able = [a for a in able if current[a] < 2 * finest]
        if len(able) == 1 and size[able[0]] < 3 * MIN_EDGE:
            break
        overall = min(current)
        kernel = [3 if kernel[a] == 3 or current[a] < 2 * overall else 1 for a in range(dims)]
        kernels.append(list(kernel))
        stride = [2 if a in able else 1 for a in range(dims)]
        strides.append(stride)
        for axis in able:
            pools[axis] += 1
            size[axis] = np.ceil(size[axis] / 2)
            current[axis] *= 2
    kernels.append([3] * dims)
    padded = [int(np.ceil(p / 2**n) * 2**n) for p, n in zip(patch, pools, strict=True)]
    return Topology(padded, strides, kernels)


def features(stages: int, width: int, dims: int) -> list[int]:
    """min(width * 2^i, 320 in 3-D or 512 in 2-D), the cap in proportion to the width."""
    cap = (320 if dims == 3 else 512) * width // 32
    return [min(width * 2**i, cap) for i in range(stages)]


def elements(plan: Topology, widths: Sequence[int], classes: int, deep: bool = True) -> float:
    """nnU-Net's memory proxy: feature-map elements of all convolutions, up-convolutions and heads, one sample.

    deep: with the heads of deep supervision, or only the one at full resolution.
    """
    shape = np.array(plan.patch, dtype=np.float64)
    total, shapes = 0.0, []
    for stride, width in zip(plan.strides, widths, strict=True):
        shape = shape / np.array(stride)
        shapes.append(shape)
        total += 2 * width * shape.prod()
    for stage in range(len(widths) - 2, -1, -1):
        voxels = shapes[stage].prod()
        # up-convolution, two convolutions, head
        total += (widths[stage] + 2 * widths[stage] + (classes if deep or not stage else 0)) * voxels
    return float(total)


def start_patch(shape: Sequence[float], spacing: Sequence[float]) -> list[int]:
    """Aspect 1/spacing with the volume of 256^3 (2-D: 2048^2), clipped to the median shape."""
    aspect = 1 / np.array(spacing, dtype=np.float64)
    volume = 256**3 if len(shape) == 3 else 2048**2
    start = np.round(aspect * (volume / aspect.prod()) ** (1 / len(shape)))
    return [int(min(p, round(s))) for p, s in zip(start, shape, strict=True)]


def fit(shape: Sequence[float], spacing: Sequence[float], width: int, classes: int, limit: float) -> Topology:
    """The largest patch for a median `shape` whose `elements` stay under `limit` (both at `width`).

    Starts from the aspect 1/spacing clipped to the shape; shrinks the axis with the largest patch/shape ratio.
    """
    dims = len(shape)
    found = topology(start_patch(shape, spacing), spacing)
    while elements(found, features(len(found.strides), width, dims), classes) > limit:
        # an axis of a few slices has nothing to give; the others still have
        able = [a for a in range(dims) if found.patch[a] > MIN_EDGE]
        if not able:
            break
        axis = max(able, key=lambda a: found.patch[a] / shape[a])
        patch = list(found.patch)
        step = int(np.prod([s[axis] for s in found.strides]))
        patch[axis] -= step if patch[axis] > step else max(1, patch[axis] // 4)
        if patch[axis] < MIN_EDGE:
            break
        found = topology(patch, spacing)
    return found
