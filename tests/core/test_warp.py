"""The one interpolation: displacements pull, in voxels, along the array axes."""

import numpy as np
import pytest
import torch

from hilum.core import resident
from hilum.core import warp as resampling
from hilum.core.warp import identity, resize, resize_labels, sample, warp

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


def torch_way(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Smoothed and interpolated by others, on the whole array."""
    from scipy.ndimage import gaussian_filter

    sigma = [max(0.0, 0.5 * (o / n - 1)) for o, n in zip(array.shape[1:], shape, strict=True)]
    smooth = np.stack([gaussian_filter(c, sigma, mode="nearest") for c in array.astype(np.float32)])
    return torch.nn.functional.interpolate(
        torch.from_numpy(smooth)[None], size=shape, mode="trilinear", align_corners=False
    )[0].numpy()


@pytest.mark.parametrize("shape", [(9, 30, 14), (40, 11, 15), (20, 19, 5), (1, 40, 3), (21, 20, 16)], ids=str)
@pytest.mark.parametrize("order", ["C", "F", "flipped"])
def test_volumes_are_resized_as_by_scipy_and_torch_however_they_lie(shape: tuple[int, ...], order: str) -> None:
    array = np.random.default_rng(1).integers(-1000, 3000, (2, 20, 19, 15)).astype(np.int16)
    lying = array[:, ::-1, :, ::-1] if order == "flipped" else np.asarray(array, order=order)  # type: ignore[arg-type]
    wanted = torch_way(np.ascontiguousarray(lying), shape)
    np.testing.assert_allclose(resize(lying, shape), wanted, atol=2e-2, rtol=1e-5)


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.core import warp as module

    array = np.random.default_rng(2).random((1, 23, 17, 12)).astype(np.float32)
    labels = np.random.default_rng(3).integers(0, 4, (23, 17, 12)).astype(np.uint8)
    whole = [(resize(array, shape), resize_labels(labels, shape)) for shape in ((12, 30, 7), (40, 30, 25))]
    monkeypatch.setattr(module, "SLAB", 500)
    for shape, (values, marks) in zip(((12, 30, 7), (40, 30, 25)), whole, strict=True):
        np.testing.assert_allclose(resize(array, shape), values, atol=1e-5)
        np.testing.assert_array_equal(resize_labels(labels, shape), marks)


def test_a_value_that_is_no_number_stays_where_it_is() -> None:
    array = np.ones((1, 12, 12, 12), dtype=np.float32)
    array[0, 2, 2, 2] = np.nan
    found = resize(array, (24, 24, 24))[0]
    assert np.isnan(found[4, 4, 4]) and np.isfinite(found[10:]).all() and np.isfinite(found[:, :, 10:]).all()


@pytest.mark.parametrize("shape", [(17, 25, 14), (13, 12, 11), (30, 12, 11)], ids=str)
@pytest.mark.parametrize("kinds", [2, 3, 6])
def test_labels_that_grow_are_those_of_one_value_after_the_other(kinds: int, shape: tuple[int, ...]) -> None:
    """Between two labels, and where more meet."""
    labels = np.random.default_rng(4).integers(0, kinds, (12, 11, 10)).astype(np.int16) * 7
    layers = np.stack([resize((labels == v)[None].astype(np.float32), shape)[0] for v in np.unique(labels)])
    ordered = np.sort(layers, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    found = resize_labels(labels, shape)
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found[clear], np.unique(labels)[layers.argmax(axis=0)][clear])


@pytest.mark.parametrize(
    ("old", "new"),
    [((1, 11, 10), (1, 30, 20)), ((5, 1, 7), (9, 1, 20)), ((6, 6, 1), (6, 6, 4)), ((2, 2, 2), (9, 9, 9))],
)
def test_flat_volumes_and_ends_grow_too(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    labels = np.random.default_rng(6).integers(0, 4, old).astype(np.uint8)
    layers = np.stack([resize((labels == v)[None].astype(np.float32), new)[0] for v in np.unique(labels)])
    ordered = np.sort(layers, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    found = resize_labels(labels, new)
    np.testing.assert_array_equal(found[clear], np.unique(labels)[layers.argmax(axis=0)][clear])
    # what is first and last stays so
    assert found[0, 0, 0] == labels[0, 0, 0] and found[-1, -1, -1] == labels[-1, -1, -1]


def test_of_equal_shares_the_lowest_label_wins() -> None:
    labels = np.array([3, 1], dtype=np.uint8).reshape(1, 1, 2)
    assert resize_labels(labels, (1, 1, 3)).ravel().tolist() == [3, 1, 1]
    four = np.array([[7, 5], [9, 4]], dtype=np.uint8)[None]
    assert resize_labels(four, (1, 3, 3))[0].tolist() == [[7, 5, 5], [7, 4, 4], [9, 4, 4]]


def test_labels_are_written_where_they_are_wanted() -> None:
    labels = np.zeros((6, 6, 6), dtype=np.uint8)
    labels[2:4, 2:4, 2:5] = 3
    out = np.full((9, 12, 10), 99, dtype=np.uint8, order="F")
    resize_labels(labels, (9, 12, 10)[::-1], out.transpose())
    np.testing.assert_array_equal(out.transpose(), resize_labels(labels, (10, 12, 9)))
    assert set(np.unique(out)) == {0, 3}


def test_labels_that_shrink_do_not_show_their_slabs_nor_hold_shares_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of thick slices fifteen bytes a voxel of the fine grid were held, which no promise of memory counted."""
    labels = np.repeat(np.random.default_rng(5).integers(0, 4, (12, 11, 10)), 2, axis=2).astype(np.uint8)
    shapes = [(12, 11, 5), (5, 11, 20), (30, 3, 20), (4, 4, 4)]
    whole = [resize_labels(labels, shape) for shape in shapes]
    monkeypatch.setattr(resampling, "SHARES", 1)
    for shape, found in zip(shapes, whole, strict=True):
        np.testing.assert_array_equal(resize_labels(labels, shape), found)
    monkeypatch.undo()
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    thick, before = np.zeros((192, 192, 192), np.uint8), resident.now()
    thick[50:150, 50:150, 50:150] = 3
    assert resize_labels(thick, (192, 192, 48)).max() == 3
    assert resident.peak() - before < 8 * thick.size


@pytest.mark.parametrize("shape", [(5, 8, 20), (4, 4, 4)], ids=str)
def test_labels_that_shrink_are_those_of_one_value_after_the_other(shape: tuple[int, ...]) -> None:
    labels = np.random.default_rng(5).integers(0, 4, (12, 11, 10)).astype(np.uint8)
    labels[:3] = 0
    layers = np.stack([resize((labels == v)[None].astype(np.float32), shape)[0] for v in np.unique(labels)])
    ordered = np.sort(layers, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    np.testing.assert_array_equal(resize_labels(labels, shape)[clear], layers.argmax(axis=0)[clear])
