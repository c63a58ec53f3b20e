"""Distances obey their laws, an image never counts as its own neighbour, and what is far is found far."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from scipy import stats
from scipy.ndimage import gaussian_filter
from scipy.spatial import distance

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.plan import Normalisation
from hilum.data.dataset import open_dataset
from hilum.data.phantoms import cells, slices
from hilum.infer.predictor import Predictor
from hilum.metrics import auroc
from hilum.trust import _description, outlier

RULES = [Normalisation(scheme="zscore")]


def gaussian(rng, n, d, shift=0.0):
    rows = rng.standard_normal((n, d))
    rows[:, 0] += shift
    return rows


def area(inside, outside):
    values = np.concatenate([inside, outside])
    return auroc.measure(np.stack([-values, values], axis=1), np.arange(len(values)) >= len(inside))


def test_mahalanobis_is_the_textbooks():
    rng = np.random.default_rng(0)
    rows, root = gaussian(rng, 20, 4), rng.standard_normal((4, 4))
    means, precision = rng.standard_normal((3, 4)), root @ root.T
    found = outlier.mahalanobis(rows, means, precision)
    expected = [min(distance.mahalanobis(row, mean, precision) for mean in means) for row in rows]
    np.testing.assert_allclose(found, expected)


def test_mahalanobis_does_not_care_for_affine_maps_of_the_features():
    rng = np.random.default_rng(1)
    for _ in range(5):
        rows, means = gaussian(rng, 30, 6), rng.standard_normal((2, 6))
        root, turn, move = rng.standard_normal((6, 6)), rng.standard_normal((6, 6)), rng.standard_normal(6)
        covariance = root @ root.T + np.eye(6)
        plain = outlier.mahalanobis(rows, means, np.linalg.inv(covariance))
        mapped = outlier.mahalanobis(rows @ turn + move, means @ turn + move, np.linalg.inv(turn.T @ covariance @ turn))
        np.testing.assert_allclose(mapped, plain, rtol=1e-6)


def test_what_is_learned_hardly_cares_either():
    rng = np.random.default_rng(2)
    train, held, new = (gaussian(rng, n, 5) for n in (6000, 50, 200))
    turn = rng.standard_normal((5, 5)) + 2 * np.eye(5)
    plain = outlier.fit({"picture": train}, {"picture": held})
    mapped = outlier.fit({"picture": train @ turn + 3}, {"picture": held @ turn + 3})
    before = outlier.distances(plain, {"picture": new})["picture"]
    after = outlier.distances(mapped, {"picture": new @ turn + 3})["picture"]
    np.testing.assert_allclose(after, before, rtol=0.1)


@pytest.mark.parametrize("d", [0.5, 1.0, 2.0])
def test_auroc_of_shifted_gaussians(d):
    rng = np.random.default_rng(3)
    inside, outside = rng.standard_normal(20000), rng.standard_normal(20000) + d
    assert area(inside, outside) == pytest.approx(stats.norm.cdf(d / np.sqrt(2)), abs=0.008)


def test_auroc_of_mahalanobis_is_that_of_its_distributions():
    rng = np.random.default_rng(4)
    known = outlier.fit({"picture": gaussian(rng, 8000, 6)}, {"picture": gaussian(rng, 100, 6)})
    inside, outside = (
        outlier.distances(known, {"picture": gaussian(rng, 6000, 6, shift)})["picture"] for shift in (0.0, 2.5)
    )
    # squared distances are chi-square, and non-central by the squared shift
    at = np.linspace(1e-4, 80, 20001)
    expected = np.trapezoid(stats.ncx2.sf(at, 6, 2.5**2) * stats.chi2.pdf(at, 6), at)
    assert area(inside, outside) == pytest.approx(expected, abs=0.015)


def test_classes_share_a_covariance_and_have_their_own_means():
    rng = np.random.default_rng(5)
    names = np.array(["a", "b"] * 400)
    train = gaussian(rng, 800, 3) + np.where(names == "a", -20.0, 20.0)[:, None] * np.eye(3)[0]
    held = {"picture": gaussian(rng, 30, 2), "network": gaussian(rng, 30, 3, shift=20)}
    picture = gaussian(rng, 800, 2)
    known = outlier.fit({"picture": picture, "network": train}, held, list(names))
    middle = {"picture": np.zeros((2, 2)), "network": np.array([[0.0, 0, 0], [20, 0, 0]])}
    between, at = outlier.distances(known, middle)["network"]
    assert between > 15 and at < 1
    alone = outlier.fit({"picture": picture, "network": train}, held)
    assert outlier.distances(alone, middle)["network"][0] < 1


def test_nobody_is_his_own_neighbour():
    rng = np.random.default_rng(6)
    bank = rng.standard_normal((30, 8))
    unit = bank / np.linalg.norm(bank, axis=1, keepdims=True)
    expected = [np.delete(np.linalg.norm(unit - row, axis=1), i).min() for i, row in enumerate(unit)]
    np.testing.assert_allclose(outlier.neighbours(bank, bank), expected)
    # nor in another brightness, nor as a copy that lies there too
    np.testing.assert_allclose(outlier.neighbours(7 * bank, np.concatenate([bank, bank[:3]])), expected)


def test_the_kth_neighbour_of_new_images():
    rng = np.random.default_rng(7)
    bank, new = rng.standard_normal((100, 6)), rng.standard_normal((9, 6))
    units = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in (new, bank)]
    expected = np.sort(distance.cdist(*units), axis=1)[:, 4]
    np.testing.assert_allclose(outlier.neighbours(new, bank), expected)


def test_held_out_images_are_compared_with_the_others():
    values = np.random.default_rng(8).exponential(size=25)
    found = outlier._among(values)
    for i, value in enumerate(values):
        others = np.sort(np.delete(values, i))
        assert found[i] == pytest.approx(outlier._surprise(np.array([value]), others)[0])


def test_shares_rise_with_the_distance():
    held = np.sort(np.random.default_rng(9).exponential(size=40))
    at = np.linspace(0, 100, 4001)
    found = 1 - np.exp(-outlier._surprise(at, held))
    assert found[0] == 0 and np.all(np.diff(found) >= 0) and found[-1] <= 1
    assert found[at > held[-1]][0] >= 40 / 41
    # the tail of exponential values is exponential: what few of them say of a far one is about right
    guesses = [outlier._surprise(np.array([8.0]), np.sort(np.random.default_rng(s).exponential(size=40)))[0]
               for s in range(300)]  # fmt: skip
    assert np.median(guesses) == pytest.approx(8, abs=1)


@pytest.mark.parametrize(("held_out", "most"), [(25, 0.04), (200, 0.02)])
@pytest.mark.parametrize("views", [("picture",), ("quality", "picture", "network")])
def test_about_one_usual_image_in_a_hundred_is_called_unlike(views, held_out, most):
    rng = np.random.default_rng(10)
    rates = []
    for _ in range(8):
        train, held, new = ({v: gaussian(rng, n, 10) for v in views} for n in (400, held_out, 200))
        known = outlier.fit(train, held)
        shares = [outlier.score(known, {v: new[v][i] for v in views}).share for i in range(200)]
        rates.append(np.mean(np.array(shares) > outlier.USUAL))
    # few held-out images err on the side of silence
    assert (0.001 if held_out == 200 else 0) <= np.mean(rates) < most, rates


def test_the_view_that_is_most_unlike_counts():
    rng = np.random.default_rng(11)
    train, held = ({"picture": gaussian(rng, n, 4), "network": gaussian(rng, n, 6) + 5} for n in (300, 100))
    known = outlier.fit(train, held)
    for view, far in (("picture", np.full(4, 30.0)), ("network", np.array([-5.0, 5, 5, 5, 5, 5]))):
        usual = {"picture": np.zeros(4), "network": np.full(6, 5.0)}
        assert outlier.score(known, usual).share < 0.5
        found = outlier.score(known, usual | {view: far})
        assert found.share > outlier.USUAL and found.parts[view] > outlier.USUAL


def test_two_views_that_are_unusual_count_more_than_one():
    rng = np.random.default_rng(14)
    train, held = ({v: gaussian(rng, n, 4) for v in ("picture", "texture")} for n in (300, 200))
    known = outlier.fit(train, held)
    far, usual = np.full(4, 1.7), np.full(4, 0.4)
    one, other = (outlier.score(known, {v: far if v == view else usual for v in train}).share for view in train)
    both = outlier.score(known, {"picture": far, "texture": far}).share
    assert 0.5 < max(one, other) < both < 1
    # of one view alone the share is that of the view
    alone = outlier.fit({"picture": train["picture"]}, {"picture": held["picture"]})
    found = outlier.score(alone, {"picture": far})
    assert found.share == pytest.approx(found.parts["picture"], abs=0.01)


def test_a_run_that_knows_only_of_the_highest_view_is_still_judged_by_that():
    rng = np.random.default_rng(15)
    train, held = ({v: gaussian(rng, n, 4) for v in ("picture", "texture")} for n in (300, 200))
    known = outlier.fit(train, held)
    apart = outlier.distances(known, held)
    del known["joined.held"]
    known["held"] = np.sort(np.max([outlier._among(values) for values in apart.values()], axis=0)).astype(np.float32)
    found = outlier.score(known, {"picture": np.full(4, 1.2), "texture": np.zeros(4)})
    highest = -np.log1p(-max(found.parts.values()))
    assert found.share == pytest.approx(1 - np.exp(-outlier._surprise(np.array([highest]), known["held"])[0]))


def test_a_feature_that_never_varied_may_vary_a_little():
    rng = np.random.default_rng(12)
    train, held = (np.insert(gaussian(rng, n, 4), 4, 3.0, axis=1) for n in (300, 100))
    known = outlier.fit({"picture": train}, {"picture": held})
    assert outlier.score(known, {"picture": np.array([0, 0, 0, 0, 3.05])}).share < 0.9
    assert outlier.score(known, {"picture": np.array([0, 0, 0, 0, 5.0])}).share > outlier.USUAL


def test_images_that_are_all_the_same_say_that_others_are_unlike():
    same, other = (outlier.input_statistics(Image(head(np.random.default_rng(s))), RULES) for s in (0, 1))
    rows = {view: np.repeat(row[None], 20, axis=0) for view, row in same.items()}
    known = outlier.fit(rows | {"network": np.ones((20, 4))}, rows | {"network": np.ones((20, 4))})
    assert all(np.isfinite(array).all() for array in known.values())
    assert outlier.score(known, same | {"network": np.ones(4)}).share < 0.5
    assert outlier.score(known, other | {"network": np.ones(4)}).share > outlier.USUAL


def test_too_few_and_broken_images_are_refused():
    rng = np.random.default_rng(13)
    many, few = gaussian(rng, 40, 3), gaussian(rng, 19, 3)
    with pytest.raises(HilumError, match=r"19 validation images .*HIL-TRUST-11"):
        outlier.fit({"picture": many}, {"picture": few})
    with pytest.raises(HilumError, match=r"19 training images .*HIL-TRUST-11"):
        outlier.fit({"picture": few}, {"picture": many})
    broken = np.where(np.arange(120).reshape(40, 3) == 7, np.nan, many)
    with pytest.raises(HilumError, match="HIL-TRUST-12"):
        outlier.fit({"picture": broken}, {"picture": many})


def pictures(seeds, draw):
    """{view: rows} of phantoms."""
    rows = [outlier.input_statistics(Image(draw(np.random.default_rng([9, s]))), RULES) for s in seeds]
    return {view: np.stack([row[view] for row in rows]) for view in rows[0]}


def head(rng):
    return slices.draw(rng, 64, 0.03, ill=bool(rng.integers(2)))


def test_other_pictures_are_told_from_heads_without_a_network():
    train, held, own = (pictures(range(*r), head) for r in ((0, 90), (100, 140), (200, 240)))
    known = load(save(outlier.fit(train, held)))
    others = {
        "noise": lambda rng: rng.integers(0, 256, (1, 64, 64)).astype(np.uint8),
        "cells": lambda rng: cells.draw(rng, 64, 0.05, 14)[0],
    }
    inside = outlier.distances(known, own)
    for name, draw in others.items():
        outside = outlier.distances(known, pictures(range(30), draw))
        for view in ("quality", "picture", "texture"):
            assert area(inside[view], outside[view]) > 0.95, (name, view)
        seen = pictures([99], draw)
        assert outlier.score(known, {view: rows[0] for view, rows in seen.items()}).share > outlier.USUAL


@pytest.mark.parametrize("scheme", ["zscore", "ct", "scale", "none"])
def test_a_description_is_finite_and_as_long_for_every_image(scheme):
    rules = [Normalisation(scheme=scheme, mean=100, std=50, low=0, high=255)]
    plain = outlier.input_statistics(Image(head(np.random.default_rng(0))), rules)
    for array in (np.full((1, 9, 9), 4), np.zeros((3, 1, 1)), np.arange(24.0).reshape(1, 2, 3, 4)):
        found = outlier.input_statistics(Image(array), rules)
        for view, row in plain.items():
            assert found[view].shape == row.shape and np.isfinite(found[view]).all()


def texture(array):
    return outlier.input_statistics(Image(array.astype(np.float32)[None]), RULES)["texture"]


def rough(rng, side=128):
    """A picture with detail everywhere."""
    return gaussian_filter(rng.standard_normal((side, side)), 1.5) + gaussian_filter(rng.random((side, side)), 12) * 20


def test_texture_does_not_care_for_brightness_and_turns_with_the_picture():
    array = rough(np.random.default_rng(20))
    plain = texture(array)
    np.testing.assert_allclose(texture(3 * array - 50), plain, atol=1e-4)
    axes = len(_description.LAGS)
    turned = np.concatenate([plain[:2], plain[2 + axes :], plain[2 : 2 + axes]])
    np.testing.assert_allclose(texture(array.T), turned, atol=1e-5)


@pytest.mark.parametrize("lag", [4, 6, 8, 12])
@pytest.mark.parametrize("axis", [0, 1])
def test_doubled_contours_show_where_they_lie(lag, axis):
    array = rough(np.random.default_rng(21))
    change = texture(array + np.roll(array, lag, axis)) - texture(array)
    at = 2 + axis * len(_description.LAGS) + _description.LAGS.index(lag)
    assert np.argmax(change[2:]) == at - 2 and change[at] > 0.3


def test_texture_tells_doubled_contours_that_nothing_else_tells():
    rng = np.random.default_rng(22)
    train, held, own = ([rough(rng) for _ in range(n)] for n in (60, 30, 30))
    moved = [(x + np.roll(x, 5, 0)) / np.sqrt(2) for x in own]
    seen = [{"texture": np.stack([texture(x) for x in part])} for part in (train, held, own, moved)]
    known = outlier.fit(*seen[:2])
    inside, outside = (outlier.distances(known, part)["texture"] for part in seen[2:])
    assert area(inside, outside) > 0.95


def test_runs_from_before_a_view_are_asked_without_it():
    train, held = pictures(range(40), head), pictures(range(100, 130), head)
    old = {view: rows for view, rows in train.items() if view != "texture"}
    known = outlier.fit(old, {view: held[view] for view in old})
    seen = {view: rows[0] for view, rows in held.items()}
    assert set(outlier.score(known, seen).parts) == {"quality", "picture"}


def test_views_of_a_trained_run(trained, data):
    predictor = Predictor(trained("classify"))
    case = open_dataset(data("classify")).cases[0]
    found = outlier.views(predictor.task, predictor.net, case)
    prepared = predictor.task.prepare(case, truth=False)
    again = outlier.views(predictor.task, predictor.net, case, prepared)
    x = torch.from_numpy(prepared["image"])[None]
    with torch.inference_mode():
        logits = predictor.net(x)[0]
        head = predictor.net.head(torch.from_numpy(found["network"]).float())
    torch.testing.assert_close(head, logits, rtol=1e-4, atol=1e-5)
    for view in ("quality", "picture", "texture", "network"):
        np.testing.assert_allclose(again[view], found[view], rtol=1e-6)


def test_views_of_other_tasks(trained, data):
    found = {}
    for task in ("segment", "register", "reconstruct"):
        predictor = Predictor(trained(task))
        case = open_dataset(data(task)).cases[0]
        if task == "register":
            case = Case("pair", "", {"fixed": case.items["image"], "moving": case.items["image"]})
        found[task] = outlier.views(predictor.task, predictor.net, case)
        if task == "segment":
            assert found[task]["network"].shape == (predictor.net.head.in_channels,)
    assert found["reconstruct"] is None
    assert len(found["register"]["picture"]) == 2 * len(found["segment"]["picture"])
    assert all(np.isfinite(row).all() for task in ("segment", "register") for row in found[task].values())
