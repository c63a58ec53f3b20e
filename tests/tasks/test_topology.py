"""nnU-Net's rules give nnU-Net's plans."""

import pytest

from hilum.tasks._topology import elements, features, fit, topology

MM = 0.7597
GOLDEN = [
    # median shape, spacing, patch, pools per axis
    ((138, 170, 138), (1.0, 1.0, 1.0), [128, 128, 128], [5, 5, 5]),
    ((148, 512, 512), (3.0, MM, MM), [48, 192, 192], [3, 5, 5]),
    ((18, 237, 208), (5.0, 1.5625, 1.5625), [20, 256, 224], [2, 5, 5]),
    ((36, 50, 35), (1.0, 1.0, 1.0), [40, 56, 40], [3, 3, 3]),
    ((512, 512), (MM, MM), [512, 512], [7, 7]),
]


def pools(strides: list[list[int]]) -> list[int]:
    return [sum(s[axis] == 2 for s in strides) for axis in range(len(strides[0]))]


@pytest.mark.parametrize(("shape", "spacing", "patch", "wanted"), GOLDEN)
def test_the_published_patch_is_pooled_as_published(
    shape: tuple[int, ...], spacing: tuple[float, ...], patch: list[int], wanted: list[int]
) -> None:
    found = topology(patch, spacing)
    assert found.patch == patch and pools(found.strides) == wanted
    assert topology(shape if max(shape) < 60 else patch, spacing).patch == patch


@pytest.mark.parametrize(("shape", "spacing", "patch", "wanted"), GOLDEN)
def test_with_the_published_budget_the_patch_is_the_published_one(
    shape: tuple[int, ...], spacing: tuple[float, ...], patch: list[int], wanted: list[int]
) -> None:
    limit = 560e6 if len(shape) == 3 else 87e6
    assert fit(shape, spacing, 32, 14, limit).patch == patch


def test_thick_slices_are_pooled_late_and_seen_flat_first() -> None:
    found = topology((48, 192, 192), (3.0, MM, MM))
    assert found.strides == [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
    assert found.kernels[0] == [1, 3, 3] and all(k == [3, 3, 3] for k in found.kernels[1:])


def test_the_memory_proxy_is_nnunets() -> None:
    found = topology((128, 128, 128), (1, 1, 1))
    assert elements(found, features(6, 32, 3), 14) == 480_058_368
    flat = topology((512, 512), (1, 1))
    assert elements(flat, features(8, 32, 2), 14) == 86_993_280


def test_features_double_up_to_the_cap_in_proportion() -> None:
    assert features(7, 32, 3) == [32, 64, 128, 256, 320, 320, 320]
    assert features(6, 32, 2) == [32, 64, 128, 256, 512, 512]
    assert features(6, 16, 3) == [16, 32, 64, 128, 160, 160]


@pytest.mark.parametrize("limit", [1e5, 1e6, 14e6])
def test_the_patch_keeps_to_the_budget_and_is_divisible(limit: float) -> None:
    found = fit((60.0, 200.0, 90.0), (2.0, 0.7, 1.0), 16, 3, limit)
    assert elements(found, features(len(found.strides), 16, 3), 3) <= limit
    for axis, n in enumerate(pools(found.strides)):
        assert found.patch[axis] % 2**n == 0


def test_a_tiny_image_still_has_a_patch() -> None:
    assert fit((5.0, 5.0), (1.0, 1.0), 16, 2, 12e6).patch == [5, 5]


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_a_stack_of_few_slices_keeps_to_the_budget_too(slices: int) -> None:
    found = fit((512, 512, slices), (1.0, 1.0, 3.0), 16, 3, 14e6)
    assert found.patch[2] == slices and min(found.patch[:2]) >= 64
    assert elements(found, features(len(found.strides), 16, 3), 3) <= 14e6
