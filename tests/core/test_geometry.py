"""Geometry is a contract: nothing moves in the patient when axes are renamed, and nonsense is refused."""

import itertools

import numpy as np
import pytest

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Image

WORDS = ["".join(word) for pairs in itertools.permutations(("RL", "AP", "SI")) for word in itertools.product(*pairs)]


def affine_of(word: str, spacing: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, letter in enumerate(word):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        affine[row, column] = spacing[column] * (-1 if letter in "LPI" else 1)
    affine[:3, 3] = (-7, 11, 5)
    return affine


def test_there_are_48_orientations() -> None:
    assert len(set(WORDS)) == 48


@pytest.mark.parametrize("word", WORDS)
def test_orientation_names_the_axes(word: str) -> None:
    assert geometry.orientation(affine_of(word)) == word
    assert geometry.spacing(affine_of(word)) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("word", WORDS)
def test_reorder_keeps_every_voxel_in_place(word: str) -> None:
    affine, shape = affine_of(word), (3, 4, 5)
    order, flips = geometry.axes_to_ras(affine)
    new_shape = tuple(shape[o] for o in order)
    new = geometry.reorder(affine, new_shape, order, flips)
    assert geometry.orientation(new) == "RAS"
    for index in itertools.product(*[(0, n - 1) for n in new_shape]):
        turned = [n - 1 - i if f else i for i, n, f in zip(index, new_shape, flips, strict=True)]
        old = [0, 0, 0]
        for axis, source in enumerate(order):
            old[source] = turned[axis]
        np.testing.assert_allclose(new @ [*index, 1], affine @ [*old, 1], atol=1e-12)


def test_oblique_axes_keep_the_nearest_name() -> None:
    turn = np.eye(4)
    angle = np.deg2rad(20)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert geometry.orientation(turn @ affine_of("LPS")) == "LPS"


def test_lps_and_ras_differ_by_two_signs_and_twice_is_nothing() -> None:
    affine = affine_of("ASL")
    np.testing.assert_array_equal(geometry.flip_lps_ras(geometry.flip_lps_ras(affine)), affine)
    np.testing.assert_array_equal(geometry.flip_lps_ras(np.eye(4)), np.diag([-1, -1, 1, 1]))


def test_corner_distance_is_the_largest_difference() -> None:
    affine, moved = affine_of("RAS"), affine_of("RAS")
    assert geometry.corner_distance(affine, (3, 4, 5), affine, (3, 4, 5)) == 0
    moved[0, 3] += 0.5
    assert geometry.corner_distance(affine, (3, 4, 5), moved, (3, 4, 5)) == pytest.approx(0.5)
    # one voxel more of 3 mm along the last axis
    assert geometry.corner_distance(affine, (3, 4, 5), affine, (3, 4, 6)) == pytest.approx(3.0)


def test_rescaling_keeps_the_field_of_view() -> None:
    affine = affine_of("PIR")
    new = geometry.rescaled(affine, (4, 6, 8), (8, 3, 8))
    for edge in ((-0.5, -0.5, -0.5), (3.5, 5.5, 7.5)):
        other = [-0.5 if e < 0 else n - 0.5 for e, n in zip(edge, (8, 3, 8), strict=True)]
        np.testing.assert_allclose(affine @ [*edge, 1], new @ [*other, 1], atol=1e-12)
    np.testing.assert_allclose(geometry.rescaled(new, (8, 3, 8), (4, 6, 8)), affine, atol=1e-12)


def _singular() -> np.ndarray:
    affine = np.eye(4)
    affine[:, 1] = affine[:, 0]
    return affine


def _sheared() -> np.ndarray:
    affine = np.eye(4)
    affine[0, 1] = 0.1
    return affine


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 0.0, 1.0, 1.0]), _singular(), _sheared(), np.diag([1.0, np.nan, 1.0, 1.0]),
        np.diag([1.0, np.inf, 1.0, 1.0]), np.eye(2),
    ],
    ids=["zero step", "singular", "sheared", "nan", "infinite", "wrong size"],
)  # fmt: skip
def test_n06_an_affine_that_is_no_place_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(HilumError) as error:
        Image(np.zeros((1, 2, 2, 2)), affine)
    assert error.value.code == "HIL-N06"


def test_left_handed_and_oblique_affines_are_fine() -> None:
    assert Image(np.zeros((1, 2, 2, 2)), affine_of("LAS")).spacing == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(("shape", "code"), [((3, 3), "HIL-N10"), ((1, 2, 2, 2, 2), "HIL-N10"), ((1, 0, 3), "HIL-N11")])
def test_n10_n11_an_image_has_two_or_three_axes_with_something_on_them(shape: tuple[int, ...], code: str) -> None:
    with pytest.raises(HilumError) as error:
        Image(np.zeros(shape))
    assert error.value.code == code


def test_an_image_is_only_replaced_on_its_own_grid() -> None:
    image = Image(np.zeros((1, 2, 3)))
    assert image.like(np.ones((4, 2, 3))).shape == (2, 3)
    with pytest.raises(ValueError, match="does not lie on the grid"):
        image.like(np.ones((1, 3, 2)))
