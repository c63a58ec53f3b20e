"""Ranking of voxels, per image and pooled, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hilum.metrics import pixel_auroc, pixel_auroc_pooled


def voxels(seed, n=4000, step=None):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.1
    p = 1 / (1 + np.exp(-rng.normal(2.0 * truth - 2, 1.5)))
    return (np.round(p / step) * step if step else p), truth


@pytest.mark.parametrize("step", [None, 0.1])
def test_equals_scikit_learn_with_and_without_ties(step):
    p, truth = voxels(0, step=step)
    assert pixel_auroc.measure(p, truth) == pytest.approx(roc_auc_score(truth, p), abs=1e-12)
    assert pixel_auroc.measure(p.reshape(40, 100), truth.reshape(40, 100)) == pixel_auroc.measure(p, truth)


def test_pooled_is_one_set_of_voxels_within_a_bin():
    images = [voxels(seed, n) for seed, n in ((1, 500), (2, 4000), (3, 9000))]
    exact = roc_auc_score(np.concatenate([t for _, t in images]), np.concatenate([p for p, _ in images]))
    records = [pixel_auroc_pooled.counts(*image) for image in images]
    assert records[0].shape == (2, pixel_auroc_pooled.BINS) and records[0].sum() == 500
    assert pixel_auroc_pooled.measure(records) == pytest.approx(exact, abs=1e-3)
    assert abs(pixel_auroc_pooled.measure(records) - np.mean([pixel_auroc.measure(*i) for i in images])) > 1e-5


def test_ends_and_edges():
    p, truth = np.array([0.0, 0.0, 1.0, 1.0]), np.array([False, False, True, True])
    for found, wanted in ((p, 1.0), (1 - p, 0.0), (np.full(4, 0.3), 0.5)):
        assert pixel_auroc.measure(found, truth) == wanted
        assert pixel_auroc_pooled.measure([pixel_auroc_pooled.counts(found, truth)]) == wanted
    one = pixel_auroc_pooled.counts(p, np.zeros(4, bool))
    assert pixel_auroc.measure(p, np.zeros(4, bool)) is None and pixel_auroc_pooled.measure([one]) is None


@pytest.mark.parametrize("p", [np.array([0.1, np.nan]), np.array([0.1, 0.2, 0.3])])
def test_nonsense_is_refused(p):
    with pytest.raises(ValueError):
        pixel_auroc.measure(p, np.array([True, False]))
    with pytest.raises(ValueError, match="outside"):
        pixel_auroc_pooled.counts(np.array([0.1, 1.5]), np.array([True, False]))
