"""Onto the network's grid and back: turning axes is exact, resampled labels return to their own grid."""

import itertools

import numpy as np
import pytest

from hilum.core import geometry
from hilum.core.image import Image
from hilum.prepare import grid

WORDS = ["".join(w) for p in itertools.permutations(("RL", "AP", "SI")) for w in itertools.product(*p)]


def image_in(word: str, spacing: tuple[float, float, float] = (1.0, 1.5, 2.0)) -> Image:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, letter in enumerate(word):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        affine[row, column] = spacing[column] * (-1 if letter in "LPI" else 1)
    array = np.random.default_rng(0).integers(0, 99, (2, 3, 4, 5)).astype(np.int16)
    return Image(array, affine, ("a warning",), {"modality": "MR"})


@pytest.mark.parametrize("word", WORDS)
def test_to_ras_and_back_is_exact_in_every_orientation(word: str) -> None:
    image = image_in(word)
    ras = grid.to_ras(image)
    assert ras.affine is not None and geometry.orientation(ras.affine) == "RAS"
    assert ras.array.dtype == image.array.dtype and ras.warnings == image.warnings and ras.meta == image.meta
    back = np.zeros_like(image.array)
    grid.ras_view(back, image)[...] = ras.array
    np.testing.assert_array_equal(back, image.array)
    # the same voxel keeps its place in the patient
    place = np.unravel_index(int(image.array[0].argmax()), image.shape)
    assert image.affine is not None
    world = image.affine @ [*place, 1]
    index = np.round(np.linalg.inv(ras.affine) @ world)[:3].astype(int)
    np.testing.assert_array_equal(ras.array[(slice(None), *index)], image.array[(slice(None), *place)])


def test_pictures_stay_as_they_are() -> None:
    picture = Image(np.zeros((1, 4, 5)))
    assert grid.to_ras(picture) is picture
    array, placed = grid.place(picture, None)
    assert array.shape == (1, 4, 5) and placed.labels_back(np.zeros((4, 5), np.int16)).shape == (4, 5)


def test_the_target_shape_is_nnunets() -> None:
    assert grid.target_shape((10, 11, 12), (1.0, 2.0, 3.0), (2.0, 2.0, 1.0)) == (5, 11, 36)
    assert grid.target_shape((1, 1, 1), (1.0, 1.0, 1.0), (9.0, 9.0, 9.0)) == (1, 1, 1)
    assert grid.target_shape((3, 4), (1.0, 1.0), None) == (3, 4)


@pytest.mark.parametrize("word", ["RAS", "LPS", "PIR", "ASL", "ILP"])
def test_labels_placed_and_brought_back_are_the_same(word: str) -> None:
    image = image_in(word)
    labels = np.zeros((1, 3, 4, 5), np.int16)
    labels[:, :, 2:], labels[:, 1:, :, 3:] = 1, 4
    _, placed = grid.place(image, tuple(s / 3 for s in grid.to_ras(image).spacing))
    on_grid = grid.place_labels(image.like(labels), placed)
    assert on_grid.shape == placed.shape and set(np.unique(on_grid)) == {0, 1, 4}
    back = placed.labels_back(on_grid)
    assert back.dtype == labels.dtype
    np.testing.assert_array_equal(back, labels[0])


def test_image_and_labels_land_on_each_other() -> None:
    image = image_in("PIR")
    blob = np.zeros((1, 3, 4, 5), np.float32)
    blob[0, 1:, 1:3, 2:] = 1
    array, placed = grid.place(image.like(blob), (0.5, 0.5, 0.5))
    labels = grid.place_labels(image.like(blob.astype(np.int16)), placed)
    assert ((array[0] > 0.5) == (labels == 1)).mean() > 0.97
    assert placed.channels_back(array).shape == blob.shape


def slanting(degrees: float) -> np.ndarray:
    """Turned by so much around the long axis."""
    turn, c, s = np.eye(4), np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[:2, :2] = [[c, -s], [s, c]]
    return turn


def test_labels_turn_with_their_image_at_45_degrees() -> None:
    """A millionth of a degree apart, on one grid by every measure, image and label had their axes in another order."""
    blob = np.zeros((1, 6, 7, 5), np.int16)
    blob[0, 4:, 1:3, 2:] = 3
    image, label = Image(blob.astype(np.float32), slanting(45 - 1e-6)), Image(blob, slanting(45 + 1e-6))
    assert image.affine is not None and label.affine is not None
    assert geometry.axes_to_ras(image.affine) != geometry.axes_to_ras(label.affine)
    for spacing in (None, (0.5, 0.5, 0.5)):
        array, placed = grid.place(image, spacing)
        on_grid = grid.place_labels(label, placed)
        assert ((array[0] > 1.5) == (on_grid == 3)).mean() > 0.97
    np.testing.assert_array_equal(placed.labels_back(on_grid), blob[0])


def test_a_fixed_shape_wins_over_the_spacing() -> None:
    array, placed = grid.place(image_in("LPS"), (1.0, 1.0, 1.0), (8, 8, 8))
    assert array.shape == (2, 8, 8, 8) and placed.shape == (8, 8, 8) and array.dtype == np.float32


@pytest.mark.parametrize("word", ["RAS", "LPS", "PIR", "ASL", "ILP"])
def test_the_shape_is_known_before_the_image_is_there(word: str) -> None:
    image = image_in(word)
    assert image.affine is not None
    for spacing in (None, (0.7, 1.1, 3.0)):
        assert grid.shape_at(image.shape, image.affine, spacing) == grid.place(image, spacing)[1].shape
