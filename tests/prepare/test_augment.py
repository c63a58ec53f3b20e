"""What every augmentation promises; runs over whatever file lies in the folder."""

import json
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import AugmentPlan
from hilum.prepare import augment

NAMES = list(catalogue.cards("hilum.prepare.augment"))
SPATIAL = [n for n in NAMES if catalogue.card("hilum.prepare.augment", n)["spatial"]]
DIMS = [2, 3]
SHAPES = {2: (24, 20), 3: (16, 18, 14)}


NOTHING: dict[str, dict[str, Any]] = defaultdict(lambda: {"probability": 0.0}) | {
    "bias_field": {"strength": 0.0, "probability": 1.0},
    "colour": {"saturation": [1.0, 1.0], "hue": 0.0, "balance": 0.0, "probability": 1.0},
    "contrast": {"factor": [1.0, 1.0], "probability": 1.0},
    "ct_noise": {"deviation": 0.0, "probability": 1.0},
    "elastic": {"strength": 0.0, "probability": 1.0},
    "flip": {"axes": []},
    "gamma": {"gamma": [1.0, 1.0], "probability": 1.0},
    "ghost": {"strength": [0.0, 0.0], "probability": 1.0},
    "low_resolution": {"zoom": [1.0, 1.0], "probability": 1.0},
    "motion": {"degrees": 0.0, "share": 0.0, "probability": 1.0},
    "noise": {"deviation": 0.0, "probability": 1.0},
    "ringing": {"keep": [1.0, 1.0], "probability": 1.0},
    "rotate_scale": {"degrees": 0.0, "scale": [1.0, 1.0], "probability": 1.0},
    "shift": {"share": 0.0, "probability": 1.0},
    "speckle": {"deviation": 0.0, "probability": 1.0},
    "spike": {"strength": [0.0, 0.0], "probability": 1.0},
    "stain": {"scale": 0.0, "shift": 0.0, "probability": 1.0},
}
# Options that leave nothing of each; one that is not named here is switched off.


def params(name: str, dims: int, seed: int = 0) -> dict[str, Any]:
    """Sampled with every probability at 1."""
    module = catalogue.load("hilum.prepare.augment", name)
    options = dict(module.CARD["options"])
    if "probability" in options:
        options["probability"] = 1.0
    found: dict[str, Any] = module.sample(np.random.default_rng(seed), dims, **options)
    return found


def picture(dims: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.normal(0, 1, (3, *SHAPES[dims])).astype(np.float32)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_plain_data_and_can_be_replayed(name: str, dims: int) -> None:
    module = catalogue.load("hilum.prepare.augment", name)
    first = params(name, dims)
    kept = json.loads(json.dumps(first, allow_nan=False))
    assert kept == first and first == params(name, dims)
    image = picture(dims)
    before = image.copy()
    for kind in ("image", "label"):
        out = module.apply(kept, image, kind)
        np.testing.assert_array_equal(out, module.apply(first, image, kind))
        assert out.shape == image.shape and np.isfinite(out).all()
    np.testing.assert_array_equal(image, before, err_msg="the input is left alone")


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", NAMES)
def test_it_does_something_to_images_and_only_if_spatial_to_labels(name: str, dims: int) -> None:
    module = catalogue.load("hilum.prepare.augment", name)
    image = picture(dims)
    labels = (image > 0.5).astype(np.int16)
    drawn = [params(name, dims, seed) for seed in range(6)]
    assert any(not np.allclose(module.apply(p, image, "image"), image) for p in drawn)
    for p in drawn:
        out = module.apply(p, labels, "label")
        assert set(np.unique(out)) <= {0, 1} and out.dtype == labels.dtype
        if not module.CARD["spatial"]:
            np.testing.assert_array_equal(out, labels)


@pytest.mark.parametrize(
    "name", [n for n in NAMES if "probability" in catalogue.cards("hilum.prepare.augment")[n]["options"]]
)
def test_probability_0_leaves_the_image_alone(name: str) -> None:
    record = augment.draw([AugmentPlan(name=name, options={"probability": 0})], np.random.default_rng(0), 2)
    np.testing.assert_array_equal(augment.apply(record, picture(2)), picture(2))


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", SPATIAL)
def test_label_image_and_points_move_together(name: str, dims: int) -> None:
    module = catalogue.load("hilum.prepare.augment", name)
    shape = SHAPES[dims]
    centre = np.array(shape) / 2 + [2, -2, 1][:dims]
    index = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in shape], indexing="ij"))
    distance = np.sqrt(((index - centre.reshape(-1, *[1] * dims)) ** 2).sum(axis=0))
    image = np.exp(-((distance / 3) ** 2))[None].astype(np.float32)
    labels = (image > 0.5).astype(np.int16)
    for seed in range(5):
        p = params(name, dims, seed)
        moved, moved_labels = module.apply(p, image, "image"), module.apply(p, labels, "label")
        assert ((moved[0] > 0.5) == (moved_labels[0] == 1)).mean() > 0.97 and moved_labels.any()
        # of the image: labels move by whole voxels
        weights = np.clip(moved[0] - 0.02, 0, None)
        weights /= weights.sum()
        found = (index * weights).reshape(dims, -1).sum(axis=1)
        told = module.points(p, centre[None].copy(), shape)[0]
        np.testing.assert_allclose(found, told, atol=0.35, err_msg=str(p))


@pytest.mark.parametrize("shape", [(1, 9, 7), (2, 1, 12), (5, 6, 1), (1, 7, 1, 9), (4, 1, 6, 5), (3, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_channels_and_axes_of_one_voxel(name: str, shape: tuple[int, ...]) -> None:
    module = catalogue.load("hilum.prepare.augment", name)
    rng = np.random.default_rng(2)
    for image in (rng.normal(0, 1, shape).astype(np.float32), np.full(shape, 2.0, np.float32)):
        for seed in range(4):
            out = module.apply(params(name, len(shape) - 1, seed), image, "image")
            assert out.shape == shape and out.dtype == np.float32 and np.isfinite(out).all()


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", NAMES)
def test_drawn_but_of_no_strength_it_changes_nothing(name: str, dims: int) -> None:
    module = catalogue.load("hilum.prepare.augment", name)
    options = module.CARD["options"] | {o: v for o, v in NOTHING[name].items()}
    image = picture(dims)
    for seed in range(4):
        drawn = module.sample(np.random.default_rng(seed), dims, **options)
        np.testing.assert_allclose(module.apply(drawn, image, "image"), image, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_an_argument_with_its_default_in_the_card(name: str) -> None:
    import inspect

    module = catalogue.load("hilum.prepare.augment", name)
    assert module.CARD["about"] and isinstance(module.CARD["spatial"], bool)
    assert list(inspect.signature(module.sample).parameters) == ["rng", "dims", *module.CARD["options"]]
    assert hasattr(module, "points") == module.CARD["spatial"]


def test_a_record_replays_all_in_order() -> None:
    plans = [AugmentPlan(name=n) for n in NAMES]
    image = picture(2)
    first = augment.draw(plans, np.random.default_rng(3), 2)
    again = augment.draw(plans, np.random.default_rng(3), 2)
    assert first == again and [n for n, _ in first] == NAMES
    np.testing.assert_array_equal(augment.apply(first, image), augment.apply(json.loads(json.dumps(again)), image))


def test_points_pass_through_the_spatial_part_only() -> None:
    record = [("noise", {"deviation": 0.1, "seed": 1}), ("flip", {"axes": [0]}), ("flip", {"axes": [1]})]
    np.testing.assert_array_equal(augment.move_points(record, np.array([[1.0, 2.0]]), (10, 20)), [[9, 18]])


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("nois", {}, "HIL-CORE-02"),
        ("noise", {"devation": 1}, "HIL-PLAN-02"),
        ("noise", {"deviation": "much"}, "HIL-PLAN-03"),
        ("noise", {"probability": True}, "HIL-PLAN-03"),
        ("blur", {"sigma": 1.0}, "HIL-PLAN-03"),
        ("blur", {"sigma": [1.0]}, "HIL-PLAN-03"),
        ("flip", {"axes": ["x"]}, "HIL-PLAN-03"),
        # it would be the channels
        ("flip", {"axes": [-1]}, "HIL-PLAN-03"),
        ("low_resolution", {"axes": [0, 0]}, "HIL-PLAN-03"),
        # the upper end first, a sign, what is divided by, more than always, parts of what is counted
        ("blur", {"sigma": [1.0, 0.5]}, "HIL-PLAN-03"),
        ("noise", {"deviation": -0.1}, "HIL-PLAN-03"),
        ("rotate_scale", {"degrees": -15}, "HIL-PLAN-03"),
        ("rotate_scale", {"scale": [0, 1.4]}, "HIL-PLAN-03"),
        ("low_resolution", {"zoom": [0.0, 1.0]}, "HIL-PLAN-03"),
        ("gamma", {"gamma": [-1, 1.5]}, "HIL-PLAN-03"),
        ("gamma", {"probability": 7}, "HIL-PLAN-03"),
        ("shift", {"share": float("nan")}, "HIL-PLAN-03"),
        ("elastic", {"cells": 0}, "HIL-PLAN-03"),
        ("motion", {"moves": 2.5}, "HIL-PLAN-03"),
    ],
)
def test_nonsense_is_refused_before_the_first_batch(name: str, options: dict[str, Any], code: str) -> None:
    with pytest.raises(HilumError) as error:
        augment.check([AugmentPlan(name=name, options=options)])
    assert error.value.code == code
    augment.check([AugmentPlan(name="flip", options={"axes": [0]}), AugmentPlan(name="flip", options={"axes": []})])


@pytest.mark.parametrize("name", NAMES)
def test_the_options_of_a_card_can_be_planned(name: str) -> None:
    augment.check([AugmentPlan(name=name, options=dict(catalogue.card("hilum.prepare.augment", name)["options"]))])
    augment.check([AugmentPlan(name=name, options=NOTHING[name] if "probability" in NOTHING[name] else {})])


@pytest.mark.parametrize("scale", [[1.1, 1.4], [0.7, 0.9], [1.0, 1.0]])
def test_scales_on_one_side_of_1_are_drawn_from_their_range(scale: list[float]) -> None:
    plan = AugmentPlan(name="rotate_scale", options={"degrees": 0.0, "scale": scale, "probability": 1.0})
    for seed in range(8):
        ((_, params),) = augment.draw([plan], np.random.default_rng(seed), 2)
        assert 1 / scale[1] - 1e-9 <= abs(np.linalg.det(params["matrix"])) ** 0.5 <= 1 / scale[0] + 1e-9


def test_contrast_of_older_plans_still_bends_the_curve() -> None:
    plan = AugmentPlan(name="contrast", options={"factor": [1.0, 1.0], "gamma": [1.4, 1.5], "probability": 1.0})
    image = picture(2)
    out = augment.apply(augment.draw([plan], np.random.default_rng(0), 2), image)
    assert not np.allclose(out, image)
    for bent, straight in zip(out, image, strict=True):
        np.testing.assert_array_equal(np.argsort(bent.ravel()), np.argsort(straight.ravel()))
