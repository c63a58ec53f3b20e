"""Slices are upright, square, and the same for every way a volume can be stored."""

import numpy as np
import pytest

from hilum.core import geometry
from hilum.pictures.slices import best_slice, boxes_on_slice, field_on_slice, slice_of, view, window


def test_window_uses_the_percentiles_or_what_is_given():
    image = np.linspace(0, 100, 10001).reshape(73, 137)
    grey = window(image)
    assert grey.dtype == np.uint8 and grey.min() == 0 and grey.max() == 255
    assert np.array_equal(window(np.array([[-5.0, 0, 50, 100, 900]]), 0, 100), [[0, 0, 128, 255, 255]])
    assert window(np.full((3, 3), 7.0)).max() == 0
    odd = window(np.array([[np.nan, np.inf, -np.inf, 0.0, 1.0]]))
    assert odd.tolist() == [[0, 255, 0, 0, 255]]
    point = np.zeros((50, 50))
    point[3, 3] = 5
    assert window(point)[3, 3] == 255


def test_the_best_slice_has_most_of_the_mask():
    mask = np.zeros((8, 9, 10), np.int64)
    mask[2:7, 3:8, 6] = 2
    assert best_slice(mask) == (2, 6)
    assert best_slice(np.zeros((8, 9, 10))) == (2, 5)
    assert best_slice(np.ones((8, 9))) == (0, 0)


def test_patient_right_is_left_on_the_page_and_anterior_and_superior_are_up():
    volume = np.zeros((6, 7, 8))  # array axes R, A, S
    volume[5] = 1  # the patient's right end
    assert slice_of(volume, 2, 0, (1, 1, 1))[:, 0].all() and slice_of(volume, 1, 0, (1, 1, 1))[:, 0].all()
    volume = np.zeros((6, 7, 8))
    volume[:, 6] = 1  # anterior end
    assert slice_of(volume, 2, 0, (1, 1, 1))[0].all() and slice_of(volume, 0, 0, (1, 1, 1))[:, 0].all()
    volume = np.zeros((6, 7, 8))
    volume[:, :, 7] = 1  # superior end
    assert slice_of(volume, 1, 0, (1, 1, 1))[0].all() and slice_of(volume, 0, 0, (1, 1, 1))[0].all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, True)])
def test_however_a_volume_is_stored_it_looks_the_same(order, flips):
    rng = np.random.default_rng(0)
    volume = rng.random((5, 6, 7))
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    stored = np.flip(volume.transpose(order), [a for a in range(3) if flips[a]])
    moved = geometry.reorder(affine, stored.shape, order, flips)
    axis = order.index(2)
    index = 7 - 1 - 4 if flips[axis] else 4
    ours = slice_of(stored, axis, index, geometry.spacing(moved), moved)
    assert np.allclose(ours, slice_of(volume, 2, 4, (1.0, 2.0, 3.0)))


def test_pixels_are_square_and_labels_stay_labels():
    labels = np.random.default_rng(0).choice([0, 5], (10, 10, 4))
    picture = slice_of(labels, 1, 3, (1.0, 1.0, 2.5), labels=True)
    assert picture.shape == (10, 10) and set(np.unique(picture)) == {0, 5}
    assert slice_of(labels == 5, 1, 3, (1.0, 1.0, 2.5)).dtype == bool
    smooth = slice_of(labels.astype(float), 1, 3, (1.0, 1.0, 2.5))
    assert ((smooth > 0) & (smooth < 5)).any()


def test_two_dimensional_images_keep_their_way_and_their_colours():
    image = np.random.default_rng(0).random((3, 6, 8))
    assert np.array_equal(slice_of(image, 0, 0, (1.0, 1.0)), image.transpose(1, 2, 0))
    assert np.array_equal(slice_of(image[:1], 0, 0, (1.0, 1.0)), image[0])
    assert slice_of(image[0], 0, 0, (2.0, 1.0)).shape == (12, 8)
    with pytest.raises(ValueError, match="do not fit"):
        slice_of(image, 0, 0, (1.0, 1.0, 1.0, 1.0, 1.0))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("affine", [None, np.diag([-1.0, 1.0, -1.0, 1.0])])
def test_boxes_lie_on_the_slice_where_their_voxels_lie(axis, affine):
    spacing = (1.0, 2.0, 1.0)
    box = np.array([[2, 1, 3, 5, 4, 9]])
    mask = np.zeros((8, 9, 11), bool)
    mask[2:5, 1:4, 3:9] = True
    drawn, which = boxes_on_slice(np.vstack([box, box + 50]), mask.shape, axis, 3, spacing, affine)
    picture = slice_of(mask, axis, 3, spacing, affine)
    top, left, bottom, right = drawn[0].astype(int)
    assert (
        which.tolist() == [0]
        and picture[top:bottom, left:right].all()
        and picture.sum() == (bottom - top) * (right - left)
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_field_on_a_slice_points_where_the_picture_moves(axis):
    spacing, shape = (1.0, 1.0, 1.0), (12, 12, 12)
    rng = np.random.default_rng(0)
    volume = rng.random(shape)
    rows, _, columns, _ = view(axis)
    field = np.zeros((3, *shape))
    field[rows], field[columns] = 2, 1
    moved = np.roll(volume, [-2, -1], axis=(rows, columns))  # moved(p) = volume(p + u)
    flat = field_on_slice(field, axis, 5, spacing)
    shift = flat[:, 0, 0].astype(int)
    seen = np.roll(slice_of(volume, axis, 5, spacing), -shift, axis=(0, 1))
    assert np.array_equal(seen, slice_of(moved, axis, 5, spacing))


def test_three_contrasts_of_a_volume_are_no_colours() -> None:
    """T1, T2 and FLAIR once were the red, green and blue of a picture under the colours of the classes."""
    contrasts = np.random.default_rng(0).random((3, 6, 8, 4), np.float32)
    assert slice_of(contrasts, 2, 1, (1.0, 1.0, 1.0)).ndim == 2
    colours = (255 * contrasts).astype(np.uint8)
    assert slice_of(colours, 2, 1, (1.0, 1.0, 1.0)).shape[-1] == 3
    assert slice_of(contrasts[..., 0], 0, 0, (1.0, 1.0)).shape[-1] == 3
