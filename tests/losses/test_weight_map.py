"""U-Net's weight map: the formula pixel by pixel, the gap between two disks, balance; and the loss it weighs."""

import math

import numpy as np
import pytest
import torch

from hilum.core.errors import HilumError
from hilum.losses.dice_ce import cross_entropy
from hilum.losses.weight_map import pieces, pixel_weights, separation, weight_map


def disks() -> torch.Tensor:
    """Two disks of radius 6 with one pixel between them, in (1, 24, 40)."""
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(40), indexing="ij")
    objects = torch.zeros(24, 40, dtype=torch.long)
    for number, column in ((3, 12), (8, 26)):
        objects[(rows - 12) ** 2 + (columns - column) ** 2 <= 36] = number
    return objects[None]


def slow(objects: np.ndarray, sigma: float) -> np.ndarray:
    """The second term by all distances from every background pixel to every object."""
    out = np.zeros(objects.shape)
    for at in np.argwhere(objects == 0):
        near = sorted(
            math.sqrt(((np.argwhere(objects == number) - at) ** 2).sum(axis=1).min())
            for number in np.unique(objects[objects > 0])
        )
        if len(near) > 1:
            out[tuple(at)] = math.exp(-((near[0] + near[1]) ** 2) / (2 * sigma**2))
    return out


def test_the_gap_between_two_touching_disks_weighs_most() -> None:
    objects = disks()
    weights = pixel_weights(objects)[0]
    assert objects[0, 12, 18] == 3 and objects[0, 12, 19] == 0 and objects[0, 12, 20] == 8
    assert int(weights.argmax()) == 12 * 40 + 19
    share = float((objects > 0).float().mean())
    assert float(weights[12, 19]) == pytest.approx(0.5 / (1 - share) + 10 * math.exp(-4 / 50), rel=1e-6)


@pytest.mark.parametrize("sigma", [0.7, 5.0])
def test_every_pixel_is_as_the_formula_says(sigma: float) -> None:
    objects = np.zeros((20, 26), dtype=np.int64)
    objects[2:6, 3:7], objects[3:5, 9:12], objects[12:17, 20:25], objects[18, 1] = 1, 5, 7, 900
    np.testing.assert_allclose(separation(objects, sigma), slow(objects, sigma), atol=1e-7)


def test_volumes_have_weights_too() -> None:
    objects = np.zeros((5, 6, 7), dtype=np.int64)
    objects[1:3, 1:5, 1:3], objects[1:4, 1:5, 4:6] = 1, 2
    np.testing.assert_allclose(separation(objects, 2.0), slow(objects, 2.0), atol=1e-7)


@pytest.mark.parametrize("numbers", [[], [4]])
def test_without_two_objects_nothing_is_between_them(numbers: list[int]) -> None:
    objects = torch.zeros(1, 9, 9, dtype=torch.long)
    for number in numbers:
        objects[:, 2:5, 2:5] = number
    weights = pixel_weights(objects)
    assert bool(weights.isfinite().all()) and len(weights.unique()) == 1 + len(numbers)
    assert float(weights.mean()) == pytest.approx(1)


def test_background_and_objects_weigh_the_same_unless_told() -> None:
    objects = disks()
    weights = pixel_weights(objects, w0=0)
    inside = objects > 0
    assert float(weights[inside].sum()) == pytest.approx(float(weights[~inside].sum()), rel=1e-5)
    assert float(weights.mean()) == pytest.approx(1, rel=1e-5)
    given = pixel_weights(objects, w0=0, balance=(2.0, 3.0))
    assert torch.equal(given, torch.where(inside, 3.0, 2.0))


def test_what_is_ignored_is_no_background_to_the_balance() -> None:
    objects = torch.zeros(1, 8, 12, dtype=torch.long)
    objects[:, 2:4, 2:5], objects[:, 5:7, 1:3] = 1, 2
    known = (torch.arange(12) < 6).expand(1, 8, 12)
    weights = pixel_weights(objects, w0=0, known=known)
    torch.testing.assert_close(weights[..., :6], pixel_weights(objects[..., :6], w0=0))
    assert float(weights[known].mean()) == pytest.approx(1, rel=1e-5)
    assert torch.equal(pixel_weights(objects, w0=0, known=known & False), torch.ones(1, 8, 12))
    torch.manual_seed(0)
    logits, target = torch.randn(1, 2, 8, 12), (objects > 0).long()
    target[..., 6:] = -1
    cropped = weight_map(logits[..., :6], target[..., :6], -1, w0=0)
    torch.testing.assert_close(weight_map(logits, target, -1, w0=0), cropped)


def test_distances_are_in_the_unit_of_sigma() -> None:
    objects = np.zeros((14, 10), dtype=np.int64)
    objects[1:4, 1:3], objects[6:9, 2:4], objects[10:13, 7:9] = 1, 2, 3
    halved = separation(objects, 5.0, [2.0, 2.0])
    np.testing.assert_allclose(halved, separation(objects, 2.5), atol=1e-9)
    assert abs(halved - separation(objects, 5.0)).max() > 0.1
    # one row from the first object, two from the second, of two pixels each
    np.testing.assert_allclose(separation(objects, 3.0, [2.0, 1.0])[4, 2], math.exp(-((2 + 4) ** 2) / 18), atol=1e-9)


def test_images_of_a_batch_are_apart() -> None:
    objects = torch.cat([disks(), torch.zeros(1, 24, 40, dtype=torch.long)])
    weights = pixel_weights(objects)
    assert weights.dtype == torch.float32 and weights.shape == (2, 24, 40)
    assert torch.equal(weights[:1], pixel_weights(disks())) and torch.equal(weights[1], torch.ones(24, 40))


def test_weights_multiply_the_cross_entropy_of_their_pixels() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True), torch.randint(0, 3, (2, 4, 5))
    torch.testing.assert_close(weight_map(logits, target, weights=torch.ones(2, 4, 5)), cross_entropy(logits, target))
    weight = torch.rand(2, 4, 5, dtype=torch.float64)
    each = -logits.log_softmax(1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(weight_map(logits, target, weights=weight), (each * weight).mean())
    assert torch.autograd.gradcheck(lambda x: weight_map(x, target, weights=weight), logits)


def test_ignored_pixels_count_nowhere() -> None:
    torch.manual_seed(0)
    logits, target, weight = torch.randn(1, 2, 6, 6), torch.randint(0, 2, (1, 6, 6)), torch.rand(1, 6, 6)
    target[:, 4:] = -1
    whole = weight_map(logits, target, -1, weights=weight)
    torch.testing.assert_close(whole, weight_map(logits[:, :, :4], target[:, :4], weights=weight[:, :4]))
    assert float(weight_map(logits, torch.full_like(target, -1), -1)) == 0


def test_without_numbers_each_connected_piece_of_a_class_is_an_object() -> None:
    target = np.zeros((6, 9), dtype=np.int64)
    target[1:3, 1:3], target[1:3, 4:6], target[3:5, 4:6], target[0, 8] = 1, 1, 2, -1
    found = pieces(target)
    assert len(np.unique(found[found > 0])) == 3 and not found[target <= 0].any()
    assert len({found[1, 1], found[1, 4], found[3, 4]}) == 3 and found[1, 4] == found[2, 5]
    torch.manual_seed(0)
    logits, classes = torch.randn(1, 3, 6, 9), torch.from_numpy(target)[None]
    given = pixel_weights(torch.from_numpy(found)[None], w0=4.0, sigma=2.0, known=classes != -1)
    wanted = weight_map(logits, classes, -1, weights=given)
    torch.testing.assert_close(weight_map(logits, classes, -1, w0=4.0, sigma=2.0), wanted)
    assert float(wanted) != pytest.approx(float(weight_map(logits, classes, -1)))


def test_what_can_not_be_is_refused() -> None:
    logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    with pytest.raises(HilumError, match="sigma"):
        weight_map(logits, target, sigma=0)
    with pytest.raises(HilumError, match="shape"):
        weight_map(logits, target, weights=torch.ones(4, 4))
