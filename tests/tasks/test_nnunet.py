"""nnU-Net's golden plans: patch, batch, pools, strides, kernels, and parameters of the network they make."""

import numpy as np
import pytest
import torch

from hilum.tasks._fit import segmenter
from hilum.tasks._nnunet import axis_order, low_resolution, median_shape, published, target_spacing
from hilum.tasks._task import Budget
from hilum.zoo.nnunet import Net

MM = 0.7597
GOLDEN = [
    # median shape, spacing, cases, patch, batch, pools, parameters
    ((138, 170, 138), (1.0, 1.0, 1.0), 484, [128, 128, 128], 2, [5, 5, 5], 31_205_254),
    ((148, 512, 512), (3.0, MM, MM), 30, [48, 192, 192], 2, [3, 5, 5], 30_713_158),
    ((18, 237, 208), (5.0, 1.5625, 1.5625), 200, [20, 256, 224], 3, [2, 5, 5], None),
    ((36, 50, 35), (1.0, 1.0, 1.0), 260, [40, 56, 40], 9, [3, 3, 3], 5_605_674),
    ((512, 512), (MM, MM), 30 * 148, [512, 512], 12, [7, 7], 46_348_834),
]


@pytest.mark.parametrize(("shape", "spacing", "cases", "patch", "batch", "pools", "parameters"), GOLDEN)
def test_golden_plans(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    cases: int,
    patch: list[int],
    batch: int,
    pools: list[int],
    parameters: int | None,
) -> None:
    plan = published(shape, spacing, 14, float(np.prod(shape)) * cases)
    assert (plan.patch, plan.batch) == (patch, batch)
    assert [sum(s[a] == 2 for s in plan.strides) for a in range(len(shape))] == pools
    assert plan.strides[0] == [1] * len(shape) and plan.kernels[-1] == [3] * len(shape)
    with torch.device("meta"):
        net = Net(
            1, 14, len(shape),
            features=plan.features, strides=plan.strides, kernels=plan.kernels, deep_supervision=True,
        )  # fmt: skip
    if parameters is not None:
        assert sum(p.numel() for p in net.parameters()) == parameters


def test_thick_slices_keep_their_first_kernels_flat() -> None:
    plan = published((148, 512, 512), (3.0, MM, MM), 14, 1e9)
    assert plan.strides == [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
    assert plan.kernels == [[1, 3, 3]] + [[3, 3, 3]] * 5


def test_a_batch_shows_at_most_a_twentieth_of_the_data() -> None:
    shape = (36, 50, 35)
    assert [published(shape, (1, 1, 1), 3, float(np.prod(shape)) * n).batch for n in (3, 100, 260)] == [2, 4, 9]


def test_the_coarse_axis_takes_its_tenth_percentile_but_not_below_the_others() -> None:
    shapes = [(20, 200, 200)] * 3
    assert target_spacing([(5, 1, 1), (5, 1, 1), (2, 1, 1)], shapes) == pytest.approx([2.6, 1, 1])
    assert target_spacing([(5, 1, 1), (5, 1, 1), (0.1, 1, 1)], shapes)[0] == pytest.approx(1.08)
    assert target_spacing([(5, 1, 1)] * 9 + [(0.1, 1, 1)] * 2, shapes * 4)[0] == pytest.approx(1.00001)
    # long enough along the coarse axis: the median
    assert target_spacing([(5, 1, 1), (5, 1, 1), (2, 1, 1)], [(100, 200, 200)] * 3) == [5, 1, 1]
    assert median_shape([(2, 1, 1)], [(10, 5, 5)], (4, 1, 1)) == [5, 5, 5]


def test_a_low_resolution_stage_where_the_patch_shows_little() -> None:
    full = published((432, 512, 512), (1.0, 0.77, 0.77), 3, 1e10)
    low = low_resolution(full, 3, 100)
    assert low is not None and np.prod(low.patch) / np.prod(low.shape) >= 0.25
    assert np.prod(low.shape) * 2 <= np.prod(full.shape) and min(low.spacing) > 0.77
    small = published((128, 128, 128), (1, 1, 1), 3, 1e9)
    assert low_resolution(small, 3, 100) is None


def facts(shape: tuple[int, ...], spacing: tuple[float, ...], cases: int = 30) -> dict[str, object]:
    return {
        "dims": len(shape), "physical": True, "cases": [{"shape": list(shape), "spacing": list(spacing)}] * cases,
    }  # fmt: skip


def test_the_published_plan_lies_along_the_images_axes() -> None:
    """Images are (x, y, z): the axis of thick slices is the last one here, the first one in nnU-Net's plan."""
    assert axis_order((0.8, 0.8, 3.0)) == [2, 1, 0] and axis_order((1, 5, 1)) == [1, 2, 0]
    plan = segmenter(facts((512, 512, 148), (MM, MM, 3.0)), Budget(published=True), 14)
    assert plan["patch"] == [192, 192, 48] and plan["batch"] == 2
    assert plan["network"]["kernels"][0] == [3, 3, 1] and plan["network"]["features"][0] == 32


def test_a_patch_that_sees_little_is_said() -> None:
    notes = segmenter(facts((512, 512, 148), (MM, MM, 3.0)), Budget(12.0), 14)["notes"]
    assert len(notes) == 1 and "low-resolution stage" in notes[0] and "not planned here" in notes[0]
    assert segmenter(facts((36, 50, 35), (1, 1, 1)), Budget(12.0), 3)["notes"] == []
