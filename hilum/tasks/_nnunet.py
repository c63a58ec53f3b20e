"""nnU-Net's published rules (Isensee 2021; code version 2): what it plans for a data set on a card of 8 GB.

Target spacing, start patch, shrinking, batch, the flat form and the low-resolution stage; pooling and kernels are in
`_topology`. Axes are in nnU-Net's order where order decides a tie: as stored by SimpleITK (last image axis first),
then the coarsest in front (`axis_order`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hilum.tasks._topology import MIN_EDGE, Topology, elements, features, start_patch, topology

WIDTH = 32
REFERENCE = {2: 85e6, 3: 560e6}
# Feature-map elements at the reference batch that fill a card of 8 GB.
REFERENCE_BATCH = {2: 12, 3: 2}
LEAST_BATCH = 2
SHARE = 0.05
# Most of the data set's voxels that one batch may show.
LOW = 0.25
# Share of the median image below which a patch sees too little, so that a low-resolution stage helps.
COARSEN = 1.03


@dataclass(frozen=True)
class Published:
    """One configuration as nnU-Net plans it. elements: of one sample. spacing, shape: what it is planned for."""

    spacing: list[float]
    shape: list[float]
    patch: list[int]
    batch: int
    strides: list[list[int]]
    kernels: list[list[int]]
    features: list[int]
    elements: float


def target_spacing(spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[float]]) -> list[float]:
    """Median spacing; a coarse axis that is also short gets its 10th percentile, not below the other axes' coarsest.

    spacings, shapes: (cases, axes). Coarse: over 3 times the coarsest other; short: under a third of every other.
    """
    table = np.asarray(spacings, dtype=np.float64)
    target = np.median(table, axis=0)
    size = np.median(np.asarray(shapes, dtype=np.float64), axis=0)
    worst = int(np.argmax(target))
    others = [a for a in range(len(target)) if a != worst]
    if target[worst] > 3 * max(target[others]) and size[worst] * 3 < min(size[others]):
        low = float(np.percentile(table[:, worst], 10))
        coarsest = max(target[others])
        target[worst] = max(low, coarsest + 1e-5) if low < coarsest else low
    return [float(t) for t in target]


def median_shape(
    spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[float]], target: Sequence[float]
) -> list[float]:
    """Median over the cases of the shape (whole voxels) that each has at the target spacing."""
    table = np.asarray(shapes, dtype=np.float64) * np.asarray(spacings, dtype=np.float64) / np.asarray(target)
    return [float(n) for n in np.median(np.round(table), axis=0)]


def axis_order(spacing: Sequence[float]) -> list[int]:
    """Image axes (x, y, z) in nnU-Net's order: z, y, x with the coarsest moved to the front."""
    axes = list(range(len(spacing)))[::-1]
    worst = max(axes, key=lambda a: spacing[a])
    return [worst, *(a for a in axes if a != worst)]


def published(
    shape: Sequence[float],
    spacing: Sequence[float],
    outputs: int,
    voxels: float,
    reference: float | None = None,
    reference_batch: int | None = None,
) -> Published:
    """One configuration in the dimensions of `shape`, the median shape at `spacing`.

    outputs: of the network, with the background. voxels: of the whole data set, for the cap on the batch.
    reference, reference_batch: what fills the card, by default nnU-Net's for 8 GB.
    """
    dims = len(shape)
    reference = REFERENCE[dims] if reference is None else reference
    usual = REFERENCE_BATCH[dims] if reference_batch is None else reference_batch
    found = topology(start_patch(shape, spacing), spacing)
    while _elements(found, outputs) * LEAST_BATCH / usual > reference and max(found.patch) > MIN_EDGE:
        found = _shrunk(found, shape, spacing)
    cost = _elements(found, outputs)
    batch = round(reference / cost * usual)
    most = round(voxels * SHARE / float(np.prod(found.patch, dtype=np.float64)))
    return Published(
        list(map(float, spacing)), list(map(float, shape)), found.patch, max(min(batch, most), LEAST_BATCH),
        found.strides, found.kernels, features(len(found.strides), WIDTH, dims), cost,
    )  # fmt: skip


def low_resolution(full: Published, outputs: int, cases: int) -> Published | None:
    """The low-resolution stage that nnU-Net adds where the patch shows under a quarter of the median image, or None.

    The spacing grows in steps of 3 %, at first only on axes finer than half the coarsest, until the patch planned
    there shows a quarter; a stage that shrinks the image less than twofold is not worth it.
    """
    start, shape = np.array(full.spacing), np.array(full.shape)
    voxels, dataset = float(shape.prod()), float(shape.prod()) * cases
    spacing, plan = start.copy(), full
    while np.prod(plan.patch) / voxels < LOW:
        fine = max(spacing) / spacing > 2
        spacing = np.where(fine, spacing * COARSEN, spacing) if fine.any() else spacing * COARSEN
        coarse = start / spacing * shape
        voxels = float(coarse.prod())
        plan = published([float(round(n)) for n in coarse], spacing.tolist(), outputs, dataset)
    return None if shape.prod() / voxels < 2 else plan


def _elements(found: Topology, outputs: int) -> float:
    # its planner (2.8.1) estimates without the lower heads of deep supervision, though it trains with them
    return elements(found, features(len(found.strides), WIDTH, len(found.patch)), outputs, deep=False)


def _shrunk(found: Topology, shape: Sequence[float], spacing: Sequence[float]) -> Topology:
    """The axis with the largest patch/shape ratio (the last of equals) loses what it must be divisible by then."""
    ratios = [p / s for p, s in zip(found.patch, shape, strict=True)]
    # a few slices have nothing to give
    able = [a for a in range(len(shape)) if found.patch[a] > max(MIN_EDGE, _divisor(found, a))]
    axis = max(able or range(len(shape)), key=lambda a: (ratios[a], a))
    patch = list(found.patch)
    patch[axis] -= _divisor(found, axis)
    step = _divisor(topology(patch, spacing), axis)
    patch = list(found.patch)
    patch[axis] -= step
    return topology(patch, spacing)


def _divisor(found: Topology, axis: int) -> int:
    return int(np.prod([s[axis] for s in found.strides]))
