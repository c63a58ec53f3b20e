"""How a segmentation is planned: nnU-Net's own plan for 8 GB, or its rules fitted to minutes on processors."""

from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.tasks import _nnunet
from hilum.tasks._task import Budget
from hilum.tasks._topology import features, fit

ELEMENTS = {2: 12e6, 3: 14e6}
# Feature-map elements per sample at the planned width: a choice for two CPU cores, so that minutes hold many steps.
USUAL = 16
# Width beyond which the elements are counted as at this one.


def segmenter(facts: dict[str, Any], budget: Budget, outputs: int) -> dict[str, Any]:
    """spacing, patch, batch and the network's options, and notes on what nnU-Net would do beyond them.

    outputs: of the network, with the background. facts: the fingerprint.
    """
    dims = int(facts["dims"])
    spacing, shape = target(facts)
    if budget.published:
        patch, batch, strides, kernels, widths = _published(facts, spacing, shape, outputs)
    else:
        # runs of a minute or two learn more from many small patches than from few large ones
        limit = ELEMENTS[dims] * (0.3 if (budget.minutes or 0) <= 2 else 1) * budget.share
        # a wider network keeps the patch: its steps are longer, but its view is no smaller
        found = fit(shape, spacing, min(budget.width, USUAL), outputs, limit)
        patch, strides, kernels = found.patch, found.strides, found.kernels
        batch, widths = 2 if dims == 3 else 4, features(len(strides), budget.width, dims)
    if facts.get("spacing") and len(strides) < 2:
        raise HilumError(
            "HIL-PLAN-08", f"At the spacing {spacing} the median image is {[int(n) for n in shape]}: too small to pool",
            "Give a finer plan.spacing",
        )  # fmt: skip
    network = {
        "features": widths, "strides": strides, "kernels": kernels, "deep_supervision": len(strides) > 2,
    }  # fmt: skip
    return {
        "spacing": spacing if facts["physical"] else None,
        "patch": patch,
        "batch": batch,
        "network": network,
        "notes": _low(facts, spacing, shape, patch, outputs) if dims == 3 else [],
    }


def target(facts: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Target spacing (image axes), by hand or by rule, and the median shape at it; pixels without a size count as 1."""
    spacings = [row["spacing"] for row in facts["cases"]]
    shapes = [row["shape"] for row in facts["cases"]]
    if given := facts.get("spacing"):
        return list(map(float, given)), [max(1.0, n) for n in _nnunet.median_shape(spacings, shapes, given)]
    if not facts["physical"]:
        return [1.0] * len(shapes[0]), np.median(np.array(shapes, dtype=np.float64), axis=0).tolist()
    # a picture has no coarse axis to spare: nnU-Net sees pictures as volumes of one slice
    wanted = _nnunet.target_spacing(spacings, shapes) if facts["dims"] == 3 else np.median(spacings, axis=0).tolist()
    wanted = [round(float(t), 6) for t in wanted]
    return wanted, _nnunet.median_shape(spacings, shapes, wanted)


def _published(
    facts: dict[str, Any], spacing: list[float], shape: list[float], outputs: int
) -> tuple[list[int], int, list[list[int]], list[list[int]], list[int]]:
    """patch, batch, strides, kernels and features of nnU-Net's full-resolution plan, axes as in the image."""
    order = _nnunet.axis_order(spacing)
    voxels = float(np.prod(shape)) * len(facts["cases"])
    plan = _nnunet.published([shape[a] for a in order], [spacing[a] for a in order], outputs, voxels)
    back = [order.index(a) for a in range(len(order))]

    def turned(rows: list[list[int]]) -> list[list[int]]:
        return [[row[a] for a in back] for row in rows]

    return [plan.patch[a] for a in back], plan.batch, turned(plan.strides), turned(plan.kernels), plan.features


def _low(facts: dict[str, Any], spacing: list[float], shape: list[float], patch: list[int], outputs: int) -> list[str]:
    """A sentence where the patch shows under a quarter of the median image, and nnU-Net plans a stage before it."""
    seen = float(np.prod(patch) / np.prod(shape))
    if seen >= _nnunet.LOW:
        return []
    order = _nnunet.axis_order(spacing)
    size, width = [shape[a] for a in order], [spacing[a] for a in order]
    full = _nnunet.published(size, width, outputs, float(np.prod(shape)) * len(facts["cases"]))
    words = f"The patch shows {100 * seen:.1f} % of the median image"
    low = _nnunet.low_resolution(full, outputs, len(facts["cases"]))
    if low is None:
        return [f"{words}; nnU-Net's own, for a card of 8 GB, is {_sides(full.patch, order)}"]
    coarse = " x ".join(f"{low.spacing[order.index(a)]:.2f}" for a in range(len(order)))
    return [
        f"{words}: a low-resolution stage before it would help, which is not planned here; "
        f"nnU-Net's would have spacing {coarse} and patch {_sides(low.patch, order)}"
    ]


def _sides(patch: list[int], order: list[int]) -> str:
    return " x ".join(str(patch[order.index(a)]) for a in range(len(order)))
