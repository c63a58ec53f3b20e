"""The one interpolation: displacements pull, in voxels, along the array axes."""

import numpy as np
import pytest
import torch

from hilum.core.warp import identity, resize, resize_labels, sample, warp, warp_labels

SHAPES = [(6, 7), (4, 5, 6)]


def noise(shape: tuple[int, ...], channels: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((1, channels, *shape)).astype(np.float32))


def still(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(1, len(shape), *shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_a_zero_field_leaves_the_image_alone(shape: tuple[int, ...], mode: str) -> None:
    image = noise(shape)
    torch.testing.assert_close(warp(image, still(shape), mode), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_whole_voxel_shift_pulls_the_neighbour(shape: tuple[int, ...], axis: int) -> None:
    image, field = noise(shape), still(shape)
    field[:, axis] = 1
    moved = warp(image, field)
    n = shape[axis]
    torch.testing.assert_close(moved.narrow(axis + 2, 0, n - 1), image.narrow(axis + 2, 1, n - 1), atol=1e-6, rtol=0)
    assert moved.narrow(axis + 2, n - 1, 1).abs().max() < 1e-6, "outside is zero"
    edge = warp(image, field, padding="border").narrow(axis + 2, n - 1, 1)
    torch.testing.assert_close(edge, image.narrow(axis + 2, n - 1, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ramp_is_read_exactly_between_voxels(shape: tuple[int, ...]) -> None:
    grid = identity(shape, torch.zeros(1))
    field = still(shape) + 0.3
    moved = warp(grid, field, padding="border")
    inside = (slice(None), slice(None), *[slice(0, n - 1) for n in shape])
    torch.testing.assert_close(moved[inside], (grid + 0.3)[inside], atol=1e-5, rtol=0)


def test_one_thick_axis_is_no_division_by_zero() -> None:
    image = noise((1, 5))
    torch.testing.assert_close(sample(image, identity((1, 5), image)), image, atol=1e-6, rtol=0)


def test_labels_stay_labels() -> None:
    labels = torch.from_numpy(np.random.default_rng(1).choice([0, 3, 7], (1, 1, 6, 6)).astype(np.int64))
    torch.testing.assert_close(warp_labels(labels, still((6, 6)), [3, 7]), labels)
    field = still((6, 6))
    field[:, 0] = 0.4
    moved = warp_labels(labels, field, [3, 7])
    assert set(moved.unique().tolist()) <= {0, 3, 7} and moved.dtype == labels.dtype
    field[:, 0] = 2
    torch.testing.assert_close(warp_labels(labels, field, [3, 7])[:, :, :4], labels[:, :, 2:])


@pytest.mark.parametrize("shape", SHAPES)
def test_resizing_to_the_same_size_or_of_a_constant_changes_nothing(shape: tuple[int, ...]) -> None:
    array = noise(shape)[0].numpy()
    np.testing.assert_array_equal(resize(array, shape), array)
    flat = resize(np.full((1, *shape), 3.0), tuple(2 * n - 1 for n in shape))
    np.testing.assert_allclose(flat, 3.0, atol=1e-5)
    small = resize(np.full((1, *shape), 3.0), tuple(n // 2 for n in shape))
    np.testing.assert_allclose(small, 3.0, atol=1e-5)


def test_resizing_keeps_voxel_edges() -> None:
    ramp = (np.arange(8, dtype=np.float32) + 0.5)[None, :, None] * np.ones((1, 8, 4), dtype=np.float32)
    np.testing.assert_allclose(resize(ramp, (16, 4))[0, 1:-1, 0], (np.arange(16) + 0.5)[1:-1] / 2, atol=1e-5)


def test_resized_labels_hold_only_known_values_and_their_kind() -> None:
    labels = np.random.default_rng(2).choice(np.array([-1, 0, 5], dtype=np.int16), (5, 6, 7))
    out = resize_labels(labels, (9, 4, 7))
    assert set(np.unique(out)) <= {-1, 0, 5} and out.dtype == labels.dtype and out.shape == (9, 4, 7)
    np.testing.assert_array_equal(resize_labels(resize_labels(labels, (15, 18, 21)), (5, 6, 7)), labels)
