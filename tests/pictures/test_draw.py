"""Drawings: shapes, colours, sharp enlargement, and what is refused."""

import io

import numpy as np
import pytest

from hilum.pictures import draw


def image(shape=(40, 50)):
    return (np.random.default_rng(0).random(shape) * 100 + 50).astype(np.uint8)


def has(picture, colour):
    return bool((picture == np.array(colour)).all(axis=2).any())


def square(shape=(40, 50), at=10, size=15):
    mask = np.zeros(shape, bool)
    mask[at : at + size, at : at + size] = True
    return mask


def test_small_pictures_are_enlarged_by_a_whole_factor_and_stay_sharp():
    picture = draw.enlarge(draw.rgb(image()))
    assert picture.shape == (240, 300, 3)
    assert np.array_equal(picture[::6, ::6], draw.rgb(image()))
    assert draw.enlarge(image((300, 20))).shape == (300, 20)


def test_a_class_has_one_colour_everywhere_and_only_named_classes_are_drawn():
    labels = square() * 1 + square(at=28, size=8) * 2
    both = draw.overlay(image(), labels)
    assert has(both, draw.colour(1)) and has(both, draw.colour(2))
    only = draw.overlay(image(), labels, {2: "lesion"})
    assert not has(only, draw.colour(1)) and has(only, draw.colour(2))
    assert np.array_equal(draw.overlay(image(), labels * 0), draw.enlarge(draw.rgb(image())))
    assert len({draw.colour(v) for v in range(1, 8)}) == 7


def test_more_classes_than_the_palette_has_colours_still_differ():
    assert len({draw.colour(v) for v in range(1, 22)}) == 21 and draw.colour(22) == draw.colour(1)
    assert draw.colours([1, 8]) == {1: draw.colour(1), 8: draw.colour(2)}
    assert len(set(draw.colours(range(5, 400, 28)).values())) == 15
    labels = square() * 1 + square(at=28, size=8) * 8
    assert has(draw.overlay(image(), labels), draw.colour(1)) and has(draw.overlay(image(), labels), draw.colour(8))
    shades = draw.colours({8: "tumour"})
    drawn = draw.overlay(image(), labels, {8: "tumour"}, shades=shades)
    assert has(drawn, draw.colour(1)) and not has(drawn, draw.colour(8))


def test_only_large_pictures_are_made_smaller_by_means_and_labels_never_mix():
    small = image((1024, 700))
    assert draw.shrink(small) is small
    stripes = np.zeros((2048, 3000), np.uint8)
    stripes[::2] = 100
    made = draw.shrink(stripes)
    assert made.shape == (699, 1024) and made.dtype == np.uint8
    assert abs(float(made.mean()) - 50) < 0.5 and draw.shrink(np.stack([stripes] * 3, axis=2)).shape == (699, 1024, 3)
    mixed = draw.shrink(stripes // 50, labels=True)
    assert mixed.shape == (699, 1024) and set(np.unique(mixed)) == {0, 2}
    assert draw.shrink(np.ones((5000, 2), np.float32)).shape == (1024, 1)


def test_boxes_on_a_photograph_are_made_smaller_with_it():
    picture = draw.with_boxes(np.zeros((4096, 2048), np.uint8), [[400, 800, 2000, 1600]], None, [[2400, 80, 4000, 160]])
    assert picture.shape == (1024, 512, 3)
    assert tuple(picture[100, 200]) == tuple(picture[499, 399]) == draw.FOUND and not picture[510, 410].any()
    assert tuple(picture[600, 20]) == tuple(picture[999, 39]) == draw.TRUTH


def test_contours_show_truth_and_prediction_even_where_they_are_the_same():
    for prediction in (square(), square(at=12)):
        picture = draw.contours(image(), square(), prediction)
        assert has(picture, draw.TRUTH) and has(picture, draw.FOUND)
    assert not has(draw.contours(image(), square(), square() & False), draw.FOUND)


def test_boxes_lie_where_they_say_and_tags_stay_inside():
    picture = draw.with_boxes(image(), [[5, 6, 20, 30]], None, [[10, 10, 30, 40]])
    assert tuple(picture[5 * 6, 6 * 6]) == draw.FOUND and tuple(picture[20 * 6 - 1, 30 * 6 - 1]) == draw.FOUND
    assert tuple(picture[10 * 6, 39 * 6]) == draw.TRUTH
    tagged = draw.with_boxes(image(), [[0, 45, 10, 50], [36, 0, 40, 5]], [0.9, 0.1])
    assert tagged.shape == picture.shape and has(tagged, draw.FOUND)
    assert np.array_equal(draw.with_boxes(image(), np.zeros((0, 4))), draw.enlarge(draw.rgb(image())))


def test_a_grid_without_motion_is_straight_and_a_fold_is_marked():
    still = draw.deformed_grid(np.zeros((2, 64, 64)))
    line = still[0, :, 0] > 128
    assert all(((still[r, :, 0] > 128) == line).all() or (still[r, :, 0] > 128).all() for r in range(5, 40, 4))
    folded = np.zeros((2, 64, 64))
    folded[0] = -2.0 * np.arange(64)[:, None]
    inner = draw.deformed_grid(folded)[8:-8]  # beyond the last pixel centre the field is held, so it does not fold
    assert (inner[..., 0] > inner[..., 2]).all()
    with pytest.raises(ValueError, match="expected"):
        draw.deformed_grid(np.zeros((3, 8, 8)))


def test_an_error_map_is_black_where_nothing_differs_and_brighter_where_more_does():
    a, b = np.zeros((300, 300)), np.zeros((300, 300))
    b[:100], b[100:200] = 1.0, 0.5
    picture = draw.error_map(a, b, top=1.0).sum(axis=2)
    assert picture[250, 0] == 4 and picture[0, 0] > picture[150, 0] > picture[250, 0]
    assert draw.error_map(a, a).max() <= 4


def test_heat_goes_from_black_to_pale():
    picture = draw.heat(np.linspace(0, 1, 300)[None].repeat(300, axis=0)).sum(axis=2).astype(int)
    assert picture[0, 0] == 4 and (np.diff(picture[0]) >= 0).all() and picture[0, -1] > 600
    assert np.array_equal(draw.heat(np.full((300, 300), 0.2), 0.1), draw.heat(np.ones((300, 300))))
    assert draw.heat(np.zeros((300, 300)), 0).max() <= 4


def test_sheets_have_room_for_every_picture_and_caption():
    pictures = [image(), image((30, 30)), draw.rgb(image((300, 280)))]
    row = draw.side_by_side(pictures, ["one", "two", "a caption that is much longer than its picture is wide, really"])
    assert row.shape[0] == 300 + 24 and row.shape[2] == 3
    assert draw.sheet(pictures, 2).shape == (2 * 300 + 6, 2 * 300 + 6, 3)
    with pytest.raises(ValueError, match="captions"):
        draw.sheet(pictures, 2, ["one"])
    with pytest.raises(ValueError, match="at least"):
        draw.sheet([], 2)


def test_png_keeps_the_pixels_and_is_the_same_every_time():
    from PIL import Image

    picture = draw.overlay(image(), square())
    data = draw.png(picture)
    assert data == draw.png(picture)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="what to draw"):
        draw.overlay(image(), square((10, 10), 2, 3))
    with pytest.raises(ValueError, match="expected"):
        draw.rgb(np.zeros((4, 5, 2)))


def test_touching_objects_are_told_apart_by_outlines_of_two_colours():
    numbered = np.zeros((40, 50), np.uint16)
    numbered[10:20, 10:20], numbered[10:20, 20:30] = 300, 301
    picture, factor = draw.objects(image(), numbered), 6
    left, right = picture[15 * factor, 20 * factor - 1], picture[15 * factor, 20 * factor]
    assert tuple(left) == draw.colour(300) and tuple(right) == draw.colour(301) and draw.colour(300) != draw.colour(301)
    inside = picture[15 * factor, 15 * factor].astype(int)
    assert tuple(inside) != draw.colour(300), "what lies inside stays visible"
    assert np.array_equal(picture[: 9 * factor], draw.enlarge(draw.rgb(image()))[: 9 * factor])
