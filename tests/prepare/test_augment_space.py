"""What moves space is interpolated once, sees what lies beside the patch, and can not fold."""

import json
from typing import Any

import numpy as np
import pytest

from hilum.core import catalogue
from hilum.core.plan import AugmentPlan
from hilum.prepare import augment
from hilum.prepare.augment import _spatial, elastic, rotate_scale, shift

SHAPES = {2: (40, 32), 3: (20, 26, 22)}


def smooth(shape: tuple[int, ...]) -> np.ndarray:
    """One period of a wave along each axis."""
    axes = np.meshgrid(*[np.linspace(0, 2 * np.pi, n) for n in shape], indexing="ij")
    return sum(np.sin(a + k) for k, a in enumerate(axes))[None].astype(np.float32)


def moving(dims: int, seed: int = 0) -> list[tuple[str, dict[str, Any]]]:
    names = ("rotate_scale", "shift", "flip", "elastic")
    plans = [AugmentPlan(name=n, options={} if n == "flip" else {"probability": 1.0}) for n in names]
    return augment.draw(plans, np.random.default_rng(seed), dims)


@pytest.mark.parametrize("dims", [2, 3])
def test_neighbours_are_interpolated_once(dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, calls = smooth(SHAPES[dims]), []
    linear = _spatial._linear
    monkeypatch.setattr(_spatial, "_linear", lambda *words: calls.append(1) or linear(*words))
    record = moving(dims)
    together = augment.apply(record, image)
    assert len(calls) == 1
    one_by_one = image
    for name, params in record:
        one_by_one = catalogue.load("hilum.prepare.augment", name).apply(params, one_by_one, "image")
    assert len(calls) == 4
    inside = (slice(None), *[slice(n // 4, -(n // 4)) for n in SHAPES[dims]])
    np.testing.assert_allclose(together[inside], one_by_one[inside], atol=0.1)
    replayed = augment.apply(json.loads(json.dumps(record)), image)
    np.testing.assert_array_equal(together, replayed)


@pytest.mark.parametrize("dims", [2, 3])
def test_points_go_with_several_movements(dims: int) -> None:
    shape = SHAPES[dims]
    place = np.array(shape) / 2 + [2, -2, 1][:dims]
    index = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in shape], indexing="ij"))
    image = np.exp(-((index - place.reshape(-1, *[1] * dims)) ** 2).sum(axis=0) / 6)[None].astype(np.float32)
    for seed in range(4):
        record = moving(dims, seed)
        moved = np.clip(augment.apply(record, image)[0] - 0.02, 0, None)
        found = (index * moved / moved.sum()).reshape(dims, -1).sum(axis=1)
        np.testing.assert_allclose(found, augment.move_points(record, place[None], shape)[0], atol=0.35)


def test_an_intensity_between_two_movements_keeps_its_place() -> None:
    image = smooth((24, 24))
    turned, moved = ("rotate_scale", {"matrix": rotate(20)}), ("shift", {"shares": [0.1, 0.0]})
    noise = ("noise", {"deviation": 0.2, "seed": 3})
    out = augment.apply([turned, noise, moved], image)
    parts = augment.apply([moved], augment.apply([noise], augment.apply([turned], image)))
    np.testing.assert_array_equal(out, parts)


def rotate(degrees: float, dims: int = 2) -> list[list[float]]:
    return _spatial.turn(dims, [degrees], [0, 1]).tolist()


def test_mirrors_alone_are_exact_and_in_company_too() -> None:
    image = smooth((12, 10))
    flips = [("flip", {"axes": [0]}), ("flip", {"axes": [0, 1]})]
    np.testing.assert_array_equal(augment.apply(flips, image), image[:, :, ::-1])
    record = [("flip", {"axes": [1]}), ("shift", {"shares": [0.0, 0.0]})]
    np.testing.assert_allclose(augment.apply(record, image), image[:, :, ::-1], atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_patch_cut_through_the_record_shows_what_lies_beside_it(dims: int) -> None:
    shape, size = [n * 3 for n in SHAPES[dims]], SHAPES[dims]
    image = smooth(tuple(shape))
    labels = (image > 0.3).astype(np.int16)
    angles = [30.0] if dims == 2 else [30.0, -20.0, 10.0]
    record = [("rotate_scale", {"matrix": _spatial.turn(dims, angles, range(dims)).tolist()})]
    start = [n for n in size]
    patch, (target,) = augment.cut(record, image, [(labels, -1)], start, size)
    # the middle third of the whole image turned about its own centre
    whole = augment.apply(record, image)
    middle = (slice(None), *[slice(s, s + n) for s, n in zip(start, size, strict=True)])
    np.testing.assert_allclose(patch, whole[middle], atol=1e-4)
    assert (target >= 0).all() and target.dtype == np.int16
    assert ((patch > 0.3) == (target == 1)).mean() > 0.97
    corner = tuple([0] * (dims + 1))
    alone = augment.apply(record, image[middle])
    assert abs(alone[corner] - whole[middle][corner]) > 0.02, "edges repeated are not what lies beside"


@pytest.mark.parametrize("record", [[], [("flip", {"axes": [0]})], [("noise", {"deviation": 0.1, "seed": 1})]], ids=str)
def test_without_interpolation_cutting_is_cutting(record: list[Any]) -> None:
    image = smooth((20, 30))
    got, (labels,) = augment.cut(record, image, [(image, 9.0)], [-3, 25], [10, 10])
    padded = np.pad(image, [(0, 0), (3, 0), (0, 5)], mode="edge")[:, :10, 25:35]
    np.testing.assert_array_equal(got, augment.apply(record, padded))
    assert (labels == 9).sum() == 10 * 10 - 7 * 5


def test_outside_of_the_image_labels_are_filled_and_edges_repeated() -> None:
    image = np.full((1, 10, 10), 4.0, np.float32)
    turned = [("rotate_scale", {"matrix": rotate(45)})]
    got, (labels,) = augment.cut(turned, image, [(np.ones((1, 10, 10), np.int16), -1)], [-2, -2], [14, 14])
    np.testing.assert_allclose(got, 4)
    assert set(np.unique(labels)) == {-1, 1} and labels[0, 0, 0] == -1 and labels[0, 7, 7] == 1
    thin, (label,) = augment.cut(turned, image[:, :1], [(np.ones((1, 1, 10), np.int16), -1)], [-2, 0], [5, 8])
    assert np.isfinite(thin).all() and set(np.unique(label)) == {-1, 1}


@pytest.mark.parametrize("dims", [2, 3])
def test_the_strongest_elastic_deformation_does_not_fold(dims: int) -> None:
    shape = SHAPES[dims]
    for seed in range(20):
        params = {"strength": elastic.MOST, "cells": 4, "seed": seed}
        field = np.stack(np.broadcast_arrays(*elastic.pull(params, _spatial.grid(shape), shape)))
        slopes = np.stack([np.stack(np.gradient(f)) for f in field])
        assert (np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1))) > 0).all()
    asked = elastic.sample(np.random.default_rng(0), dims, strength=5.0, cells=4, probability=1.0)
    assert asked["strength"] <= elastic.MOST


def test_elastic_is_one_function_on_the_grid_and_off_it() -> None:
    params, shape = {"strength": 0.3, "cells": 3, "seed": 4}, (9, 11, 7)
    grid = _spatial.grid(shape)
    dense = [np.ascontiguousarray(p) for p in np.broadcast_arrays(*grid)]
    for a, b in zip(elastic.pull(params, grid, shape), elastic.pull(params, dense, shape), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_axes_not_named_are_neither_turned_nor_scaled() -> None:
    drawn = rotate_scale.sample(np.random.default_rng(1), 3, 180.0, [0.7, 1.4], [0, 1], 1.0)
    matrix = np.array(drawn["matrix"])
    np.testing.assert_array_equal(matrix[2], [0, 0, 1])
    assert abs(matrix[0, 1]) > 0.1 and not np.isclose(np.linalg.det(matrix), 1)


def test_shift_moves_towards_larger_indices() -> None:
    image = np.zeros((1, 10, 20), np.float32)
    image[0, 4, 6] = 1
    out = shift.apply({"shares": [0.2, -0.1]}, image, "image")
    assert np.unravel_index(out[0].argmax(), out[0].shape) == (6, 4)
