"""Pictures for the report: whole photographs are made smaller, and what lies on them stays where it was."""

import numpy as np
import pytest

from hilum.core.image import Array, Image
from hilum.pictures import draw
from hilum.tasks import _show

SIZE = (2000, 3000)
# Of a photograph; its picture is 683 x 1024.


def photograph() -> tuple[Image, Array]:
    """Black, and a label in its middle."""
    label = np.zeros(SIZE, np.uint8)
    label[500:1500, 750:2250] = 8
    return Image(np.zeros((3, *SIZE), np.uint8)), label


def test_a_photograph_is_made_smaller_for_the_report() -> None:
    """Three panels a case at full size made a page of some hundred MB, or of none where memory ended."""
    image, label = photograph()
    classes = {1: "liver", 8: "tumour"}
    drawn = _show.masks(image, label, label, classes)
    assert drawn.shape == (683 + 24, 3 * 1024 + 2 * 6, 3)
    shade = draw.colours(classes)[8]
    for left in (1030, 2060):
        panel = drawn[:683, left : left + 1024]
        assert tuple(panel[172, 512]) == tuple(panel[340, 257]) == shade, "the outline lies where it lay"
        assert panel[340, 512].any() and not panel[100, 512].any() and not panel[340, 200].any()
    for other in (
        _show.objects(image, label, label, {}),
        _show.maps(image, label, {"doubt": label / 8}),
        _show.picture(image),
        _show.moved([image] * 3, np.zeros((2, *SIZE))),
    ):
        assert other.shape[0] <= 683 + 24 and other.shape[1] <= 4 * 1024 + 3 * 6


def test_what_a_map_says_that_pale_is_stays_the_highest_value(monkeypatch: pytest.MonkeyPatch) -> None:
    image, label = photograph()
    values = np.zeros(SIZE, np.float32)
    values[0, 0] = 1.0
    seen: list[float] = []
    monkeypatch.setattr(draw, "heat", lambda cut, top: (seen.append(top), draw.rgb(cut))[1])
    _show.maps(image, label, {"doubt": values})
    assert seen == [1.0]


def test_a_field_that_is_made_smaller_moves_as_far_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Array] = []
    monkeypatch.setattr(draw, "deformed_grid", lambda field: (seen.append(field), np.zeros((8, 8, 3), np.uint8))[1])
    image, _ = photograph()
    _show.moved([image] * 3, np.stack([np.full(SIZE, 30.0), np.full(SIZE, -60.0)]))
    assert seen[0].shape == (2, 683, 1024)
    np.testing.assert_allclose(seen[0][0], 30 * 683 / 2000)
    np.testing.assert_allclose(seen[0][1], -60 * 1024 / 3000)


def test_every_class_has_a_colour_by_its_place_in_the_plan() -> None:
    """By their values liver (1) and tumour (8) had one colour."""
    classes, image = {1: "liver", 8: "tumour"}, Image(np.zeros((1, 40, 40), np.uint8))
    label = np.zeros((40, 40), np.uint8)
    label[4:16, 4:16], label[24:36, 24:36] = 1, 8
    drawn, factor = _show.masks(image, label, label, classes), draw.factor_for((40, 40))
    panel = drawn[: 40 * factor, 40 * factor + 6 : 80 * factor + 6]
    liver, tumour = (tuple(panel[at * factor, at * factor]) for at in (4, 24))
    assert (liver, tumour) == (draw.colour(1), draw.colour(2)), "as the legend has them"
    alone = _show.masks(image, label * (label == 8), label, classes)
    assert tuple(alone[24 * factor, 40 * factor + 6 + 24 * factor]) == tumour, "one class has one colour on the page"
